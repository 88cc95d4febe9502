# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rulebooks of the collection in the real ansible-rulebook, against a real Consul."""

from __future__ import annotations

import signal
import typing as t
import uuid
from pathlib import Path

import pytest
import requests

from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.notifications import alert, notification
from tests.lab.receiving import make_receiver, secret_file
from tests.lab.rulebooks import Rulebook, Shop

RESTART, WATCH = "consulops.failover.restart_service", "consulops.failover.keep_watch"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("eda")) as created:
        yield created


@pytest.fixture(scope="module")
def datacenter(lab: Lab) -> Datacenter:
    return lab.datacenter()


def restart_variables(tmp_path: Path, **commands: list[str]) -> dict[str, t.Any]:
    """Return the variables with which the rulebook restarts these services with these commands."""
    how = {"min_healthy": 0}
    return {
        "consul_events_state": str(tmp_path / "state"),
        "consul_events_hosts": {"dc1-s1": "web1"},
        "consul_restart_after": "1s",
        "consul_restart_recovered_after": "1s",
        "consul_restart_names": list(commands),
        "consul_restart_services": {name: {**how, "command": command} for name, command in commands.items()},
    }


def watches(tmp_path: Path) -> bool:
    """Whether the source has begun: it has written its first position."""
    state = tmp_path / "state"
    return state.exists() and "findings" in state.read_text()


def test_a_killed_service_is_started_on_its_node_once_also_after_a_kill_of_the_rulebook(
    lab: Lab, datacenter: Datacenter, tmp_path: Path
) -> None:
    shop = Shop(tmp_path / "shop", datacenter, lab.address())
    variables, identity, state = restart_variables(tmp_path, shop=shop.command), str(uuid.uuid4()), tmp_path / "state"
    try:
        with Rulebook(tmp_path / "one", RESTART, datacenter.url, variables, identity) as first:
            first.wait(lambda: watches(tmp_path), "the source begins")
            shop.kill()
            first.wait(lambda: shop.starts == 2 and shop.status(datacenter) == "passing", "it was started again")
            first.wait(lambda: state.read_text().endswith(",null]\n"), "its end was taken")
            assert "web1" in first.said and "web2" not in first.said
            first.stop(signal.SIGKILL)
        eventually(lambda: shop.status(datacenter) == "passing")
        shop.kill()  # nobody watches
        eventually(lambda: shop.status(datacenter) == "critical")
        with Rulebook(tmp_path / "two", RESTART, datacenter.url, variables, identity) as second:
            second.wait(lambda: shop.starts > 2 and shop.status(datacenter) == "passing", "it was started again")
            second.wait(lambda: "PLAY RECAP" in second.said, "the play ends")
        assert shop.starts == 3
    finally:
        shop.kill()
        datacenter.put("/v1/agent/service/deregister/shop-1")


def test_500_checks_that_fail_at_once_are_one_action(datacenter: Datacenter, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    variables = restart_variables(tmp_path, storm=["sh", "-c", f"echo restarted >>{marks}"])
    for number in range(500):
        check = {"CheckID": f"storm-{number}", "TTL": "1h", "Status": "passing"}
        datacenter.put("/v1/agent/service/register", {"Name": "storm", "ID": f"storm-{number}", "Check": check})
    with Rulebook(tmp_path / "run", RESTART, datacenter.url, variables) as rulebook:
        rulebook.wait(lambda: watches(tmp_path), "the source begins")
        for number in range(500):
            datacenter.put(f"/v1/agent/check/fail/storm-{number}")
        rulebook.wait(lambda: (tmp_path / "state").read_text().count("/storm-") >= 500, "all of them were taken")
        rulebook.wait(marks.exists, "it was restarted")
        for number in range(500):
            datacenter.put(f"/v1/agent/service/deregister/storm-{number}")
        rulebook.wait(lambda: "PLAY RECAP" in rulebook.said, "the play ends")
    assert marks.read_text() == "restarted\n" and rulebook.said.count("PLAY [") == 1


def test_a_snapshot_is_taken_and_a_report_written(datacenter: Datacenter, tmp_path: Path) -> None:
    for name in ("snapshots", "reports"):
        (tmp_path / name).mkdir(mode=0o700)
    variables = {
        "consul_events_state": str(tmp_path / "state"),
        "consul_snapshot_directory": str(tmp_path / "snapshots"),
        "consul_report_path": str(tmp_path / "reports"),
        "consul_events_rules": [{"rule": "snapshot_age", "for": "0s"}, {"rule": "drill_overdue", "for": "0s"}],
    }
    with Rulebook(tmp_path / "run", WATCH, datacenter.url, variables) as rulebook:
        rulebook.wait(lambda: list((tmp_path / "snapshots").glob("*.snap")), "a snapshot")
        (report,) = rulebook.wait(lambda: list((tmp_path / "reports").glob("*-drill_overdue.md")), "a report")
    assert report.read_text().startswith("# no drill of dc1 is known\n")
    assert "warning  dc1  drill_overdue  no drill of dc1 is known" in report.read_text()


def test_a_rulebook_with_a_hung_query_ends_at_once(lab: Lab, datacenter: Datacenter, tmp_path: Path) -> None:
    with Proxy(datacenter.url, lab.address(), fault="hang", path="/v1/") as proxy:
        with Rulebook(tmp_path / "run", RESTART, proxy.url, restart_variables(tmp_path)) as rulebook:
            rulebook.wait(lambda: proxy.requests, "a query hangs")
            took_s = rulebook.stop()
    # A query waits for 10 s; on a quiet machine the end takes less than a second.
    assert took_s < 7 and "Traceback" not in rulebook.said


def test_a_wrong_option_is_one_sentence(tmp_path: Path) -> None:
    variables = {**restart_variables(tmp_path), "consul_restart_after": "soon"}
    with Rulebook(tmp_path / "run", RESTART, "http://127.0.0.1:1", variables) as rulebook:
        rulebook.wait(lambda: rulebook.process.poll() is not None, "it ends")
    assert "for: 'soon' is not a duration: write for example 30s, 15m, 1h30m or 2d." in rulebook.said


def test_the_webhook_of_the_alerting_agent_is_understood_and_needs_its_token(lab: Lab, tmp_path: Path) -> None:
    address = lab.address()
    rulebook_file = tmp_path / "agent.yml"
    rulebook_file.write_text(f"""
- name: From the agent
  hosts: localhost
  sources:
    - eda.builtin.webhook: {{host: {address}, port: 5000, token: the-token}}
  rules:
    - name: Say it
      condition: event.payload.version == 1 and event.payload.kind == "firing"
      action:
        debug:
          msg: "told of {{{{ event.payload.alerts[0].rule }}}} on {{{{ event.payload.alerts[0].node }}}}"
""")
    url = f"http://{address}:5000/consul"
    with Rulebook(tmp_path / "run", str(rulebook_file), "http://127.0.0.1:1", {}) as rulebook:
        rulebook.wait(lambda: requests.post(url, json={}, timeout=5).status_code == 401, "it asks for a token")
        receiver = make_receiver("webhook", url=url, bearer_token_file=secret_file(tmp_path, "the-token"))
        receiver.send(notification(alert("web7")))
        rulebook.wait(lambda: "told of check_status on web7" in rulebook.said, "the rule runs")

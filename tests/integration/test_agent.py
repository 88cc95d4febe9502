# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent run from the bundle as systemd does, against a real Consul: lease, reload, registration, endpoint and faults.

It is the alerting agent. What it tells whom is tested in test_alerting_agent.py; writes that need the lease in test_fenced_writes.py.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import time
import typing as t
from datetime import datetime
from pathlib import Path

import pytest
import requests

from tests.lab.agents import free_port, run_command
from tests.lab.alerting import Instances, messages, register_check, set_check, wait_for_alerts, wait_for_lease
from tests.lab.consul import ROOT, Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import new_token
from tests.lab.http_service import HttpService

QUICK = {"reconcile_every": "1s"}
UNREGISTERED = {"register": False}


@pytest.fixture(scope="module")
def datacenter(own_lab: Lab) -> Datacenter:
    """A server that the tests leave running; each gives its agents a name of their own."""
    return own_lab.datacenter()


def about(service: str, instance: str = "host") -> dict[str, t.Any]:
    """Return options of an instance that tells of one service only."""
    return {**QUICK, "match": [{"service": service}], "instance": instance}


def test_one_of_two_sends_and_releases_the_lease_when_it_is_stopped(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "turns")
    first = instances.start(datacenter, name="turns", options=about("turns", "first"))
    wait_for_lease(first)
    second = instances.start(datacenter, name="turns", options=about("turns", "second"), service=UNREGISTERED)
    second.wait("standby")
    assert requests.get(f"{second.url}/readyz", timeout=5).text == "standby\n"
    set_check(datacenter, "turns", "critical")
    wait_for_alerts(hook, "turns", 1)
    # An instance that stops before it could note what it told leaves it to the next one, which tells it again under the same key.
    eventually(lambda: datacenter.get("/v1/kv/consulops/agents/turns/notes"), what="what was told is noted")
    assert first.stop() < 2 and first.process.returncode == 0
    second.wait("active", within_s=3)
    set_check(datacenter, "turns", "passing")
    assert wait_for_alerts(hook, "turns", 2) == [("firing", "critical"), ("resolved", "critical")]
    assert [one["instance"] for one in messages(hook)] == ["first", "second"]


def test_an_agent_survives_an_outage_of_consul(instances: Instances, datacenter: Datacenter) -> None:
    agent = instances.start(datacenter, name="outage", options=QUICK)
    wait_for_lease(agent)
    datacenter.servers[0].stop()
    # The request in flight fails with another message; later ones fail with this one.
    advice = "Is the Consul agent running there?"
    eventually(lambda: advice in agent.status()["problem"], what="the problem is reported")
    answer = requests.get(f"{agent.url}/readyz", timeout=5)
    assert answer.status_code == 503 and advice in answer.text
    alive = requests.get(f"{agent.url}/healthz", timeout=5)
    assert (alive.status_code, alive.text) == (200, "alive\n"), "a restart of the agent would not bring Consul back"
    datacenter.servers[0].start()
    datacenter.leader()
    eventually(lambda: agent.status()["healthy"] and agent.status()["lease"]["held"], 40, "it works again")
    assert agent.process.poll() is None


def test_a_jump_of_the_wall_clock_affects_neither_the_lease_nor_what_is_told(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "clock")
    given = {**about("clock"), "flapping": {"changes": 0}}
    active = instances.start(datacenter, name="clock", options=given, clock=True)
    wait_for_lease(active)
    standby = instances.start(datacenter, name="clock", options=given, clock=True, service=UNREGISTERED)
    standby.wait("standby")
    told = 0
    for seconds in (86400.0, -86400.0, 30 * 365 * 86400.0, 25.0, 0.0):
        for agent in (active, standby):
            agent.set_clock(seconds)
        has_jumped = eventually(
            lambda seconds=seconds: abs(_moment(active.status()["last_success"]) - time.time() - seconds) < 60,
            what="the process uses the new time",
        )
        assert has_jumped
        for status in ("critical", "passing"):
            set_check(datacenter, "clock", status)
            told += 1
            wait_for_alerts(hook, "clock", told)
    assert [kind for kind, _severity in wait_for_alerts(hook, "clock", told)] == ["firing", "resolved"] * 5
    for agent in (active, standby):
        assert agent.status()["failures"] == 0 and agent.process.poll() is None
        assert requests.get(f"{agent.url}/healthz", timeout=5).status_code == 200
    assert active.status()["lease_terms"] == 1
    assert active.stop() < 2
    standby.wait("active", within_s=3)


def _moment(text: str | None) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def test_an_agent_that_starts_before_consul_waits_for_it(instances: Instances, datacenter: Datacenter) -> None:
    datacenter.servers[0].stop()
    agent = instances.start(datacenter, name="early", options=QUICK)
    eventually(
        lambda: "Is the Consul agent running there?" in agent.status()["problem"], what="the problem is reported"
    )
    assert not agent.status()["lease"]["held"]
    eventually(lambda: "READY=1" in agent.notifications(), what="systemd is notified")
    datacenter.servers[0].start()
    wait_for_lease(agent)


def test_a_stop_takes_less_than_two_seconds_while_consul_hangs(instances: Instances, datacenter: Datacenter) -> None:
    active = instances.start(datacenter, name="hung", options=QUICK)
    wait_for_lease(active)
    standby = instances.start(datacenter, name="hung", options=QUICK, service=UNREGISTERED)
    standby.wait("standby")
    datacenter.servers[0].pause()
    took_s = active.stop(), standby.stop()
    datacenter.servers[0].resume()
    assert max(took_s) < 2


def test_an_agent_survives_a_revoked_token_and_works_again_with_a_restored_one(
    own_lab: Lab, instances: Instances, hook: HttpService
) -> None:
    secured = own_lab.datacenter("secured", acl=True)
    register_check(secured, "revoked")
    token = new_token(secured, (ROOT / "roles/consul_alerting/files/policy.hcl").read_text(encoding="utf-8"))
    body = next(
        secured.get(f"/v1/acl/token/{one['AccessorID']}")
        for one in secured.get("/v1/acl/tokens")
        if secured.get(f"/v1/acl/token/{one['AccessorID']}")["SecretID"] == token
    )
    agent = instances.start(secured, name="alerting", token=token, options=about("revoked"))
    wait_for_lease(agent)
    assert token not in agent.log() and token not in requests.get(f"{agent.url}/status.html", timeout=5).text
    secured.request("DELETE", f"/v1/acl/token/{body['AccessorID']}")
    problem = eventually(lambda: agent.status()["problem"], what="the denial is reported")
    assert "403" in problem or "ACL not found" in problem or "denied" in problem
    assert requests.get(f"{agent.url}/readyz", timeout=5).status_code == 503
    eventually(lambda: not agent.status()["lease"]["held"], 40, "the lease, which cannot be renewed, is lost")
    known = {name: body[name] for name in ("AccessorID", "SecretID", "Policies", "Description")}
    secured.put("/v1/acl/token", json.dumps(known))
    eventually(lambda: agent.status()["healthy"] and agent.status()["lease"]["held"], 60, "it works again")
    set_check(secured, "revoked", "critical")
    wait_for_alerts(hook, "revoked", 1)
    assert agent.process.poll() is None


def test_only_a_valid_configuration_is_reloaded(own_lab: Lab, instances: Instances, datacenter: Datacenter) -> None:
    agent = instances.start(datacenter, name="valid", options=QUICK)
    wait_for_lease(agent)
    agent.configure({**instances.config(datacenter.url, name="valid"), "leese": {}})
    agent.reload()
    eventually(lambda: "Did you mean lease?" in agent.log(), what="the mistake is logged")
    assert agent.status()["reloads"] == 0 and agent.status()["state"] == "active"
    agent.configure('{"agent": ')
    agent.reload()
    eventually(lambda: "line 1, column" in agent.log(), what="the second mistake is logged")
    listen = {"address": own_lab.address(), "port": 9181}
    agent.configure(instances.config(datacenter.url, name="valid", endpoint=listen, lease={"key": "other/lease"}))
    agent.reload()
    agent.url = f"http://{listen['address']}:{listen['port']}"
    eventually(lambda: agent.status()["lease"]["key"] == "other/lease", what="the new lease")
    wait_for_lease(agent)
    eventually(lambda: agent.status()["reloads"] == 1, what="the reload is counted")
    assert datacenter.request("GET", "/v1/kv/consulops/agents/valid/lease").json()[0].get("Session") is None


# What an endpoint beyond loopback needs to do without TLS and without a token.
WAIVED = {"plain_http": True, "anonymous_reads": True}


def test_a_reload_can_widen_and_narrow_the_address_on_the_same_port(
    own_lab: Lab, instances: Instances, datacenter: Datacenter
) -> None:
    port, own, other = free_port(), own_lab.address(), own_lab.address()
    agent = instances.start(datacenter, name="widened", endpoint={"address": own, "port": port})
    agent.url = f"http://{own}:{port}"
    agent.wait("active")
    for number, address in enumerate(("0.0.0.0", own, "::", own), 1):
        listen = {"address": address, "port": port, **WAIVED}
        agent.configure(instances.config(datacenter.url, name="widened", endpoint=listen))
        agent.reload()
        eventually(lambda number=number: agent.status()["reloads"] == number, what=f"it listens on {address}")
        is_wide = address != own
        with contextlib.closing(socket.socket()) as client:
            assert (client.connect_ex((other, port)) == 0) is is_wide, address
    assert "cannot listen" not in agent.log()


def test_a_reload_to_an_address_that_is_taken_keeps_the_endpoint(
    own_lab: Lab, instances: Instances, datacenter: Datacenter
) -> None:
    port, own, other = free_port(), own_lab.address(), own_lab.address()
    agent = instances.start(datacenter, name="taken", endpoint={"address": own, "port": port})
    agent.url = f"http://{own}:{port}"
    fence = wait_for_lease(agent)["lease"]["fence"]
    wide = instances.config(datacenter.url, name="taken", endpoint={"address": "0.0.0.0", "port": port, **WAIVED})
    with socket.create_server((other, port)):
        agent.configure(wide)
        agent.reload()
        problem = eventually(lambda: agent.status()["reload_problem"], what="the reload fails")
    assert f"cannot listen on 0.0.0.0 port {port}: Address already in use" in problem
    status = agent.status()
    assert (status["reloads"], status["state"], status["lease"]["fence"]) == (0, "active", fence)
    with pytest.raises(OSError, match="in use"), socket.create_server((own, port)):
        pass  # the port of the kept endpoint is not shared
    agent.reload()
    eventually(lambda: agent.status()["reloads"] == 1, what="it reloads when the address is free")


def test_a_replaced_lease_whose_request_hung_is_ignored(
    own_lab: Lab, instances: Instances, datacenter: Datacenter
) -> None:
    """Consul hangs, the user corrects the address and reloads; the request of the old lease would time out later."""
    with Proxy(datacenter.url, own_lab.address(), fault="hang", path="/v1/", method="PUT") as hung:
        agent = instances.start(datacenter, name="late", url=hung.url, options=QUICK)
        eventually(lambda: ("PUT", "/v1/session/create") in hung.requests, what="it hangs")
        agent.configure(instances.config(datacenter.url, name="late", options=QUICK))
        agent.reload()
        cycles = wait_for_lease(agent)["cycles"]
        eventually(lambda: not agent.status()["problem"], what="its jobs work")
        failures = agent.status()["failures"]
        # Longer than the timeout of the old request.
        until = time.monotonic() + 4
        while time.monotonic() < until:
            status = agent.status()
            assert (status["state"], status["lease"]["held"], status["problem"]) == ("active", True, ""), status
            assert status["failures"] == failures
        assert agent.status()["cycles"] > cycles and agent.status()["lease"]["fence"] > 0


def test_a_stop_right_after_a_reload_takes_less_than_two_seconds_while_consul_hangs(
    own_lab: Lab, instances: Instances, datacenter: Datacenter
) -> None:
    with Proxy(datacenter.url, own_lab.address(), method="PUT", path="/v1/") as hung:
        agent = instances.start(datacenter, name="quick", url=hung.url)
        wait_for_lease(agent)
        hung.fault = "hang"
        agent.configure(instances.config(hung.url, name="quick", log_level="debug"))
        agent.reload()
        eventually(lambda: "reloading the configuration" in agent.log(), what="it reloads")
        assert agent.stop() < 2 and agent.process.returncode == 0


def test_two_agents_of_a_host_can_share_a_service_name(instances: Instances, datacenter: Datacenter) -> None:
    for name in ("one", "two"):
        instances.start(datacenter, name=name, service={"name": "both"}).wait("active")
    eventually(lambda: len(datacenter.get("/v1/health/service/both?passing")) == 2, what="both are in the catalogue")


def test_a_reload_with_another_consul_moves_the_registration(
    own_lab: Lab, instances: Instances, datacenter: Datacenter
) -> None:
    one, two = datacenter, own_lab.datacenter("two")
    agent = instances.start(one, name="mover", service={"name": "mover"})
    agent.wait("active")
    eventually(lambda: one.get("/v1/health/service/mover?passing"), what="the first has the service")
    agent.configure(instances.config(two.url, name="mover", service={"name": "mover"}))
    agent.reload()
    eventually(lambda: two.get("/v1/health/service/mover?passing"), what="the second has the service")
    eventually(lambda: one.get("/v1/health/service/mover") == [], what="it is deregistered from the first")


UNEXPECTED_BODIES = ['"x"', "[null]", "5", '{"ID":null}', "[" * 3000 + "]" * 3000, '[{"Key":5}]']


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/kv/"), ("PUT", "/v1/kv/"), ("PUT", "/v1/session/create"), ("GET", "/v1/health/")],
)
def test_unexpected_responses_do_not_end_an_agent(
    own_lab: Lab, instances: Instances, datacenter: Datacenter, method: str, path: str
) -> None:
    with Proxy(datacenter.url, own_lab.address(), path=path, method=method) as proxy:

        def answered() -> int:
            return sum(verb == method and where.startswith(path) for verb, where in proxy.requests)

        back_off = {"first": "50ms", "longest": "100ms"}
        agent = instances.start(datacenter, name="shapes", url=proxy.url, options=QUICK, back_off=back_off)
        wait_for_lease(agent)
        for body in UNEXPECTED_BODIES:
            proxy.body, proxy.fault = body, "json"
            for session in datacenter.get("/v1/session/list"):  # so that the lease must be taken again
                datacenter.put(f"/v1/session/destroy/{session['ID']}")
            before = answered()
            eventually(lambda before=before: answered() > before + 2, 60, f"it continues after the body {body[:20]}")
            assert agent.process.poll() is None, agent.log()
        proxy.fault = ""
        wait_for_lease(agent, 60)
        eventually(lambda: agent.status()["healthy"], what="it works again")
    assert "Traceback" not in agent.log()


def test_idle_and_vanished_clients_do_not_block_the_endpoint(instances: Instances, datacenter: Datacenter) -> None:
    agent = instances.start(datacenter, name="idle")
    agent.wait("active")
    host, port = agent.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), 5) for _client in range(100)]
    for one in idle:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends a reset
        with contextlib.suppress(OSError):
            one.sendall(b"GET /status HT")
    threads = int(
        re.findall(r"^Threads:\s+(\d+)", Path(f"/proc/{agent.process.pid}/status").read_text(), re.MULTILINE)[0]
    )
    assert threads < 50
    for one in idle:
        one.close()
    eventually(lambda: requests.get(f"{agent.url}/healthz", timeout=5).ok, what="it answers again")
    assert "Traceback" not in agent.log() and "Exception" not in agent.log()


def test_systemd_is_notified_of_readiness_watchdog_and_status(instances: Instances, datacenter: Datacenter) -> None:
    agent = instances.start(datacenter, name="notified", options=QUICK)
    agent.wait("active")
    eventually(lambda: "READY=1" in agent.notifications(), what="ready")
    eventually(lambda: agent.notifications().count("WATCHDOG=1") >= 3, what="the watchdog is fed")
    eventually(
        lambda: any(line.startswith("STATUS=active: dc1: ") for line in agent.notifications()),
        what="the status line",
    )
    agent.stop()
    assert agent.process.returncode == 0


def test_an_invalid_configuration_ends_the_process_at_once(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text('{"agent": "alerting", "lease": {"ttl": 20}}', encoding="utf-8")
    done = run_command(bundle, "agent", "--config", path)
    assert done.returncode == 2
    assert done.stderr == f"consulops: {path}: lease.ttl: expected a string, not 20.\n"


def test_a_taken_port_is_named(instances: Instances, datacenter: Datacenter, bundle: Path) -> None:
    agent = instances.start(datacenter, name="port")
    agent.wait("active")
    done = run_command(bundle, "agent", "--config", agent.path)
    assert done.returncode == 1
    assert "port 9180: Address already in use. Give endpoint.port another number" in done.stderr


def test_the_catalog_has_the_agent_again_after_it_was_deregistered(
    instances: Instances, datacenter: Datacenter
) -> None:
    service = {"name": "watcher", "tags": ["mine"], "check_ttl": "3s"}
    agent = instances.start(datacenter, name="again", service=service)
    agent.wait("active")

    def passing() -> dict[str, t.Any] | None:
        found = datacenter.get("/v1/health/service/watcher?passing")
        return found[0] if found and "active" in found[0]["Service"]["Tags"] else None

    entry = eventually(passing, what="the service passes")
    assert entry["Service"]["Tags"] == ["mine", "active"] and entry["Service"]["Port"] == 9180
    checks = {check["Name"] for check in entry["Checks"]}
    assert {"watcher runs", "watcher does its work"} <= checks
    datacenter.put(f"/v1/agent/service/deregister/{entry['Service']['ID']}")
    eventually(passing, what="it is registered again")
    assert "registration" not in agent.log()
    agent.stop()
    assert datacenter.get("/v1/health/service/watcher") == []


def test_the_endpoint_serves_its_pages_and_nothing_else(instances: Instances, datacenter: Datacenter) -> None:
    agent = instances.start(datacenter, name="pages")
    wait_for_lease(agent)
    page = requests.get(f"{agent.url}/status.html", timeout=5)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8" and "active" in page.text
    assert "http" not in page.text.replace("http-equiv", "")
    metrics = requests.get(f"{agent.url}/metrics", timeout=5).text
    assert 'consulops_lease_held{agent="alerting",lease="lease",name="pages"} 1.0\n' in metrics
    assert requests.get(f"{agent.url}/nothing", timeout=5).status_code == 404
    assert requests.post(agent.url, timeout=5).status_code == 403

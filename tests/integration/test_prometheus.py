# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules and the dashboard for Prometheus: with series in promtool, and with a real Prometheus that scrapes the three agents."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from tests.lab import alert_cases, probe_agent
from tests.lab.agents import AgentProcess, free_port
from tests.lab.alerting import Instances, register_check, wait_for_lease
from tests.lab.consul import ROOT, Lab, eventually
from tests.lab.http_service import HttpService
from tests.lab.keys import write
from tests.lab.prometheus import DASHBOARD, RULES, Prometheus, promtool
from tests.lab.rehearsing import RehearsalService
from tests.lab.replicating import Replicators, a_set, wait_for_following
from tests.lab.snapshotting import Snapshotters, a_policy, wait_for_policy, wait_for_snapshot
from tests.lab.tls import Authority

Rule = dict[str, t.Any]
# Only an instance without the lease on which snapshots wait has it: test_snapshot_agent_standby.py.
NOT_HERE = {"consulops_snapshot_standby_waiting"}


def alerts() -> dict[str, Rule]:
    """Return the alerts of the rules by name."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def recorded() -> dict[str, str]:
    """Return the expressions of the recording rules by name."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}


def panels() -> list[dict[str, t.Any]]:
    """Return the panels of the dashboard that show something."""
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def filled_in(expression: str) -> str:
    """Return a query of the dashboard with values in place of Grafana's variables."""
    return expression.replace("$instance", ".*").replace("$__rate_interval", "10s")


def is_rehearsed(policy: dict[str, t.Any]) -> bool:
    """Return whether the status of a policy has a rehearsal that came to a verdict."""
    return bool(policy.get("rehearsal") and policy["rehearsal"]["at"])


@dataclass
class Estate:
    """The agents of two datacenters, and the Prometheus that scrapes them."""

    prometheus: Prometheus
    agents: dict[str, AgentProcess]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> t.Iterator[Estate]:
    directory = tmp_path_factory.mktemp("estate")
    place = directory / "place"
    for name in ("a", "b"):
        (place / name).mkdir(mode=0o700, parents=True)
    with (
        Lab(directory / "lab") as lab,
        HttpService() as hook,
        RehearsalService(bundle, directory / "service") as service,
        Instances(lab, bundle, directory / "alerting", hook) as watchers,
        Replicators(lab, bundle, directory / "replication") as replicators,
        Snapshotters(lab, bundle, directory / "snapshot") as snapshotters,
    ):
        east, west = lab.datacenter("east"), lab.datacenter("west")
        write(east, {"app/a": "1", "app/b": "2"})
        register_check(east, "web", "critical")
        receivers = {"hook": {"type": "webhook", "url": f"{hook.url}/alerts"}, "metrics": {"type": "prometheus"}}
        to_metrics = {"receiver": "metrics", "match": {"service": ["web"]}}
        routes = {"group_by": ["..."], "group_wait": "0s", "routes": [to_metrics], "receiver": "hook"}
        events = [{"name": "deploy", "command": ["/bin/true"]}]
        watcher = watchers.start(east, options={"receivers": receivers, "route": routes, "events": events})
        replicator = replicators.start({"app": a_set(east, west, "app/", heartbeat="1s")})
        policies = {"hourly": a_policy(place / "a"), "rehearsed": a_policy(place / "b")}
        keeper = snapshotters.start(east, policies)
        agents = {"alerting": watcher, "replication": replicator, "snapshot": keeper}
        targets = [agent.url.partition("://")[2] for agent in agents.values()]
        scrape = [{"job_name": "consulops", "static_configs": [{"targets": targets}]}]
        with Prometheus(lab.address(), directory / "prometheus", scrape) as prometheus:
            wait_for_lease(watcher)
            wait_for_following(replicator, "app")
            for policy in policies:
                wait_for_snapshot(keeper, policy)
            # Rehearsals look for a snapshot every ten seconds: with one in place they begin at once.
            rehearse = {"interval": "1h", "service": str(service.path), "consul_binary": "/nonexistent/consul"}
            policies["rehearsed"] = a_policy(place / "b", rehearse=rehearse)
            keeper.configure(snapshotters.config(east, policies))
            keeper.reload()
            wait_for_policy(keeper, "rehearsed", is_rehearsed, "it is rehearsed")
            eventually(lambda: len(prometheus.query("up == 1")) == len(agents), what="all agents are scraped")
            yield Estate(prometheus, agents)


def scrape_config_of_the_guide() -> dict[str, t.Any]:
    """Return the configuration of Prometheus in docs/prometheus.md."""
    text = (ROOT / "docs" / "prometheus.md").read_text(encoding="utf-8")
    (block,) = (one for one in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S) if "scrape_configs" in one)
    found: dict[str, t.Any] = yaml.safe_load(block)
    return found


def test_promtool_takes_the_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0 and f"SUCCESS: {len(alerts()) + len(recorded())} rules found" in done.stdout, (
        done.stdout
    )


def test_each_alert_fires_when_it_should_and_says_what_it_means(tmp_path: Path) -> None:
    descriptions = {name: rule["annotations"]["description"] for name, rule in alerts().items()}
    assert sorted(case.alert for case in alert_cases.CASES) == sorted(descriptions)
    for step, file in alert_cases.promtool_files(alert_cases.CASES, str(RULES), descriptions).items():
        path = tmp_path / f"every-{step}-minutes.json"
        path.write_text(json.dumps(file), encoding="utf-8")
        done = promtool("test", "rules", path)
        assert done.returncode == 0, done.stdout


def test_each_alert_has_a_severity_and_a_sentence_without_labels_that_says_what_to_do() -> None:
    for name, rule in alerts().items():
        assert set(rule["labels"]) == {"severity"}, name
        assert rule["labels"]["severity"] in ("critical", "warning") or name == "ConsulopsAlert", name
        assert rule["annotations"]["description"].endswith(".") and "{{" not in rule["annotations"]["description"], name
        assert not rule["annotations"]["summary"].endswith("."), name


def test_the_agents_export_what_the_rules_read(estate: Estate) -> None:
    expressions = [*(rule["expr"] for rule in alerts().values()), *recorded().values()]
    names = {name for one in expressions for name in re.findall(r"(?<!:)\bconsulops_[a-z_]+\b(?!:)", one)}
    assert len(names) > 30

    def missing() -> set[str]:
        return {name for name in names - NOT_HERE if not estate.prometheus.query(f"{{__name__={name!r}}}")}

    eventually(lambda: not missing(), what="Prometheus has all metrics of the rules")
    for one in expressions:
        estate.prometheus.query(one)  # with the labels that there are really


def test_agents_that_are_well_make_nobody_wait_for_an_alert(estate: Estate) -> None:
    # Pending ones are there too: they would fire once their time is up. A job that has begun may be slow on a busy machine.
    def expected() -> bool:
        found = {one["metric"]["alertname"] for one in estate.prometheus.query("ALERTS")}
        return found == {"ConsulopsAlert"}

    eventually(expected, 30, "only the failing check is an alert")
    (found,) = estate.prometheus.query('ALERTS{alertname="ConsulopsAlert"}')
    shown = {name: found["metric"][name] for name in ("rule", "severity", "datacenter", "service", "alertstate")}
    assert shown == {
        "rule": "check_status",
        "severity": "critical",
        "datacenter": "east",
        "service": "web",
        "alertstate": "firing",
    }


def test_the_job_of_an_agent_is_not_the_job_of_the_target(estate: Estate) -> None:
    found = estate.prometheus.query('consulops_failures_in_row{job="consulops", exported_job!=""}')
    assert {"notify", "set app", "policy hourly"} <= {one["metric"]["exported_job"] for one in found}


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_each_query_of_the_dashboard_gives_data(estate: Estate, panel: dict[str, t.Any]) -> None:
    for target in panel["targets"]:
        expression = filled_in(target["expr"])
        assert "$" not in expression

        def has_data(expression: str = expression) -> bool:
            return any(one["value"][1] != "NaN" for one in estate.prometheus.query(expression))

        eventually(has_data, 15, f"{panel['title']}: {expression}")
        labels = {name for one in estate.prometheus.query(expression) for name in one["metric"]}
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert named <= labels, f"{panel['title']}: the legend names {sorted(named - labels)}"


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_a_place_and_a_description() -> None:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    assert all(panel["description"] and panel["datasource"]["uid"] == "${datasource}" for panel in panels())


def test_the_guide_scrapes_an_agent_with_tls_and_a_token_that_changes_nothing(tmp_path: Path) -> None:
    token = "read-0123456789abcdef"
    (config,) = scrape_config_of_the_guide()["scrape_configs"]
    with Lab(tmp_path / "lab") as lab:
        address, port = lab.address(), free_port()
        authority = Authority(tmp_path / "ca")
        pair = authority.issue(tmp_path / "pair", "agent.example", [address])
        (tmp_path / "token").write_text(token, encoding="ascii")
        endpoint = {
            "address": "0.0.0.0",
            "port": port,
            "tls_cert": str(pair.certificate),
            "tls_key": str(pair.key),
            "read_token_file": str(tmp_path / "token"),
        }
        options = {"policy": "none", "jobs": {"keeps": "keep file"}}
        agent_config = {"agent": "probe", "service": {"register": False}, "options": options, "endpoint": endpoint}
        agent = AgentProcess(tmp_path, tmp_path / "agent", address, agent_config, program=[probe_agent.__file__])
        target = f"{address}:{port}"
        config["tls_config"]["ca_file"] = str(authority.ca_path)
        config["authorization"]["credentials_file"] = str(tmp_path / "token")
        config["static_configs"] = [{"targets": [target], "labels": config["static_configs"][0]["labels"]}]
        without = {**config, "job_name": "consulops-without-token"}
        del without["authorization"]
        try:
            with Prometheus(lab.address(), tmp_path / "prometheus", [config, without]) as prometheus:
                (found,) = eventually(
                    lambda: prometheus.query('consulops_healthy{job="consulops"} == 1'), what="it is scraped"
                )
                assert found["metric"]["consul_datacenter"] == "east"
                eventually(lambda: prometheus.query('up{job="consulops-without-token"} == 0'), what="the other is not")
            url, bearer = f"https://{target}/reset", {"Authorization": f"Bearer {token}"}
            answer = requests.post(url, json={}, headers=bearer, verify=str(authority.ca_path), timeout=5)
            assert answer.status_code == 403, "the token reads, and changes nothing"
        finally:
            agent.stop()


def test_an_agent_that_is_killed_is_noticed(estate: Estate) -> None:
    killed = estate.agents["replication"]
    killed.process.kill()
    instance = killed.url.partition("://")[2]
    wanted = f'ALERTS{{alertname="ConsulopsAgentDown", instance="{instance}"}}'
    eventually(lambda: estate.prometheus.query(wanted), what="Prometheus has noticed it")
    assert estate.prometheus.query('up{job="consulops"} == 0')[0]["metric"]["instance"] == instance

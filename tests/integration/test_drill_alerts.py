# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drills that prove that alerts arrive: a real datacenter, a real alerting agent, and the drill as its webhook."""

from __future__ import annotations

import socket
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import (
    GuardRefused,
    InvalidOption,
    LocalFailure,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.txn import Operation
from ansible_collections.consulops.failover.plugins.module_utils._drill.alerts.alert_watch import (
    AlertLimits,
    AlertWatch,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.alerts.canary import Canary
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_definition import (
    AlertStep,
    Expectations,
    Objective,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_part import DrillSignals
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_space import DrillSpace
from ansible_collections.consulops.failover.plugins.module_utils._drill.expectations import (
    judge_expectations,
    plan_event,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_reader import read_history
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_writer import HistoryWriter
from ansible_collections.consulops.failover.plugins.module_utils._drill.open_loop import Node

from tests.lab.agents import free_port
from tests.lab.alerting import Instances, messages, register_check, set_check, wait_for_lease
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.drilling import events, run_drill, running_drill, verdicts
from tests.lab.http_service import HttpService

DRILL: dict[str, t.Any] = {
    "name": "alert",
    "title": "An alert arrives, and its end",
    "load": {"duration": "4s", "rate": 60, "workload": "set"},
    "alert": {"about": "canary", "at": "1s", "for": "2s"},
    "expect": {"alert_firing": "20s", "alert_resolved": "20s"},
}


class Watched(t.NamedTuple):
    """A datacenter whose alerting agent reports everything to a port where a drill may listen."""

    datacenter: Datacenter
    port: int

    def options(self, file: Path, **more: t.Any) -> dict[str, t.Any]:
        given = {"url": self.datacenter.url, "confirm": self.datacenter.name, "history": str(file), "drill": DRILL}
        return {**given, "alert_listen": f"127.0.0.1:{self.port}", **more}

    def run(self, file: Path, **more: t.Any) -> dict[str, t.Any]:
        """Run the drill, and return its result, also when something expected was missed."""
        return run_drill(self.options(file, **more))

    def canaries(self) -> list[str]:
        found = self.datacenter.get("/v1/catalog/nodes?consistent")
        return [one["Node"] for one in found if one["Node"].startswith("consulops-drill-")]


@pytest.fixture(scope="module")
def watched(own_lab: Lab, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Watched]:
    datacenter, port = own_lab.datacenter("dc1"), free_port()
    with HttpService() as hook, Instances(own_lab, bundle, tmp_path_factory.mktemp("agents"), hook) as instances:
        # As the guide says.
        receivers = {
            "ops": {"type": "webhook", "url": hook.url},
            "drill": {"type": "webhook", "url": f"http://127.0.0.1:{port}/", "give_up_after": "1m"},
        }
        quick = {"group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
        of_drill = {"match": {"check": "consulops-drill-canary"}, "receiver": "drill", **quick}
        route = {
            "receiver": "ops",
            **quick,
            "routes": [of_drill, {"match": {"service": "shop"}, "receiver": "drill", **quick}],
        }
        wait_for_lease(instances.start(datacenter, options={"receivers": receivers, "route": route}))
        yield Watched(datacenter, port)
        assert "consulops-drill" not in str(messages(hook)), "a canary wakes nobody"


def test_one_alert_of_the_canary_arrives_and_ends_and_the_canary_is_gone(watched: Watched, tmp_path: Path) -> None:
    file, report = tmp_path / "h.jsonl", tmp_path / "r.html"
    result = watched.run(file, report=str(report))
    assert result["judgement"]["passed"], result["judgement"]["expectations"]
    assert verdicts(result) == dict.fromkeys(("history", "alert_firing", "alert_resolved"), "met")
    names = [one["event"] for one in events(file, "canary_set", "alert_firing", "alert_resolved", "alerts_ended")]
    assert names == ["canary_set", "alert_firing", "canary_set", "alert_resolved", "alerts_ended"]
    (firing,) = events(file, "alert_firing")
    assert firing["rule"] == "check_status" and firing["severity"] == "critical"
    assert f"consulops-drill-{result['run']}" in firing["alert"]
    assert watched.canaries() == []
    assert "check_status" in report.read_text(encoding="utf-8")


def test_an_alert_that_does_not_arrive_is_missed(watched: Watched, tmp_path: Path) -> None:
    expect = {"alert_firing": "3s", "alert_resolved": "3s"}
    # The agent knows nothing of this port.
    drill = {**DRILL, "expect": expect, "load": {**DRILL["load"], "duration": "3500ms"}}
    result = watched.run(tmp_path / "h.jsonl", drill=drill, alert_listen=f"127.0.0.1:{free_port()}")
    assert verdicts(result) == {"history": "met", "alert_firing": "missed", "alert_resolved": "missed"}
    sentences = " ".join(one["sentence"] for one in result["judgement"]["expectations"])
    assert "No message that the alert fired arrived; the objective is 3 s after its cause began." in sentences
    assert watched.canaries() == []


def test_a_drill_that_is_interrupted_does_not_know_what_would_have_arrived(watched: Watched, tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    drill = {
        **DRILL,
        "alert": {"about": "canary", "at": "500ms", "for": "60s"},
        "load": {**DRILL["load"], "duration": "70s"},
    }
    with running_drill(watched.options(file, drill=drill)) as found:
        eventually(lambda: events(file, "alert_firing"), 30, "the alert")
    assert verdicts(found[0])["alert_firing"] == verdicts(found[0])["alert_resolved"] == "unknown"
    assert watched.canaries() == []


def test_an_alert_of_a_rule_is_taken_from_the_first_fault_to_the_last_healing(watched: Watched, tmp_path: Path) -> None:
    at, file, signals = watched.datacenter, tmp_path / "h.jsonl", DrillSignals()
    expect = Expectations(alert_firing=Objective(20, scaled=False), alert_resolved=Objective(20, scaled=False))
    register_check(at, "shop")
    with HistoryWriter(str(file)) as history, Client(endpoint.resolve({"url": at.url, "timeout": 5}, {})) as client:
        history.header({"workloads": ["set"], "consistency": "default"})
        history.event("drill_plan", plan_event("A rule", expect, 1))
        step, limits = AlertStep("check_status", 0.0, 1.0, faults=1), AlertLimits(20, 20)
        made = Canary("unused", [Node("n", client)])
        space = DrillSpace("unused/", Operation("check-index", "unused"))
        watch = AlertWatch(step, limits, ("127.0.0.1", watched.port), made, at.name, history)
        with watch, ThreadPoolExecutor(1) as pool:
            running = pool.submit(watch.run, history.now_ns(), space, signals)
            try:
                history.event("fault_started")
                set_check(at, "shop", "critical")
                eventually(lambda: history.events["alert_firing"], 30, "the alert")
                history.event("fault_ended")
                set_check(at, "shop", "passing")
                eventually(lambda: history.events["alert_resolved"], 30, "its end")
                signals.load_ended.set()
                running.result(30)
            finally:
                signals.stop.set()
    with file.open("rb") as lines:
        found = {one.name: one.verdict for one in judge_expectations(read_history(lines), "valid")}
    assert found == dict.fromkeys(("history", "alert_firing", "alert_resolved"), "met")
    assert watched.canaries() == []


def test_what_is_wrong_is_refused_before_anything_is_written(watched: Watched, tmp_path: Path) -> None:
    file = tmp_path / "h.jsonl"
    with pytest.raises(InvalidOption, match="it needs alert_listen"):
        watched.run(file, alert_listen=None)
    with pytest.raises(InvalidOption, match="'host:80' is not an IP address with a port"):
        watched.run(file, alert_listen="host:80")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(LocalFailure, match="cannot listen at .*: Address already in use"):
            watched.run(tmp_path / "taken.jsonl", alert_listen=f"127.0.0.1:{taken.getsockname()[1]}")
    node = {"Node": "consulops-drill-20260101T000000Z-abcdef", "Address": "192.0.2.1"}
    watched.datacenter.put("/v1/catalog/register", node)
    try:
        with pytest.raises(GuardRefused, match="1 drill left a canary in the catalogue"):
            watched.run(tmp_path / "left.jsonl")
    finally:
        watched.datacenter.put("/v1/catalog/deregister", {"Node": node["Node"]})
    assert watched.canaries() == []


def test_what_is_no_notification_is_refused_and_ends_nothing(watched: Watched, tmp_path: Path) -> None:
    file, url = tmp_path / "h.jsonl", f"http://127.0.0.1:{watched.port}/"
    results: list[dict[str, t.Any]] = []
    thread = threading.Thread(target=lambda: results.append(watched.run(file)))
    thread.start()
    try:
        eventually(lambda: events(file, "load_started"), 30, "the load")
        assert requests.post(url, data=b"[", timeout=5).status_code == 400
        assert requests.put(url, json={"kind": "firing", "alerts": [{}]}, timeout=5).status_code == 400
        assert requests.post(url, data=iter([b"x"]), timeout=5).status_code == 411
        assert requests.post(url, data=b"x" * (5 << 20), timeout=5).status_code == 413
        assert requests.get(url, timeout=5).status_code == 501
    finally:
        thread.join(90)
    assert verdicts(results[0]) == dict.fromkeys(("history", "alert_firing", "alert_resolved"), "met")

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerting agent while Consul itself fails: it hangs, loses its quorum, loses a server, is killed again and again."""

from __future__ import annotations

import os
import random
import typing as t
from pathlib import Path

import pytest

from tests.lab.alerting import (
    Instances,
    alerts,
    messages,
    register_check,
    set_check,
    wait_for_alerts,
    wait_for_lease,
)
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.http_service import HttpService

TOLD_WITHIN_S = 15.0
KILLS = int(os.environ.get("CONSULOPS_KILLS", "5"))  # 50 take two minutes
CUTS = max(10, KILLS)  # one in a second


@pytest.fixture
def instances(lab: Lab, bundle: Path, tmp_path: Path, hook: HttpService) -> t.Iterator[Instances]:
    """In the lab of one test, whose servers it may break."""
    with Instances(lab, bundle, tmp_path / "agents", hook) as made:
        yield made


def rules_told(hook: HttpService, kind: str = "firing") -> list[str]:
    """Return the rule of each alert that was told with this kind, in order."""
    return [alert["rule"] for one in messages(hook) if one["kind"] == kind for alert in one["alerts"]]


def test_a_consul_that_hangs_is_told_and_ends_no_alert(lab: Lab, instances: Instances, hook: HttpService) -> None:
    datacenter = lab.datacenter()
    register_check(datacenter, "web", "critical")
    agent = instances.start(datacenter)
    wait_for_alerts(hook, "web", 1)
    server = datacenter.servers[0]
    server.pause()
    eventually(lambda: "consul_unreachable" in rules_told(hook), 30, "that Consul hangs is told")
    assert alerts(hook, "web") == [("firing", "critical")]
    assert agent.stop() < 2.0, "the end does not wait for a Consul that hangs"
    server.resume()
    instances.start(datacenter, state=agent.state)
    eventually(lambda: "consul_unreachable" in rules_told(hook, "resolved"), 40, "that Consul answers again is told")
    set_check(datacenter, "web", "passing")
    assert wait_for_alerts(hook, "web", 2) == [("firing", "critical"), ("resolved", "critical")]


def test_a_lost_quorum_is_told_by_the_instances_with_one_key(lab: Lab, instances: Instances, hook: HttpService) -> None:
    datacenter = lab.datacenter(servers=3)
    agents = [lab.client(datacenter, f"client{number}") for number in range(3)]
    for number, agent in enumerate(agents):
        given = {"instance": f"host{number}", "rules": [{"rule": "server_missing", "enabled": False}]}
        instances.start(agent, name="three", options=given, service={"register": False})
    eventually(
        lambda: len(datacenter.get("/v1/kv/consulops/agents/three/instances/?keys")) == 3, what="all know each other"
    )
    eventually(lambda: [one.status()["state"] for one in instances.started].count("standby") == 2, what="one sends")
    for server in datacenter.servers[:2]:
        server.stop()
    eventually(lambda: "no_leader" in rules_told(hook), TOLD_WITHIN_S, "the lost quorum is told")

    def told() -> list[tuple[str, str]]:
        return [
            (one["instance"], alert["incident"])
            for one in messages(hook)
            for alert in one["alerts"]
            if alert["rule"] == "no_leader" and one["kind"] == "firing"
        ]

    eventually(lambda: len({instance for instance, _key in told()}) == 3, 40, "each instance speaks in its turn")
    assert len({key for _instance, key in told()}) == 1, told()


def test_what_only_an_instance_on_standby_told_is_told_to_be_over_by_the_holder(
    lab: Lab, instances: Instances, hook: HttpService
) -> None:
    datacenter = lab.datacenter()
    common: dict[str, t.Any] = {"name": "two", "service": {"register": False}}
    quick: dict[str, t.Any] = {"reconcile_every": "1s", "flapping": {"changes": 0}}
    holder = instances.start(datacenter, options={**quick, "instance": "host0"}, **common)
    wait_for_lease(holder)
    client = lab.client(datacenter, "client")
    standby = instances.start(client, options={**quick, "instance": "host1"}, **common)
    standby.wait("standby")
    # Before its first reading it does not know the name of the datacenter, and would tell under another one.
    eventually(lambda: standby.status()["jobs"]["watch local"]["summary"].startswith("dc1"), what="its first reading")

    def told() -> list[tuple[str, str, str]]:
        return [
            (one["instance"], one["kind"], alert["incident"])
            for one in messages(hook)
            for alert in one["alerts"]
            if alert["rule"] == "consul_unreachable"
        ]

    client.pause()
    eventually(told, 60, "it says that its Consul cannot be reached, as it cannot know who sends")
    client.resume()
    eventually(lambda: "resolved" in {kind for _instance, kind, _incident in told()}, 60, "the end of it is told")
    first, last = told()
    assert (first[:2], last[:2]) == (("host1", "firing"), ("host0", "resolved")) and first[2] == last[2]


def test_a_dead_server_stays_told_after_autopilot_removed_it(lab: Lab, instances: Instances, hook: HttpService) -> None:
    datacenter = lab.datacenter(servers=3)
    instances.start(datacenter.servers[0], options={"expect": {"dc1": {"servers": 3}}})
    instances.started[0].wait("active")
    hook.reset()
    next(one for one in datacenter.followers() if one is not datacenter.servers[0]).stop()
    eventually(lambda: "server_missing" in rules_told(hook), what="the dead server is told")
    eventually(lambda: len(datacenter.get("/v1/operator/raft/configuration")["Servers"]) == 2, 60, "autopilot")
    cycles = instances.started[0].status()["jobs"]["watch local"]["cycles"]
    eventually(
        lambda: instances.started[0].status()["jobs"]["watch local"]["cycles"] > cycles + 1, what="full readings"
    )
    # Autopilot is well again with two servers and the node is gone; the estate, which should have three servers, is not well.
    assert set(rules_told(hook, "resolved")) <= {"autopilot_unhealthy", "node_down"}


def test_a_consul_that_is_killed_again_and_again_ends_no_agent_and_loses_no_alert(
    lab: Lab, instances: Instances, hook: HttpService
) -> None:
    datacenter: Datacenter = lab.datacenter()
    register_check(datacenter, "web")
    agent = instances.start(datacenter, options={"match": [{"service": "web"}], "reconcile_every": "1s"})
    agent.wait("active")
    server = datacenter.servers[0]
    threads, megabytes = 0, 0.0
    for number in range(KILLS):
        server.stop()
        server.start()
        datacenter.wait_ready()
        if not number:
            threads, megabytes = threads_and_megabytes(agent.process.pid)
    set_check(datacenter, "web", "critical")
    wait_for_alerts(hook, "web", 1, 90)
    assert alerts(hook, "web") == [("firing", "critical")] and agent.process.poll() is None
    after = threads_and_megabytes(agent.process.pid)
    assert after[0] <= threads + 2, "no thread is left behind by an outage"
    assert after[1] < megabytes + 10, "nor memory"


def threads_and_megabytes(pid: int) -> tuple[int, float]:
    """Return how many threads and how much memory a process has."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["Threads"]), int(fields["VmRSS"].split()[0]) / 1024


def test_readings_that_are_cut_again_and_again_end_no_agent_and_no_alert(
    lab: Lab, instances: Instances, hook: HttpService
) -> None:
    datacenter = lab.datacenter()
    register_check(datacenter, "web", "critical")
    rng, cuts = random.Random(50), 0

    def cut_some(method: str, path: str) -> None:
        nonlocal cuts
        # The session of the lease and its key are left alone: a holder that loses the lease is another test.
        is_cut = method == "GET" and "/kv/" not in path and cuts < CUTS and rng.random() < 0.5
        proxy.fault = rng.choice(("drop", "cut", "short")) if is_cut else ""
        cuts += is_cut

    with Proxy(datacenter.url, lab.address(), path="/v1/") as proxy:
        options = {"reconcile_every": "1s", "flapping": {"changes": 0}}
        quick = {"first": "20ms", "longest": "50ms"}
        agent = instances.start(datacenter, url=proxy.url, options=options, service={"register": False}, back_off=quick)
        agent.wait("active")
        wait_for_alerts(hook, "web", 1)
        proxy.arriving = cut_some
        eventually(lambda: cuts >= CUTS, 20 + 2 * CUTS, "all cuts")
        proxy.fault = ""
        set_check(datacenter, "web", "passing")
        assert wait_for_alerts(hook, "web", 2) == [("firing", "critical"), ("resolved", "critical")]
    assert agent.process.poll() is None


def test_an_older_snapshot_that_is_restored_gives_nothing_a_second_key(
    lab: Lab, instances: Instances, hook: HttpService
) -> None:
    """The notes in Consul then say what was told earlier; the agent knows better."""
    datacenter = lab.datacenter()
    register_check(datacenter, "web", "critical")
    instances.start(datacenter, options={"flapping": {"changes": 0}})
    wait_for_alerts(hook, "web", 1)
    notes = "/v1/kv/consulops/agents/watch/notes?raw"
    first = eventually(lambda: datacenter.request("GET", notes).content, what="the notes are shared")
    snapshot = datacenter.servers[0].snapshot()
    set_check(datacenter, "web", "passing")
    wait_for_alerts(hook, "web", 2)
    set_check(datacenter, "web", "critical")
    wait_for_alerts(hook, "web", 3)
    eventually(lambda: datacenter.request("GET", notes).content != first, what="the notes are up to date")
    datacenter.put("/v1/snapshot", snapshot)
    eventually(lambda: datacenter.request("GET", notes).content != first, what="the notes are up to date again")
    register_check(datacenter, "late", "critical")
    wait_for_alerts(hook, "late", 1)
    for service, count in (("web", 4), ("late", 2)):
        set_check(datacenter, service, "passing")
        wait_for_alerts(hook, service, count)
    assert alerts(hook, "web") == [("firing", "critical"), ("resolved", "critical")] * 2
    keys = [alert["incident"] for one in messages(hook) for alert in one["alerts"] if alert["service_name"] == "web"]
    assert keys[0] == keys[1] != keys[2] == keys[3]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The replication agent as a real process between two datacenters: what it copies, deletes, refuses and waits for."""

from __future__ import annotations

import base64
import json
import re
import signal
import time
import typing as t
from pathlib import Path

import pytest
import requests
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._replication import control

from tests.lab.agents import run_command
from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, Lab, eventually, freeze
from tests.lab.keys import delete, read, write
from tests.lab.replicating import (
    Replicators,
    a_set,
    client_of,
    set_status,
    wait_for_equal,
    wait_for_following,
    wait_for_status,
)


def numbered(prefix: str, count: int, value: str = "v") -> dict[str, str]:
    return {f"{prefix}{number:05d}": f"{value}{number}" for number in range(count)}


def test_changes_new_keys_and_deletions_arrive(replicators: Replicators, east: Datacenter, west: Datacenter) -> None:
    """In the shards that are watched, between them, in a prefix that was empty, and with another name at the destination."""
    write(east, {**numbered("arrive/web/", 700), **numbered("arrive/db/", 20), "arrive/flags": (b"x", 7)})
    to = {"source": "arrive/", "destination": "from-east/arrive/"}
    agent = replicators.start({"arrive": a_set(east, west, to, "arrive-empty/", max_delete_percent=100)})
    wait_for_following(agent, "arrive")
    assert len(wait_for_equal(east, west, "arrive/", "from-east/arrive/")) == 721
    write(east, {"arrive/web/00007": "changed", "arrive/web/zzz": "in no shard", "arrive/aaa": "nor this"})
    write(east, {"arrive-empty/first": "1"})
    delete(east, "arrive/db/00003", "arrive/flags")
    wait_for_equal(east, west, "arrive/", "from-east/arrive/")
    wait_for_equal(east, west, "arrive-empty/")

    def is_done(one: dict[str, t.Any]) -> bool:
        return (one["written"]["deleted"], one["pending"], one["problem"]) == (2, 0, "")

    wait_for_status(agent, "arrive", is_done, "the status says so")
    write(east, {"arrive/web/zzz": "again", "arrive-empty/first": "2"})
    wait_for_equal(east, west, "arrive/", "from-east/arrive/")
    wait_for_equal(east, west, "arrive-empty/")
    assert agent.stop() < 3 and agent.process.returncode == 0


def test_a_set_is_frozen_at_once_and_goes_on_when_it_is_thawed(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, numbered("cold/", 30))
    agent = replicators.start({"cold": a_set(east, west, "cold/")})
    wait_for_following(agent, "cold")
    with client_of(west) as operator:
        control.freeze(operator, "cold", "ops", "maintenance", 0.0)
        write(east, {"cold/00001": "written while frozen"})
        status = wait_for_status(agent, "cold", lambda one: one["state"] == "frozen", "it is frozen")
        assert status["frozen"].startswith("ops, maintenance")
        assert read(west, "cold/")["cold/00001"][0] == b"v1"
        assert control.thaw(operator, "cold") and not control.thaw(operator, "cold")
    wait_for_equal(east, west, "cold/")
    wait_for_following(agent, "cold")


def test_a_set_that_is_frozen_when_the_agent_starts_is_not_written(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, numbered("ice/", 3))
    with client_of(west) as operator:
        control.freeze(operator, "ice", "ops", "", 0.0)
        agent = replicators.start({"ice": a_set(east, west, "ice/")})
        wait_for_status(agent, "ice", lambda one: one["state"] == "frozen", "it is frozen")
        assert read(west, "ice/") == {}
        control.thaw(operator, "ice")
    wait_for_equal(east, west, "ice/")


def test_too_many_deletions_wait_for_the_acknowledgement_of_this_very_plan(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, numbered("many/", 60))
    agent = replicators.start({"many": a_set(east, west, "many/", max_deletes=10, max_delete_percent=100)})
    wait_for_following(agent, "many")
    for number in range(8):
        delete(east, f"many/{number:05d}")
    wait_for_equal(east, west, "many/")
    # One by one they trip the guard too: it counts since the window began.
    for number in range(8, 13):
        delete(east, f"many/{number:05d}")
    first = wait_for_status(agent, "many", lambda one: one["paused_deletes"]["count"], "deletions are paused")
    write(east, {"many/new": "writes go on"})
    eventually(lambda: "many/new" in read(west, "many/"), what="writes go on")
    first = wait_for_status(agent, "many", lambda one: one["paused_deletes"]["count"] >= 3, "three or more are paused")
    plan = first["paused_deletes"]
    assert "max_deletes is 10" in plan["reasons"][0] and plan["digest"] in first["problem"]
    with client_of(west) as operator:
        delete(east, "many/00030")
        other = wait_for_status(
            agent, "many", lambda one: one["paused_deletes"]["count"] > plan["count"], "another plan"
        )["paused_deletes"]
        control.acknowledge(operator, "many", plan["digest"], "ops", 0.0)
        wait_for_status(agent, "many", lambda one: one["paused_deletes"]["acknowledged"], "the old plan is read")
        assert set_status(agent, "many")["paused_deletes"]["count"] == other["count"]
        assert "many/00030" in read(west, "many/")
        control.acknowledge(operator, "many", other["digest"], "ops", 0.0)
        wait_for_equal(east, west, "many/")
        wait_for_status(agent, "many", lambda one: not one["paused_deletes"]["count"], "nothing is paused")
        assert control.read_control(operator, "many").acknowledged == "", "it is used once"
        with pytest.raises(InvalidOption, match="is not the digest of a plan"):
            control.acknowledge(operator, "many", "yes", "ops", 0.0)
    delete(east, "many/00031")
    wait_for_equal(east, west, "many/")


def test_a_pause_outlives_the_agent(replicators: Replicators, east: Datacenter, west: Datacenter) -> None:
    """What remains to be deleted is less than the guard allows, and still waits."""
    write(east, numbered("latch/", 40))
    options = {"latch": a_set(east, west, "latch/", max_deletes=6, max_delete_percent=100)}
    agent = replicators.start(options)
    wait_for_following(agent, "latch")
    delete(east, *(f"latch/{number:05d}" for number in range(9)))
    wait_for_status(agent, "latch", lambda one: one["paused_deletes"]["count"], "deletions are paused")
    agent.stop()
    write(east, numbered("latch/", 9 - 3))
    again = replicators.start(options)
    status = wait_for_status(again, "latch", lambda one: one["verification"], "it has compared")
    assert 0 < status["paused_deletes"]["count"] <= 6


def test_a_source_that_is_wiped_deletes_nothing(replicators: Replicators, east: Datacenter, west: Datacenter) -> None:
    write(east, numbered("wiped/", 50))
    options = {"wiped": a_set(east, west, "wiped/", max_delete_percent=100)}
    agent = replicators.start(options)
    wait_for_following(agent, "wiped")
    delete(east, "wiped/")
    status = wait_for_status(agent, "wiped", lambda one: one["paused_deletes"]["count"] == 50, "all are paused")
    assert "the source has no key below 'wiped/' that takes part" in status["problem"]
    with client_of(west) as operator:
        control.acknowledge(operator, "wiped", status["paused_deletes"]["digest"], "ops", 0.0)
        wait_for_status(agent, "wiped", lambda one: one["paused_deletes"]["acknowledged"], "it is read")
    write(east, numbered("wiped/", 49))
    eventually(lambda: set_status(agent, "wiped")["paused_deletes"]["count"] < 50, what="they came back")
    assert len(read(west, "wiped/")) >= 49


def test_keys_that_others_wrote_are_conflicts_and_the_rest_goes_on(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, numbered("edited/", 5))
    write(west, {"edited/00004": "theirs"})
    agent = replicators.start({"edited": a_set(east, west, "edited/", verify_every="1s")})
    wait_for_status(agent, "edited", lambda one: one["conflicts"]["count"] == 1, "one conflict")
    write(west, {"edited/00001": "by hand"})
    status = wait_for_status(agent, "edited", lambda one: one["conflicts"]["count"] == 2, "two conflicts")
    assert {one["key"] for one in status["conflicts"]["keys"]} == {"edited/00001", "edited/00004"}
    write(east, {"edited/00002": "goes on"})
    eventually(lambda: read(west, "edited/")["edited/00002"][0] == b"goes on", what="the rest goes on")
    assert read(west, "edited/")["edited/00004"][0] == b"theirs"
    write(west, {"edited/00004": "v4", "edited/00001": "v1"})
    wait_for_status(agent, "edited", lambda one: not one["problem"], "no conflict is left")


def test_a_key_that_is_too_large_holds_up_nothing_else(
    replicators: Replicators, east: Datacenter, own_lab: Lab
) -> None:
    small = own_lab.datacenter("small", extra={"limits": {"kv_max_value_size": 1000, "txn_max_req_len": 200000}})
    write(east, {**numbered("poison/", 20), "poison/large": "x" * 200000})
    agent = replicators.start({"poison": a_set(east, small, "poison/")})
    status = wait_for_status(agent, "poison", lambda one: one["unwritable"]["count"] == 1, "it cannot be written")
    assert status["unwritable"]["keys"][0]["key"] == "poison/large"
    write(east, {"poison/00001": "goes on"})
    eventually(lambda: read(small, "poison/")["poison/00001"][0] == b"goes on", what="the others go on")
    delete(east, "poison/00002")
    eventually(lambda: "poison/00002" not in read(small, "poison/"), what="deletions go on too")
    write(east, {"poison/large": "small now"})
    wait_for_equal(east, small, "poison/")
    wait_for_status(agent, "poison", lambda one: not one["problem"], "no problem is left")


def test_one_hung_destination_delays_no_other_set(
    replicators: Replicators, east: Datacenter, west: Datacenter, own_lab: Lab
) -> None:
    hung = own_lab.datacenter("hung")
    write(east, numbered("hang/", 20))
    both = {"stuck": a_set(east, hung, "hang/"), "free": a_set(east, west, "hang/")}
    agent = replicators.start(both)
    wait_for_following(agent, "stuck")
    wait_for_following(agent, "free")
    hung.servers[0].pause()
    try:
        paused_at = time.monotonic()
        write(east, {"hang/00001": "changed"})
        eventually(lambda: read(west, "hang/")["hang/00001"][0] == b"changed", 3, "the other set goes on")
        while time.monotonic() < paused_at + 5:
            assert agent.process.poll() is None
            time.sleep(0.2)
    finally:
        hung.servers[0].resume()
    wait_for_equal(east, hung, "hang/")
    wait_for_following(agent, "stuck")


def test_the_module_and_the_agent_exclude_each_other(
    replicators: Replicators, east: Datacenter, west: Datacenter, tmp_path: Path, bundle: Path
) -> None:
    write(east, numbered("lock/", 3))
    options = {"lock": a_set(east, west, "lock/")}
    agent = replicators.start(options)
    wait_for_following(agent, "lock")
    freeze(agent.process)  # so that there is something to do for the module
    write(east, {"lock/00001": "changed"})
    path = tmp_path / "replicate.json"
    path.write_text(json.dumps({**options["lock"], "name": "lock", "lock_wait": 0.5}), encoding="utf-8")
    done = run_command(bundle, "replicate", "once", "--config", path)
    assert done.returncode != 0 and "Another run of the replication 'lock' is in progress" in done.stderr, done
    assert '"agent": "replication"' in done.stderr, "it says who"
    agent.process.send_signal(signal.SIGCONT)
    wait_for_equal(east, west, "lock/")
    second = replicators.start(options)
    second.wait("standby")
    assert set_status(second, "lock") == {}
    agent.stop()
    wait_for_following(second, "lock")
    second.stop()
    write(east, {"lock/00001": "once more"})
    assert run_command(bundle, "replicate", "once", "--config", path).returncode == 0
    wait_for_equal(east, west, "lock/")


@pytest.mark.parametrize("keys", [0, 20])
def test_of_two_agents_that_would_copy_in_a_loop_one_is_refused_whenever_they_start(
    replicators: Replicators, east: Datacenter, west: Datacenter, keys: int
) -> None:
    """Neither configuration shows it. With nothing to copy yet they know of each other too."""
    prefix = f"loop{keys}/"
    write(east, numbered(prefix, keys))
    names = {"one": f"loop{keys}-one", "other": f"loop{keys}-other"}
    agents = {
        names["one"]: replicators.start({names["one"]: a_set(east, west, prefix)}),
        names["other"]: replicators.start({names["other"]: a_set(west, east, prefix)}),
    }

    def problem(name: str) -> str:
        found: str = agents[name].status()["jobs"][f"set {name}"]["problem"]
        return found

    def is_decided() -> str | None:
        following = [name for name, agent in agents.items() if set_status(agent, name).get("state") == "following"]
        refused = [name for name in agents if "would copy it back" in problem(name)]
        return following[0] if len(following) == len(refused) == 1 and following != refused else None

    winner = eventually(is_decided, 60.0, "one follows and the other one is refused")
    source, destination = (east, west) if winner == names["one"] else (west, east)
    write(source, {f"{prefix}new": "v"})
    # Keys that only the destination has are not its own, and stay.
    eventually(lambda: f"{prefix}new" in read(destination, prefix), what="the one that follows copies")
    # It comes back, and is refused again.
    loser = next(name for name in agents if name != winner)
    agents[loser].stop()
    agents[loser] = replicators.start(
        {loser: a_set(west, east, prefix) if loser == names["other"] else a_set(east, west, prefix)}
    )
    eventually(lambda: "would copy it back" in problem(loser), what="it is refused after a restart")
    assert set_status(agents[winner], winner)["state"] == "following"


def test_of_three_agents_that_would_copy_in_a_ring_one_is_refused(
    replicators: Replicators, own_lab: Lab, east: Datacenter, west: Datacenter
) -> None:
    """None of them reads the third datacenter: each stores from where its source has what it copies."""
    north = own_lab.datacenter("north")
    write(east, numbered("ring/", 20))
    ways = {"ring-1": (east, west), "ring-2": (west, north), "ring-3": (north, east)}
    agents = {
        name: replicators.start({name: a_set(here, there, "ring/", verify_every="1s")})
        for name, (here, there) in ways.items()
    }

    def is_broken() -> bool:
        problems = [agent.status()["jobs"][f"set {name}"]["problem"] for name, agent in agents.items()]
        return any("would copy them back" in problem for problem in problems)

    eventually(is_broken, 60.0, "one of them is refused")
    refused = [name for name, agent in agents.items() if set_status(agent, name).get("state") != "following"]
    assert len(refused) < 3


def test_the_page_and_the_metrics_show_the_set(replicators: Replicators, east: Datacenter, west: Datacenter) -> None:
    write(east, numbered("shown/", 3))
    agent = replicators.start({"shown": a_set(east, west, "shown/")})
    wait_for_following(agent, "shown")
    page = requests.get(f"{agent.url}/", timeout=5).text
    assert "<h2>Set shown</h2>" in page and "following" in page and "<script" not in page
    metrics = requests.get(f"{agent.url}/metrics", timeout=5).text
    assert re.search(r'^consulops_replication_lag_seconds\{set="shown"\} [0-9.e-]+$', metrics, re.MULTILINE), metrics
    assert 'consulops_replication_source_keys{set="shown"} 3.0' in metrics
    types = re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE)
    assert len(types) == len(set(types)), "no metric is there twice"
    assert requests.get(f"{agent.url}/sets", timeout=5).json()["sets"]["shown"]["verification"]["equal"] is True


def test_changes_wait_until_it_is_quiet(replicators: Replicators, east: Datacenter, west: Datacenter) -> None:
    write(east, numbered("quiet/", 3))
    agent = replicators.start({"quiet": a_set(east, west, "quiet/", wait="1s:10s")})
    wait_for_following(agent, "quiet")
    wait_for_status(agent, "quiet", lambda one: not one["pending"], "the first answers of the watches are handled")
    write(east, {"quiet/00001": "changed"})
    wait_for_status(agent, "quiet", lambda one: one["pending"], "it is noticed and waits")
    assert read(west, "quiet/")["quiet/00001"][0] == b"v1"
    wait_for_equal(east, west, "quiet/")
    assert wait_for_following(agent, "quiet")["lag_s"] >= 1.0


def test_the_alert_check_judges_what_the_agent_publishes(
    replicators: Replicators, own_lab: Lab, east: Datacenter
) -> None:
    """From no replication at all to one whose agent is gone; a status that was edited is unknown."""
    there = own_lab.datacenter("judged")

    def check(**more: t.Any) -> tuple[list[str], list[str]]:
        result = run_module("consul_alert_check", url=there.url, token=there.token, fail_on="never", **more)
        return (
            [one["check"] for one in result["findings"] if one["rule"] == "kv_replication_diverged"],
            [one["reason"] for one in result["unknown"] if one["what"] == "replications"],
        )

    on: dict[str, t.Any] = {"rules": [{"rule": "kv_replication_diverged"}]}
    assert check(**on) == ([], [])
    write(east, numbered("judged/", 30))
    agent = replicators.start({"judged": a_set(east, there, "judged/", max_deletes=3, max_delete_percent=100)})
    wait_for_following(agent, "judged")
    key = "/v1/kv/consulops/replication/judged/status"
    first = eventually(lambda: check(**on) == ([], []) and there.get(key)[0], 30.0, "its status is published")
    delete(east, *(f"judged/{number:05d}" for number in range(9)))
    status = wait_for_status(
        agent,
        "judged",
        lambda one: one["paused_deletes"]["count"] and one["paused_deletes"]["count"] + one["deleted_in_window"] == 9,
        "what was not deleted is paused",
    )
    digest = status["paused_deletes"]["digest"]
    eventually(
        lambda: digest in base64.b64decode(there.get(key)[0]["Value"]).decode(), 30.0, "the whole plan is published"
    )
    assert check(**on) == (["replication/judged/paused_deletes"], [])
    assert there.get(key)[0]["ModifyIndex"] > first["ModifyIndex"]
    found = run_module("consul_alert_check", url=there.url, token=there.token, fail_on="never", **on)["findings"]
    assert [one["advice"] for one in found if digest in one["advice"]] == [
        f"If exactly these keys may go: consulops replicate ack judged {digest}"
    ]
    assert check() == ([], []), "it is off until it is named"
    with client_of(there) as operator:
        control.freeze(operator, "judged", "ops", "test", 0.0)
        assert "replication/judged/freeze" in check(**on)[0]
        control.thaw(operator, "judged")
        control.acknowledge(operator, "judged", digest, "ops", 0.0)
    wait_for_equal(east, there, "judged/")
    eventually(lambda: check(**on) == ([], []), 30.0, "it is equal again")
    agent.stop()
    findings, (reason,) = check(**on)
    assert findings == [] and "no agent holds consulops/replication/judged/lock" in reason
    write(there, {"consulops/replication/judged/status": "edited"})
    assert any("does not hold what the replication agent writes" in reason for reason in check(**on)[1])

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The replication agent when something breaks: killed, stopped, sources without a leader, restored, or partly hidden."""

from __future__ import annotations

import signal
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._replication import control

from tests.lab.agents import AgentProcess, run_command
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


def end_session(destination: Datacenter, name: str) -> None:
    """End the session of a set's lease, as its TTL would some seconds later."""
    session = destination.get(f"/v1/kv/consulops/replication/{name}/lock")[0].get("Session")
    if session:
        destination.put(f"/v1/session/destroy/{session}")


def kill(agent: AgentProcess) -> None:
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait(10)


def test_killed_in_the_middle_of_the_first_copy_it_goes_on(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, {f"first/{number:05d}": f"v{number}" for number in range(5000)})
    options = {"first": a_set(east, west, "first/", max_delete_percent=100)}
    agent = replicators.start(options)
    eventually(lambda: read(west, "first/"), what="it has begun")
    kill(agent)
    end_session(west, "first")
    again = replicators.start(options)
    wait_for_following(again, "first")
    assert len(wait_for_equal(east, west, "first/")) == 5000
    # What the first process wrote counts as written by this replication.
    delete(east, *(f"first/{number:05d}" for number in range(40)))
    wait_for_equal(east, west, "first/")


def test_a_stopped_holder_writes_nothing_after_another_took_over(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, {f"takeover/{number:03d}": "1" for number in range(100)})
    options = {"takeover": a_set(east, west, "takeover/", max_deletes=1000, max_delete_percent=100)}
    first = replicators.start(options)
    wait_for_following(first, "takeover")
    second = replicators.start(options)
    second.wait("standby")
    freeze(first.process)
    write(east, {f"takeover/{number:03d}": "2" for number in range(50)})
    end_session(west, "takeover")
    wait_for_following(second, "takeover")
    wait_for_equal(east, west, "takeover/")
    write(west, {"takeover/000": "by hand, after the takeover"})
    first.process.send_signal(signal.SIGCONT)
    first.wait("standby")
    assert set_status(first, "takeover") == {}
    write(east, {f"takeover/{number:03d}": "3" for number in range(50, 100)})
    delete(east, "takeover/020")
    eventually(
        lambda: (
            {**read(east, "takeover/"), "takeover/000": (b"by hand, after the takeover", 0)} == read(west, "takeover/")
        ),
        what="the second one goes on",
    )


def test_a_wall_clock_that_is_set_back_and_forth_costs_no_key_and_no_lease(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    write(east, {f"clock/{number:03d}": "1" for number in range(30)})
    options = a_set(east, west, "clock/", max_deletes=2, max_delete_percent=100, verify_every="2s", heartbeat="1s")
    agent = replicators.start({"clock": options}, clock=True)
    wait_for_following(agent, "clock")
    before = agent.status()["leases"]["set clock"]
    for number, years in enumerate((-30, 10, -1, 0)):
        agent.set_clock(years * 365 * 86400.0)
        verified = set_status(agent, "clock")["verification"]
        write(east, {f"clock/{number:03d}": f"after {years}"})
        wait_for_equal(east, west, "clock/")
        wait_for_status(agent, "clock", lambda one, was=verified: one["verification"] != was, "it verifies on schedule")
    # Also the guards: set back by a year, the clock ends no window before its time.
    agent.set_clock(-365 * 86400.0)
    delete(east, *(f"clock/{number:03d}" for number in range(10, 20)))
    status = wait_for_status(
        agent,
        "clock",
        lambda one: one["paused_deletes"]["count"] and one["paused_deletes"]["count"] + one["deleted_in_window"] == 10,
        "deletions are paused",
    )
    assert status["deleted_in_window"] <= 2 and len(read(west, "clock/")) >= 28
    after = agent.status()["leases"]["set clock"]
    assert (after["terms"], after["fence"], after["standing"]) == (1, before["fence"], "holder")
    assert agent.status()["failures"] == 0 and status["lag_s"] < 60


def test_a_source_that_loses_its_leader_delays_and_loses_nothing(
    replicators: Replicators, west: Datacenter, own_lab: Lab
) -> None:
    three = own_lab.datacenter("three", servers=3)
    write(three, {f"leader/{number:03d}": "1" for number in range(300)})
    three.wait_level()
    leader, follower = three.leader(), three.followers()[0]
    options = a_set(three, west, "leader/", source={"url": follower.url})
    agent = replicators.start({"leader": options})
    wait_for_following(agent, "leader")
    leader.stop()
    three.servers.remove(leader)
    three.leader()
    write(three, {"leader/000": "after", "leader/new": "after"})
    delete(three, "leader/001")
    wait_for_equal(three, west, "leader/")
    status = wait_for_following(agent, "leader")
    assert agent.process.poll() is None and not status["paused_deletes"]["count"]


def test_a_source_that_was_restored_deletes_nothing_until_that_is_acknowledged(
    replicators: Replicators, west: Datacenter, own_lab: Lab
) -> None:
    source = own_lab.datacenter("restored")
    write(source, {f"epoch/{number:03d}": "1" for number in range(50)})
    snapshot = source.snapshot()
    write(source, {"epoch/000": "2", "epoch/new1": "n", "epoch/new2": "n"})
    agent = replicators.start({"epoch": a_set(source, west, "epoch/", max_delete_percent=100)})
    wait_for_following(agent, "epoch")
    source.put("/v1/snapshot", snapshot)
    # Two deletions are far from what the guards refuse.
    status = wait_for_status(agent, "epoch", lambda one: one["paused_deletes"]["count"] == 2, "deletions are paused")
    assert (
        "the source was restored or rebuilt, or is another cluster: the index of its keys went back"
        in status["problem"]
    )
    assert status["paused_deletes"]["keys"] == ["epoch/new1", "epoch/new2"]
    eventually(lambda: read(west, "epoch/")["epoch/000"][0] == b"1", what="writes go on")
    agent.stop()
    again = replicators.start({"epoch": a_set(source, west, "epoch/", max_delete_percent=100)})
    plan = wait_for_status(again, "epoch", lambda one: one["paused_deletes"]["count"] == 2, "a restart changes nothing")
    with client_of(west) as operator:
        control.acknowledge(operator, "epoch", plan["paused_deletes"]["digest"], "ops", 0.0)
    wait_for_equal(source, west, "epoch/")
    delete(source, "epoch/010")
    wait_for_equal(source, west, "epoch/")


def test_a_token_of_a_source_that_comes_late_delays_its_set_alone(
    replicators: Replicators, west: Datacenter, own_lab: Lab, tmp_path: Path
) -> None:
    source = own_lab.datacenter("late", acl=True)
    token_file, known = tmp_path / "late-token", tmp_path / "known-token"
    token = source.token or ""
    known.write_text(token, encoding="ascii")
    write(source, {"late/a": "1", "open/a": "1"})
    sets = {
        name: a_set(source, west, f"{name}/", source={"datacenter": "late", "token_file": str(path)})
        for name, path in (("late", token_file), ("open", known))
    }
    agent = replicators.start(sets)
    wait_for_following(agent, "open")
    job = eventually(lambda: agent.status()["jobs"]["set late"]["problem"], what="the job says what it lacks")
    assert f"token_file {token_file}: No such file or directory, so the token cannot be read." in job
    assert run_command(agent.bundle, "check-config", agent.path).returncode == 2
    token_file.write_text(token, encoding="ascii")
    wait_for_equal(source, west, "late/")
    wait_for_following(agent, "late")


def test_what_a_narrowed_token_does_not_show_is_not_deleted(
    replicators: Replicators, west: Datacenter, own_lab: Lab, tmp_path: Path
) -> None:
    source = own_lab.datacenter("narrow", acl=True)
    wide = 'key_prefix "narrow/" { policy = "read" }\nkey_prefix "consulops/replication/" { policy = "read" }'
    rules = {"Name": "narrow", "Rules": wide}
    policy = source.put("/v1/acl/policy", rules)["ID"]
    token = source.put("/v1/acl/token", {"Policies": [{"ID": policy}]})["SecretID"]
    token_file = tmp_path / "token"
    token_file.write_text(token, encoding="ascii")
    write(source, {f"narrow/{number:03d}": "1" for number in range(20)})
    options = a_set(source, west, "narrow/", source={"datacenter": "narrow", "token_file": str(token_file)})
    agent = replicators.start({"narrow": options})
    wait_for_following(agent, "narrow")
    hidden = 'key "narrow/005" { policy = "deny" }\nkey "narrow/006" { policy = "deny" }'
    source.put(f"/v1/acl/policy/{policy}", {**rules, "ID": policy, "Rules": f"{wide}\n{hidden}"})
    write(source, {"narrow/000": "2"})
    delete(source, "narrow/001")
    status = wait_for_status(agent, "narrow", lambda one: one["deferred_deletes"]["count"], "deletions are deferred")
    assert "absent cannot be told from" in status["deferred_deletes"]["keys"][0]["reason"]
    assert len(read(west, "narrow/")) == 20 and read(west, "narrow/")["narrow/000"][0] == b"2"
    source.put(f"/v1/acl/policy/{policy}", {**rules, "ID": policy, "Rules": wide})
    wait_for_equal(source, west, "narrow/")
    assert len(read(west, "narrow/")) == 19
    # A token that sees nothing at all is a failure, and deletes nothing either.
    source.put(f"/v1/acl/policy/{policy}", {**rules, "ID": policy, "Rules": 'key_prefix "other/" { policy = "read" }'})
    write(source, {"narrow/000": "3"})
    wait_for_status(agent, "narrow", lambda one: one["problem"], "there is a problem")
    assert len(read(west, "narrow/")) == 19
    source.put(f"/v1/acl/policy/{policy}", {**rules, "ID": policy, "Rules": wide})
    wait_for_equal(source, west, "narrow/")
    wait_for_status(agent, "narrow", lambda one: not one["problem"], "no problem is left")

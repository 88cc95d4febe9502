# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot agent when something breaks: Consul, the disk, the token, a destination, the process, and two agents at once."""

from __future__ import annotations

import signal
import subprocess
import typing as t
from pathlib import Path

import jinja2
import pytest

from tests.lab.agents import AgentProcess
from tests.lab.consul import ROOT, Datacenter, Lab, eventually, freeze
from tests.lab.faults import Proxy
from tests.lab.snapshotting import (
    Snapshotters,
    a_policy,
    end_session,
    litter,
    manifests,
    policy_status,
    wait_for_policy,
    wait_for_snapshot,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory for snapshots."""
    made = tmp_path / "place"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def proxy(own_lab: Lab, datacenter: Datacenter) -> t.Iterator[Proxy]:
    """A proxy that stops snapshots half-way while its ``fault`` is set."""
    with Proxy(datacenter.url, own_lab.address(), fault="stall") as made:
        yield made


def part_files(agent: AgentProcess, policy: str) -> list[Path]:
    return list((agent.state / "waiting" / policy).glob(".*.consulops-part"))


def test_consul_that_is_killed_during_a_save_costs_no_slot(
    snapshotters: Snapshotters, own_lab: Lab, place: Path
) -> None:
    killed = own_lab.datacenter("killed")
    with Proxy(killed.url, own_lab.address(), fault="stall") as proxy:
        agent = snapshotters.start(killed, {"killed": a_policy(place, connection={"url": proxy.url}, stream_timeout=2)})
        eventually(proxy.half_sent.is_set, what="half of the snapshot is here")
        server = killed.servers[0]
        server.stop()
        proxy.fault = ""
        eventually(lambda: agent.status()["state"] == "failing" or agent.status()["problem"], what="it says so")
        assert manifests(place) == [] and litter(place) == []
        server.start()
        killed.wait_ready()
        wait_for_snapshot(agent, "killed")
    assert len(manifests(place)) == 1 and litter(place) == []


def test_killed_in_a_save_the_next_process_takes_the_slot(
    snapshotters: Snapshotters, datacenter: Datacenter, proxy: Proxy, place: Path
) -> None:
    policies = {"kill": a_policy(place, connection={"url": proxy.url})}
    agent = snapshotters.start(datacenter, policies)
    eventually(proxy.half_sent.is_set, what="half of the snapshot is here")
    assert part_files(agent, "kill")
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait(10)
    proxy.fault = ""
    again = snapshotters.start(datacenter, policies, state=agent.state)
    wait_for_snapshot(again, "kill")
    assert len(manifests(place)) == 1 and litter(place) == []


def test_a_frozen_holder_stores_nothing_after_another_took_the_slot(
    snapshotters: Snapshotters, datacenter: Datacenter, proxy: Proxy, place: Path
) -> None:
    first = snapshotters.start(datacenter, {"frozen": a_policy(place, connection={"url": proxy.url})})
    eventually(proxy.half_sent.is_set, what="half of the snapshot is here")
    second = snapshotters.start(datacenter, {"frozen": a_policy(place)})
    second.wait("standby")
    freeze(first.process)
    end_session(datacenter, "frozen")
    wait_for_snapshot(second, "frozen")
    proxy.fault = ""
    first.process.send_signal(signal.SIGCONT)
    first.wait("standby")
    assert policy_status(first, "frozen") == {} and len(manifests(place)) == 1 and litter(place) == []
    second.stop()
    wait_for_snapshot(first, "frozen")
    assert len(manifests(place)) == 1, "the new holder knows that the slot is taken"


def test_a_slot_that_two_agents_took_is_recognised(
    snapshotters: Snapshotters, datacenter: Datacenter, place: Path
) -> None:
    """The second one cannot read the destination, so it cannot know that the slot is taken."""
    snapshotters.start(datacenter, {"twice": a_policy(place)})
    # Its part files go last: in a directory that is moved before that they would stay.
    eventually(lambda: manifests(place) and not litter(place), what="the first one has it")
    (kept,) = manifests(place)
    place.rename(place.with_name("away"))
    other = snapshotters.start(datacenter, {"twice": a_policy(place)}, lease={"key": "another", "lock_delay": "0s"})
    wait_for_policy(other, "twice", lambda one: one["destinations"]["a"]["waiting"], "the second one has it too")
    place.with_name("away").rename(place)
    status = wait_for_policy(other, "twice", lambda one: one["doubled_slots"], "it is recognised")
    assert manifests(place) == [kept] and litter(place) == [] and status["destinations"]["a"]["waiting"] == 0
    assert f"has a snapshot of {kept['slot']} already" in other.log()


def test_what_a_destination_missed_is_delivered_when_it_is_back(
    snapshotters: Snapshotters, datacenter: Datacenter, place: Path, tmp_path: Path
) -> None:
    """While it is away, the other one goes on."""
    other = tmp_path / "other"
    other.mkdir()
    agent = snapshotters.start(datacenter, {"away": a_policy(place, other, interval="1s")})
    eventually(lambda: manifests(place) and not litter(place), what="both work")
    place.rename(place.with_name("gone"))
    before = len(manifests(other))
    status = wait_for_policy(agent, "away", lambda one: one["destinations"]["a"]["waiting"] >= 3, "three wait")
    assert "No such file or directory" in status["problem"] and status["destinations"]["b"]["waiting"] == 0
    assert len(manifests(other)) >= before + 3
    place.with_name("gone").rename(place)
    wait_for_policy(agent, "away", lambda one: not one["problem"], "it is delivered", 60)
    agent.stop()
    here, there = ({one["slot"] for one in manifests(path)} for path in (place, other))
    assert len(here ^ there) <= 1, "at most the last one was interrupted by the stop"
    assert litter(place) == litter(other) == []


def test_a_token_that_is_revoked_and_given_back(
    snapshotters: Snapshotters, own_lab: Lab, place: Path, tmp_path: Path
) -> None:
    secured = own_lab.datacenter("revoked", acl=True)
    secured.put("/v1/acl/policy", {"Name": "snapshots", "Rules": 'acl = "write"'})
    token = {"SecretID": "6a1253d2-1785-24fd-91c2-f8e78c745511", "Policies": [{"Name": "snapshots"}]}
    accessor = secured.put("/v1/acl/token", token)["AccessorID"]
    (tmp_path / "token").write_text(str(token["SecretID"]), encoding="ascii")
    connection = {"token_file": str(tmp_path / "token")}
    agent = snapshotters.start(secured, {"revoked": a_policy(place, interval="1s", connection=connection)})
    eventually(lambda: manifests(place), what="it works")
    secured.servers[0].request("DELETE", f"/v1/acl/token/{accessor}").raise_for_status()
    status = wait_for_policy(agent, "revoked", lambda one: one["failures_in_row"] > 3, "it is refused", 60)
    assert "ACL not found" in status["problem"]
    lease = agent.status()["leases"]["policy revoked"]
    assert lease["standing"] == "holder", "another instance would be refused too"
    count = len(manifests(place))
    secured.put("/v1/acl/token", token)
    wait_for_policy(agent, "revoked", lambda one: not one["problem"] and not one["failures_in_row"], "it works", 60)
    assert len(manifests(place)) > count and litter(place) == []


def test_an_index_that_cannot_be_written_stops_no_snapshot(
    snapshotters: Snapshotters, datacenter: Datacenter, place: Path
) -> None:
    agent = snapshotters.start(datacenter, {"index": a_policy(place, interval="1s")})
    wait_for_snapshot(agent, "index")
    index = agent.state / "catalogue-index.json"
    index.unlink()
    index.mkdir()
    wait_for_policy(agent, "index", lambda one: f"putting {index} in place" in one["problem"], "it says so")
    count = len(manifests(place))
    eventually(lambda: len(manifests(place)) > count + 1, what="snapshots are taken")
    index.rmdir()
    wait_for_snapshot(agent, "index")


@pytest.mark.root
def test_a_disk_that_is_full_and_freed(
    snapshotters: Snapshotters, datacenter: Datacenter, place: Path, as_root: None
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(place)], check=True)
    try:
        filler = place / "filler"
        filler.write_bytes(b"x" * (60 << 10))
        agent = snapshotters.start(datacenter, {"full": a_policy(place)})
        status = wait_for_policy(agent, "full", lambda one: one["problem"], "it says so")
        assert "No space left on device" in status["problem"] and "Free some space" in status["problem"]
        assert manifests(place) == [] and status["destinations"]["a"]["waiting"] == 1
        filler.unlink()
        wait_for_snapshot(agent, "full")
        assert len(manifests(place)) == 1 and litter(place) == []
        agent.stop()
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.root
def test_a_host_whose_disk_is_full_gives_the_lease_away(
    snapshotters: Snapshotters, datacenter: Datacenter, place: Path, tmp_path: Path, as_root: None
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k,mode=0700", "tmpfs", str(state)], check=True)
    try:
        policies = {"give": a_policy(place)}
        (state / "filler").write_bytes(b"x" * (24 << 10))
        first = snapshotters.start(datacenter, policies, state=state)
        first.wait("active")
        (state / "more").write_bytes(b"")
        second = snapshotters.start(datacenter, policies)
        wait_for_snapshot(second, "give", 60)
        assert "giving up the lease after 3 failures in a row" in first.log() and len(manifests(place)) == 1
        first.stop()
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_the_policy_that_the_role_writes_is_enough(
    snapshotters: Snapshotters, own_lab: Lab, place: Path, tmp_path: Path
) -> None:
    """With ACLs the agent holds its lease, takes a snapshot of which nothing is unchecked by its rights, and registers."""
    secured = own_lab.datacenter("rights", acl=True)
    template = (ROOT / "roles/consulops_runtime/templates/policy_snapshot.hcl.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(trim_blocks=True)
    environment.filters["comment"] = "# {}".format
    rules = environment.from_string(template).render(
        consulops_runtime_agent={"agent": "snapshot", "name": "snapshot"},
        consulops_runtime_unit="consulops-snapshot",
        consulops_runtime_home="/etc",
    )
    secured.put("/v1/acl/policy", {"Name": "snapshot-agent", "Rules": rules})
    token = secured.put("/v1/acl/token", {"Policies": [{"Name": "snapshot-agent"}]})["SecretID"]
    agent = snapshotters.start(
        secured, {"rights": a_policy(place)}, token=token, service={"register": True, "check_ttl": "3s"}
    )
    wait_for_snapshot(agent, "rights")
    (manifest,) = manifests(place)
    assert manifest["cross_checked"] and not [one for one in manifest["unchecked"] if "token" in one], manifest[
        "unchecked"
    ]
    eventually(lambda: secured.get("/v1/catalog/service/consul-snapshot"), what="it is in the catalog")
    assert agent.status()["problem"] == ""

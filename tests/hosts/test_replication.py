# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two datacenters of three real hosts each and two replication agents: under every fault keys arrive, and none is deleted wrongly.

CONSULOPS_FAULTS_S is how long leaders and links fail in the tests that do so for a while, CONSULOPS_STABLE_KEYS how many keys there are
that nobody deletes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
import typing as t

import pytest

from tests.lab.consul import eventually
from tests.lab.hosts import Host

from .conftest import POLL_S, TAKEOVER_S, TOKEN, Fault, faults_of
from .two_datacenters import PORT, PREFIX, SERVERS, UNIT, Datacenters, two_datacenters

FAULTS_S = float(os.environ.get("CONSULOPS_FAULTS_S", "20"))
STABLE = int(os.environ.get("CONSULOPS_STABLE_KEYS", "500"))
FOREIGN = f"{PREFIX}of-another-tool"  # in the destination only
WRITES_PER_S = 20.0
CONVERGE_S = 120.0
SETS = {
    "there": {
        "source": {"datacenter": "dc1"},
        "destination": {"datacenter": "dc2"},
        "prefixes": [PREFIX],
        "consistency": "stale",
        "max_stale": "10m",
        # The writer below deletes every fifth time.
        "max_deletes": 100000,
        "max_delete_percent": 100,
    }
}


class Replicated(Datacenters):
    """Two datacenters with the set ``there`` between them."""

    def standing(self, host: Host) -> str:
        """Return what the agent of a host knows of the lease of the set; "" if it does not answer."""
        found = json.loads(host.http("GET", PORT, "/status", timeout_s=2.0) or b"{}")
        return str(found.get("leases", {}).get("set there", {}).get("standing", ""))

    def holder(self) -> Host:
        """Wait until one agent holds the lease, and return its host."""

        def find() -> Host | None:
            holders = [host for host in self.agents if self.standing(host) == "holder"]
            return holders[0] if len(holders) == 1 else None

        return t.cast(Host, eventually(find, 90, "one agent holds the lease", POLL_S))

    def wait_converged(self) -> None:
        """Wait until the destination has what the source has and the key of another tool, and nothing else."""

        different: list[str] = []

        def is_equal() -> bool:
            source, destination = self.keys("dc1"), self.keys("dc2")
            foreign = destination.pop(FOREIGN, None)
            assert foreign is not None, "the key of another tool was deleted"
            names = source.keys() | destination.keys()
            different[:] = sorted(name for name in names if source.get(name) != destination.get(name))
            return not different

        try:
            eventually(is_equal, CONVERGE_S, "both sides have the same keys", 0.5)
        except AssertionError:
            states = [(host.http("GET", PORT, "/sets") or b"").decode() for host in self.agents]
            raise AssertionError(f"still different: {different[:5]}; {states}") from None


class Writer:
    """Writes, changes and deletes keys of the source until it is left, through whichever server answers."""

    def __init__(self, datacenters: Replicated, seed: int) -> None:
        self._datacenters = datacenters
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.done = 0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(1 / WRITES_PER_S):
            key = f"{PREFIX}changing/{self._random.randrange(200)}"
            if self._random.random() < 0.2:
                answer = self._datacenters.ask("dc1", "DELETE", f"/v1/kv/{key}")
                self.done += answer is not None
            else:
                self.done += self._datacenters.put("dc1", key, f"{self.done}".encode())


class Watcher:
    """Reads the names of both sides all the time: which of the keys that nobody deletes the destination lacks."""

    def __init__(self, datacenters: Replicated, stable: t.Collection[str]) -> None:
        self._datacenters = datacenters
        self._stable = frozenset(stable)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.readings = 0
        self.missing: set[str] = set()

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._thread.join()
        assert self.readings > 0
        assert not self.missing

    def _run(self) -> None:
        while not self._stopping.wait(0.5):
            names = self._datacenters.names("dc2")
            if names is not None:
                self.readings += 1
                self.missing |= self._stable - names


@pytest.fixture(scope="module")
def datacenters(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Replicated]:
    variables: dict[str, t.Any] = {"consul_replication_sets": SETS, "consul_replication_secrets": {"token": TOKEN}}
    with two_datacenters(tmp_path_factory.mktemp("replication"), **variables) as estate:
        found = Replicated(estate)
        found.wait_joined()
        operations = [
            {"KV": {"Verb": "set", "Key": f"{PREFIX}stable/{number}", "Value": "c3RhYmxl"}} for number in range(STABLE)
        ]
        for begin in range(0, STABLE, 64):
            chunk = json.dumps(operations[begin : begin + 64]).encode()
            eventually(lambda chunk=chunk: found.ask("dc1", "PUT", "/v1/txn", chunk), 30, "keys are written", POLL_S)
        assert found.put("dc2", FOREIGN, b"foreign")
        found.install()
        found.wait_converged()
        yield found


def _cut_from(datacenter: str) -> t.Callable[[Host], None]:
    def cut(host: Host) -> None:
        host.cut_from(*SERVERS[datacenter])

    return cut


FAULTS = {
    **faults_of(UNIT),
    "cut off from the source": Fault(_cut_from("dc1"), Host.heal),
    "cut off from the destination": Fault(_cut_from("dc2"), Host.heal),
}
STAYS_HOLDER = "cut off from the source"  # the lease is in the destination


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_host_that_writes_loses_no_key(datacenters: Replicated, fault: str) -> None:
    datacenters.healthy()
    holder = datacenters.holder()
    (other,) = [host for host in datacenters.agents if host is not holder]
    eventually(lambda: datacenters.standing(other) == "standby", 60, "the other stands by", POLL_S)
    stable = {f"{PREFIX}stable/{number}" for number in range(STABLE)}
    injected = FAULTS[fault]
    with Watcher(datacenters, stable), Writer(datacenters, seed=len(fault)) as writer:
        eventually(lambda: writer.done > WRITES_PER_S, 30, "keys are written", POLL_S)
        began = time.monotonic()
        try:
            injected.inject(holder)
            if fault != STAYS_HOLDER:
                within_s = 2 * TAKEOVER_S  # a leader that is cut off is replaced first
                eventually(
                    lambda: datacenters.standing(other) == "holder", within_s, f"{other.name} takes over", POLL_S
                )
                print(f"taken over from the one that was {fault} after {time.monotonic() - began:.1f} s")
                done = writer.done
                eventually(lambda: writer.done > done + WRITES_PER_S, 60, "more keys are written", POLL_S)
            else:
                time.sleep(FAULTS_S / 4)
        finally:
            injected.heal(holder)
        done = writer.done
        eventually(lambda: writer.done > done + WRITES_PER_S, 60, "more keys are written", POLL_S)
    datacenters.wait_converged()


def _kill_leaders(datacenters: Replicated) -> None:
    for datacenter in SERVERS:
        datacenters.leader(datacenter).run("systemctl", "kill", "-s", "KILL", "consul")


def _cut_wan(datacenters: Replicated) -> None:
    for host in datacenters.servers("dc1"):
        host.cut_from(*SERVERS["dc2"])


def _kill_all_of_the_source(datacenters: Replicated) -> None:
    for host in datacenters.servers("dc1"):
        with contextlib.suppress(AssertionError):
            host.run("systemctl", "kill", "-s", "KILL", "consul")


def _every(datacenters: Replicated, seconds: float, inject: t.Callable[[], object]) -> None:
    """Inject a fault now, and again every so many seconds until FAULTS_S have passed."""
    ends = time.monotonic() + FAULTS_S
    while time.monotonic() < ends:
        inject()
        time.sleep(min(seconds, max(0.0, ends - time.monotonic())))


def test_leaders_of_both_sides_that_are_killed_again_and_again_end_no_agent(datacenters: Replicated) -> None:
    datacenters.healthy()
    datacenters.holder()
    before = datacenters.restarts()
    stable = {f"{PREFIX}stable/{number}" for number in range(STABLE)}
    with Watcher(datacenters, stable), Writer(datacenters, seed=1):
        _every(datacenters, 20.0, lambda: _kill_leaders(datacenters))
    datacenters.healthy()
    datacenters.wait_converged()
    assert datacenters.restarts() == before


def test_a_wan_that_is_cut_for_a_while_loses_nothing(datacenters: Replicated) -> None:
    datacenters.healthy()
    datacenters.holder()
    before = datacenters.restarts()
    stable = {f"{PREFIX}stable/{number}" for number in range(STABLE)}
    with Watcher(datacenters, stable), Writer(datacenters, seed=2):
        _cut_wan(datacenters)
        try:
            time.sleep(FAULTS_S)
        finally:
            for host in datacenters.servers("dc1"):
                host.heal()
    datacenters.wait_converged()
    assert datacenters.restarts() == before


def test_a_source_whose_servers_all_die_again_and_again_deletes_nothing_with_stale_reads(
    datacenters: Replicated,
) -> None:
    """consul-replicate deleted keys of the destination then, because a server that had just started answered with less."""
    datacenters.healthy()
    datacenters.holder()
    before = datacenters.restarts()
    stable = {f"{PREFIX}stable/{number}" for number in range(STABLE)}
    with Watcher(datacenters, stable) as watcher, Writer(datacenters, seed=3):
        _every(datacenters, 30.0, lambda: _kill_all_of_the_source(datacenters))
    print(f"{watcher.readings} readings of the destination")
    datacenters.healthy()
    datacenters.wait_converged()
    assert datacenters.restarts() == before

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
import re
import threading
import time
import typing as t
import urllib.parse

import pytest

from tests.lab.agents import WHEELS
from tests.lab.consul import eventually
from tests.lab.hosts import Host, Hosts

from .conftest import POLL_S, TAKEOVER_S, TOKEN, Estate, Fault, faults_of, start_estate

FAULTS_S = float(os.environ.get("CONSULOPS_FAULTS_S", "20"))
STABLE = int(os.environ.get("CONSULOPS_STABLE_KEYS", "500"))
SERVERS = {"dc1": ("a1", "a2", "a3"), "dc2": ("b1", "b2", "b3")}
AGENTS = ("b1", "b2")
UNIT, PORT = "consulops-replication", 9001
PREFIX = "app/"
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


class Datacenters:
    """The estate, by datacenter: requests to whichever server answers, the keys of both sides, and the agents."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.agents = [estate.hosts[name] for name in AGENTS]

    def servers(self, datacenter: str) -> list[Host]:
        return [self.estate.hosts[name] for name in SERVERS[datacenter]]

    def ask(self, datacenter: str, method: str, path: str, body: bytes | None = None) -> bytes | None:
        """Send a request to one server of a datacenter after the other; return the answer of the first that has one."""
        return self.estate.ask(self.servers(datacenter), method, path, body)

    def put(self, datacenter: str, key: str, value: bytes) -> bool:
        return self.ask(datacenter, "PUT", f"/v1/kv/{urllib.parse.quote(key)}", value) == b"true"

    def keys(self, datacenter: str) -> dict[str, str]:
        """Return the keys and values below the prefix. AssertionError while no server answers."""
        answer = self.ask(datacenter, "GET", f"/v1/kv/{PREFIX}?recurse&consistent")
        assert answer is not None, f"no server of {datacenter} answers"
        return {one["Key"]: one["Value"] for one in json.loads(answer)}

    def names(self, datacenter: str) -> set[str] | None:
        """Return the names below the prefix as the leader knows them, None while there is none."""
        answer = self.ask(datacenter, "GET", f"/v1/kv/{PREFIX}?keys")
        return None if answer is None else set(json.loads(answer))

    def leader(self, datacenter: str) -> Host:
        """Wait for a leader, and return its host."""
        return self.estate.leader(self.servers(datacenter))

    def healthy(self) -> None:
        """Wait until every server of both datacenters is a healthy voter."""
        for datacenter in SERVERS:

            def well(datacenter: str = datacenter) -> bool:
                found = json.loads(self.ask(datacenter, "GET", "/v1/operator/autopilot/health") or b"{}")
                return bool(found.get("Healthy")) and [one["Voter"] for one in found["Servers"]] == [True] * 3

            eventually(well, 90, f"every server of {datacenter} is healthy", POLL_S)

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

    def restarts(self) -> list[str]:
        """Return the process and the number of restarts of each agent."""
        return [host.run("systemctl", "show", "-P", "MainPID", "-P", "NRestarts", UNIT).stdout for host in self.agents]


class Writer:
    """Writes, changes and deletes keys of the source until it is left, through whichever server answers."""

    def __init__(self, datacenters: Datacenters, seed: int) -> None:
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

    def __init__(self, datacenters: Datacenters, stable: t.Collection[str]) -> None:
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
def datacenters(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Datacenters]:
    directory = tmp_path_factory.mktemp("replication")
    names = [name for servers in SERVERS.values() for name in servers]
    with Hosts(directory / "hosts", names) as hosts:
        estate = Estate(hosts, directory)
        estate.groups = {"consul_servers": names, "consul_replication": list(AGENTS)}
        estate.host_variables = {
            name: {"lab_datacenter": datacenter, "lab_servers": list(servers)}
            for datacenter, servers in SERVERS.items()
            for name in servers
        }
        estate.group_variables = {
            "lab_consul_token": TOKEN,
            "consulops_runtime_cache": str(WHEELS),
            "consul_replication_sets": SETS,
            "consul_replication_lease": {"ttl": "20s", "lock_delay": "2s"},
            "consul_replication_secrets": {"token": TOKEN},
        }
        start_estate(estate)
        found = Datacenters(estate)
        eventually(lambda: found.ask("dc2", "GET", "/v1/catalog/nodes?dc=dc1"), 60, "the WAN is joined", POLL_S)
        operations = [
            {"KV": {"Verb": "set", "Key": f"{PREFIX}stable/{number}", "Value": "c3RhYmxl"}} for number in range(STABLE)
        ]
        for begin in range(0, STABLE, 64):
            chunk = json.dumps(operations[begin : begin + 64]).encode()
            eventually(lambda chunk=chunk: found.ask("dc1", "PUT", "/v1/txn", chunk), 30, "keys are written", POLL_S)
        assert found.put("dc2", FOREIGN, b"foreign")
        role = {"ansible.builtin.include_role": {"name": "consulops.failover.consul_replication"}}
        estate.play([{"hosts": "consul_replication", "gather_facts": False, "become": True, "tasks": [role]}])
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
def test_a_fault_of_the_host_that_writes_loses_no_key(datacenters: Datacenters, fault: str) -> None:
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


def _kill_leaders(datacenters: Datacenters) -> None:
    for datacenter in SERVERS:
        datacenters.leader(datacenter).run("systemctl", "kill", "-s", "KILL", "consul")


def _cut_wan(datacenters: Datacenters) -> None:
    for host in datacenters.servers("dc1"):
        host.cut_from(*SERVERS["dc2"])


def _kill_all_of_the_source(datacenters: Datacenters) -> None:
    for host in datacenters.servers("dc1"):
        with contextlib.suppress(AssertionError):
            host.run("systemctl", "kill", "-s", "KILL", "consul")


def _every(datacenters: Datacenters, seconds: float, inject: t.Callable[[], object]) -> None:
    """Inject a fault now, and again every so many seconds until FAULTS_S have passed."""
    ends = time.monotonic() + FAULTS_S
    while time.monotonic() < ends:
        inject()
        time.sleep(min(seconds, max(0.0, ends - time.monotonic())))


def test_leaders_of_both_sides_that_are_killed_again_and_again_end_no_agent(datacenters: Datacenters) -> None:
    datacenters.healthy()
    datacenters.holder()
    before = datacenters.restarts()
    stable = {f"{PREFIX}stable/{number}" for number in range(STABLE)}
    with Watcher(datacenters, stable), Writer(datacenters, seed=1):
        _every(datacenters, 20.0, lambda: _kill_leaders(datacenters))
    datacenters.healthy()
    datacenters.wait_converged()
    assert datacenters.restarts() == before


def test_a_wan_that_is_cut_for_a_while_loses_nothing(datacenters: Datacenters) -> None:
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
    datacenters: Datacenters,
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


DIRECTED = {
    name: {
        "source": {"datacenter": source},
        "destination": {"datacenter": destination},
        "prefixes": [PREFIX],
        "on_conflict": "keep",
        "reverses": other,
    }
    for name, other, source, destination in (("there", "back", "dc1", "dc2"), ("back", "there", "dc2", "dc1"))
}
FAILOVER = {
    # The modules run on a host of the datacenter that takes over, with the libraries of the agent.
    "consul_failover_controller": AGENTS[0],
    "consul_failover_environment": {"PYTHONPATH": "/usr/local/lib/consulops/consulops.pyz"},
    "consul_failover_old": {"datacenter": "dc1", "token": TOKEN, "timeout": 3},
    "consul_failover_new": {"datacenter": "dc2", "token": TOKEN},
    "consul_failover_replication": "there",
    "consul_failover_reversed_by": "back",
    "consul_failover_prefixes": [PREFIX],
    "consul_failover_quiet": "1s",
    "consul_failover_max_loss": "2m",
}


def _active(datacenters: Datacenters) -> set[str]:
    """Return the sets that the agents work for."""
    found = [json.loads(host.http("GET", PORT, "/status", timeout_s=2.0) or b"{}") for host in datacenters.agents]
    return {name.rpartition(" ")[2] for one in found for name in one.get("leases", {}) if name.startswith("set ")}


def test_a_datacenter_that_dies_is_replaced_and_gets_its_place_back(datacenters: Datacenters) -> None:
    estate = datacenters.estate
    first = {"consul_replication_sets": DIRECTED, "consul_replication_direction": {"active": "there", "generation": 1}}
    role = {"ansible.builtin.include_role": {"name": "consulops.failover.consul_replication"}}
    install = [{"hosts": "consul_replication", "gather_facts": False, "become": True, "tasks": [role]}]
    options = ("-e", json.dumps(FAILOVER))
    datacenters.healthy()
    estate.play(install, **first)
    datacenters.put("dc1", f"{PREFIX}last", b"by dc1")
    eventually(lambda: f"{PREFIX}last" in datacenters.keys("dc2"), 60, "the last key is copied", POLL_S)
    for host in datacenters.servers("dc1"):
        host.run("systemctl", "kill", "-s", "KILL", "consul")
        host.run("systemctl", "stop", "consul")
    try:
        plan = estate.play("consulops.failover.failover", "--check", *options, **first)
        assert "dc1 does not answer" in plan and "promote dc2 with generation 2" in plan, plan
        done = estate.play("consulops.failover.failover", *options, "-e", "consul_failover_confirm=dc2", **first)
        assert "active: back, generation: 2" in " ".join(done.split()), done
        assert datacenters.put("dc2", f"{PREFIX}last", b"by dc2")
        assert _active(datacenters) == {"back"}
    finally:
        for host in datacenters.servers("dc1"):
            host.run("systemctl", "start", "consul")
    datacenters.healthy()
    eventually(lambda: datacenters.keys("dc1") == datacenters.keys("dc2"), CONVERGE_S, "dc1 has what dc2 has", 0.5)
    again = estate.play("consulops.failover.failover", *options, "-e", "consul_failover_confirm=dc2", **first)
    assert not re.search(r"changed=[1-9]", again), again
    second = {**first, "consul_replication_direction": {"active": "back", "generation": 2}}
    returned = estate.play("consulops.failover.failback", *options, "-e", "consul_failover_confirm=dc1", **second)
    assert "active: there, generation: 3" in " ".join(returned.split()), returned
    assert _active(datacenters) == {"there"}
    assert datacenters.put("dc1", f"{PREFIX}last", b"by dc1 again")
    eventually(lambda: datacenters.keys("dc1") == datacenters.keys("dc2"), CONVERGE_S, "dc2 has what dc1 has", 0.5)

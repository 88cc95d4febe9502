# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three real hosts with a Consul cluster, two snapshot agents and an S3 server: under every fault each snapshot gets where it belongs.

The policy ``shared`` has one instance and the S3 server, which both hosts reach through a proxy that can fail; the policy ``own`` has
every instance and a directory of its host. CONSULOPS_FAULTS_S is how long the S3 server is down in the test of that.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import shutil
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest
import typing_extensions
from ansible_collections.consulops.failover.plugins.module_utils._consul.units import parse_timestamp, timestamp
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.manifest import Manifest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stored_snapshots import (
    StoredSnapshot,
    is_intact,
    list_store,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.open_store import open_store
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store import Store, StoreOptions

from tests.lab.agents import WHEELS
from tests.lab.consul import eventually
from tests.lab.hosts import Host, Hosts
from tests.lab.object_stores import SeaweedFS
from tests.lab.store_faults import HeldManifest, StoreProxy
from tests.lab.tls import Authority

from .conftest import LEASE, POLL_S, TAKEOVER_S, TOKEN, Estate, Fault, faults_of, start_estate

FAULTS_S = float(os.environ.get("CONSULOPS_FAULTS_S", "10"))
SERVERS = ("n1", "n2", "n3")
AGENTS = ("n1", "n2")
SMALL_DISKS = "n2"  # the host whose state directory and destination are small file systems, which a reboot would empty
UNIT, PORT = "consulops-snapshot", 9002
STATE, PLACE = "/var/lib/consulops/snapshot", "/var/backups/consul"
SHARED_EVERY_S, OWN_EVERY_S = 2, 3
MANAGEMENT = "00000000-0000-0000-0000-000000000001"  # the policy that Consul itself makes: it allows everything
# The agents' token: a test revokes it.
AGENTS_TOKEN: dict[str, t.Any] = {
    "AccessorID": "7d1c9f52-0a6e-4c53-8a0c-3f0f4f6a2b11",
    "SecretID": "4f0b6c7e-51a4-4d0d-9a55-1f6c3b7c2a10",
    "Policies": [{"ID": MANAGEMENT}],
}


class Snapshots:
    """The estate with its two agents, and what is in the S3 server."""

    def __init__(self, estate: Estate, proxy: StoreProxy, store: Store) -> None:
        self.estate = estate
        self.proxy = proxy
        self.agents = [estate.hosts[name] for name in AGENTS]
        self._store = store
        self._manifests: dict[str, Manifest] = {}
        self._restarts: list[str] = []

    def other(self, host: Host) -> Host:
        """Return the host of the other agent."""
        (other,) = [one for one in self.agents if one is not host]
        return other

    def status(self, host: Host) -> dict[str, t.Any]:
        """Return the status that the agent of a host reports, {} if it does not answer."""
        return self.estate.status(host, PORT)

    def standing(self, host: Host) -> str:
        """Return what the agent of a host knows of the lease; "" if it does not answer."""
        return str(self.status(host).get("leases", {}).get("policy shared", {}).get("standing", ""))

    def policy(self, host: Host, name: str) -> dict[str, t.Any]:
        """Return the status of a policy on a host, {} while the agent there does not work for it."""
        found: dict[str, t.Any] = self.status(host).get("section", {}).get("policies", {}).get(name, {})
        return found

    def waiting(self, host: Host) -> int:
        """Return how many snapshots of a host wait for the S3 server."""
        return int(self.policy(host, "shared").get("destinations", {}).get("store", {}).get("waiting", 0))

    def check(self, host: Host) -> tuple[str, str]:
        """Return status and output of the check of an agent's work, as the Consul agent of the host has them; "" without one.

        That agent may take minutes to bring an output to the catalog while the status stays the same (check_update_interval).
        """
        found = (self.estate.consul(host, "GET", "/v1/agent/checks") or {}).get(f"{UNIT}-{host.name}:work", {})
        return found.get("Status", ""), found.get("Output", "")

    def begin(self) -> Host:
        """Wait until all is well before a fault; return the host of the agent that holds the lease."""
        self.estate.healthy()
        self.wait_well()
        self._restarts = self.restarts()
        return next(host for host in self.agents if self.standing(host) == "holder")

    def end(self) -> None:
        """Wait until all is well after a fault: nothing is lost or stored twice unnoticed, and no agent has crashed."""
        self.wait_well()
        self.check_store()
        assert self.restarts() == self._restarts
        for host in self.agents:
            assert "Traceback" not in self.journal(host)

    def wait_well(self) -> None:
        """Wait until one agent holds the lease, the other stands by, nothing is wrong or waits, and there are new snapshots."""
        since = timestamp(time.time())
        unwell: list[str] = []

        def is_well() -> bool:
            unwell[:] = [f"{host.name}: {why}" for host in self.agents for why in self._unwell(host, since)]
            standings = sorted(self.standing(host) for host in self.agents)
            return not unwell and standings == ["holder", "standby"]

        try:
            eventually(is_well, 90, "all is well", POLL_S)
        except AssertionError:
            raise AssertionError(
                f"not well: {unwell}, {[(host.name, self.standing(host)) for host in self.agents]}"
            ) from None

    def _unwell(self, host: Host, since: str) -> t.Iterator[str]:
        status = self.status(host)
        if not status or status["problem"]:
            yield str(status.get("problem", "it does not answer"))
            return
        policies = status["section"].get("policies", {})
        wanted = ["own", "shared"] if self.standing(host) == "holder" else ["own"]
        if sorted(policies) != wanted:
            yield f"it works for {sorted(policies)}"
        for name, policy in policies.items():
            waiting = [place["waiting"] for place in policy["destinations"].values()]
            if policy["problem"] or any(waiting) or policy["newest"] is None or policy["newest"]["time"] < since:
                yield f"{name}: {policy['newest']}, {waiting} wait {policy['problem']}"
        check = self.check(host)
        if check[0] != "passing":
            yield f"its check is {check}"

    def hand_over_to(self, host: Host) -> None:
        """Let the agent of a host hold the lease. One that gave it away a moment ago does not contend for it yet."""
        for _attempt in range(6):
            if self.standing(host) == "holder":
                return
            eventually(lambda: self.standing(host) == "standby", 60, f"{host.name} stands by", POLL_S)
            self.other(host).run("systemctl", "restart", UNIT)
            with contextlib.suppress(AssertionError):
                eventually(lambda: self.standing(host) == "holder", 5, "", POLL_S)
        assert self.standing(host) == "holder", f"{host.name} does not take the lease"

    def wait_said(self, host: Host, words: str, policy: str = "shared", within_s: float = 30.0) -> None:
        """Wait until status, check and journal of an agent say what is wrong, each in one sentence."""

        def said() -> bool:
            problem = str(self.policy(host, policy).get("problem", ""))
            return words in problem and "\n" not in problem

        eventually(said, within_s, f"the status of {host.name} says {words!r}", POLL_S)
        eventually(lambda: self.check(host)[0] in ("warning", "critical"), 10, "its check is not passing", POLL_S)
        eventually(lambda: words in self.check(host)[1], 10, f"its check says {words!r}", POLL_S)
        assert words in self.journal(host)

    def wait_stored_by(self, host: Host, within_s: float = 30.0) -> None:
        """Wait until the S3 server has a snapshot from a host that was taken after this call."""
        since = time.time()

        def is_stored() -> bool:
            return any(one.manifest and one.manifest.node == host.name and one.time > since for one in self.stored())

        eventually(is_stored, within_s, f"a snapshot of {host.name} is stored", POLL_S)

    def stored(self) -> list[StoredSnapshot]:
        """Return what the S3 server has, read past the proxy."""
        found = list_store(self._store, self._manifests)
        self._manifests.update((one.name, one.manifest) for one in found if one.manifest is not None)
        return found

    def slots(self) -> set[int]:
        """Return the slots of the stored snapshots, Unix seconds."""
        return {_slot(one) for one in self.stored()}

    def check_store(self) -> None:
        """What is stored is whole, and each slot is there once or counted as missed or doubled."""
        new = set(self._manifests)

        def stored_whole() -> list[StoredSnapshot]:
            found = self.stored()
            return [] if any(one.problem for one in found) else found

        # The next snapshot may be on its way: its manifest comes last.
        found = eventually(stored_whole, 30, "no snapshot is half there", POLL_S)
        assert all(is_intact(self._store, one) for one in found if one.name not in new)
        times = collections.Counter(_slot(one) for one in found)
        planned = range(min(times), max(times) + 1, SHARED_EVERY_S)
        holes = len(set(planned) - times.keys())
        print(f"{len(found)} snapshots of {len(planned)} slots, {holes} without one")
        assert holes <= self._counted("missed"), sorted(set(planned) - times.keys())
        assert sum(times.values()) - len(times) <= self._counted("doubled"), times.most_common(3)

    def _counted(self, what: str) -> int:
        """Return what the agents have counted in their indexes, together."""
        found = [host.run("cat", f"{STATE}/catalogue-shared.json", check=False) for host in self.agents]
        return sum(int(json.loads(one.stdout)[what]) for one in found if one.returncode == 0)

    def restarts(self) -> list[str]:
        """Return the process and the number of restarts of each agent."""
        return [host.run("systemctl", "show", "-P", "MainPID", "-P", "NRestarts", UNIT).stdout for host in self.agents]

    def journal(self, host: Host) -> str:
        """Return what the agent of a host has logged since it booted."""
        return host.run("journalctl", "-q", "-b", "-o", "cat", "-u", UNIT).stdout

    def half_taken(self, host: Host) -> list[Path]:
        """Return the files into which a host takes a snapshot of the shared policy now."""
        return list((host.root / STATE.lstrip("/") / "waiting/shared").glob(".*"))


def _slot(one: StoredSnapshot) -> int:
    assert one.manifest is not None, one.problem
    return int(parse_timestamp(one.manifest.slot, "slot"))


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Snapshots]:
    directory = tmp_path_factory.mktemp("snapshots")
    server = SeaweedFS(directory / "seaweedfs", Authority(tmp_path_factory.mktemp("ca")))
    with Hosts(directory / "hosts", SERVERS) as hosts, contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        estate = Estate(hosts, directory)
        estate.groups = {"consul_servers": SERVERS, "consulops_agents": AGENTS}
        with ThreadPoolExecutor(1) as thread:
            starting = thread.submit(start_estate, estate)
            server.start()  # here: it ends with the thread that starts it
            starting.result()
        bucket = server.bucket("snapshots")
        proxy = stack.enter_context(StoreProxy(server.url, server.ca_file, hosts.listen))
        credentials = server.credentials()
        for name in AGENTS:
            _prepare(hosts[name])
        assert estate.ask(hosts, "PUT", "/v1/acl/token", json.dumps(AGENTS_TOKEN).encode())
        url = f"s3://{bucket}/dc1/"
        estate.group_variables = {
            "lab_consul_token": TOKEN,
            "consulops_runtime_cache": str(WHEELS),
            "consulops_runtime_agents": [_agent(url, proxy.url, Path(credentials).read_text(encoding="utf-8"))],
        }
        estate.play("consulops.failover.install", consulops_install_serial="100%")
        options = StoreOptions(url, endpoint=server.url, ca_file=server.ca_file, credentials_file=credentials)
        yield Snapshots(estate, proxy, open_store(options))


def _prepare(host: Host) -> None:
    """Make the user, the destination, and small file systems on the host that has them; bring the library for S3."""
    host.run("useradd", "--system", "--no-create-home", "consulops")
    host.run("mkdir", "-p", PLACE, STATE)
    if host.name == SMALL_DISKS:
        for path in (PLACE, STATE):
            host.run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path)
    host.run("chown", "consulops:", PLACE, STATE)
    host.run("chmod", "700", PLACE, STATE)
    python = next((host.root / "usr/lib").glob("python3.*")).name
    libraries = host.root / "usr/local/lib" / python / "dist-packages"
    package = Path(str(obstore.__file__)).parent
    shutil.copytree(package, libraries / package.name)
    shutil.copy(str(typing_extensions.__file__), libraries)


def _agent(url: str, endpoint: str, credentials: str) -> dict[str, t.Any]:
    """Return the role's description of the agent."""
    store = {"endpoint": endpoint, "credentials_file": "credential:s3", "timeout": 2.0}
    shared = {"store": {"url": url, "store": store, "keep_last": -1}}
    return {
        "name": "snapshot",
        "agent": "snapshot",
        "lease": LEASE,
        "service": {"check_ttl": "3s"},
        "back_off": {"longest": "1s"},
        "connection": {"timeout": 5.0},
        "credentials": {"token": AGENTS_TOKEN["SecretID"], "s3": credentials},
        "writable_directories": [PLACE],
        "options": {
            "policies": {
                "shared": {
                    "interval": f"{SHARED_EVERY_S}s",
                    "destinations": shared,
                    "stream_timeout": 5,
                    "max_waiting": max(48, int(2 * FAULTS_S / SHARED_EVERY_S)),
                },
                "own": {
                    "interval": f"{OWN_EVERY_S}s",
                    "destinations": {"disk": {"url": PLACE, "keep_last": 10}},
                    "max_lag": "3s",
                },
            }
        },
    }


def test_killed_during_an_upload_the_snapshot_is_completed(snapshots: Snapshots) -> None:
    holder = snapshots.begin()
    held = HeldManifest(snapshots.proxy)
    held.wait()
    before = holder.run("systemctl", "show", "-P", "NRestarts", UNIT).stdout
    holder.run("systemctl", "kill", "-s", "KILL", UNIT)
    held.release("cut-upload")
    snapshots.wait_well()
    assert int(holder.run("systemctl", "show", "-P", "NRestarts", UNIT).stdout) == int(before) + 1
    snapshots.hand_over_to(holder)
    snapshots.wait_well()
    snapshots.check_store()


CUT = "cut off from the servers"
# What the agent of the host says, "" if it cannot say anything.
FAULTS_OF_THE_HOST: dict[str, tuple[Fault, str]] = {
    "frozen": (faults_of(UNIT)["frozen"], ""),
    CUT: (Fault(lambda host: host.cut_from(*SERVERS), Host.heal), "no answer within"),
    "without its Consul agent": (faults_of(UNIT)["without its Consul agent"], "refused"),
}


@pytest.mark.parametrize("fault", FAULTS_OF_THE_HOST)
def test_another_takes_over_and_no_slot_is_lost_or_doubled_unnoticed(snapshots: Snapshots, fault: str) -> None:
    injected, words = FAULTS_OF_THE_HOST[fault]
    holder = snapshots.begin()
    other = snapshots.other(holder)
    held = HeldManifest(snapshots.proxy)
    held.wait()
    try:
        began = time.monotonic()
        injected.inject(holder)
        eventually(lambda: snapshots.standing(other) == "holder", TAKEOVER_S, f"{other.name} takes over", POLL_S)
        print(f"taken over from the one that was {fault} after {time.monotonic() - began:.1f} s")
        snapshots.wait_stored_by(other)
        if words:
            eventually(lambda: words in snapshots.status(holder).get("problem", ""), 30, f"it says {words!r}", POLL_S)
    finally:
        injected.heal(holder)
        held.release()
    if fault == CUT:
        # Otherwise Consul tries to reach the servers that it lost only every 30 s (Serf's ReconnectInterval).
        snapshots.estate.consul(holder, "PUT", f"/v1/agent/join/{other.address}")
    snapshots.end()


def test_cut_off_from_the_store_snapshots_wait(snapshots: Snapshots) -> None:
    holder = snapshots.begin()
    try:
        holder.cut_from_bridge()
        snapshots.wait_said(holder, "did not answer in time")
        eventually(lambda: snapshots.waiting(holder) >= 2, 30, "snapshots wait", POLL_S)
        assert snapshots.standing(holder) == "holder", "another instance may be cut off as well"
    finally:
        holder.heal()
    snapshots.end()


def test_a_store_that_is_down_for_a_while_gets_every_snapshot(snapshots: Snapshots) -> None:
    snapshots.hand_over_to(next(host for host in snapshots.agents if host.name != SMALL_DISKS))
    holder = snapshots.begin()
    began = time.time()
    snapshots.proxy.go_down()
    try:
        snapshots.wait_said(holder, "refuses the connection")
        time.sleep(max(0.0, began + FAULTS_S - time.time()))
        waiting = snapshots.waiting(holder)
    finally:
        snapshots.proxy.come_back()
    ended = time.time()
    snapshots.end()
    during = [slot for slot in snapshots.slots() if began <= slot <= ended]
    assert len(during) >= waiting >= FAULTS_S / SHARED_EVERY_S / 2


@pytest.mark.parametrize(
    ("method", "fault", "words"),
    [
        ("PUT", "500", "the store says 500 InternalError"),
        ("HEAD", "503", "the store says 503"),
        ("PUT", "cut-upload", "cut the connection"),
        ("GET", "flip", "gave back"),
    ],
)
def test_a_store_that_fails_gets_no_half_snapshot(snapshots: Snapshots, method: str, fault: str, words: str) -> None:
    holder = snapshots.begin()
    snapshots.proxy.fail(method, fault, ".snap")
    try:
        snapshots.wait_said(holder, words)
    finally:
        snapshots.proxy.heal()
    snapshots.end()


def test_a_leader_that_is_killed_during_a_save_costs_no_half_snapshot(snapshots: Snapshots) -> None:
    snapshots.hand_over_to(next(host for host in snapshots.agents if host.name != SMALL_DISKS))
    holder = snapshots.begin()
    leader = snapshots.estate.leader()
    leader.run("systemctl", "kill", "-s", "STOP", "consul")
    try:
        eventually(lambda: snapshots.half_taken(holder), 10, "a snapshot is being taken", 0.02)
    finally:
        leader.run("systemctl", "kill", "-s", "KILL", "consul")
    snapshots.estate.healthy()
    snapshots.end()


def test_all_of_consul_is_killed_and_comes_back(snapshots: Snapshots) -> None:
    snapshots.begin()
    for host in snapshots.estate.hosts:
        host.run("systemctl", "kill", "-s", "KILL", "consul")
    for host in snapshots.agents:
        eventually(lambda host=host: snapshots.status(host)["problem"], 30, f"{host.name} says what is wrong", POLL_S)
    snapshots.estate.healthy()
    snapshots.end()


def test_a_token_that_is_revoked_and_given_back(snapshots: Snapshots) -> None:
    holder = snapshots.begin()
    hosts = snapshots.estate.hosts
    assert snapshots.estate.ask(hosts, "DELETE", f"/v1/acl/token/{AGENTS_TOKEN['AccessorID']}")
    try:
        for host in snapshots.agents:
            eventually(
                lambda host=host: "ACL not found" in snapshots.status(host)["problem"], 30, "it is refused", POLL_S
            )
            assert "ACL not found" in snapshots.journal(host)
        eventually(lambda: snapshots.check(holder)[0] == "critical", 30, "its check is critical", POLL_S)
    finally:
        assert snapshots.estate.ask(hosts, "PUT", "/v1/acl/token", json.dumps(AGENTS_TOKEN).encode())
    snapshots.end()


def _fill(host: Host, path: str) -> None:
    host.run("dd", "if=/dev/zero", f"of={path}/filler", "bs=4k", check=False)


def test_disks_that_are_full_and_freed(snapshots: Snapshots) -> None:
    """The lease goes to a host that has room; what waits on the full disk is in the store in the end."""
    holder = snapshots.estate.hosts[SMALL_DISKS]
    snapshots.hand_over_to(holder)
    snapshots.begin()
    other = snapshots.other(holder)
    try:
        _fill(holder, PLACE)
        snapshots.wait_said(holder, f"{PLACE}: No space left on device", "own")
        snapshots.proxy.go_down()
        eventually(lambda: snapshots.waiting(holder) >= 2, 30, "snapshots wait", POLL_S)
        _fill(holder, STATE)
        waiting = holder.run("ls", f"{STATE}/waiting/shared").stdout.split()
        snapshots.proxy.come_back()
        eventually(lambda: snapshots.standing(other) == "holder", TAKEOVER_S, f"{other.name} takes over", POLL_S)
        snapshots.wait_stored_by(other)
        assert f"{STATE}/waiting/shared: No space left on device" in snapshots.journal(holder)
    finally:
        if snapshots.proxy.is_down:
            snapshots.proxy.come_back()
        for path in (STATE, PLACE):
            holder.run("rm", "-f", f"{path}/filler")
    snapshots.end()
    snapshots.hand_over_to(holder)
    snapshots.wait_well()
    assert {name for name in waiting if name.endswith(".snap")} <= {one.name for one in snapshots.stored()}


def test_a_host_that_reboots_hands_over_and_comes_back(snapshots: Snapshots) -> None:
    holder = next(host for host in snapshots.agents if host.name != SMALL_DISKS)
    snapshots.hand_over_to(holder)
    snapshots.begin()
    holder.reboot()
    snapshots.estate.healthy()
    snapshots.wait_well()
    snapshots.check_store()
    assert holder.run("systemctl", "is-active", UNIT).stdout == "active\n"

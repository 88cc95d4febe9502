# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a snapshot agent took while its store was away, after it lost the lease: seen everywhere, and delivered from standby."""

from __future__ import annotations

import signal
import typing as t
import uuid
from pathlib import Path

import pytest
import requests
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stored_snapshots import (
    StoredSnapshot,
    list_store,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.open_store import open_store
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store import StoreOptions

from tests.lab.agents import AgentProcess, run_command
from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, Lab, eventually, freeze
from tests.lab.object_stores import SeaweedFS
from tests.lab.snapshotting import Snapshotters, end_session, wait_for_policy, wait_for_snapshot
from tests.lab.store_faults import StoreProxy

WAITING = 3


class Store(t.NamedTuple):
    """A prefix of a bucket, directly and through a proxy of the first host."""

    url: str
    options: dict[str, t.Any]
    proxy: StoreProxy

    def policy(self, name: str, **options: str) -> dict[str, t.Any]:
        """Return the policies of a host."""
        destination = {"url": self.url, "store": {**self.options, **options}, "keep_last": 1000}
        return {name: {"interval": "1s", "destinations": {"offsite": destination}}}

    def snapshots(self) -> list[StoredSnapshot]:
        """Return what is stored."""
        return list_store(open_store(StoreOptions(self.url, **self.options)))


@pytest.fixture(scope="module")
def bucket(seaweedfs: SeaweedFS) -> str:
    """The bucket of the file; each test has a prefix of its own."""
    return seaweedfs.bucket("agent-standby")


@pytest.fixture
def store(seaweedfs: SeaweedFS, bucket: str) -> t.Iterator[Store]:
    options = {
        "endpoint": seaweedfs.url,
        "ca_file": str(seaweedfs.ca_file),
        "credentials_file": str(seaweedfs.credentials()),
    }
    with StoreProxy(seaweedfs.url, seaweedfs.ca_file) as proxy:
        yield Store(f"s3://{bucket}/{uuid.uuid4().hex}/", options, proxy)


class Pair(t.NamedTuple):
    """A host whose snapshots wait and that has lost the lease, and the holder; ``slots`` are those that wait."""

    first: AgentProcess
    second: AgentProcess
    slots: set[str]

    def waiting(self) -> dict[str, t.Any]:
        """Return what the first host shows of what waits."""
        found: dict[str, t.Any] = self.first.status()["section"]["waiting_on_standby"]
        return found


def pair(snapshotters: Snapshotters, datacenter: Datacenter, store: Store, name: str) -> Pair:
    """Let snapshots wait on a host whose way to the store is cut, and let another one take the lease."""
    store.proxy.fail("PUT", "503")
    first = snapshotters.start(datacenter, store.policy(name, endpoint=store.proxy.url), name=name)
    wait_for_policy(first, name, lambda one: one["destinations"]["offsite"]["waiting"] >= WAITING, "some wait")
    second = snapshotters.start(datacenter, store.policy(name), name=name)
    second.wait("standby")
    freeze(first.process)
    end_session(datacenter, name, agent=name)
    wait_for_snapshot(second, name)
    first.process.send_signal(signal.SIGCONT)
    first.wait("standby")
    waiting = [path.name for path in (first.state / "waiting" / name).glob("*.snap")]
    assert len(waiting) >= WAITING
    return Pair(first, second, {one[: -len(".snap")].rpartition("-")[2] for one in waiting})


def slots_in(store: Store) -> list[str]:
    return sorted(one.name[: -len(".snap")].rpartition("-")[2] for one in store.snapshots() if not one.problem)


def test_what_waits_without_the_lease_is_seen_everywhere_and_delivered_when_the_store_is_back(
    snapshotters: Snapshotters, own_lab: Lab, store: Store, bundle: Path
) -> None:
    datacenter = own_lab.datacenter("seen")  # in a shared one agents of other tests have published too
    hosts = pair(snapshotters, datacenter, store, "seen")
    first, second, slots = hosts
    key = f"/v1/kv/consulops/snapshots/seen/seen/waiting/{first.status()['node']}?raw"
    eventually(
        lambda: datacenter.get(key) and "503" in datacenter.get(key)["destinations"]["offsite"]["problem"],
        60,
        "it is published with the reason",
    )
    (held,) = hosts.waiting().values()
    assert held["snapshots"] == len(slots) == held["destinations"]["offsite"]["waiting"] and held["since"]
    assert f"{len(slots)} snapshots wait for offsite" in first.status()["problem"]
    assert "waiting here" in requests.get(first.url, timeout=5).text
    metrics = requests.get(f"{first.url}/metrics", timeout=5).text
    assert f'consulops_snapshot_standby_waiting{{policy="seen"}} {float(len(slots))}' in metrics
    checked = run_module(
        "consul_alert_check",
        url=datacenter.url,
        token=datacenter.token,
        fail_on="never",
        rules=[{"rule": "snapshot_unverified"}],
    )
    (finding,) = [one for one in checked["findings"] if one["rule"] == "snapshot_unverified"]
    assert "which does not hold its lease" in finding["summary"] and "503" in finding["advice"]
    environment = {"CONSUL_HTTP_TOKEN": datacenter.token or "", "CONSUL_HTTP_ADDR": datacenter.url}
    for words in (["--from-consul", "--name", "seen"], ["--agent", first.url]):
        shown = run_command(bundle, "snapshot", "status", *words, environment=environment).stdout
        assert f"{len(slots)} waiting without the lease, since {held['since']}" in shown
    assert slots - set(slots_in(store)), "the holder took only the last ones again"
    store.proxy.heal()
    eventually(lambda: slots <= set(slots_in(store)), 60, "they are in the store")
    eventually(lambda: not hosts.waiting(), what="nothing waits")
    keys = "/v1/kv/consulops/snapshots/seen/?keys"
    eventually(
        lambda: not [one for one in datacenter.get(keys) if "/waiting/" in one], what="nothing is published of it"
    )
    assert first.status()["state"] == "standby" and not first.status()["problem"]
    found = slots_in(store)
    assert len(found) == len(set(found)), "no slot is there twice"
    second.stop()
    first.wait("active")
    wait_for_snapshot(first, "seen")


def test_a_standby_that_gets_the_lease_ends_its_upload_and_takes_snapshots(
    snapshotters: Snapshotters, own_lab: Lab, store: Store
) -> None:
    """An upload that hangs keeps the lease from nobody."""
    datacenter = own_lab.datacenter("again")
    first, second, slots = pair(snapshotters, datacenter, store, "again")
    sent = len(store.proxy.requests)
    store.proxy.fail("PUT", "hang", ".snap")
    eventually(lambda: len(store.proxy.requests) > sent, 60, "the standby hangs in an upload")
    second.stop()
    store.proxy.heal()
    wait_for_snapshot(first, "again", 20)
    assert slots <= set(slots_in(store))

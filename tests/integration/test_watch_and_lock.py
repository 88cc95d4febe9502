# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blocking queries and session locks against real Consul, also when it goes back in time or takes sessions away."""

from __future__ import annotations

import threading
import time

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors, txn
from ansible_collections.consulops.failover.plugins.module_utils._consul.lock import Lock
from ansible_collections.consulops.failover.plugins.module_utils._consul.watch import Watch, WatchResult

from tests.lab import keys
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.fill import fill_kv

from .conftest import MakeClient

pytestmark = pytest.mark.client_library


def test_a_watch_returns_at_once_then_on_change_then_after_its_wait(dc1: Datacenter, make_client: MakeClient) -> None:
    dc1.put("/v1/kv/watched", "1")
    watch = Watch(make_client(dc1), "/v1/kv/watched", wait_s=1)
    assert watch.next().changed is True
    seen: list[WatchResult] = []
    thread = threading.Thread(target=lambda: seen.append(watch.next()))
    thread.start()
    dc1.put("/v1/kv/watched", "2")
    thread.join()
    assert seen[0].changed is True and seen[0].reset is False
    started = time.monotonic()
    assert watch.next().changed is False
    assert 0.9 < time.monotonic() - started < 10


def test_a_wait_longer_than_the_timeout_is_no_timeout(dc1: Datacenter, make_client: MakeClient) -> None:
    watch = Watch(make_client(dc1, timeout=0.5), "/v1/kv/nobody/writes/this", wait_s=2)
    watch.next()
    assert watch.next().reset is False


def test_a_watch_survives_an_index_that_goes_backwards(lab: Lab, make_client: MakeClient) -> None:
    datacenter = lab.datacenter()
    datacenter.put("/v1/kv/watched", "old")
    old = datacenter.snapshot()
    fill_kv(datacenter, 640)
    datacenter.put("/v1/kv/watched", "new")
    watch = Watch(make_client(datacenter), "/v1/kv/watched", wait_s=1)
    high = watch.next().index
    datacenter.put("/v1/snapshot", old)
    readings = [watch.next() for _look in range(3)]
    assert any(reading.reset for reading in readings)
    last = readings[-1]
    assert last.index < high
    assert last.response.json()[0]["Value"] == "b2xk"  # "old"


def test_one_of_two_contenders_has_the_lock_and_the_other_takes_over(dc1: Datacenter, make_client: MakeClient) -> None:
    first = Lock(make_client(dc1), "lock/two", name="first", value=b"first", lock_delay_s=0)
    second = Lock(make_client(dc1), "lock/two", name="second", value=b"second", lock_delay_s=0)
    with first, second:
        assert first.acquire(0) is True and first.held
        assert second.acquire(0) is False and not second.held
        taken: list[bool] = []
        thread = threading.Thread(target=lambda: taken.append(second.acquire(20)))
        thread.start()
        fence = first.fence
        first.release()
        assert not first.held
        thread.join()
        assert taken == [True] and second.held
        assert second.fence > fence
        assert dc1.request("GET", "/v1/kv/lock/two?raw").text == "second"
    assert "Session" not in dc1.get("/v1/kv/lock/two")[0]
    assert {session["Name"] for session in dc1.get("/v1/session/list")}.isdisjoint({"first", "second"})


def test_a_lock_whose_session_is_taken_away_is_lost(dc1: Datacenter, make_client: MakeClient) -> None:
    with Lock(make_client(dc1), "lock/lost", name="loser", ttl_s=10, lock_delay_s=1) as lock:
        assert lock.acquire(5)
        dc1.put(f"/v1/session/destroy/{lock.session}")
        assert lock.wait_lost(10) is True
        assert not lock.held
        # The lock delay keeps it from everybody for a second, then it can be had again, with a higher fence.
        fence = lock.fence
        assert lock.acquire(20) is True
        assert lock.fence > fence


def test_one_that_does_not_know_yet_that_its_lock_is_lost_cannot_write(
    dc1: Datacenter, make_client: MakeClient
) -> None:
    """What the guard is for: a process that was frozen between its look at ``held`` and its write."""
    client = make_client(dc1)
    first = Lock(client, "lock/fenced", name="first", lock_delay_s=0)
    second = Lock(make_client(dc1), "lock/fenced", name="second", lock_delay_s=0)
    with first, second:
        assert first.acquire(5)
        writer = txn.Writer(client, fence=first.guard)
        writer.commit([txn.Operation("set", "fenced/a", b"first")])
        dc1.put(f"/v1/session/destroy/{first.session}")
        assert second.acquire(5)
        assert first.held  # as far as it knows
        with pytest.raises(errors.Conflict):
            writer.commit([txn.Operation("set", "fenced/a", b"late"), txn.Operation("set", "fenced/b", b"late")])
        assert {key: value for key, (value, _flags) in keys.read(dc1, "fenced/").items()} == {"fenced/a": b"first"}
        assert not first.confirm() and not first.held


def test_a_lock_whose_key_is_deleted_is_lost_before_somebody_else_has_it_long(
    dc1: Datacenter, make_client: MakeClient
) -> None:
    first = Lock(make_client(dc1), "lock/deleted", name="first", ttl_s=10, lock_delay_s=0)
    second = Lock(make_client(dc1), "lock/deleted", name="second", ttl_s=10, lock_delay_s=0)
    with first, second:
        assert first.acquire(5)
        dc1.request("DELETE", "/v1/kv/lock/deleted")
        assert second.acquire(5)
        assert second.fence > first.fence
        assert first.wait_lost(10) is True
        assert not first.held and second.held


def test_a_lock_is_given_up_when_consul_is_gone_for_a_ttl(lab: Lab, make_client: MakeClient) -> None:
    datacenter = lab.datacenter()
    with Lock(make_client(datacenter, timeout=1), "lock/gone", name="lonely", ttl_s=10) as lock:
        assert lock.acquire(5)
        eventually(lambda: datacenter.get("/v1/kv/lock/gone")[0]["Session"] == lock.session)
        datacenter.servers[0].pause()
        paused = time.monotonic()
        assert lock.wait_lost(30) is True
        assert time.monotonic() - paused < 15
        assert not lock.held
        datacenter.servers[0].resume()

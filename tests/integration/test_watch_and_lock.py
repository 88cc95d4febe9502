# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blocking queries and session locks on real Consul, also when its index goes backwards or a session is taken away."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors, txn
from ansible_collections.consulops.failover.plugins.module_utils._consul.lock import Lock
from ansible_collections.consulops.failover.plugins.module_utils._consul.watch import Watch, WatchResult

from tests.lab import keys
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
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


def test_a_wait_may_be_longer_than_the_timeout(dc1: Datacenter, make_client: MakeClient) -> None:
    watch = Watch(make_client(dc1, timeout=0.5), "/v1/kv/never/written", wait_s=2)
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
    readings = [watch.next() for _query in range(3)]
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
        # The lock delay blocks every contender for a second, then the lock can be acquired again, with a higher fence.
        fence = lock.fence
        assert lock.acquire(20) is True
        assert lock.fence > fence


def test_the_guard_stops_writes_of_a_contender_that_has_not_noticed_its_loss(
    dc1: Datacenter, make_client: MakeClient
) -> None:
    """As after a process was frozen between reading ``held`` and writing."""
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


def test_a_lock_whose_key_is_deleted_is_lost_soon_after_another_contender_takes_it(
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


def test_a_lock_is_lost_when_consul_does_not_answer_for_a_ttl(lab: Lab, make_client: MakeClient) -> None:
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


# ---------------------------------------------------------------------------------------------------------------
# A lock and its renewing thread


class Contender:
    """A lock whose requests go through a proxy, and how often its loss was reported."""

    def __init__(self, proxy: Proxy, make_client: MakeClient, key: str) -> None:
        self.proxy = proxy
        self.losses = 0
        self.lock = Lock(
            make_client(url=proxy.url), key, name="contender", ttl_s=10, lock_delay_s=0, on_lost=self._count_loss
        )

    def _count_loss(self) -> None:
        self.losses += 1

    def count(self, method: str, path: str) -> int:
        return sum(sent == method and at.startswith(path) for sent, at in self.proxy.requests)


@pytest.fixture
def contender(dc1: Datacenter, shared_lab: Lab, make_client: MakeClient) -> t.Iterator[Contender]:
    with Proxy(dc1.url, shared_lab.address()) as proxy:
        found = Contender(proxy, make_client, f"lock/threads/{time.monotonic_ns()}")
        yield found
        proxy.after_forward = lambda method, path: None
        proxy.fault = ""
        proxy.released.set()
        found.lock.release()


def test_a_lock_that_is_lost_while_it_is_acquired_is_not_reported_as_acquired(
    dc1: Datacenter, contender: Contender
) -> None:
    lock = contender.lock

    def take_away(method: str, path: str) -> None:
        if method == "GET" and "consistent" in path:
            contender.proxy.after_forward = lambda method, path: None
            dc1.put(f"/v1/session/destroy/{lock.session}")
            assert lock.wait_lost(10)

    contender.proxy.after_forward = take_away
    assert lock.acquire(0) is lock.held is False
    assert contender.losses == 0  # it was never held
    assert lock.acquire(5) is lock.held is True


def test_acquiring_a_held_lock_again_confirms_it_and_loses_nothing(contender: Contender) -> None:
    lock = contender.lock
    assert lock.acquire(5)
    fence = lock.fence

    def wait_for_a_renewal(method: str, path: str) -> None:
        if method == "PUT" and "acquire=" in path:  # would change the index that the renewing thread compares
            lock.wait_lost(8)

    contender.proxy.after_forward = wait_for_a_renewal
    assert lock.acquire(0) is True and lock.held
    assert (lock.fence, contender.losses) == (fence, 0)


def renewing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lock"]


def test_a_release_does_not_wait_for_the_renewing_thread(dc1: Datacenter, contender: Contender) -> None:
    lock, proxy = contender.lock, contender.proxy
    others = renewing_threads()
    assert lock.acquire(5)
    proxy.fault, proxy.method, proxy.path = "hang", "PUT", "/v1/session/renew"
    eventually(lambda: contender.count("PUT", "/v1/session/renew") > 0)
    still_renewing: list[bool] = []

    def note(method: str, path: str) -> None:
        if "release=" in path:
            still_renewing.append(set(renewing_threads()) > set(others))

    proxy.after_forward = note
    lock.release()
    assert still_renewing == [True]
    assert "Session" not in dc1.get(f"/v1/kv/{lock.key}")[0]
    assert contender.losses == 0


def test_a_release_during_a_renewal_is_not_a_loss(contender: Contender) -> None:
    lock, proxy = contender.lock, contender.proxy
    assert lock.acquire(5)
    threads: list[threading.Thread] = []

    def release(method: str, path: str) -> None:
        if method == "GET" and "consistent" in path and not threads:
            thread = threading.Thread(target=lock.release)
            thread.start()
            threads.append(thread)
            eventually(lambda: lock.session is None)

    proxy.after_forward = release
    eventually(lambda: threads != [])
    threads[0].join()
    eventually(lambda: not renewing_threads())
    assert contender.losses == 0 and not lock.held


def test_a_release_ends_an_attempt_to_acquire_in_another_thread(
    dc1: Datacenter, make_client: MakeClient, contender: Contender
) -> None:
    with Lock(make_client(dc1), contender.lock.key, name="holder", ttl_s=10, lock_delay_s=0) as holder:
        assert holder.acquire(5)
        taken: list[bool] = []
        thread = threading.Thread(target=lambda: taken.append(contender.lock.acquire(60)))
        thread.start()
        eventually(lambda: contender.count("GET", f"/v1/kv/{contender.lock.key}?index=") > 0)
        contender.lock.release()
        thread.join(20)
    assert taken == [False] and not contender.lock.held
    assert "contender" not in {session["Name"] for session in dc1.get("/v1/session/list")}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/session/create", '{"ID": 5}'),
        ("PUT", "/v1/session/create", "[]"),
        ("PUT", "/v1/kv/", '"true"'),
        ("PUT", "/v1/kv/", "[1]"),
        ("GET", "/v1/kv/", "[{}]"),
        ("GET", "/v1/kv/", "[]"),
    ],
)
def test_a_response_of_another_shape_is_never_a_lock(contender: Contender, method: str, path: str, body: str) -> None:
    proxy = contender.proxy
    proxy.fault, proxy.method, proxy.path, proxy.body = "json", method, path, body
    with pytest.raises(errors.InvalidResponse, match="is not Consul's"):
        contender.lock.acquire(0)
    assert not contender.lock.held

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replication under faults and concurrent writes: no key is lost, and the next undisturbed run converges."""

from __future__ import annotations

import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab import keys
from tests.lab.ansible import ModuleFailed
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import new_token

from .test_replicate import Task, counts, numbered

Hook = t.Callable[[], object]


@pytest.fixture
def task(federation: tuple[Datacenter, Datacenter]) -> Task:
    return Task(*federation)


def at_request(proxy: Proxy, number: int, path: str, action: Hook) -> None:
    """Call ``action`` just before the n-th (from 0) request of a path is forwarded."""
    numbers = iter(range(1_000_000))

    def hook(_method: str, requested: str) -> None:
        if requested.startswith(path) and next(numbers) == number:
            action()

    proxy.before_forward = hook


def break_one(proxy: Proxy, number: int, path: str, fault: str) -> None:
    """Apply a fault to the n-th (from 0) PUT of a path only."""
    proxy.path, proxy.method = path, "PUT"
    numbers = iter(range(1_000_000))

    def hook(method: str, requested: str) -> None:
        if method == "PUT" and requested.startswith(path):
            proxy.fault = fault if next(numbers) == number else ""

    proxy.arriving = hook


# ---------------------------------------------------------------------------------------------------------------
# Broken answers


@pytest.mark.parametrize("fault", ["page", "error", "cut", "short", "hang", "drop", "redirect", "echo", "json"])
@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_broken_answer_while_reading_changes_nothing(
    task: Task, proxy: t.Callable[..., Proxy], side: str, fault: str
) -> None:
    task.write(task.one, **numbered(20))
    task.run()
    task.delete(task.one, "k001")
    task.write(task.one, k002="new")
    broken = proxy((task.one if side == "source" else task.two).url, fault=fault, path=f"/v1/kv/{task.prefix}?recurse")
    broken.body = "{}"
    said = task.fails(**{side: {"url": broken.url, "timeout": 1}}, retry_timeout=0)["msg"]
    assert said.startswith("consul_kv_replicate: ") and broken.url in said
    assert task.read(task.two) == {name: (value.encode(), 0) for name, value in numbered(20).items()}
    assert counts(task.row()) == (0, 1, 1, 18)


SHAPES = [
    "null",
    "5",
    '"x"',
    "{}",
    "[5]",
    "[{}]",
    '[{"Node": null}]',
    '[{"Node": {"Node": 5}}]',
    "[[",
    "<h1>Hi</h1>",
    "",
]


@pytest.mark.parametrize("body", [*SHAPES, "[]"])
def test_raft_peers_of_another_shape_are_a_typed_error(task: Task, proxy: t.Callable[..., Proxy], body: str) -> None:
    """They are read when both sides have one datacenter name, to find out whether they are one store."""
    task.write(task.one, a="1")
    broken = proxy(task.one.url, fault="json", path="/v1/status/peers")
    broken.body = body
    copy = [{"source": task.prefix, "destination": f"copy-of-{task.prefix}"}]
    said = task.fails(destination={"url": broken.url}, prefixes=copy)["msg"]
    assert f"GET /v1/status/peers of {broken.url}" in said and "the answer is not Consul's" in said
    assert keys.read(task.one, f"copy-of-{task.prefix}") == {}


@pytest.mark.parametrize("body", SHAPES)
def test_health_of_another_shape_is_a_typed_error(task: Task, proxy: t.Callable[..., Proxy], body: str) -> None:
    """It is read when the destination is reached through an agent of another datacenter."""
    task.write(task.one, a="1")
    broken = proxy(task.one.url, fault="json", path="/v1/health/service/consul")
    broken.body = body
    said = task.fails(destination={"url": broken.url, "datacenter": "west"})["msg"]
    assert f"GET /v1/health/service/consul of {broken.url}" in said and "the answer is not Consul's" in said
    assert task.read(task.two) == {}


@pytest.mark.parametrize("fault", ["lose", "drop", "error"])
@pytest.mark.parametrize("number", range(4))
def test_one_lost_write_is_detected_and_repeated(
    task: Task, proxy: t.Callable[..., Proxy], fault: str, number: int
) -> None:
    task.write(task.one, **numbered(150))
    task.run()
    task.delete(task.one, "k000")
    task.write(task.one, **numbered(149, "w"), k149="w149", later="1")
    task.delete(task.one, "k000")
    broken = proxy(task.two.url)
    break_one(broken, number, "/v1/txn", fault)
    row = task.row(destination={"url": broken.url})
    assert counts(row) == (1, 149, 1, 0) and row["verified"]
    assert task.read(task.two) == task.read(task.one)
    assert task.run()["changed"] is False


def test_a_run_whose_writes_are_all_lost_fails_and_the_next_run_continues(
    task: Task, proxy: t.Callable[..., Proxy]
) -> None:
    task.write(task.one, **numbered(20))
    broken = proxy(task.two.url, fault="lose", path="/v1/txn", method="PUT")
    said = task.fails(destination={"url": broken.url}, retry_timeout=0.5)["msg"]
    assert "Run it again to continue" in said
    task.run()
    assert task.read(task.two) == task.read(task.one)
    task.delete(task.one, "k001")
    assert task.row()["deleted"] == 1, "what an interrupted run wrote is owned"


def interrupt_at(broken: Proxy, number: int) -> None:
    """Drop the n-th transaction (from 0) and all that follow."""
    broken.path, broken.method = "/v1/txn", "PUT"
    numbers = iter(range(1000))

    def hook(method: str, requested: str) -> None:
        if method == "PUT" and requested.startswith("/v1/txn") and next(numbers) >= number:
            broken.fault = "drop"

    broken.arriving = hook


@pytest.mark.parametrize("number", range(1, 8, 2))
def test_intents_of_an_interrupted_run_do_not_count_as_deleted_keys(
    task: Task, proxy: t.Callable[..., Proxy], number: int
) -> None:
    """Wherever it was interrupted: with 200 keys the ledger alone takes several transactions."""
    task.write(task.one, **numbered(200))
    broken = proxy(task.two.url)
    interrupt_at(broken, number)
    # Newer servers take more operations in a transaction, and would not need as many.
    found = task.fails(destination={"url": broken.url}, retry_timeout=0, batch_ops="64")
    written = len(task.read(task.two))
    assert found["changed"] is (found["prefixes"][0]["created"] > 0)
    row = task.row(on_conflict="keep")
    assert (row["created"], row["unchanged"], row["counts"]["conflicts"]) == (200 - written, written, 0)
    assert task.run(on_conflict="keep")["changed"] is False
    task.delete(task.two, "k001")
    assert task.row(on_conflict="keep")["counts"]["conflicts"] == 1


def test_what_others_deleted_stays_deleted_after_an_interrupted_run(task: Task, proxy: t.Callable[..., Proxy]) -> None:
    task.write(task.one, **numbered(20))
    task.run()
    task.delete(task.two, "k001")
    task.write(task.one, k002="new")
    broken = proxy(task.two.url)
    interrupt_at(broken, 2)
    task.fails(destination={"url": broken.url}, retry_timeout=0, on_conflict="keep")
    row = task.row(on_conflict="keep")
    assert [found["key"] for found in row["conflicts"]] == [f"{task.prefix}k001"] and "k001" not in task.read(task.two)


def test_what_an_interrupted_run_was_about_to_overwrite_is_not_owned(task: Task, proxy: t.Callable[..., Proxy]) -> None:
    task.write(task.one, **numbered(20))
    task.write(task.two, k001="foreign")
    broken = proxy(task.two.url)
    interrupt_at(broken, 2)
    task.fails(destination={"url": broken.url}, retry_timeout=0, on_conflict="overwrite")
    assert task.read(task.two) == {"k001": (b"foreign", 0)}
    task.delete(task.one, "k001")
    row = task.row(on_conflict="overwrite")
    assert (row["deleted"], row["kept"]) == (0, 1) and task.read(task.two)["k001"] == (b"foreign", 0)


@pytest.mark.parametrize("verify", [True, False])
def test_an_html_page_does_not_prove_that_a_key_was_written(
    task: Task, proxy: t.Callable[..., Proxy], *, verify: bool
) -> None:
    task.write(task.one, **numbered(3))
    broken = proxy(task.two.url, fault="page", path="/v1/txn", method="PUT")
    said = task.fails(destination={"url": broken.url}, retry_timeout=0, verify_digest=verify)
    assert "Does something else listen there?" in said["msg"] and said["changed"] is False
    assert task.read(task.two) == {}


# ---------------------------------------------------------------------------------------------------------------
# Servers that die


@pytest.mark.parametrize("number", [1, 5])
def test_the_destinations_leader_is_killed_while_keys_are_written(
    lab: Lab, federation: tuple[Datacenter, Datacenter], proxy: t.Callable[..., Proxy], number: int
) -> None:
    three = lab.datacenter("three", servers=3)
    task = Task(federation[0], three)
    task.write(task.one, **numbered(300))
    task.run()
    task.write(task.one, **numbered(290, "changed"))
    task.delete(task.one, *(f"k{index:03d}" for index in range(290, 300)))
    leader, follower = three.leader(), three.followers()[0]
    through = proxy(follower.url)
    at_request(through, number, "/v1/txn", leader.stop)
    options = {"destination": {"url": through.url, "timeout": 10}, "retry_timeout": 30}
    try:
        assert task.run(**options)["prefixes"][0]["deleted"] == 10
    except ModuleFailed as failure:
        assert "written or deleted before that" in str(failure)
    task.options["destination"] = {"url": follower.url}
    three.servers.remove(leader)
    three.leader()
    task.run(on_conflict="fail", retry_timeout=30)
    assert keys.read(Datacenter("three", [follower]), task.prefix) == keys.read(task.one, task.prefix)


def test_the_sources_leader_is_killed_while_it_is_read_and_nothing_wrong_is_deleted(
    lab: Lab, federation: tuple[Datacenter, Datacenter], proxy: t.Callable[..., Proxy]
) -> None:
    three = lab.datacenter("three", servers=3)
    task = Task(three, federation[1])
    task.write(three, **{f"{letter}{number:04d}": "v" for letter in "abc" for number in range(600)}, gone="1")
    task.run()
    task.delete(three, "gone")
    task.write(three, a0001="changed")
    leader, follower = three.leader(), three.followers()[0]
    through = proxy(follower.url)
    at_request(through, 2, f"/v1/kv/{task.prefix}", leader.stop)
    try:
        row = task.row(source={"url": through.url, "timeout": 10}, retry_timeout=30)
        assert (row["updated"], row["deleted"]) == (1, 1)
    except ModuleFailed as failure:
        assert "consul_kv_replicate: " in str(failure)
    assert task.read(task.two).keys() >= {f"{letter}{number:04d}" for letter in "abc" for number in range(600)}
    task.options["source"] = {"url": follower.url}
    three.servers.remove(leader)
    three.leader()
    task.run()
    assert keys.read(task.two, task.prefix) == keys.read(Datacenter("three", [follower]), task.prefix)


# ---------------------------------------------------------------------------------------------------------------
# Concurrent writes by others


def test_a_key_to_delete_that_exists_at_the_source_again_is_kept(task: Task, proxy: t.Callable[..., Proxy]) -> None:
    task.write(task.one, **numbered(10))
    task.run()
    task.delete(task.one, "k001", "k002")
    through = proxy(task.two.url)
    at_request(through, 0, "/v1/txn", lambda: task.write(task.one, k001="back"))
    row = task.row(destination={"url": through.url})
    assert (row["deleted"], row["kept"]) == (1, 1)
    assert "k001" in task.read(task.two) and "k002" not in task.read(task.two)
    assert counts(task.row()) == (0, 1, 0, 8)


@pytest.mark.parametrize("name", ["k001", "a//b"])
def test_a_key_to_delete_that_is_edited_meanwhile_is_a_conflict(
    task: Task, proxy: t.Callable[..., Proxy], name: str
) -> None:
    task.write(task.one, **numbered(10), **{"a//b": "1"})
    task.run()
    task.one.put("/v1/txn", [{"KV": {"Verb": "delete", "Key": task.prefix + name}}])
    through = proxy(task.two.url)
    at_request(through, 1, "/v1/txn", lambda: task.write(task.two, **{name: "precious"}))
    found = task.fails(destination={"url": through.url})
    assert f"1 key in conflict: {task.prefix}{name} (" in found["msg"] and not found["prefixes"][0]["verified"]
    assert task.read(task.two)[name] == (b"precious", 0)


@pytest.mark.parametrize(("on_conflict", "value"), [("fail", b"theirs"), ("keep", b"theirs"), ("overwrite", b"new")])
def test_an_edit_between_reading_and_writing(
    task: Task, proxy: t.Callable[..., Proxy], on_conflict: str, value: bytes
) -> None:
    task.write(task.one, **numbered(10))
    task.run()
    task.write(task.one, k001="new", k002="new")
    through = proxy(task.two.url)
    at_request(through, 1, "/v1/txn", lambda: task.write(task.two, k001="theirs"))
    options = {"destination": {"url": through.url}, "on_conflict": on_conflict}
    found = task.fails(**options) if on_conflict == "fail" else task.run(**options)
    row = found["prefixes"][0]
    assert task.read(task.two)["k001"][0] == value and task.read(task.two)["k002"][0] == b"new"
    assert (row["updated"], row["counts"]["conflicts"]) == ((2, 0) if on_conflict == "overwrite" else (1, 1))


def test_a_key_that_others_keep_writing_to_is_named(task: Task, proxy: t.Callable[..., Proxy]) -> None:
    task.write(task.one, a="1", b="1")
    task.run()
    task.write(task.one, a="2", b="2")
    through = proxy(task.two.url)
    times = iter(range(1000))

    def write_before(_method: str, path: str) -> None:
        if path.startswith("/v1/txn"):
            task.write(task.two, a=f"mine {next(times)}")

    through.before_forward = write_before
    said = task.fails(destination={"url": through.url}, on_conflict="overwrite")["msg"]
    assert "a (written to by others in 3 attempts)" in said
    assert task.read(task.two)["b"] == (b"2", 0)
    assert counts(task.row(on_conflict="overwrite")) == (0, 1, 0, 1)


def test_concurrent_runs_do_not_disturb_each_other(task: Task) -> None:
    task.write(task.one, **numbered(400))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _turn: task.run(lock_wait=60), range(4)))
    assert sorted(result["prefixes"][0]["created"] for result in found) == [0, 0, 0, 400]
    assert task.read(task.two) == task.read(task.one)
    task.delete(task.one, *(f"k{number:03d}" for number in range(30)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _turn: task.run(lock_wait=60), range(4)))
    assert sorted(result["prefixes"][0]["deleted"] for result in found) == [0, 0, 0, 30]


def test_a_run_that_read_while_another_wrote_reads_again(task: Task, proxy: t.Callable[..., Proxy]) -> None:
    task.write(task.one, **numbered(150))
    first, second = proxy(task.two.url), proxy(task.two.url)
    with ThreadPoolExecutor(1) as pool:
        later = []

        def start_second() -> None:
            later.append(pool.submit(task.run, destination={"url": second.url}))
            eventually(
                lambda: any("acquire=" in path for _method, path in second.requests), what="it requests the lock"
            )

        at_request(first, 2, "/v1/txn", start_second)
        assert task.row(destination={"url": first.url})["created"] == 150
        result = later[0].result()
    assert (result["changed"], result["prefixes"][0]["unchanged"]) == (False, 150)
    task.delete(task.one, "k001")
    assert task.row()["deleted"] == 1, "what the first run wrote is owned"


def test_what_an_interrupted_run_wrote_is_owned_although_another_run_had_read_before(
    task: Task, proxy: t.Callable[..., Proxy]
) -> None:
    """The other run read the ledger after the first began and before it recorded an intent, and waits for the lock."""
    task.write(task.one, **numbered(200))
    first, second = proxy(task.two.url, path="/v1/txn", method="PUT"), proxy(task.two.url)
    checkpoint = f"/v1/kv/consulops/replication/{task.options['name']}/"
    has_read, may_continue = threading.Event(), threading.Event()

    def pause_second(method: str, requested: str) -> None:
        if method == "GET" and requested.startswith(f"{checkpoint}?recurse") and not has_read.is_set():
            has_read.set()
            may_continue.wait(60)

    def interrupt_first(method: str, requested: str) -> None:
        if has_read.is_set() and method == "GET" and requested.startswith(f"/v1/kv/{task.prefix}"):
            first.fault = "drop"

    second.after_forward, first.arriving = pause_second, interrupt_first
    with ThreadPoolExecutor(1) as pool:
        later = []

        def start_second() -> None:
            later.append(pool.submit(task.row, destination={"url": second.url}))
            assert has_read.wait(60)

        at_request(first, 1, "/v1/txn", start_second)
        try:
            task.fails(destination={"url": first.url}, retry_timeout=0)
            assert len(task.read(task.two)) == 200
            task.write(task.one, **{f"new{number}": "1" for number in range(200)})
        finally:
            may_continue.set()
        assert counts(later[0].result()) == (200, 0, 0, 200)
    task.write(task.one, k000="changed")
    task.delete(task.one, "k001")
    assert counts(task.row()) == (0, 1, 1, 398)


def test_another_run_in_progress_is_named(task: Task) -> None:
    task.write(task.one, a="1")
    session = task.two.put("/v1/session/create", {"Name": "other", "TTL": "30s"})["ID"]
    lock = f"consulops/replication/{task.options['name']}/lock"
    assert task.two.put(f"/v1/kv/{lock}?acquire={session}", "host-b, process 7")
    said = task.fails(lock_wait=0)["msg"]
    assert "is in progress (host-b, process 7)" in said and "Nothing was changed" in said
    assert task.read(task.two) == {}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_lost_lock_stops_the_writes_at_once(task: Task, proxy: t.Callable[..., Proxy], number: int) -> None:
    task.write(task.one, **numbered(200))
    through = proxy(task.two.url)

    def destroy() -> None:
        lock = task.two.get(f"/v1/kv/consulops/replication/{task.options['name']}/lock")[0]
        task.two.put(f"/v1/session/destroy/{lock['Session']}")

    at_request(through, number, "/v1/txn", destroy)
    said = task.fails(destination={"url": through.url})["msg"]
    assert "was lost, to another run or by hand" in said and "Run it again to continue" in said
    assert len(task.read(task.two)) < 200
    assert task.row(lock_wait=30)["unchanged"] < 200
    assert task.read(task.two) == task.read(task.one)


def test_a_token_is_revoked_while_keys_are_written(
    secured: Datacenter, federation: tuple[Datacenter, Datacenter], proxy: t.Callable[..., Proxy]
) -> None:
    task = Task(federation[0], secured)
    task.write(task.one, **numbered(200))
    token = new_token(secured, 'key_prefix "" { policy = "write" } session_prefix "" { policy = "write" }', "revoked")
    accessor = next(row["AccessorID"] for row in secured.get("/v1/acl/tokens") if row["Description"] == "revoked")
    through = proxy(secured.url)
    at_request(through, 2, "/v1/txn", lambda: secured.request("DELETE", f"/v1/acl/token/{accessor}"))
    said = task.fails(destination={"url": through.url, "token": token})["msg"]
    assert "403" in said and "Run it again to continue" in said and token not in said
    for session in secured.get("/v1/session/list"):
        if session["Name"].startswith("consulops"):
            secured.put(f"/v1/session/destroy/{session['ID']}")
    assert task.row(lock_wait=60)["verified"]
    assert task.read(secured) == task.read(task.one)


NAMES = ["a", "b", "c/d", "c//e", "f/g/h"]
steps = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]), st.sampled_from(NAMES), st.sampled_from(["x", "y", None]), st.integers(0, 12)
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=steps, during=steps, policy=st.sampled_from(["fail", "keep", "overwrite"]))
def test_one_undisturbed_run_converges_whatever_others_wrote_before(
    federation: tuple[Datacenter, Datacenter],
    shared_lab: Lab,
    before: list[tuple[str, str, str | None, int]],
    during: list[tuple[str, str, str | None, int]],
    policy: str,
) -> None:
    task = Task(*federation)
    task.write(task.one, always="there")
    task.write(task.two, local="never at the source")

    def perform(step: tuple[str, str, str | None, int]) -> None:
        side, name, value, _when = step
        datacenter = task.one if side == "one" else task.two
        if value is None:
            datacenter.put("/v1/txn", [{"KV": {"Verb": "delete", "Key": task.prefix + name}}])
        else:
            task.write(datacenter, **{name: value})

    for step in before:
        perform(step)
    task.run(on_conflict="overwrite")
    with Proxy(task.two.url, f"{shared_lab.network}.250") as through:
        numbers = iter(range(1_000_000))

        def hook(_method: str, _path: str) -> None:
            number = next(numbers)
            for step in during:
                if step[3] == number:
                    perform(step)

        through.before_forward = hook
        try:
            task.run(destination={"url": through.url}, on_conflict=policy)
        except ModuleFailed as failure:
            assert "in conflict" in str(failure) or "not deleted" in str(failure)
    for step in during:
        perform(step)
    task.run(on_conflict="overwrite", max_delete_percent=100)
    one, two = task.read(task.one), task.read(task.two)
    assert two["local"] == (b"never at the source", 0)
    assert {name: two.get(name) for name in one} == one
    at_two = {name for side, name, value, _when in (*before, *during) if side == "two" and value is not None}
    assert two.keys() - one.keys() <= {"local"} | at_two, "a key that is gone from the source was not deleted"
    assert task.run(on_conflict="overwrite", max_delete_percent=100)["changed"] is False


def test_a_destination_that_never_answers_ends_within_its_timeout(task: Task, proxy: t.Callable[..., Proxy]) -> None:
    task.write(task.one, a="1")
    silent = proxy(task.two.url, fault="hang", path="/v1/txn", method="PUT")
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(task.fails, destination={"url": silent.url, "timeout": 1}, retry_timeout=1)
        said = future.result(timeout=60)["msg"]
    assert "no answer within 1 s" in said
    assert time.monotonic() - started < 30

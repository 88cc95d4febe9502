# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A replication that has too many changes to hold them all: it reads ahead while it writes, and reports what one in memory reports."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, kv
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import Error
from ansible_collections.consulops.failover.plugins.module_utils._replication import (
    key_writer,
    prepare,
    run_context,
    shard_reader,
)
from ansible_collections.consulops.failover.plugins.module_utils._tasks.replicate import SPEC, replicate
from ansible_collections.consulops.failover.plugins.module_utils._tasks.task import Invocation

from tests.lab.ansible import ModuleFailed
from tests.lab.consul import Datacenter
from tests.lab.faults import Proxy

from .test_replicate import Task, counts, numbered
from .test_replicate_faults import at_request


class TaskHere(Task):
    """Runs the task in this process, where a test can change its limits."""

    def run(self, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        params = validated(SPEC, {**self.options, **options}, "")
        try:
            return replicate(Invocation(params, check, environ={}))
        except Error as error:
            raise ModuleFailed({**getattr(error, "details", {}), "msg": str(error)}) from None


@pytest.fixture
def task(federation: tuple[Datacenter, Datacenter], monkeypatch: pytest.MonkeyPatch) -> Task:
    """Return a task for which a few keys are many: several shards, whose changes are not held, and several groups."""
    monkeypatch.setattr(prepare, "HELD_BYTES", 0)
    monkeypatch.setattr(shard_reader, "LARGE_SHARD_KEYS", 10)
    monkeypatch.setattr(key_writer, "GROUP_KEYS", 20)
    monkeypatch.setattr(run_context, "MOST_BUCKETS", 5)
    return TaskHere(*federation)


def parts_of_ledger(task: Task) -> list[str]:
    folder = f"consulops/replication/{task.prefix}owned/"
    return [key for key in task.two.get("/v1/kv/?keys") if key.startswith(f"{folder}part-")]


def test_a_shard_that_is_planned_again_keeps_its_conflicts(task: Task, proxy: t.Callable[..., Proxy]) -> None:
    task.write(task.one, **numbered(5))
    task.write(task.two, k000="foreign")
    through = proxy(task.two.url)
    at_request(through, 0, "/v1/txn", lambda: task.write(task.two, k001="foreign too"))
    found = task.fails(destination={"url": through.url})
    assert sorted(one["key"][-4:] for one in found["prefixes"][0]["conflicts"]) == ["k000", "k001"]
    assert counts(found["prefixes"][0]) == (3, 0, 0, 0) and found["prefixes"][0]["verified"] is False


def test_equal_names_of_both_sides_are_decoded_once(task: Task) -> None:
    sides = [Client(endpoint.resolve({"url": side.url}, {})) for side in (task.one, task.two)]
    with sides[0] as source, sides[1] as destination:
        nothing = kv.read_names(source, task.prefix)
        assert kv.read_names(destination, task.prefix, like=nothing).names == []
        for side in (task.one, task.two):
            task.write(side, **numbered(3))
        here = kv.read_names(source, task.prefix)
        assert len(here.names) == 3
        there = kv.read_names(destination, task.prefix, like=here)
        assert there.names is here.names and there.index == kv.read_names(destination, task.prefix).index
        task.write(task.two, more="1")
        assert kv.read_names(destination, task.prefix, like=here).names == sorted([*here.names, f"{task.prefix}more"])
        assert kv.read_names(destination, task.prefix, like=nothing).names != here.names


def test_a_first_copy_that_reads_keys_when_it_writes_them_reports_what_a_check_reports(
    task: Task, proxy: t.Callable[..., Proxy]
) -> None:
    task.options["prefixes"] = [{"source": task.prefix, "exclude": ["k07*"]}]
    task.write(task.one, **numbered(100))
    task.write(task.two, k021="foreign")
    session = task.one.put("/v1/session/create", {"Name": "holder"})["ID"]
    assert task.one.put(f"/v1/kv/{task.prefix}k091?acquire={session}", "held")
    read: list[str] = []
    through = proxy(task.one.url)
    through.before_forward = lambda _method, path: read.append(path) if "?recurse" in path else None
    source = {"url": through.url}
    planned = task.fails(check=True, limit=0, source=source)
    every_shard = {path for path in read if task.prefix in path}
    read.clear()
    done = task.fails(limit=0, source=source)
    shards = [path for path in read if task.prefix in path]
    # The first ones are read before it is known that their changes cannot be held, the one with a conflict on both occasions.
    assert set(shards) == every_shard and len(every_shard) == 10 and len(shards) < 16
    rows = [{**found["prefixes"][0], "seconds": None} for found in (planned, done)]
    assert rows[0] == rows[1] and counts(rows[1]) == (88, 0, 0, 0) and rows[1]["skipped_locked"] == 1
    assert planned["diff"] == done["diff"] and rows[0]["source_keys"] == 90
    again = task.row(on_conflict="overwrite")
    assert counts(again) == (0, 1, 0, 88) and again["digest"] == rows[1]["digest"]


def test_what_was_written_before_the_source_could_not_be_read_is_counted_and_owned(
    task: Task, proxy: t.Callable[..., Proxy]
) -> None:
    task.write(task.one, **numbered(100))
    broken = proxy(task.one.url, fault="error", path=f"/v1/kv/{task.prefix}k09")
    said = task.fails(limit=0, source={"url": broken.url}, retry_timeout=0)
    written = len(task.read(task.two))
    assert said["prefixes"][0]["created"] == written > 20
    assert f"{written} keys written or deleted before that" in said["msg"]
    assert len(parts_of_ledger(task)) > 1
    task.delete(task.one, "k001")
    task.write(task.two, k002="edited")
    found = task.fails()
    assert counts(found["prefixes"][0]) == (100 - written, 0, 0, written - 2) and not parts_of_ledger(task)
    assert found["prefixes"][0]["conflicts"][0]["reason"] == "edited at the destination"
    assert counts(task.row(on_conflict="overwrite")) == (0, 1, 1, 98)


def test_a_run_that_finds_nothing_to_do_tidies_up_after_an_interrupted_one(
    task: Task, proxy: t.Callable[..., Proxy]
) -> None:
    task.write(task.one, **numbered(100))
    broken = proxy(task.two.url, path="/v1/txn", method="PUT")
    numbers = iter(range(1_000_000))

    def hook(method: str, path: str) -> None:
        if method == "PUT" and path.startswith("/v1/txn") and next(numbers) == 7:
            broken.fault = "error"

    broken.arriving = hook
    task.fails(destination={"url": broken.url, "timeout": 1}, retry_timeout=0)
    for name in task.read(task.one).keys() - task.read(task.two).keys():
        task.delete(task.one, name)
    left = len(task.read(task.two))
    assert len(parts_of_ledger(task)) > 1 and left > 20
    assert counts(task.row()) == (0, 0, 0, left) and not parts_of_ledger(task)
    task.delete(task.one, "k000", "k001", "k002")
    assert counts(task.row()) == (0, 0, 3, left - 3)

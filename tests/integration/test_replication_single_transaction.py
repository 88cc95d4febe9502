# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A few followed changes are one transaction with ledger and state; what cannot be written so is written in the other way."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.response import Response

from tests.lab.consul import Datacenter
from tests.lab.keys import delete, write

from .test_replication_follower import NOW, follow, follower_of, names_and_values


class WatchedClient(Client):
    """Counts the transactions that write. ``after`` is called after the next one."""

    transactions = 0
    after: t.Callable[[], object] | None = None

    def put(self, path: str, *args: t.Any, **kwargs: t.Any) -> Response:
        found = super().put(path, *args, **kwargs)
        if path == "/v1/txn" and b'"cas"' in kwargs.get("body", b""):
            after, self.after = self.after, None
            if after is not None:
                after()
        self.transactions += path == "/v1/txn"
        return found


@pytest.fixture
def client(datacenter: Datacenter) -> t.Iterator[WatchedClient]:
    with WatchedClient(endpoint.resolve({"url": datacenter.url, "timeout": 5}, {})) as made:
        yield made


def unreachable() -> None:
    raise errors.Unreachable("The answer was lost.")


def test_a_few_changes_are_one_transaction_and_owned(datacenter: Datacenter, client: WatchedClient) -> None:
    write(datacenter, {f"single/source/{name}": "1" for name in "abc"})
    follower = follower_of(client, "single")
    follower.compare_all("", NOW)
    write(datacenter, {"single/source/a": "2", "single/source/d": "new"})
    client.transactions = 0
    follow(follower)
    assert client.transactions == 1 and (follower.totals.created, follower.totals.updated) == (4, 1)
    assert follower.record.window.totals == {"single/destination/": 4}
    delete(datacenter, "single/source/a", "single/source/d")
    next_one = follower_of(client, "single")
    next_one.compare_all("", NOW)
    assert next_one.totals.deleted == 2 and next_one.record.window.totals == {"single/destination/": 4}
    assert names_and_values(datacenter, "single/destination/") == {"b": "1", "c": "1"}


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_change_whose_answer_was_lost_is_counted_once(
    datacenter: Datacenter, client: WatchedClient, *, is_lost: bool
) -> None:
    name = f"lost{is_lost}"
    write(datacenter, {f"{name}/source/{key}": "1" for key in "ab"})
    follower = follower_of(client, name)
    follower.compare_all("", NOW)
    write(datacenter, {f"{name}/source/a": "2", f"{name}/source/c": "3"})
    client.after = unreachable if is_lost else None
    follow(follower)
    assert (follower.totals.created, follower.totals.updated) == (3, 1) and not follower.problems.conflicts
    assert follower.record.window.totals == {f"{name}/destination/": 3}
    delete(datacenter, f"{name}/source/a", f"{name}/source/c")
    follow(follower)
    assert names_and_values(datacenter, f"{name}/destination/") == {"b": "1"}


def test_a_key_that_others_write_right_after_is_a_conflict_and_not_counted(
    datacenter: Datacenter, client: WatchedClient
) -> None:
    write(datacenter, {f"after/source/{key}": "1" for key in "ab"})
    follower = follower_of(client, "after")
    follower.compare_all("", NOW)
    write(datacenter, {"after/source/a": "2", "after/source/b": "2", "after/source/c": "2"})
    client.after = lambda: write(datacenter, {"after/destination/a": "edited", "after/destination/c": "edited"})
    follow(follower)
    assert (follower.totals.created, follower.totals.updated) == (2, 1)
    assert sorted(follower.problems.conflicts) == ["after/destination/a", "after/destination/c"]
    assert names_and_values(datacenter, "after/destination/") == {"a": "edited", "b": "2", "c": "edited"}


def test_a_value_too_large_for_a_transaction_arrives_with_the_others(
    datacenter: Datacenter, client: WatchedClient
) -> None:
    write(datacenter, {f"large/source/{key}": "1" for key in "ab"})
    follower = follower_of(client, "large")
    follower.compare_all("", NOW)
    large = "x" * 500_000
    datacenter.put("/v1/kv/large/source/a", large)
    write(datacenter, {"large/source/b": "2"})
    follow(follower)
    assert names_and_values(datacenter, "large/destination/") == {"a": large, "b": "2"}
    assert follower.totals.updated == 2

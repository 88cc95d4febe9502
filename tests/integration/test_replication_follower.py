# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Following a source without a process around it: on one Consul with two prefixes, with crashes between any two transactions."""

from __future__ import annotations

import contextlib
import itertools
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.lock import Lock
from ansible_collections.consulops.failover.plugins.module_utils._consul.response import Response
from ansible_collections.consulops.failover.plugins.module_utils._consul.txn import Operation
from ansible_collections.consulops.failover.plugins.module_utils._replication import (
    control,
    prepare,
    shard_groups,
    shard_reader,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.checkpoint import lock_key
from ansible_collections.consulops.failover.plugins.module_utils._replication.delete_guards import Limits
from ansible_collections.consulops.failover.plugins.module_utils._replication.follow_options import FollowOptions
from ansible_collections.consulops.failover.plugins.module_utils._replication.follow_progress import ChangedShard
from ansible_collections.consulops.failover.plugins.module_utils._replication.follower import Follower
from ansible_collections.consulops.failover.plugins.module_utils._replication.outcome import Interrupted
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from ansible_collections.consulops.failover.plugins.module_utils._replication.request import ReplicationRequest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.lab.consul import Datacenter, Lab
from tests.lab.keys import delete, read, write

_numbers = itertools.count(1)
NO_GUARD = Operation("check-not-exists", "follower/no-guard")
NOW = 1_800_000_000.0


class CrashingClient(Client):
    """Before or after one of the next transactions it fails, as if the process ended there."""

    transactions_left: int | None = None
    fails_after_sending = False

    def put(self, path: str, *args: t.Any, **kwargs: t.Any) -> Response:
        is_transaction = path == "/v1/txn" and self.transactions_left is not None
        if is_transaction and self.transactions_left == 0:
            if self.fails_after_sending:
                super().put(path, *args, **kwargs)
            self.transactions_left = None
            raise errors.Aborted("The process ended here.")
        if is_transaction:
            assert self.transactions_left is not None
            self.transactions_left -= 1
        return super().put(path, *args, **kwargs)


def client_of(datacenter: Datacenter) -> CrashingClient:
    return CrashingClient(endpoint.resolve({"url": datacenter.url, "timeout": 5}, {}))


def follower_of(client: Client, name: str, guard: Operation = NO_GUARD, **limits: t.Any) -> Follower:
    """Return a follower from NAME/source/ to NAME/destination/ of one store."""
    mapping = {"source": f"{name}/source/", "destination": f"{name}/destination/"}
    request = ReplicationRequest(
        tuple(make_mappings([mapping], "owned")), name=name, limits=Limits(**limits), retry_s=0.0, concurrency=1
    )
    return Follower(client, client, request, FollowOptions(), guard)


def changed(follower: Follower) -> list[ChangedShard]:
    """Return all shards that changed, as every watch together would find them."""
    found: list[ChangedShard] = []
    for watched in follower.watched:
        follower.find_others(watched)
        found += follower.changed_shards(watched, list(watched.groups))
    return found


def follow(follower: Follower, now: float = NOW) -> None:
    """Handle everything that changed."""
    shards = changed(follower)
    if shards and not follower.compare_shards(shards, now):
        follower.compare_all("", now)


def names_and_values(datacenter: Datacenter, prefix: str) -> dict[str, str]:
    return {key[len(prefix) :]: value.decode() for key, (value, _flags) in read(datacenter, prefix).items()}


def test_the_batch_of_a_former_holder_is_refused(datacenter: Datacenter) -> None:
    with client_of(datacenter) as client, client_of(datacenter) as other:
        first = Lock(client, lock_key("stale"), name="first", lock_delay_s=0)
        second = Lock(other, lock_key("stale"), name="second", lock_delay_s=0)
        with first, second:
            assert first.acquire(5)
            write(datacenter, {"stale/source/a": "1"})
            follower = follower_of(client, "stale", first.guard)
            follower.compare_all("", NOW)
            # It does not notice: it was stopped, and goes on in the middle of its work.
            datacenter.put(f"/v1/session/destroy/{first.session}")
            assert second.acquire(5)
            write(datacenter, {"stale/source/a": "2", "stale/source/b": "2"})
            with pytest.raises(Interrupted, match="The lock consulops/replication/stale/lock was lost"):
                follow(follower)
            assert names_and_values(datacenter, "stale/destination/") == {"a": "1"}
            next_one = follower_of(other, "stale", second.guard)
            next_one.compare_all("", NOW)
            assert names_and_values(datacenter, "stale/destination/") == {"a": "2", "b": "2"}


def test_a_batch_is_refused_while_the_freeze_key_exists(datacenter: Datacenter) -> None:
    """Whoever decided to write before the key was there."""
    write(datacenter, {"frozen/source/a": "1"})
    with client_of(datacenter) as client:
        follower = follower_of(client, "frozen")
        follower.compare_all("", NOW)
        write(datacenter, {"frozen/source/a": "2"})
        control.freeze(client, "frozen", "ops", "", NOW)
        with pytest.raises(Interrupted, match="freeze"):
            follow(follower)
        assert names_and_values(datacenter, "frozen/destination/") == {"a": "1"}
        control.thaw(client, "frozen")
        follow(follower)
        assert names_and_values(datacenter, "frozen/destination/") == {"a": "2"}


def test_only_shards_that_changed_are_read(datacenter: Datacenter) -> None:
    write(datacenter, {f"shards/source/{number:05d}": "v" for number in range(2000)})
    with client_of(datacenter) as client:
        follower = follower_of(client, "shards")
        follower.compare_all("", NOW)
        (watched,) = follower.watched
        shards = [shard for group in watched.groups.values() for shard in group.shards]
        assert len(shards) > 8 and all(shard.prefix.startswith("shards/source/") for shard in shards)
        assert changed(follower) == []
        write(datacenter, {"shards/source/00007": "w", "shards/source/01234": "w"})
        assert len(changed(follower)) == 2
        follow(follower)
        assert changed(follower) == []
        write(datacenter, {"shards/source/zzz": "in no shard yet"})
        follow(follower)
        assert names_and_values(datacenter, "shards/destination/") == names_and_values(datacenter, "shards/source/")


def test_the_last_key_of_a_shard_is_deleted_although_the_names_were_split_again(
    datacenter: Datacenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is deleted at the source together with the write of a key that is in no shard."""
    monkeypatch.setattr(shard_groups, "SHARD_KEYS", 1)
    write(datacenter, {f"split/source/{name}": "1" for name in ("a", "b", "c")})
    with client_of(datacenter) as client:
        follower = follower_of(client, "split", max_delete_percent=100.0)
        follower.compare_all("", NOW)
        delete(datacenter, "split/source/b")
        write(datacenter, {"split/source/z": "1"})
        follow(follower)
        assert set(names_and_values(datacenter, "split/destination/")) == {"a", "c", "z"}
        assert changed(follower) == []


@pytest.fixture
def denied_shard(
    own_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> t.Iterator[tuple[Datacenter, t.Callable[[str], Client]]]:
    """A source where lists need the policy list, with few keys in a shard, and a function that makes clients with rules."""
    monkeypatch.setattr(shard_groups, "SHARD_KEYS", 4)
    monkeypatch.setattr(shard_reader, "LARGE_SHARD_KEYS", 4)
    source = own_lab.datacenter(f"listed{next(_numbers)}", acl=True, extra={"acl": {"enable_key_list_policy": True}})
    write(source, {f"listed/{number}": "1" for number in (1, *range(10, 14), *range(20, 24), 3)})
    policy = source.put("/v1/acl/policy", {"Name": "listed"})["ID"]
    token = source.put("/v1/acl/token", {"Policies": [{"ID": policy}]})["SecretID"]
    client = Client(endpoint.resolve({"url": source.url, "token": token, "timeout": 5}, {}))

    def with_rules(more: str) -> Client:
        rules = f'key_prefix "listed/" {{ policy = "list" }}\nnode_prefix "" {{ policy = "read" }}\n{more}'
        source.put(f"/v1/acl/policy/{policy}", {"ID": policy, "Name": "listed", "Rules": rules})
        return client

    with client:
        yield source, with_rules


def test_a_denied_shard_that_a_first_copy_reads_when_it_writes_it_holds_up_no_other(
    datacenter: Datacenter, denied_shard: tuple[Datacenter, t.Callable[[str], Client]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "HELD_BYTES", 0)
    _source, with_rules = denied_shard
    mappings = tuple(make_mappings([{"source": "listed/", "destination": "later/"}], "owned"))
    request = ReplicationRequest(mappings, name="later", retry_s=0.0, concurrency=1, limit=0)
    with client_of(datacenter) as there:
        # The prefix of the second shard: until it is written, only its names are known.
        denied = with_rules('key "listed/2" { policy = "deny" }')
        follower = Follower(denied, there, request, FollowOptions(), NO_GUARD)
        follower.compare_all("", NOW)
        others = {"1", *map(str, range(10, 14)), "3"}
        assert set(names_and_values(datacenter, "later/")) == others
        assert list(follower.problems.unreadable) == ["later/2"] and follower.totals.created == len(others)
        verification = follower.verification
        assert verification is not None and not verification.is_equal and verification.source_keys == len(others)
        with_rules("")
        assert follower.compare_shards(follower.shards_to_retry(), NOW) and not follower.problems.unreadable
        assert len(names_and_values(datacenter, "later/")) == 10 and follower.record.window.totals == {"later/": 10}


def test_a_denied_shard_of_the_first_comparison_holds_up_no_other_and_keeps_what_it_owns(
    datacenter: Datacenter, denied_shard: tuple[Datacenter, t.Callable[[str], Client]]
) -> None:
    source, with_rules = denied_shard
    denied = (
        'key "listed/1" { policy = "deny" }'  # the prefix of a shard too: the list of listed/1, listed/10, … is denied
    )

    def followed(rules: str) -> Follower:
        mapping = {"source": "listed/", "destination": "unlisted/"}
        request = ReplicationRequest(
            tuple(make_mappings([mapping], "owned")),
            name="listed",
            limits=Limits(max_delete_percent=100.0),
            retry_s=0.0,
        )
        follower = Follower(with_rules(rules), there, request, FollowOptions(), NO_GUARD)
        follower.compare_all("", NOW)
        return follower

    def copied() -> set[str]:
        return set(names_and_values(datacenter, "unlisted/"))

    others = {*map(str, range(20, 24)), "3"}
    with client_of(datacenter) as there:
        follower = followed(denied)
        assert copied() == others and follower.verification is not None and not follower.verification.is_equal
        assert list(follower.problems.unreadable) == ["unlisted/1"]
        write(source, {"listed/20": "2"})
        delete(source, "listed/21")
        follow(follower)
        assert copied() == others - {"21"} and names_and_values(datacenter, "unlisted/")["20"] == "2"
        assert list(follower.problems.unreadable) == ["unlisted/1"]
        # Given back, it is read when that is tried again, and nothing else is needed.
        with_rules("")
        assert follower.compare_shards(follower.shards_to_retry(), NOW) and not follower.problems.unreadable
        whole = (others - {"21"}) | {"1", *map(str, range(10, 14))}
        assert copied() == whole
        # Taken away again: the next term deletes nothing there, and still owns it afterwards.
        delete(source, "listed/12")
        followed(denied)
        assert copied() == whole
        last = followed("")
        assert copied() == whole - {"12"} and not last.problems.conflicts and last.verification is not None
        assert last.verification.is_equal


class Histories(RuleBasedStateMachine):
    """Random histories on both sides, with a wall clock that is set at any time.

    The source writes numbers, others write words at the destination, so none is like another.
    """

    datacenter: Datacenter
    runs = 0

    @initialize()
    def begin(self) -> None:
        Histories.runs += 1
        self.name = f"history{Histories.runs}"
        self.client = client_of(self.datacenter)
        self.source: dict[str, str] = {}
        self.foreign: dict[str, str] = {}
        self.edited: set[str] = set()  # by others since everything was compared last, which is not watched
        self.count = 0
        self.now = NOW
        self.follower: Follower | None = None

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.client.transactions_left = None
            self.agent_goes_on()
            if self.follower is not None:
                self.follower.compare_all("", self.now)
            wanted = {**self.source, **self.foreign}
            assert names_and_values(self.datacenter, f"{self.name}/destination/") == wanted
            self.client.close()

    keys = st.sampled_from(["a", "b", "c/d", "c/e", "f"])

    def _value(self, word: str) -> str:
        self.count += 1
        return f"{word}{self.count}"

    @rule(key=keys)
    def source_writes(self, key: str) -> None:
        self.source[key] = self._value("v")
        write(self.datacenter, {f"{self.name}/source/{key}": self.source[key]})

    @rule(key=keys)
    def source_deletes(self, key: str) -> None:
        self.source.pop(key, None)
        delete(self.datacenter, f"{self.name}/source/{key}")

    @rule(key=keys)
    def others_write(self, key: str) -> None:
        self.foreign[key] = self._value("other")
        self.edited.add(key)
        write(self.datacenter, {f"{self.name}/destination/{key}": self.foreign[key]})

    @rule(key=keys)
    def others_delete(self, key: str) -> None:
        self.foreign.pop(key, None)
        self.edited.add(key)
        delete(self.datacenter, f"{self.name}/destination/{key}")

    @rule(years=st.sampled_from([-50, -1, 0, 1, 50]))
    def the_wall_clock_is_set(self, years: int) -> None:
        self.now = NOW + years * 365 * 86400

    @rule()
    def agent_goes_on(self) -> None:
        if self.follower is None:
            self.follower = follower_of(
                self.client, self.name, max_deletes=1000, max_delete_percent=1000.0, allow_empty_source=True
            )
            self.follower.compare_all("", self.now)
            self.edited.clear()
        else:
            follow(self.follower, self.now)
        shards = self.follower.shards_to_retry()
        if shards:
            self.follower.compare_shards(shards, self.now)
        found = names_and_values(self.datacenter, f"{self.name}/destination/")
        followed = {"a", "b", "c/d", "c/e", "f"} - self.edited - self.foreign.keys()
        assert {key: found.get(key) for key in followed} == {key: self.source.get(key) for key in followed}

    @precondition(lambda self: self.follower is not None)
    @rule()
    def agent_verifies(self) -> None:
        assert self.follower is not None
        self.follower.compare_all("", self.now)
        self.edited.clear()

    @rule(transactions=st.integers(0, 3), after=st.booleans())
    def agent_crashes(self, transactions: int, after: bool) -> None:
        """At a transaction of what it does next, or when it has nothing left to do."""
        self.client.transactions_left, self.client.fails_after_sending = transactions, after
        with contextlib.suppress(Interrupted, errors.Aborted):
            self.agent_goes_on()
        self.client.transactions_left = None
        self.follower = None

    @invariant()
    def what_others_wrote_is_not_touched(self) -> None:
        if hasattr(self, "client"):
            found = names_and_values(self.datacenter, f"{self.name}/destination/")
            assert {key: found.get(key) for key in self.foreign} == self.foreign


@pytest.mark.parametrize("shard_keys", [1, 250])
def test_random_histories_end_with_the_image_of_the_source(
    datacenter: Datacenter, shard_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_groups, "SHARD_KEYS", shard_keys)

    class Here(Histories):
        pass

    Here.datacenter = datacenter
    Here.TestCase.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)
    Here.TestCase("runTest").runTest()

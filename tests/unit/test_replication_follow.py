# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a replication that follows its source decides: groups and shards, changed indexes, deletions, epochs, and what it stores."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.shard_plan import ShardSpec
from ansible_collections.consulops.failover.plugins.module_utils._replication import shard_groups, source_epoch
from ansible_collections.consulops.failover.plugins.module_utils._replication.control import (
    Control,
    acknowledgement_key,
    control_of,
    freeze_key,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.delete_guards import (
    Limits,
    deferral_reason,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.delete_window import (
    DeleteWindow,
    decide,
    plan_digest,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.follow_record import (
    FollowRecord,
    parse_record,
    record_key,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.ledger import InvalidLedger
from ansible_collections.consulops.failover.plugins.module_utils._replication.mapping import PrefixMapping
from ansible_collections.consulops.failover.plugins.module_utils._replication.open_problems import OpenProblems
from ansible_collections.consulops.failover.plugins.module_utils._replication.outcome import MappingOutcome
from ansible_collections.consulops.failover.plugins.module_utils._replication.patterns import Scope
from ansible_collections.consulops.failover.plugins.module_utils._replication.plan import (
    Change,
    Counts,
    Policy,
    Problem,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.source_epoch import Epoch
from ansible_collections.consulops.failover.plugins.module_utils._replication.watched_mapping import WatchedMapping
from hypothesis import given
from hypothesis import strategies as st

APP = PrefixMapping("app/", "app/", Scope())

# ---------------------------------------------------------------------------------------------------------------
# Groups and shards

names_below = st.lists(st.text("ab/0", min_size=1, max_size=6).map("p/{}".format), unique=True, max_size=60).map(sorted)


@given(names_below, st.integers(1, 8), st.integers(1, 10))
def test_every_name_is_in_exactly_one_shard_of_one_group(names: list[str], most: int, shard_keys: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_groups, "SHARD_KEYS", shard_keys)
        groups = shard_groups.plan_groups(names, "p/", most)
    index = shard_groups.ShardIndex(shard for group in groups for shard in group.shards)
    for name in names:
        found = index.find(name)
        assert found is not None and shard_groups.is_in(found, name)
        assert sum(shard_groups.is_in(group.watched, name) for group in groups) == 1
        assert sum(shard_groups.is_in(shard, name) for group in groups for shard in group.shards) == 1
    assert not shard_groups.has_others(names, groups)


@given(names_below, names_below, st.integers(1, 10))
def test_a_new_name_in_no_shard_is_found(names: list[str], more: list[str], shard_keys: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_groups, "SHARD_KEYS", shard_keys)
        groups = shard_groups.plan_groups(names, "p/", 4)
    shards = [shard for group in groups for shard in group.shards]
    is_outside = any(not any(shard_groups.is_in(shard, name) for shard in shards) for name in more)
    index = shard_groups.ShardIndex(shards)
    assert is_outside == any(index.find(name) is None for name in more)
    assert shard_groups.has_others(more, groups) == is_outside
    if shard_groups.has_every_key(groups, "p/"):
        assert not is_outside


def test_large_prefixes_have_no_more_groups_than_allowed_where_names_can_be_split() -> None:
    flat = [f"app/{number:06d}" for number in range(20000)]
    for most in (1, 4, 32):
        groups = shard_groups.plan_groups(flat, "app/", most)
        assert len(groups) <= most
        assert max(len(group.shards) for group in groups) <= -(-20000 // len(groups)) / 100 * 2


@given(names_below, st.integers(1, 8), st.integers(1, 10))
def test_the_parts_of_a_group_have_its_shards(names: list[str], most: int, shard_keys: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_groups, "SHARD_KEYS", shard_keys)
        patch.setattr(shard_groups, "FEW_SHARDS", 2)
        patch.setattr(shard_groups, "MORE_PARTS", 3)
        waiting = shard_groups.plan_groups(names, "p/", most)
    assert len(waiting) <= max(most, 1)
    while waiting:
        group = waiting.pop()
        if group.parts:
            assert [shard for part in group.parts for shard in part.shards] == list(group.shards)
        waiting += group.parts


def test_a_group_of_many_shards_is_asked_part_by_part() -> None:
    flat = [f"app/{number:06d}" for number in range(200_000)]
    (group,) = shard_groups.plan_groups(flat, "app/", 1)
    requests = 0
    while group.parts:
        requests += len(group.parts)
        group = group.parts[-1]
    assert requests + len(group.shards) <= 40


def test_as_many_groups_as_allowed_are_watched_so_that_most_have_one_shard() -> None:
    names = sorted(f"app/{service}/{number:06d}" for service in "abcde" for number in range(2000))
    groups = shard_groups.plan_groups(names, "app/", 32)
    assert 28 <= len(groups) <= 32 and sum(len(group.shards) == 1 for group in groups) >= 20


def watched(*prefixes: str, baseline: int = 100) -> WatchedMapping:
    shards = tuple(map(ShardSpec, prefixes))
    return WatchedMapping(APP, [shard_groups.Group(ShardSpec("app/"), shards)], baseline)


def test_a_shard_has_changed_when_its_index_is_another_one() -> None:
    one, shard = watched("app/a", "app/b"), ShardSpec("app/a")
    assert not one.is_changed(shard, 100) and one.is_changed(shard, 101)
    one.mark_compared(shard, 101)
    assert not one.is_changed(shard, 101) and one.is_changed(shard, 102)
    assert one.is_changed(shard, 90), "Consul forgot a deletion, or was restored"
    one.mark_unread(shard)
    assert one.is_changed(shard, 101)


def test_a_part_has_changed_while_one_of_its_shards_could_not_be_read() -> None:
    one = watched("app/a", "app/b")
    part = shard_groups.Group(ShardSpec("app/"), (ShardSpec("app/a"), ShardSpec("app/b")))
    assert not one.is_part_changed(part, 100) and one.is_part_changed(part, 101)
    one.mark_compared(part.watched, 101)
    assert not one.is_part_changed(part, 101)
    one.mark_unread(ShardSpec("app/b"))
    assert one.is_part_changed(part, 101)


def test_shards_that_are_new_after_splitting_again_must_be_compared() -> None:
    one = watched("app/a", "app/b")
    one.mark_compared(ShardSpec("app/a"), 120)
    one.split_again([shard_groups.Group(ShardSpec("app/"), (ShardSpec("app/a"), ShardSpec("app/c")))])
    assert not one.is_changed(ShardSpec("app/a"), 120)
    assert one.is_changed(ShardSpec("app/c"), 90), "its keys may be older than what was compared"
    assert (one.shard_of("app/c1"), one.shard_of("app/b1")) == (ShardSpec("app/c"), None)
    assert one.dropped == [ShardSpec("app/b")], "its last key may have been deleted since it was compared"
    one.mark_compared(ShardSpec("app/b"), 130)
    assert one.dropped == []


# ---------------------------------------------------------------------------------------------------------------
# Deletions


LIMITS = Limits(10, 50.0)


def deletions(*names: str) -> list[Change]:
    return [Change(f"app/{name}", "deleted", 7, b"") for name in names]


def decision(
    window: DeleteWindow,
    to_delete: list[Change],
    limits: Limits = LIMITS,
    source_keys: int = 80,
    **more: t.Any,
) -> t.Any:
    planned = window.planned(APP, Counts(source_keys=source_keys, destination_keys=100), to_delete)
    return decide([planned], limits, **more)


def test_deletions_of_a_window_count_together() -> None:
    window = DeleteWindow(began=1.0)
    assert not decision(window, deletions("a", "b")).is_paused
    window.add("app/", 100, 0, 9)
    paused = decision(window, deletions("a", "b"))
    assert paused.is_paused and paused.reasons[0].startswith("11 keys would be deleted") and len(paused.digest) == 64
    assert not window.is_over(1.5, 900.0) and window.is_over(901.0, 900.0)
    window.restart(901.0)
    assert not decision(window, deletions("a", "b")).is_paused


def test_percent_is_of_what_there_was_and_what_was_created_since() -> None:
    window, limits = DeleteWindow(began=1.0), Limits(1000, 50.0)
    window.add("app/", 0, 20, 0)
    assert not decision(window, deletions(*"abcdefghij"), limits).is_paused
    assert "55 %" in decision(window, deletions(*"abcdefghijk"), limits).reasons[0]


def test_a_pause_ends_by_the_acknowledgement_of_this_very_plan_or_when_nothing_is_left() -> None:
    window, before = DeleteWindow(began=1.0), ("why",)
    plan = plan_digest(["app/a", "app/b"])
    still = decision(window, deletions("b", "a"), paused_before=before)
    assert (still.reasons, still.digest) == (before, plan)
    assert not decision(window, deletions("a", "b"), paused_before=before, acknowledged=plan).is_paused
    assert decision(window, deletions("a"), paused_before=before, acknowledged=plan).is_paused
    assert decision(window, deletions("a", "b", "c"), paused_before=before, acknowledged=plan).is_paused
    assert not decision(window, [], paused_before=before).is_paused
    assert decision(window, [], paused_before=before, paused_names=["app/x"]).digest == plan_digest(["app/x"])


def test_an_empty_source_is_never_acknowledged() -> None:
    plan = plan_digest(["app/a"])
    paused = decision(DeleteWindow(1.0), deletions("a"), source_keys=0, acknowledged=plan)
    assert paused.is_paused and "allow_empty_source" in paused.reasons[0]
    allowed = Limits(10, 50.0, allow_empty_source=True)
    assert not decision(DeleteWindow(1.0), deletions("a"), allowed, source_keys=0).is_paused


def test_keys_that_could_not_be_written_before_hold_up_no_deletion() -> None:
    outcome = MappingOutcome(APP, unwritable=[Problem("app/large", "too large")])
    assert deferral_reason([outcome], Policy()) == "not every key could be written (app/large)"
    assert deferral_reason([outcome], Policy(), {"app/large"}) == ""


def test_problems_of_a_shard_are_replaced_and_those_of_others_stay() -> None:
    problems = OpenProblems()
    outcome = MappingOutcome(
        APP,
        conflicts=[Problem("app/a1", "edited")],
        unwritable=[Problem("app/b1", "too large")],
        deferred_deletes=[Problem("app/a2", "paused"), Problem("app/b2", "unconfirmed")],
    )
    problems.replace_all([outcome], {"app/a2"})
    assert problems.retried() == {"app/a1", "app/b1", "app/b2"} and problems.paused == {"app/a2"}
    assert problems.paused_outside([ShardSpec("app/a")]) == set()
    problems.replace([ShardSpec("app/b")], [MappingOutcome(APP)], {"app/a2"})
    assert problems.retried() == {"app/a1"} == problems.not_written()
    problems.keeps_conflicts = True
    assert problems.retried() == set()


# ---------------------------------------------------------------------------------------------------------------
# Epochs and what is stored

BEFORE = Epoch(100, frozenset({"s1", "s2"}), "r1")


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (Epoch(100, frozenset({"s1", "s2"}), "r1"), ""),
        (Epoch(200, frozenset({"s2", "s3"}), "r1"), ""),
        (Epoch(200, frozenset(), None), ""),
        (Epoch(200, frozenset({"s1"}), ""), ""),
        (Epoch(99, frozenset({"s1"}), "r1"), "the index of its keys went back (it was 100)"),
        (Epoch(200, frozenset({"s3", "s4"}), "r1"), "all of its servers are new"),
        (Epoch(200, frozenset({"s1"}), "r2"), "a snapshot was restored there"),
    ],
)
def test_what_shows_that_a_source_is_not_what_it_was(now: Epoch, found: str) -> None:
    assert source_epoch.changes(BEFORE, now) == ((found,) if found else ())
    assert source_epoch.changes(None, now) == ()


def test_what_cannot_be_read_once_stays_known() -> None:
    assert source_epoch.continued(BEFORE, Epoch(150)) == Epoch(150, BEFORE.servers, "r1")
    assert source_epoch.continued(None, BEFORE) == BEFORE
    unknown_before = Epoch(100, frozenset(), None)
    assert source_epoch.changes(unknown_before, Epoch(150, frozenset({"s1"}), "r1")) == ()


@given(
    st.none()
    | st.builds(Epoch, st.integers(0, 1 << 60), st.frozensets(st.text(max_size=5)), st.none() | st.text(max_size=5)),
    st.dictionaries(st.text(max_size=5), st.integers(0, 1000), max_size=3),
    st.lists(st.text(max_size=10), max_size=2),
)
def test_a_record_is_read_as_it_was_stored(epoch: Epoch | None, deleted: dict[str, int], paused: list[str]) -> None:
    record = FollowRecord(epoch, DeleteWindow(5.0, deleted, {"app/": 3}), tuple(paused))
    assert parse_record(record.as_json(), record_key("x")) == record


@given(st.binary(max_size=30) | st.sampled_from([b"{}", b'{"format": 1}', b'{"format": 1, "epoch": 3, "window": []}']))
def test_anything_else_is_refused_with_what_to_do(value: bytes) -> None:
    with pytest.raises(InvalidLedger, match="consulops/replication/x/follow does not hold .* Delete it"):
        parse_record(value, record_key("x"))


@pytest.mark.parametrize(
    ("frozen", "acknowledged", "found"),
    [
        (None, None, Control(None, "")),
        (b'{"by": "ops", "reason": "move"}', None, Control("ops, move", "")),
        (b"because", b"nonsense", Control("because", "")),
        (b"", b"a" * 64 + b"\n", Control("", "a" * 64)),
        (b"[1]", b'{"digest": "' + b"b" * 64 + b'"}', Control("[1]", "b" * 64)),
        (b"\xff", b'{"digest": 7}', Control("\ufffd", "")),
    ],
)
def test_keys_that_a_person_wrote_by_hand_are_understood(
    frozen: bytes | None, acknowledged: bytes | None, found: Control
) -> None:
    values = {freeze_key("x"): frozen, acknowledgement_key("x"): acknowledged}
    assert control_of("x", {key: value for key, value in values.items() if value is not None}) == found

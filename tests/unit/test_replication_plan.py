# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a replication for whatever the two sides hold, and the guards of its deletions."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.kv import Entry
from ansible_collections.consulops.failover.plugins.module_utils._replication import (
    delete_guards,
    mapping,
    plan,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.ledger import (
    Ledger,
    fingerprint_of,
    prefix_id,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from hypothesis import given
from hypothesis import strategies as st


def mappings(*prefixes: dict[str, t.Any], delete: str = "owned") -> list[mapping.PrefixMapping]:
    return make_mappings(prefixes, delete)


NAMES = ["a", "b/c", "b/cd", "x//y", "consulops/own", "out", "out/1", ".lock", "é"]
contents = st.tuples(st.binary(max_size=2), st.integers(0, 1))
stores = st.dictionaries(st.sampled_from(NAMES), contents)


def entries(store_: t.Mapping[str, tuple[bytes, int]], prefix: str) -> list[Entry]:
    return [Entry(prefix + name, value, flags, index) for index, (name, (value, flags)) in enumerate(store_.items(), 7)]


@given(
    source=stores,
    destination=stores,
    written=stores,
    delete=st.sampled_from(["never", "owned", "all"]),
    on_conflict=st.sampled_from(["fail", "keep", "overwrite"]),
    prefixes=st.sampled_from([("", ""), ("app/", "app/"), ("app/", "dr/"), ("", "copy/")]),
)
def test_a_plan_does_what_the_options_say_and_nothing_else(
    source: dict[str, tuple[bytes, int]],
    destination: dict[str, tuple[bytes, int]],
    written: dict[str, tuple[bytes, int]],
    delete: str,
    on_conflict: str,
    prefixes: tuple[str, str],
) -> None:
    one = mappings({"source": prefixes[0], "destination": prefixes[1], "exclude": ["out"]}, delete=delete)[0]
    policy = plan.Policy(on_conflict)
    ledger = Ledger()
    for name, (value, flags) in written.items():
        key = prefixes[1] + name
        ledger.commit([fingerprint_of(key, value, flags)], prefix_id(prefixes[1]))
    live = {prefixes[1] + name: content for name, content in destination.items()}
    before = dict(live)

    def decide() -> plan.ShardPlan:
        now = [Entry(key, value, flags, index) for index, (key, (value, flags)) in enumerate(live.items(), 7)]
        return plan.plan_shard(one, policy, ledger, entries(source, prefixes[0]), now)

    decided = decide()
    indexes = {key: index for index, key in enumerate(live, 7)}
    for change in decided.changes:
        assert indexes.get(change.key, 0) == change.at_index
        live[change.key] = (change.value, change.flags)
        ledger.commit([change.fingerprint], prefix_id(prefixes[1]))
    equal = {
        fingerprint_of(prefixes[1] + name, *content)
        for name, content in source.items()
        if before.get(prefixes[1] + name) == content
    }
    assert equal.issuperset(decided.equal_again)
    ledger.commit(decided.equal_again, prefix_id(prefixes[1]))
    for deletion in decided.to_delete:
        assert indexes[deletion.key] == deletion.at_index
        del live[deletion.key]
        ledger.forget(deletion.key)

    def takes_part(name: str) -> bool:
        mine = (prefixes[0] + name).startswith("consulops/") or (prefixes[1] + name).startswith("consulops/")
        return not mine and name not in ("out", "out/1", ".lock")

    for name in NAMES:
        key = prefixes[1] + name
        as_written = name in written and written[name] == destination.get(name)
        if not takes_part(name):
            assert live.get(key) == before.get(key), "a key that takes no part was touched"
        elif name in source:
            free = key not in before or source[name] == before[key] or as_written or on_conflict == "overwrite"
            if key not in before and on_conflict == "keep" and name in written:
                free = False
            assert live.get(key) == (source[name] if free else before.get(key))
        elif key in before:
            edited = name in written and not as_written
            goes = delete == "all" or (delete == "owned" and (as_written or (edited and on_conflict == "overwrite")))
            assert (key not in live) == goes
    counts = decided.counts
    seen = counts.unchanged + counts.created + counts.updated + counts.kept + counts.skipped_locked
    assert seen + len(decided.to_delete) + len(decided.conflicts) == len(
        {name for name in {*source, *destination} if takes_part(name) or name == ".lock"}
    )
    again = decide()
    assert (again.changes, again.to_delete, again.equal_again) == ([], [], []), "a second run would change something"
    assert again.conflicts == decided.conflicts


def shard(source: t.Sequence[Entry], destination: t.Sequence[Entry] = (), **policy: t.Any) -> plan.ShardPlan:
    one = mappings({"source": ""}, delete="all")[0]
    return plan.plan_shard(one, plan.Policy(**policy), Ledger(), source, destination, plan.digest_text)


@pytest.mark.parametrize(
    "lock",
    [
        Entry("k", b"1", 0, 5, session="someone"),
        Entry("k", b"1", 0x2DDCCBC058A50C18, 5),
        Entry("k", b"1", 0xE0F69A2BAA414DE0, 5),
        Entry("deep/.lock", b"1", 0, 5),
        Entry("vault/core/lock", b"1", 0, 5),
        Entry("service/web/leader", b"1", 0, 5),
    ],
)
def test_locks_are_left_alone_on_both_sides(lock: Entry) -> None:
    plain = Entry(lock.key, b"2", 0, 6)
    for source, destination in (([lock], []), ([lock], [plain]), ([plain], [lock]), ([], [lock])):
        found = shard(source, destination)
        assert (found.changes, found.to_delete, found.counts.skipped_locked) == ([], [], 1)
    assert shard([lock], skip_locked=False).counts.created == 1


def test_a_lock_is_recognised_by_its_name_on_either_side() -> None:
    one = mappings({"source": "dr/", "destination": "service/"}, delete="all")[0]
    policy = plan.Policy("overwrite")
    existing = [Entry("service/web/leader", b"held", 0, 5), Entry("service/api/leader", b"held", 0, 6)]
    found = plan.plan_shard(one, policy, Ledger(), [Entry("dr/web/leader", b"copied", 0, 7)], existing)
    assert (found.changes, found.to_delete, found.counts.skipped_locked) == ([], [], 2)


def test_a_key_for_the_folder_itself_is_left_out_where_one_side_is_the_whole_store() -> None:
    up, down = mappings({"source": "app/", "destination": ""})[0], mappings({"source": "", "destination": "dst/"})[0]
    assert not up.includes("app/") and not down.includes(down.to_source("dst/")) and up.includes("app/x")
    assert mappings({"source": "app/"})[0].includes("app/")


@pytest.mark.parametrize("key", ["clock", "service/leader", "service/a/b/leader", "vault/core/lock/x", "a.lock"])
def test_names_that_only_resemble_lock_names_are_copied(key: str) -> None:
    assert shard([Entry(key, b"1", 0, 5)]).counts.created == 1


def test_names_that_are_not_utf8_are_unwritable_and_never_deleted() -> None:
    mangled = Entry("a\ufffd", b"1", 0, 5)
    found = shard([mangled, Entry("b", b"", 0, 6)], [Entry("c\ufffd", b"", 0, 9)])
    assert [problem.key for problem in found.unwritable] == ["a\ufffd"]
    assert [change.key for change in found.changes] == ["b"] and found.to_delete == []


def test_values_are_not_shown_by_default() -> None:
    one, secret = mappings({"source": ""})[0], Entry("k", b"hunter2", 3, 5)
    hidden = shard([secret])
    assert "hunter2" not in repr(hidden) and "7 bytes, flags 3" in (hidden.lines[0].after or "")
    shown = plan.plan_shard(one, plan.Policy(), Ledger(), [secret], [], plan.value_text)
    assert shown.lines[0].after == "hunter2 (flags 3)"
    assert plan.value_text(b"\xff", 0) == "b'\\xff' (flags 0)"


# ---------------------------------------------------------------------------------------------------------------
# Guards


def to_delete(count: int) -> list[plan.Change]:
    return [plan.Change(f"k{number}", "deleted", 1, b"") for number in range(count)]


@pytest.mark.parametrize(
    ("source_keys", "destination_keys", "deletes", "limits", "said"),
    [
        (10, 10, 0, {}, ""),
        (0, 10, 10, {}, "10 keys would be deleted"),
        (0, 0, 0, {}, "there is nothing to copy"),
        (0, 10, 10, {"allow_empty_source": True}, ""),
        (0, 200, 200, {"allow_empty_source": True}, "max_deletes is 100"),
        (1, 6, 5, {}, ""),
        (1, 7, 6, {}, "86 %"),
        (90, 100, 10, {}, ""),
        (89, 100, 11, {}, "11 %"),
        (89, 100, 11, {"max_delete_percent": 50}, ""),
        (9000, 9101, 101, {}, "max_deletes is 100"),
        (9000, 9101, 101, {"max_deletes": 101}, ""),
        (5, 6, 1, {"max_deletes": 0}, "max_deletes is 0"),
    ],
)
def test_guards(source_keys: int, destination_keys: int, deletes: int, limits: dict[str, t.Any], said: str) -> None:
    counts = plan.Counts(source_keys=source_keys, destination_keys=destination_keys)
    found = delete_guards.refusals(
        [delete_guards.PlannedDeletes(mappings({"source": "a/"})[0], counts, to_delete(deletes))],
        delete_guards.Limits(**limits),
    )
    assert bool(found) == bool(said) and said in "".join(found)


def test_max_deletes_counts_over_all_prefixes() -> None:
    rows = [
        delete_guards.PlannedDeletes(one, plan.Counts(source_keys=900, destination_keys=1000), to_delete(60))
        for one in mappings({"source": "a/"}, {"source": "b/"})
    ]
    assert delete_guards.refusals(rows[:1], delete_guards.Limits()) == []
    assert "120 keys" in delete_guards.refusals(rows, delete_guards.Limits())[0]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What diverged after a failover: every key that the old side changed alone has one kind, and the longest decision counts."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._consul.kv import Entry
from ansible_collections.consulops.failover.plugins.module_utils._replication.divergence import (
    NEW,
    OLD,
    REPORT,
    Decisions,
    Divergence,
    find_divergence,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.inheritance import Inheritance
from ansible_collections.consulops.failover.plugins.module_utils._replication.ledger import (
    Ledger,
    fingerprint_of,
    intent_part,
    prefix_id,
)
from ansible_collections.consulops.failover.plugins.module_utils._replication.mapping import PrefixMapping
from ansible_collections.consulops.failover.plugins.module_utils._replication.plan import Policy, plan_shard
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from hypothesis import given
from hypothesis import strategies as st

Values = t.Mapping[str, t.Optional[bytes]]

# A key as it was copied, as the new side has it and as the old side has it; None for no key.
values = st.sampled_from([None, b"1", b"2", b"3"])
histories = st.dictionaries(st.sampled_from(["a", "b", "f/c", "f/g/d"]), st.tuples(values, values, values))
NAMES = [("", ""), ("app/", "app/"), ("app/", "dr/")]
WINNERS = st.sampled_from([NEW, OLD, REPORT])


def mapping_of(prefixes: tuple[str, str]) -> PrefixMapping:
    return make_mappings([{"source": prefixes[0], "destination": prefixes[1]}], "never")[0]


def ledger_of(prefix: str, contents: Values) -> Ledger:
    ledger = Ledger()
    for name, value in contents.items():
        if value is not None:
            ledger.commit([fingerprint_of(prefix + name, value, 0)], prefix_id(prefix))
    return ledger


def entries(prefix: str, contents: Values) -> list[Entry]:
    return [Entry(prefix + name, value, 0, 7) for name, value in sorted(contents.items()) if value is not None]


def expected_kind(copied: bytes | None, new: bytes | None, old: bytes | None) -> str | None:
    """Return the kind by what each side did, None for a key that did not diverge."""
    if new == old or old == copied:
        return None  # the replication copies what the new side did
    if old is None:
        return "deleted_old"
    if new is None:
        return "created_old" if copied is None else "deleted_new"
    return "changed_old" if new == copied else "changed_both"


@given(histories, st.sampled_from(NAMES), st.booleans())
def test_what_the_old_side_did_alone_has_a_kind_and_nothing_else_has(
    history: dict[str, tuple[bytes | None, ...]], prefixes: tuple[str, str], was_compared: bool
) -> None:
    source_prefix, destination_prefix = prefixes
    copied, new, old = ({name: values[which] for name, values in history.items()} for which in range(3))
    mapping = mapping_of(prefixes)
    at_source, at_destination = entries(source_prefix, new), entries(destination_prefix, old)
    if was_compared:  # what the set itself copied, to the old side
        ledger = ledger_of(destination_prefix, copied)
    else:  # what the other direction copied, to the new side
        ledger = Ledger()
        inheritance = Inheritance([ledger_of(source_prefix, copied)])
        inheritance.take_over(ledger, mapping, at_source, at_destination)
    found = find_divergence(mapping, Decisions(), ledger, at_source, at_destination)
    expected = {source_prefix + name: kind for name, values in history.items() if (kind := expected_kind(*values))}
    assert {one.key: one.kind for one in found.keys} == expected
    assert all(one.old_key == destination_prefix + one.key[len(source_prefix) :] for one in found.keys)
    not_copied = [name for name, (was, at_new, at_old) in history.items() if at_new != at_old and at_old == was]
    assert found.not_copied == len(not_copied)


def carried_out(keys: t.Sequence[Divergence], new: dict[str, Entry], old: dict[str, Entry]) -> list[bytes]:
    """Make the keys what the winner has, and return the fingerprints of what is equal then."""
    for one in keys:
        for side, name in ((new, one.key), (old, one.old_key)):
            side.pop(name, None)
            if one.winning is not None:
                side[name] = one.winning._replace(key=name)
    return [fingerprint for one in keys if (fingerprint := one.fingerprint())]


@given(histories, st.sampled_from(NAMES), st.booleans(), WINNERS, WINNERS)
def test_what_was_decided_is_no_conflict_any_more_and_is_owned(
    history: dict[str, tuple[bytes | None, ...]], prefixes: tuple[str, str], was_compared: bool, wins: str, below: str
) -> None:
    source_prefix, destination_prefix = prefixes
    copied, new, old = ({name: values[which] for name, values in history.items()} for which in range(3))
    mapping = mapping_of(prefixes)
    decisions = Decisions([(source_prefix, wins), (f"{source_prefix}f/", below)])
    at_source = {one.key: one for one in entries(source_prefix, new)}
    at_destination = {one.key: one for one in entries(destination_prefix, old)}
    inheritance = None if was_compared else Inheritance([ledger_of(source_prefix, copied)])

    def read_ledger(parts: t.Sequence[bytes]) -> Ledger:
        stored = ledger_of(destination_prefix, copied) if was_compared else Ledger()
        ledger = Ledger(stored.take_dirty(), dict(enumerate(parts)))
        if inheritance is not None:
            inheritance.take_over(ledger, mapping, at_source.values(), at_destination.values())
        return ledger

    first = find_divergence(
        mapping, decisions, read_ledger([]), list(at_source.values()), list(at_destination.values())
    )
    decided = [one for one in first.keys if one.wins != REPORT]
    equal = [*first.equal, *carried_out(decided, at_source, at_destination)]
    ledger = read_ledger([intent_part(equal, prefix_id(destination_prefix))])
    second = find_divergence(mapping, decisions, ledger, list(at_source.values()), list(at_destination.values()))
    assert {one.key for one in second.keys} == {one.key for one in first.keys if one.wins == REPORT}
    assert second.equal == []
    ledger = read_ledger([intent_part(equal, prefix_id(destination_prefix))])
    plan = plan_shard(mapping, Policy("keep"), ledger, at_source.values(), at_destination.values())
    conflicts = {mapping.to_source(problem.key) for problem in plan.conflicts}
    assert not conflicts & {one.key for one in decided}
    ledger.commit(plan.equal_again, prefix_id(destination_prefix))
    for one in decided:
        content = at_destination.get(one.old_key)
        if content is not None:
            assert ledger.is_committed(fingerprint_of(one.old_key, content.value, content.flags))


names = st.lists(st.sampled_from(["", "a", "b", "ab"]), min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(names, WINNERS), names)
def test_the_longest_decision_that_fits_a_key_counts(decided: dict[str, str], key: str) -> None:
    fitting = [name for name in decided if name == key or ((not name or name.endswith("/")) and key.startswith(name))]
    expected = decided[max(fitting, key=len)] if fitting else REPORT
    assert Decisions(decided.items()).winner(key) == expected


def test_a_name_without_a_slash_is_one_key() -> None:
    decisions = Decisions([("app/a", OLD)])
    assert [decisions.winner(key) for key in ("app/a", "app/ab", "app/a/b")] == [OLD, REPORT, REPORT]


@pytest.mark.parametrize(
    ("decisions", "sentence"),
    [
        ([("app/x/", NEW), ("app/x/", OLD)], r"decisions\[1\]: 'app/x/' is decided twice"),
        ([("app/", NEW), ("ap", OLD)], r"decisions\[1\]: 'ap' concerns no key"),
        ([("config/", NEW)], r"decisions\[0\]: 'config/' concerns no key"),
        ([("app/out", NEW)], r"decisions\[0\]: 'app/out' concerns no key"),
    ],
)
def test_a_decision_that_cannot_be_meant_is_refused(decisions: list[tuple[str, str]], sentence: str) -> None:
    mappings = make_mappings([{"source": "app/", "exclude": ["out"]}], "owned")
    with pytest.raises(InvalidOption, match=sentence):
        Decisions(decisions).check(mappings)


def test_a_decision_about_everything_or_a_folder_above_or_below_a_prefix_is_accepted() -> None:
    Decisions([("", NEW), ("app/", OLD), ("app/x/y/", NEW), ("app/x/z", OLD)]).check(make_mappings(["app/x/"], "owned"))


def test_locks_do_not_diverge_unless_they_are_asked_for() -> None:
    mapping = mapping_of(("app/", "app/"))
    old = [Entry("app/.lock", b"holder", 0, 7), Entry("app/held", b"x", 0, 7, session="s")]
    found = [find_divergence(mapping, Decisions(), Ledger(), [], old, skip_locked=skips) for skips in (True, False)]
    assert [len(one.keys) for one in found] == [0, 2]
    assert found[0].counts.skipped_locked == 2

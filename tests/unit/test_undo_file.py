# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The undo file of a restore of prefixes: planning with it takes back what a plan did."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.kv import Entry
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import prefix_plan, snapshot_keys, undo_file
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.errors import BadSnapshot
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.prefix_plan import Contents, PrefixOptions
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.undo_file import Undoable, UndoFile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab import craft

NOW = 1795378925.0
Keys = dict[bytes, tuple[bytes, int]]

# Names of up to two bytes, of which some are not UTF-8.
some_keys = st.dictionaries(
    st.binary(min_size=1, max_size=2).map(lambda name: b"a/" + name),
    st.tuples(st.binary(max_size=4), st.integers(0, 3)),
    max_size=8,
)


def entry(key: bytes, content: tuple[bytes, int], index: int = 7) -> Entry:
    """Return a key as Consul's API gives it: a name that is not UTF-8 arrives with replacement characters."""
    return Entry(key.decode("utf-8", "replace"), *content, index)


def plan_of(contents: Contents, live: Keys, prune: bool = False) -> prefix_plan.PrefixPlan:
    listed = [entry(key, content) for key, content in sorted(live.items())]
    named = (*contents.keys, *contents.absent)
    raw = {key: entry(key, live[key]) for key in named if key in live and not prefix_plan.is_text(key)}
    return prefix_plan.plan("a/", contents, listed, raw, PrefixOptions(prune=prune))


def applied(plan: prefix_plan.PrefixPlan, live: Keys) -> Keys:
    after = dict(live)
    for change in plan.changes:
        after.pop(change.key.encode(), None)
        if change.change != "deleted":
            after[change.key.encode()] = (change.operation.value, change.operation.flags)
    for raw in plan.raw:
        after.pop(raw.key, None)
        if raw.value is not None:
            after[raw.key] = (raw.value, raw.flags)
    return after


@settings(max_examples=60, deadline=None)
@given(wanted=some_keys, live=some_keys, others=some_keys, prune=st.booleans())
def test_what_a_plan_changes_is_as_before_after_the_undo_file_and_nothing_else_is_touched(
    wanted: Keys, live: Keys, others: Keys, prune: bool
) -> None:
    plan = plan_of(Contents(wanted), live, prune)
    with tempfile.TemporaryDirectory() as directory:
        undo = UndoFile(Path(directory), Undoable("dc1", ("a/",)), NOW)
        undo.add([plan])
        assert undo.path is not None
        found = snapshot_keys.read_keys(undo.path, ["a/"], NOW)
    assert found.datacenter == "dc1" and found.undo == Undoable("dc1", ("a/",))
    after = applied(plan, live)
    assert applied(plan_of(found.below["a/"], after), after) == live
    written_since = {key: content for key, content in others.items() if key not in {*live, *wanted}}
    later = {**after, **written_since}
    assert applied(plan_of(found.below["a/"], later), later) == {**live, **written_since}


def test_a_key_that_was_written_stays_in_the_undo_file_as_it_was_first(tmp_path: Path) -> None:
    undo = UndoFile(tmp_path, Undoable("dc1", ("a/",)), NOW)
    wanted = Contents({b"a/1": (b"w", 0), b"a/2": (b"w", 0), b"a/3": (b"w", 0)})
    undo.add([plan_of(wanted, {b"a/1": (b"old", 0), b"a/2": (b"old", 0)})])
    first = undo.path
    undo.add(
        [plan_of(wanted, {b"a/1": (b"newer", 0), b"a/2": (b"newer", 0), b"a/3": (b"w", 0)})], written={b"a/1", b"a/3"}
    )
    assert undo.path == first and [path.name for path in tmp_path.glob("*.snap")] == [
        undo.path.name if undo.path else ""
    ]
    assert undo.path is not None
    found = snapshot_keys.read_keys(undo.path, ["a/"], NOW).below["a/"]
    assert found == Contents({b"a/1": (b"old", 0), b"a/2": (b"newer", 0)}, frozenset({b"a/3"}))


def test_tombstones_and_keys_called_like_the_undo_files_own_do_not_make_an_undo_file(tmp_path: Path) -> None:
    own = craft.key("consulops/undo", Undoable("dc1", ("a/",)).as_bytes())
    path = craft.write(
        tmp_path / "plain.snap", craft.key("a/1"), own, craft.record(5, {"Key": "a/2", "Index": 9}), *craft.node("n")
    )
    found = snapshot_keys.read_keys(path, ["a/"], NOW)
    assert found.undo is None and found.below["a/"].absent == frozenset() and set(found.below["a/"].keys) == {b"a/1"}


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{}", json.dumps({"format": 99, "datacenter": "dc1", "prefixes": []}).encode()]
)
def test_an_undo_file_that_does_not_say_what_it_undoes_is_refused(value: bytes) -> None:
    with pytest.raises(BadSnapshot, match="undo file"):
        undo_file.read_undoable(value)


def test_only_the_keys_that_must_be_absent_are_deleted() -> None:
    contents = Contents({b"a/1": (b"w", 0)}, frozenset({b"a/2"}))
    plan = plan_of(contents, {b"a/2": (b"x", 0), b"a/3": (b"x", 0)})
    assert [(change.key, change.change) for change in plan.changes] == [("a/1", "created"), ("a/2", "deleted")]
    assert plan.kept == 1

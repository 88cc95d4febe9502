# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparing records of different Consul versions by their fields: what holds no value, and what must be found."""

from __future__ import annotations

import io
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import records
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.compare import compare
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.kept_records import (
    BLOCK_BYTES,
    PARTS,
    KeptRecord,
    KeptRecords,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.unset_fields import (
    decoded,
    equal_but_unset,
    is_unset,
    without_unset,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import craft

leaves = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.binary(max_size=2), st.floats(0, 1))
names = st.sampled_from([b"ID", b"Name", b"Port", b"Mode", b"Proxy", b"Tags", b"Meta", b"Limits", b"user-key"])
values = st.recursive(
    leaves,
    lambda inner: st.dictionaries(names, inner, max_size=4) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=12,
)
structs = st.dictionaries(names, values, min_size=1, max_size=5)
unset = st.recursive(
    st.sampled_from([None, False, 0, b"", ()]),
    lambda inner: st.dictionaries(st.sampled_from([b"Path", b"Enabled"]), inner, max_size=2),
    max_leaves=4,
)
TYPE = records.ACL_TOKEN


@given(one=structs, other=structs)
def test_leaving_out_what_is_unset_twice_changes_nothing_more(one: t.Any, other: t.Any) -> None:
    once = without_unset(one, other, TYPE)
    assert without_unset(once, other, TYPE) == once


@given(one=structs, other=structs)
def test_records_are_equal_in_both_directions_or_in_none(one: t.Any, other: t.Any) -> None:
    assert equal_but_unset([one], [one], TYPE)
    assert equal_but_unset([one], [other], TYPE) == equal_but_unset([other], [one], TYPE)


@given(one=structs, other=structs)
def test_two_records_are_equal_when_nothing_else_is_left_of_them(one: t.Any, other: t.Any) -> None:
    assert equal_but_unset([one], [other], TYPE) == (
        repr(_in_order(without_unset(one, other, TYPE))) == repr(_in_order(without_unset(other, one, TYPE)))
    )


def _in_order(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {name: _in_order(inner) for name, inner in sorted(value.items())}
    return tuple(map(_in_order, value)) if isinstance(value, tuple) else value


def _paths(value: t.Any, path: tuple[t.Any, ...] = ()) -> list[tuple[t.Any, ...]]:
    """Return where a record holds a value: the paths of its leaves that are set."""
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in _paths(inner, (*path, name))]
    if isinstance(value, tuple):
        return [found for position, inner in enumerate(value) for found in _paths(inner, (*path, position))]
    return [path] if value else []


def _replaced(value: t.Any, path: tuple[t.Any, ...], new: t.Any) -> t.Any:
    if not path:
        return new
    if isinstance(value, dict):
        return {**value, path[0]: _replaced(value[path[0]], path[1:], new)}
    return tuple(
        _replaced(inner, path[1:], new) if position == path[0] else inner for position, inner in enumerate(value)
    )


@given(data=st.data(), record=structs, added=st.dictionaries(st.sampled_from([b"Locality", b"Peer"]), unset))
def test_every_change_of_a_value_is_found_beside_fields_of_another_version(
    data: st.DataObject, record: dict[bytes, t.Any], added: dict[bytes, t.Any]
) -> None:
    newer = {**record, **added}
    if all(name[:1].isupper() for name in record):  # else its keys are a user's, and none may be added
        assert equal_but_unset([record], [newer], TYPE)
    paths = _paths(record)
    if paths:
        path = data.draw(st.sampled_from(paths))
        new = data.draw(leaves)
        changed = _replaced(newer, path, new)
        before, after = (repr(_at(side, path)) for side in (record, changed))
        assert equal_but_unset([record], [changed], TYPE) == (
            before == after and equal_but_unset([record], [newer], TYPE)
        )


def _at(value: t.Any, path: tuple[t.Any, ...]) -> t.Any:
    for part in path:
        value = value[part]
    return value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({b"MaxConnections": None}, {b"MaxConnections": 0}),  # no limit, and no connection at all
        ({b"Enabled": False}, {b"Enabled": 0}),
        ({b"Enabled": True}, {b"Enabled": 1}),
        ({b"Weight": 1}, {b"Weight": 1.0}),
        ({b"Meta": {}}, {b"Meta": {b"Canary": b""}}),
        ({}, {b"Meta": {b"Canary": b""}}),
        ({b"Tags": ()}, {b"Tags": (b"",)}),
        ({b"Services": ({},)}, {b"Services": ({}, {})}),
        ({b"labels": {b"a-b": None}}, {b"labels": {b"a-b": None, b"C": None}}),
        ({b"Config": {b"A": 1}}, {b"Config": {b"A": 1, b"B": None}}),
    ],
)
def test_two_settings_are_never_taken_for_one(before: t.Any, after: t.Any) -> None:
    assert not equal_but_unset([before], [after], TYPE)
    assert not equal_but_unset([after], [before], TYPE)


def test_a_subset_without_settings_of_its_own_is_a_subset() -> None:
    subset = {b"Filter": b"", b"OnlyPassing": False}
    before, after = {b"Subsets": {b"V1": subset}}, {b"Subsets": {b"V1": subset, b"V2": subset}}
    assert not equal_but_unset([before], [after], records.CONFIG_ENTRY)
    newer = {b"Subsets": {b"V1": {**subset, b"Novel": None}}}
    assert equal_but_unset([before], [newer], records.CONFIG_ENTRY)


def test_several_records_are_compared_in_any_order() -> None:
    one, two = {b"IP": b"a", b"ManualIPs": None}, {b"IP": b"b", b"ManualIPs": None}
    assert equal_but_unset([{b"IP": b"b"}, {b"IP": b"a"}], [one, two], 32)
    assert not equal_but_unset([{b"IP": b"b"}, {b"IP": b"b"}], [one, two], 32)
    assert not equal_but_unset([{b"IP": b"a"}], [one, two], 32)
    assert not equal_but_unset([], [], 32)


def test_only_what_holds_no_value_is_unset() -> None:
    assert all(is_unset(value, b"X") for value in (None, False, 0, b"", (), {}, {b"Path": b"", b"Log": {b"On": False}}))
    assert not any(is_unset(value, b"X") for value in (True, 1, b"0", (None,), {b"Path": b"/"}, {b"user key": None}))


@given(value=structs)
def test_a_record_comes_back_from_its_canonical_bytes(value: t.Any) -> None:
    assert decoded(records.canonical(TYPE, _pairs(value))) == value


def _pairs(value: t.Any) -> t.Any:
    """Return maps as the archive decodes them: lists of pairs; the outermost as a dict."""
    return {name: _inner(inner) for name, inner in value.items()}


def _inner(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return [(name, _inner(inner)) for name, inner in value.items()]
    return tuple(_inner(inner) for inner in value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    "record",
    [
        craft.raw_record(TYPE, b"\x83\xaaAccessorID\xa1a\xa1X\x82\xa1a\x01\xa1a\x02\xa1Y\x01"),  # a field twice
        craft.raw_record(TYPE, b"\x83\xaaAccessorID\xa1a\xa1X\x81\x01\x02\xa1Y\x01"),  # a field that is a number
        craft.raw_record(TYPE, b"\x82\xaaAccessorID\xa1a\xa1X" + b"\x91" * 300 + b"\xc0"),  # nested deeply
    ],
)
def test_a_record_that_cannot_be_compared_by_its_fields_stays_a_difference(record: tuple[int, bytes]) -> None:
    other = craft.record(TYPE, {"AccessorID": "a", "Novel": None})
    found = compare((io.BytesIO(craft.snapshot(record)), "x"), (io.BytesIO(craft.snapshot(other)), "y"), as_of=0)
    assert [row.change for row in found.differences] == ["changed"] and not found.equal


def test_kept_records_come_back_in_the_same_part_of_each_and_take_little_memory() -> None:
    one, other = KeptRecords(), KeptRecords()
    rows = [KeptRecord("Register", 0, b"n%d" % number, number, b"x" * 1000 + b"%d" % number) for number in range(5000)]
    for row in rows:
        one.add(row)
    for row in reversed(rows):
        other.add(row)
    for _time in range(2):
        parts = [(list(first), list(second)) for first, second in zip(one.parts(), other.parts())]
        assert all(first == second[::-1] for first, second in parts)
        assert sorted(row for first, _second in parts for row in first) == sorted(rows)
    assert max(len(first) for first, _second in parts) < 2 * len(rows) / PARTS
    assert one.kept_bytes < 5000 * 1000 // 20 + PARTS * BLOCK_BYTES

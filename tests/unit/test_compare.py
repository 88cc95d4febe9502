# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparing snapshots by an index: names, order, repeated names, tokens that expire, memory."""

from __future__ import annotations

import io
import tracemalloc
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._snapshot import records
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.compare import (
    Comparison,
    compare,
    compare_source,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.index import SnapshotIndex, index_snapshot
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import craft

keys = st.dictionaries(
    st.binary(min_size=1, max_size=4).map(lambda name: b"k/" + name),
    st.tuples(st.binary(max_size=3), st.integers(0, 2)),
    max_size=12,
)


def index_of(*found: tuple[int, bytes], as_of: float = 0) -> SnapshotIndex:
    return index_snapshot(io.BytesIO(craft.snapshot(*found)), "before", as_of=as_of)


def with_snapshot(index: SnapshotIndex, *found: tuple[int, bytes], as_of: float = 0) -> Comparison:
    return compare_source(index, io.BytesIO(craft.snapshot(*found)), "after", as_of=as_of)


def changes(found: Comparison) -> dict[str, str]:
    return {row.name: row.change for row in found.differences}


@given(before=keys, after=keys, order=st.randoms(use_true_random=False))
def test_every_difference_is_found_in_whatever_order_the_records_come(
    before: dict[bytes, tuple[bytes, int]], after: dict[bytes, tuple[bytes, int]], order: t.Any
) -> None:
    sides = []
    for contents in (before, after):
        rows = [craft.key(key, value, flags, ModifyIndex=7) for key, (value, flags) in contents.items()]
        order.shuffle(rows)
        sides.append(rows)
    found = with_snapshot(index_of(*sides[0]), *sides[1])
    expected = {
        key.decode("utf-8", "backslashreplace"): (
            "added" if key not in before else "removed" if key not in after else "changed"
        )
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }
    assert changes(found) == expected
    assert found.equal == (not expected)
    assert [row.index for row in found.differences] == [
        0 if row.change == "removed" else 7 for row in found.differences
    ]
    assert [row.name for row in found.differences] == sorted(row.name for row in found.differences)
    counted = sum(row.unchanged for row in found.tables)
    assert counted == sum(before.get(key) == content for key, content in after.items())


def test_one_index_serves_several_comparisons() -> None:
    index = index_of(craft.key("a"), craft.key("b"))
    assert changes(with_snapshot(index, craft.key("a"))) == {"b": "removed"}
    assert changes(with_snapshot(index, craft.key("a"), craft.key("b"))) == {}
    assert changes(with_snapshot(index, craft.key("b"), craft.key("a", b"x"))) == {"a": "changed"}


def test_records_of_one_name_are_compared_as_what_they_are_together() -> None:
    rows = [craft.record(32, {"IP": number}) for number in range(3)]
    one, two = craft.snapshot(*rows), craft.snapshot(rows[2], rows[0], rows[1])
    found = compare((io.BytesIO(one), "one"), (io.BytesIO(two), "two"), as_of=0)
    assert found.equal and not found.differences
    found = compare((io.BytesIO(one), "one"), (io.BytesIO(craft.snapshot(*rows[:2])), "two"), as_of=0)
    assert not found.equal and len(found.differences) == 1
    twice = with_snapshot(index_of(rows[0]), rows[0], rows[0])
    assert not twice.equal and len(twice.differences) == 1


def _go_time(seconds: int) -> bytes:
    return b"\x01" + (seconds + 62135596800).to_bytes(8, "big") + bytes(4) + b"\xff\xff"


def test_a_token_that_expires_between_two_comparisons_is_not_a_difference() -> None:
    lasting = craft.record(17, {"AccessorID": "a", "ExpirationTime": None})
    expiring = craft.record(17, {"AccessorID": "b", "ExpirationTime": _go_time(1000)})
    index = index_of(lasting, expiring, as_of=999)
    assert changes(with_snapshot(index, lasting, as_of=999)) == {"b": "removed"}
    assert changes(with_snapshot(index, lasting, as_of=1001)) == {}
    assert changes(with_snapshot(index, lasting, expiring, as_of=1001)) == {}


def test_objects_that_wake_replication_are_never_a_difference() -> None:
    left_behind = [
        craft.record(19, {"ID": "1", "Name": "consulops-touch-1"}),
        craft.record(23, {"ID": "2", "Name": "consulops-touch-1"}),
        craft.record(17, {"AccessorID": "3", "Description": "consulops-touch-1"}),
        craft.config_entry("terminating-gateway", {"Name": "consulops-touch-1", "Kind": "terminating-gateway"}),
    ]
    found = with_snapshot(index_of(craft.key("a")), craft.key("a"), *left_behind)
    assert found.equal and not found.differences


def test_an_index_of_many_keys_is_small() -> None:
    data = craft.snapshot(*[craft.key(f"app/web/{number:06d}") for number in range(20_000)])
    tracemalloc.start()
    try:
        index = index_snapshot(io.BytesIO(data), "many", as_of=0)
        kept = tracemalloc.get_traced_memory()[0]
        found = compare_source(index, io.BytesIO(data), "many", as_of=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.equal and found.tables[0].unchanged == 20_000
    assert kept < 20_000 * 50, f"{kept} bytes"
    assert peak < 8 << 20, f"{peak} bytes"


def test_a_check_with_a_field_that_cannot_be_a_name_is_a_record_like_others() -> None:
    """A damaged one, whose field is a map: what is wrong with it is said elsewhere."""
    odd, more = ([(b"a", 1)], b"x"), (b"Name", b"web")
    record = {b"Node": b"n1", b"Check": [odd, more, (b"Output", b"1")]}
    same = {b"Node": b"n1", b"Check": [more, odd, (b"Output", b"2")]}
    assert records.canonical(records.REGISTER, record) == records.canonical(records.REGISTER, same)

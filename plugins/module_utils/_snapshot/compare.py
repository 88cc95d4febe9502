# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares a snapshot that was indexed with another one, or with the live state, while that one is read.

By table and record, by hashes only. Memory beyond the index grows with the number of differences. Records that a server of
another version wrote are compared by their meaning (migration.py).
"""

from __future__ import annotations

import logging
import typing as t
from array import array
from dataclasses import dataclass

from . import records
from .gunzip import Source
from .index import ABSENT, HASH_BYTES, SnapshotIndex, TableIndex, combined, index_snapshot
from .migration import BUILT_IN_POLICIES, CA_PROVIDER_STATE, DERIVED_TABLES, FieldNames, Intentions, meaning
from .summary import OnRecord, Summary, summarize

log = logging.getLogger("consulops")


@dataclass(frozen=True)
class TableComparison:
    """How the records of one table differ. ``durable``: a restore would bring the table back.

    ``migrated``: records that only another version of Consul made different; they are no differences.
    """

    table: str
    durable: bool
    added: int
    removed: int
    changed: int
    unchanged: int
    migrated: int = 0


@dataclass(frozen=True)
class Difference:
    """One record that is not the same on both sides. ``before`` and ``after`` are its hashes, None where it is absent.

    ``index`` is the Raft index at which the after side was last written, 0 where it is absent.
    """

    table: str
    name: str
    change: str
    before: str | None
    after: str | None
    index: int = 0


@dataclass(frozen=True)
class PrefixComparison:
    """How the keys below one KV prefix (the first element of their path) differ."""

    prefix: str
    added: int
    removed: int
    changed: int


@dataclass(frozen=True)
class Comparison:
    """``equal``: the durable tables are the same, or mean the same in the two versions. ``differences`` are in order of table and
    name.
    """

    equal: bool
    before: Summary
    after: Summary
    tables: tuple[TableComparison, ...]
    kv: tuple[PrefixComparison, ...]
    differences: tuple[Difference, ...]

    @property
    def migrated(self) -> dict[str, int]:
        """How many records of each durable table only another version of Consul made different."""
        return {table.table: table.migrated for table in self.tables if table.durable and table.migrated}


class Comparer:
    """Compares the records of the after side with an index of the before side: a RecordSink for summarize().

    ``as_of``: tokens of the before side that have expired by then (seconds since 1970) are left out, as summarize()
    leaves out those of the after side.
    """

    def __init__(self, before: SnapshotIndex, *, as_of: float) -> None:
        self._before = before
        self._as_of = as_of
        self._tables = {table: _TableComparer(index) for table, index in before.tables.items()}
        # Called for each of possibly millions of keys, so without a method in between.
        self.add_key = self._table(records.type_name(records.KVS), records.KVS).add
        self._field_names = FieldNames()
        self._intentions = Intentions()

    def add(self, table: str, kind: int, record: t.Any, record_hash: bytes) -> None:
        self._table(table, kind).add(records.name_bytes(kind, record), record_hash, record, meaning(kind, record))
        self._field_names.add(kind, record)
        self._intentions.add(kind, record)

    @property
    def is_of_another_version(self) -> bool:
        """Whether the after side was written by another version of Consul, as far as it was read."""
        return self._before.field_names.differ_from(self._field_names)

    def result(self, after: Summary) -> Comparison:
        """Return the comparison, once the after side was read to its end; ``after`` is its summary."""
        expired = frozenset(name for name, expires in self._before.expiry.items() if expires <= self._as_of)
        kv_table, token_table = records.type_name(records.KVS), records.type_name(records.ACL_TOKEN)
        excused = _Excused.none() if not self.is_of_another_version else self._excused()
        tables: list[TableComparison] = []
        differences: list[Difference] = []
        for table, comparer in sorted(self._tables.items()):
            if not comparer.is_empty:
                counted, listed = comparer.result(table, expired if table == token_table else frozenset(), excused)
                tables.append(counted)
                differences += listed
        before = self._before.summary
        different = any(table.durable and (table.added or table.removed or table.changed) for table in tables)
        found = Comparison(
            equal=before.digest == after.digest or (excused.other_version and not different),
            before=before,
            after=after,
            tables=tuple(tables),
            kv=_by_prefix(difference for difference in differences if difference.table == kv_table),
            differences=tuple(differences),
        )
        log.debug(
            "compared index %d with index %d: equal=%s, %d differences",
            before.meta.index,
            after.meta.index,
            found.equal,
            len(found.differences),
        )
        return found

    def _excused(self) -> _Excused:
        """Return which records a leader of another version added or removed."""
        ids, entries = self._before.intentions.migrated_to(self._intentions)
        back_ids, back_entries = self._intentions.migrated_to(self._before.intentions)
        intentions, config = records.type_name(records.INTENTION), records.type_name(records.CONFIG_ENTRY)
        names = {intentions: ids | back_ids, config: entries | back_entries}
        names[records.type_name(records.ACL_POLICY)] = BUILT_IN_POLICIES
        is_new = frozenset(table for table in DERIVED_TABLES if table not in self._before.tables)
        return _Excused(True, names, is_new)

    def _table(self, table: str, kind: int) -> _TableComparer:
        comparer = self._tables.get(table)
        if comparer is None:
            comparer = self._tables[table] = _TableComparer(TableIndex(kind))
        return comparer


def compare_source(
    before: SnapshotIndex, after: Source, name: str, *, as_of: float, on_record: OnRecord | None = None
) -> Comparison:
    """Read a snapshot, called ``name`` in errors, and compare an indexed one with it. Raises what summarize() raises."""
    comparer = Comparer(before, as_of=as_of)
    return comparer.result(summarize(after, name, as_of=as_of, on_record=on_record, sink=comparer))


def compare(before: tuple[Source, str], after: tuple[Source, str], *, as_of: float) -> Comparison:
    """Compare two snapshots, each (source, name for errors). Raises what summarize() raises."""
    return compare_source(index_snapshot(*before, as_of=as_of), *after, as_of=as_of)


def _by_prefix(differences: t.Iterable[Difference]) -> tuple[PrefixComparison, ...]:
    counts: dict[str, dict[str, int]] = {}
    for difference in differences:
        folder, slash, _rest = difference.name.partition("/")
        counter = counts.setdefault(folder + slash, {"added": 0, "removed": 0, "changed": 0})
        counter[difference.change] += 1
    return tuple(PrefixComparison(prefix, **counter) for prefix, counter in sorted(counts.items()))


@dataclass(frozen=True)
class _Excused:
    """What a leader of another version made different: records by table and name, and whole tables that the before side does not
    have.
    """

    other_version: bool
    names: t.Mapping[str, t.AbstractSet[str]]
    new_tables: t.AbstractSet[str]

    @classmethod
    def none(cls) -> _Excused:
        return cls(False, {}, frozenset())

    def covers(self, difference: Difference) -> bool:
        """Return whether an added or removed record is no difference."""
        if difference.change == "added" and difference.table in self.new_tables:
            return True
        if difference.table == records.type_name(records.ACL_POLICY) and difference.change != "added":
            return False  # no version removes a built-in policy
        return difference.name in self.names.get(difference.table, ())


class _TableComparer:
    """Compares the records of one table, in whatever order they come."""

    def __init__(self, before: TableIndex) -> None:
        self._before = before
        self._names, self._ends, self._hashes = before.names, before.ends, before.hashes
        self._size = len(before)
        self._is_found = bytearray(self._size)
        self._next, self._next_start = 0, 0  # position and start of the name that is expected next
        self._changed: dict[int, tuple[int, int]] = {}  # position: hash and Raft index of the after side
        self._added: dict[bytes, tuple[int, int]] = {}  # name: the same
        self._meanings = array("Q", bytes(8 * len(before.meanings)))  # by position: of the after side
        self._added_meanings: dict[bytes, int] = {}

    @property
    def is_empty(self) -> bool:
        return not self._hashes and not self._added

    def add(self, name: bytes, record_hash: bytes, record: t.Any, meant: int | None = None) -> None:
        short = int.from_bytes(record_hash[:HASH_BYTES], "big")
        position, end = self._next, self._next_start + len(name)
        # Both sides usually come in the same order, so the next name is the one after the last.
        if not (
            position < self._size and self._ends[position] == end and self._names.startswith(name, self._next_start)
        ):
            position = self._before.find(name)
            if position == ABSENT:
                self._add_absent(name, short, record)
                if meant is not None:
                    self._added_meanings[name] = combined(self._added_meanings.get(name, 0), meant)
                return
            end = self._ends[position]
        self._next, self._next_start = position + 1, end
        if meant is not None:
            self._meanings[position] = combined(self._meanings[position], meant)
        if short == self._hashes[position] and not self._is_found[position]:
            self._is_found[position] = 1
        else:
            self._add_changed(position, short, record)

    def _add_absent(self, name: bytes, short: int, record: t.Any) -> None:
        if name in self._added:
            short = combined(self._added[name][0], short)
        self._added[name] = (short, self._written_at(record))

    def _add_changed(self, position: int, short: int, record: t.Any) -> None:
        expected = self._hashes[position]
        if self._is_found[position]:  # another record of the same name
            earlier, _index = self._changed.get(position, (expected, 0))
            short = combined(earlier, short)
        self._is_found[position] = 1
        if short == expected:
            self._changed.pop(position, None)
        else:
            self._changed[position] = (short, self._written_at(record))

    def result(
        self, table: str, expired: t.Container[bytes], excused: _Excused
    ) -> tuple[TableComparison, list[Difference]]:
        """Return the counts and the differences by name; records named in ``expired`` are absent before."""
        listed: list[Difference] = []
        unchanged = migrated = 0
        is_renamed = self._before.kind == CA_PROVIDER_STATE and excused.other_version and self._has_same_meanings()
        for position, before in enumerate(self._hashes):
            is_found = self._is_found[position]
            after, index = self._changed.get(position, (before, 0))
            if expired and (name := self._before[position]) in expired:
                if is_found:
                    listed.append(Difference(table, records.text(name), "added", None, _hex(after), index))
            elif not is_found:
                name = self._before[position]
                listed.append(Difference(table, records.text(name), "removed", _hex(before), None))
            elif position in self._changed:
                if (
                    excused.other_version
                    and self._meanings
                    and self._meanings[position] == self._before.meanings[position]
                ):
                    migrated += 1
                    continue
                name = self._before[position]
                listed.append(Difference(table, records.text(name), "changed", _hex(before), _hex(after), index))
            else:
                unchanged += 1
        for name, (after, index) in self._added.items():
            listed.append(Difference(table, records.text(name), "added", None, _hex(after), index))
        if excused.other_version:
            kept = [found for found in listed if not (is_renamed or excused.covers(found))]
            migrated += len(listed) - len(kept)
            listed = kept
        listed.sort(key=lambda difference: difference.name)
        counts = {change: sum(found.change == change for found in listed) for change in ("added", "removed", "changed")}
        durable = records.is_durable(table, self._before.kind)
        return TableComparison(table, durable, unchanged=unchanged, migrated=migrated, **counts), listed

    def _has_same_meanings(self) -> bool:
        """Return whether both sides hold the same records under whatever names."""
        after = [self._meanings[position] for position in range(self._size) if self._is_found[position]]
        return sorted(self._before.meanings) == sorted([*after, *self._added_meanings.values()])

    def _written_at(self, record: t.Any) -> int:
        return records.modify_index(self._before.kind, record)


def _hex(short: int) -> str:
    return short.to_bytes(HASH_BYTES, "big").hex()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares a snapshot that was indexed with another one, or with the live state, while that one is read.

By table and record, by hashes. What differs by its hash and was written by another version of Consul is compared by
meaning (migration.py). Memory beyond the index grows with the number of differences; one that another version made takes
its name, and its contents compressed.
"""

from __future__ import annotations

import logging
import typing as t
from dataclasses import dataclass

from . import migration, records
from .gunzip import Source
from .index import ABSENT, HASH_BYTES, SnapshotIndex, TableIndex, combined, index_snapshot
from .kept_records import KeptRecord, KeptRecords, Name
from .summary import OnRecord, Summary, summarize
from .version_rules import newest_version

log = logging.getLogger("consulops")

_KV_TABLE, _TOKEN_TABLE, _INDEX_TABLE = map(records.type_name, (records.KVS, records.ACL_TOKEN, records.INDEX))


@dataclass(frozen=True)
class TableComparison:
    """How the records of one table differ. ``durable``: a restore would bring the table back.

    ``migrated``: records that differ only because another version of Consul stored them. They are in no other count.
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
    """``equal``: the durable tables are the same. ``differences`` are in order of table and name.

    ``migrated_at``: the Raft indexes at which the after side last wrote records that differ only because another version of
    Consul stored them, Index records aside; those are no differences. ``other_version``: the two sides were written by
    different versions. ``before_is_newer``: a newer version made the before side of the after side.
    """

    equal: bool
    before: Summary
    after: Summary
    tables: tuple[TableComparison, ...]
    kv: tuple[PrefixComparison, ...]
    differences: tuple[Difference, ...]
    migrated_at: frozenset[int] = frozenset()
    other_version: bool = False
    before_is_newer: bool = False

    @property
    def migrated(self) -> dict[str, int]:
        """How many records of each durable table differ only because another version of Consul stored them."""
        return {table.table: table.migrated for table in self.tables if table.durable and table.migrated}


class Comparer:
    """Compares the records of the after side with an index of the before side: a RecordSink for summarize().

    ``as_of``: tokens of the before side that have expired by then (seconds since 1970) are left out, as summarize()
    leaves out those of the after side. ``versions``: what the servers of the after side are known to run, besides what
    it says itself: right after a restore the catalog names the version of the snapshot.
    """

    def __init__(self, before: SnapshotIndex, *, as_of: float, versions: t.Iterable[str] = ()) -> None:
        self._before = before
        self._as_of = as_of
        self._versions = frozenset(versions)
        self._differing = KeptRecords()
        self._found: Comparison | None = None
        self._tables = {table: _TableComparer(index) for table, index in before.tables.items()}
        # Called for each of possibly millions of keys, so without a method in between.
        self.add_key = self._table(records.type_name(records.KVS), records.KVS).add

    def add(self, table: str, kind: int, record: t.Any, record_hash: bytes, content: bytes) -> None:
        name = records.name_bytes(kind, record)
        if not self._table(table, kind).add(name, record_hash, record):
            written_at = records.modify_index(kind, record) if kind in migration.DATED else 0
            self._differing.add(KeptRecord(table, kind, name, written_at, content))

    def result(self, after: Summary) -> Comparison:
        """Return the comparison, once the after side was read to its end; ``after`` is its summary."""
        if self._found is None:
            self._found = self._compared(after)
        return self._found

    def _compared(self, after: Summary) -> Comparison:
        expired = frozenset(name for name, expires in self._before.expiry.items() if expires <= self._as_of)
        before = self._before.summary
        is_other_version = _differ(before.consul_versions, {*after.consul_versions, *self._versions})
        recognized = self._recognized(
            expired,
            migration.TwoStates(
                before.meta.index,
                after.meta.index,
                is_other_version,
                _is_newer(before.consul_versions, {*after.consul_versions, *self._versions}),
            ),
        )
        migrated: dict[str, set[bytes]] = {}
        for table, name in recognized.names:
            migrated.setdefault(table, set()).add(name)
        tables: list[TableComparison] = []
        differences: list[Difference] = []
        migrated_at: set[int] = set()
        for table, comparer in sorted(self._tables.items()):
            if not comparer.is_empty:
                counted, listed = comparer.result(
                    table, expired if table == _TOKEN_TABLE else frozenset(), migrated.get(table, frozenset())
                )
                tables.append(counted)
                differences += listed
                if counted.migrated and table != _INDEX_TABLE:
                    migrated_at |= comparer.written_at(migrated[table])
        durable = {table.table for table in tables if table.durable}
        found = Comparison(
            equal=before.digest == after.digest
            or bool(migrated and not any(difference.table in durable for difference in differences)),
            before=before,
            after=after,
            tables=tuple(tables),
            kv=_by_prefix(difference for difference in differences if difference.table == _KV_TABLE),
            differences=tuple(differences),
            migrated_at=frozenset(migrated_at),
            other_version=is_other_version or bool(migrated),
            before_is_newer=recognized.before_is_newer,
        )
        log.debug(
            "compared index %d with index %d: equal=%s, %d differences, %d records migrated",
            before.meta.index,
            after.meta.index,
            found.equal,
            len(found.differences),
            len(recognized.names),
        )
        return found

    def _recognized(self, expired: t.Iterable[bytes], states: migration.TwoStates) -> migration.Recognized:
        """Return the records that differ only because of the versions of Consul."""
        differing: set[Name] = set()
        for table, comparer in self._tables.items():
            if table != _KV_TABLE:
                differing.update((table, name) for name in comparer.differing() if name not in comparer.repeated)
        if not differing:
            return migration.Recognized(set(), False)
        return migration.migrated(
            self._before.kept,
            self._differing,
            states,
            differing=differing,
            absent_before={(_TOKEN_TABLE, name) for name in expired},
        )

    def _table(self, table: str, kind: int) -> _TableComparer:
        comparer = self._tables.get(table)
        if comparer is None:
            comparer = self._tables[table] = _TableComparer(TableIndex(kind))
        return comparer


def compare_source(
    before: SnapshotIndex,
    after: Source,
    name: str,
    *,
    as_of: float,
    on_record: OnRecord | None = None,
    versions: t.Iterable[str] = (),
) -> Comparison:
    """Read a snapshot, called ``name`` in errors, and compare an indexed one with it.

    ``versions`` is that of Comparer. Raises what summarize() raises.
    """
    comparer = Comparer(before, as_of=as_of, versions=versions)
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


def _differ(before: t.Collection[str], after: t.Collection[str]) -> bool:
    """Return whether two sides are known to be of different versions of Consul."""
    return bool(before and after) and set(before) != set(after)


def _is_newer(before: t.Collection[str], after: t.Collection[str]) -> bool:
    """Return whether the before side is known to be of a newer version than the after side."""
    one, other = newest_version(before), newest_version(after)
    return one is not None and other is not None and one > other


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
        self.repeated: set[bytes] = set()  # names of which one record is on both sides and others are not

    @property
    def is_empty(self) -> bool:
        return not self._hashes and not self._added

    def add(self, name: bytes, record_hash: bytes, record: t.Any) -> bool:
        """Take a record of the after side; return whether the before side has the same."""
        short = int.from_bytes(record_hash[:HASH_BYTES], "big")
        position, end = self._next, self._next_start + len(name)
        # Both sides usually come in the same order, so the next name is the one after the last.
        if not (
            position < self._size and self._ends[position] == end and self._names.startswith(name, self._next_start)
        ):
            position = self._before.find(name)
            if position == ABSENT:
                self._add_absent(name, short, record)
                return False
            end = self._ends[position]
        self._next, self._next_start = position + 1, end
        if short == self._hashes[position] and not self._is_found[position]:
            self._is_found[position] = 1
            return True
        if self._is_found[position] and position not in self._changed:
            self.repeated.add(name)
        self._add_changed(position, short, record)
        return False

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

    def differing(self) -> t.Iterator[bytes]:
        """Return the names of the records that differ, expired ones too."""
        for position, is_found in enumerate(self._is_found):
            if not is_found or position in self._changed:
                yield self._before[position]
        yield from self._added

    def written_at(self, names: t.Container[bytes]) -> set[int]:
        """Return the Raft indexes at which the after side last wrote the records of these names that differ."""
        changed = (index for position, (_hash, index) in self._changed.items() if self._before[position] in names)
        return {*changed, *(index for name, (_hash, index) in self._added.items() if name in names)}

    def result(
        self, table: str, expired: t.Container[bytes], migrated: t.Container[bytes]
    ) -> tuple[TableComparison, list[Difference]]:
        """Return the counts and the differences by name.

        Records named in ``expired`` are absent before; those named in ``migrated`` are only counted.
        """
        listed: list[Difference] = []
        unchanged = of_version = 0
        for position, before in enumerate(self._hashes):
            is_found = bool(self._is_found[position])
            is_changed = position in self._changed
            if is_found and not is_changed and not expired:
                unchanged += 1
                continue
            name = self._before[position]
            after, index = self._changed.get(position, (before, 0))
            if name in expired:
                if not is_found:
                    continue
                change = Difference(table, records.text(name), "added", None, _hex(after), index)
            elif not is_found:
                change = Difference(table, records.text(name), "removed", _hex(before), None)
            elif is_changed:
                change = Difference(table, records.text(name), "changed", _hex(before), _hex(after), index)
            else:
                unchanged += 1
                continue
            if name in migrated:
                of_version += 1
            else:
                listed.append(change)
        for name, (after, index) in self._added.items():
            if name in migrated:
                of_version += 1
            else:
                listed.append(Difference(table, records.text(name), "added", None, _hex(after), index))
        listed.sort(key=lambda difference: difference.name)
        counts = {change: sum(found.change == change for found in listed) for change in ("added", "removed", "changed")}
        durable = records.is_durable(table, self._before.kind)
        return TableComparison(table, durable, unchanged=unchanged, migrated=of_version, **counts), listed

    def _written_at(self, record: t.Any) -> int:
        return records.modify_index(self._before.kind, record)


def _hex(short: int) -> str:
    return short.to_bytes(HASH_BYTES, "big").hex()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares two snapshots, or a snapshot with the live state: per table and per record, by digests only.

Memory grows with the number of records of the first side (about 200 bytes each), not with their size.
"""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

from . import records
from .archive import Source
from .summary import Summary, counts_in_digest, summarize


@dataclass(frozen=True)
class TableComparison:
    """How the records of one table differ. ``durable``: a restore would bring the table back."""

    table: str
    durable: bool
    added: int
    removed: int
    changed: int
    unchanged: int


@dataclass(frozen=True)
class Difference:
    """One record that is not the same on both sides; ``before`` and ``after`` are digests, None where it is not.

    ``index`` is the Raft index at which the after side was last written, 0 where it is not.
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
    """``equal``: the durable tables are the same. ``differences`` are by table and name; ``kv`` sums up the keys'."""

    equal: bool
    before: Summary
    after: Summary
    tables: tuple[TableComparison, ...]
    kv: tuple[PrefixComparison, ...]
    differences: tuple[Difference, ...]


def compare(before: tuple[Source, str], after: tuple[Source, str], *, as_of: float) -> Comparison:
    """Compare two snapshots, each (source, name for errors). Raises what summarize() raises."""
    old, new = _Index(as_of), _Index(as_of)
    old_summary = summarize(*before, as_of=as_of, on_record=old.add)
    new_summary = summarize(*after, as_of=as_of, on_record=new.add)
    tables = []
    differences: list[Difference] = []
    for table, kind in sorted({**old.kinds, **new.kinds}.items()):
        counted, listed = _compare_table(table, kind, old.tables.get(table, {}), new.tables.get(table, {}))
        tables.append(counted)
        differences += listed
    return Comparison(
        equal=old_summary.digest == new_summary.digest,
        before=old_summary,
        after=new_summary,
        tables=tuple(tables),
        kv=_by_prefix(difference for difference in differences if difference.table == records.type_name(records.KVS)),
        differences=tuple(differences),
    )


def _by_prefix(differences: t.Iterable[Difference]) -> tuple[PrefixComparison, ...]:
    counts: dict[str, dict[str, int]] = {}
    for difference in differences:
        folder, slash, _rest = difference.name.partition("/")
        counter = counts.setdefault(folder + slash, {"added": 0, "removed": 0, "changed": 0})
        counter[difference.change] += 1
    return tuple(PrefixComparison(prefix, **counter) for prefix, counter in sorted(counts.items()))


def _compare_table(
    table: str, kind: int, old: t.Mapping[str, _Seen], new: t.Mapping[str, _Seen]
) -> tuple[TableComparison, list[Difference]]:
    listed = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, _NOT_THERE), new.get(name, _NOT_THERE)
        if before.digest == after.digest:
            continue
        change = "added" if before.digest is None else "removed" if after.digest is None else "changed"
        listed.append(Difference(table, name, change, _hex(before.digest), _hex(after.digest), after.written))
    counts = {change: sum(found.change == change for found in listed) for change in ("added", "removed", "changed")}
    unchanged = len(old.keys() & new.keys()) - counts["changed"]
    return TableComparison(table, records.is_durable(table, kind), unchanged=unchanged, **counts), listed


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


class _Seen(t.NamedTuple):
    """The digest of a record, None where there is none, and the index at which it was last written."""

    digest: bytes | None
    written: int


_NOT_THERE = _Seen(None, 0)


class _Index:
    """Name, digest and index of every record, by table."""

    def __init__(self, as_of: float) -> None:
        self.tables: dict[str, dict[str, _Seen]] = {}
        self.kinds: dict[str, int] = {}
        self._as_of = as_of

    def add(self, table: str, kind: int, record: t.Any, _size: int) -> None:
        if not counts_in_digest(kind, record, self._as_of):
            return
        self.kinds[table] = kind
        found = self.tables.setdefault(table, {})
        name = records.name(kind, record)
        digest = hashlib.blake2b(records.canonical(kind, record), digest_size=8).digest()
        seen = found.get(name)
        if seen is not None:  # several records of one name stand for what they are together, in any order
            total = int.from_bytes(seen.digest or b"", "big") + int.from_bytes(digest, "big")
            digest = (total % (1 << 64)).to_bytes(8, "big")
        found[name] = _Seen(digest, records.modify_index(kind, record))

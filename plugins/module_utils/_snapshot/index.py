# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A compact index of a snapshot that was read once: each record's name and the first 8 bytes of its hash.

compare.py compares any number of later readings with it, so the file need not be decoded again. A record takes
its name and 16 bytes, packed: 200,000 keys of 20 bytes take 7 MB. Records of all tables but KVS are kept too, compressed:
where another version of Consul wrote the other side, they are compared by their fields.
"""

from __future__ import annotations

import bisect
import typing as t
from array import array

from . import records
from .gunzip import Source
from .kept_records import KeptRecord, KeptRecords
from .migration import DATED
from .summary import OnRecord, Summary, summarize

HASH_BYTES = 8  # of the 64 of a record's BLAKE2b hash: what is kept, compared and shown
_MODULUS = 1 << (8 * HASH_BYTES)
ABSENT = -1


def short_hash(record_hash: bytes) -> int:
    """Return the number that stands for a record's contents in an index."""
    return int.from_bytes(record_hash[:HASH_BYTES], "big")


def combined(one: int, other: int) -> int:
    """Return the number that stands for several records of one name together, in any order."""
    return (one + other) % _MODULUS


class TableIndex:
    """The records of one table by name, in ascending order once freeze() was called.

    Several records of one name (some tables have no names) become one whose hash is the sum of theirs.
    ``names`` holds all names, one after the other; ``ends`` where each ends.
    """

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.hashes = array("Q")
        self.names = bytearray()
        self.ends = array("Q")
        self._last = b""
        self._is_ascending = True

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, position: int) -> bytes:
        """Return the name at a position."""
        start = self.ends[position - 1] if position else 0
        return bytes(self.names[start : self.ends[position]])

    def add(self, name: bytes, short: int) -> None:
        """Add a record."""
        if name <= self._last and self.hashes:
            self._is_ascending = False
        self._last = name
        self.names += name
        self.ends.append(len(self.names))
        self.hashes.append(short)

    def freeze(self) -> None:
        """Bring the names into ascending order; Consul already writes KVS, the one huge table, like that."""
        if self._is_ascending:
            return
        unordered = sorted((self[position], short) for position, short in enumerate(self.hashes))
        self.hashes, self.names, self.ends = array("Q"), bytearray(), array("Q")
        last = None
        for name, short in unordered:
            if name == last:
                self.hashes[-1] = combined(self.hashes[-1], short)
                continue
            last = name
            self.names += name
            self.ends.append(len(self.names))
            self.hashes.append(short)
        self._is_ascending = True

    def find(self, name: bytes) -> int:
        """Return the position of a name, ABSENT without it."""
        size = len(self.hashes)
        position = bisect.bisect_left(t.cast("t.Sequence[bytes]", self), name)
        return position if position < size and self[position] == name else ABSENT


class SnapshotIndex:
    """A snapshot's tables by name: a RecordSink for summarize(). ``summary`` is what the same reading found.

    ``kept``: its records, but for keys, whose contents no version of Consul stores differently.
    ``expiry`` says when the ACL tokens expire that do (seconds since 1970), by name: a later comparison leaves out
    those that have expired by then.
    """

    def __init__(self) -> None:
        self.tables: dict[str, TableIndex] = {}
        self.expiry: dict[bytes, float] = {}
        self.kept = KeptRecords()
        self._summary: Summary | None = None
        self._keys: TableIndex | None = None

    @property
    def summary(self) -> Summary:
        if self._summary is None:
            raise ValueError("the snapshot was not read to its end")
        return self._summary

    def add(self, table: str, kind: int, record: t.Any, record_hash: bytes, content: bytes) -> None:
        found = self.tables.get(table)
        if found is None:
            found = self.tables[table] = TableIndex(kind)
        name = records.name_bytes(kind, record)
        found.add(name, short_hash(record_hash))
        written_at = records.modify_index(kind, record) if kind in DATED else 0
        self.kept.add(KeptRecord(table, kind, name, written_at, content))
        if kind == records.ACL_TOKEN:
            expires = records.expires_at(record)
            if expires is not None:
                self.expiry[name] = expires

    def add_key(self, key: bytes, record_hash: bytes, _value: t.Any) -> None:
        if self._keys is None:
            self._keys = self.tables[records.type_name(records.KVS)] = TableIndex(records.KVS)
        self._keys.add(key, int.from_bytes(record_hash[:HASH_BYTES], "big"))

    def finish(self, summary: Summary) -> None:
        """Take the summary of the reading that filled this index."""
        self._summary = summary
        for table in self.tables.values():
            table.freeze()


def index_snapshot(
    source: Source,
    name: str,
    *,
    as_of: float,
    on_record: OnRecord | None = None,
    on_keys: t.Callable[[bytes], bool] | None = None,
) -> SnapshotIndex:
    """Read a whole snapshot and return its index; the parameters and errors are those of summarize()."""
    index = SnapshotIndex()
    index.finish(summarize(source, name, as_of=as_of, on_record=on_record, on_keys=on_keys, sink=index))
    return index

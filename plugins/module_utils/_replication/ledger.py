# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger: which keys a replication wrote, and with what content. Only these may be overwritten or deleted by default.

A record has 20 bytes: 8 of the hash of the key's name, 8 of the hash of its content (together: the fingerprint), 3 of the
hash of the prefix that it belongs to, and one byte that says whether it is committed. Records are stored in 256 buckets by
their first byte; each bucket is one key of the destination's store. In memory a bucket has cells by the record's next bits, so that a
record is found among few, however many there are. While a run writes many keys, what it adds is stored in parts beside the buckets,
so that not all buckets are written again for every few thousand keys. No I/O: checkpoint.py reads and writes buckets and parts.

The intent is recorded before a key is written, and committed once the key was read back. An intent alone proves only that
this very content, if the key holds it, was written by this replication. So an interrupted run never claims a key of others.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import typing as t

from .._consul.digest import kv_bytes
from .._consul.errors import Error

BUCKETS = 256
MAGIC = b"own1"
_NAME = 8
_CONTENT = 8
_FINGERPRINT = _NAME + _CONTENT
_PREFIX_ID = 3
_MARK = _FINGERPRINT + _PREFIX_ID  # where the byte stands that is _INTENDED or _COMMITTED
_RECORD = _MARK + 1
_INTENDED, _COMMITTED = b"\0", b"\1"
_NAME_ALONE = struct.Struct(f"{_NAME}s")
_WHOLE_RECORD = struct.Struct(f"{_RECORD}s")
_NAME_OF_RECORD = struct.Struct(f"{_NAME}s{_RECORD - _NAME}x")

_CELL_RECORDS = 64  # so many are in a cell on average before cells are halved
_MOST_CELL_BITS = 16

OWNED = "owned"
EDITED = "edited"
FOREIGN = "foreign"


class InvalidLedger(Error):
    """A stored bucket or state was not written by this collection."""


def key_id(key: str) -> bytes:
    """Return the 8-byte hash of a key's name at the destination."""
    return hashlib.blake2b(key.encode(), digest_size=_NAME).digest()


def fingerprint_of(key: str, value: bytes, flags: int) -> bytes:
    """Return the 16-byte fingerprint of a key at the destination and its content. It begins with the key's ``key_id``."""
    return fingerprint_of_hash(key, hashlib.blake2b(kv_bytes(key.encode(), value, flags)).digest())


def fingerprint_of_hash(key: str, content_hash: bytes) -> bytes:
    """Return the fingerprint from the hash that ``SetDigest.add`` returned for the key and its content."""
    return key_id(key) + content_hash[:_CONTENT]


def prefix_id(prefix: str) -> bytes:
    """Return the 3-byte hash of a prefix at the destination. If two prefixes collide, keys are forgotten, never claimed."""
    return hashlib.blake2b(prefix.encode(), digest_size=_PREFIX_ID).digest()


def intent_part(fingerprints: t.Iterable[bytes], prefix: bytes) -> bytes:
    """Return a part that has the intents to write these, below the prefix of this ``prefix_id``."""
    return MAGIC + b"".join(fingerprint + prefix + _INTENDED for fingerprint in fingerprints)


def prefix_ids(prefixes: t.Iterable[str]) -> set[bytes]:
    """Return the hashes of several prefixes at the destination."""
    return {prefix_id(prefix) for prefix in prefixes}


class Kept(t.NamedTuple):
    """Some buckets of a ledger as they were, with which ones were dirty and the size of the next part."""

    buckets: dict[int, bytes]
    dirty: set[int]
    recent: int


class Ledger:
    """The keys that one replication wrote. ``dirty`` holds the numbers of the buckets that changed since they were read or taken.

    ``parts`` are the numbers of the parts that are stored beside the buckets, which have everything once no bucket is dirty.
    Raises InvalidLedger.
    """

    def __init__(
        self, buckets: t.Mapping[int, bytes] | None = None, parts: t.Mapping[int, bytes] | None = None
    ) -> None:
        self._cell_bits = 0  # a bucket has 2 ** _cell_bits cells
        self._shift = 16  # of the first three bytes of a record, to the number of its cell
        self._cells = [bytearray() for _number in range(BUCKETS)]
        self._count = 0
        self._seen = [bytearray() for _number in range(BUCKETS)]
        self.dirty: set[int] = set()
        self.parts: list[int] = []
        self._recent = bytearray()  # records of the next part
        for number, data in (buckets or {}).items():
            if not 0 <= number < BUCKETS:
                raise InvalidLedger(f"bucket {number:02x} is not one that this collection wrote")
            body = _body(data, f"bucket {number:02x}")
            self._cells[number] += body
            self._count += len(body) // _RECORD
        self._halve_cells()
        for number, data in sorted((parts or {}).items()):
            self._replay(_body(data, f"part {number}"))
            self.parts.append(number)
        self._recent.clear()

    def __len__(self) -> int:
        return self._count

    def state(self, fingerprint: bytes) -> str:
        """Return OWNED, EDITED (written by this replication and changed since) or FOREIGN for a key with this fingerprint."""
        if _place_of(self._cell(fingerprint), fingerprint) != -1:
            return OWNED
        return EDITED if self.was_committed(fingerprint[:_NAME]) else FOREIGN

    def is_committed(self, fingerprint: bytes) -> bool:
        """Return whether this content of this key is committed."""
        records = self._cells[int.from_bytes(fingerprint[:3], "big") >> self._shift]  # as _cell: called for every key
        place = _place_of(records, fingerprint)
        return place != -1 and records[place + _MARK] == _COMMITTED[0]

    def is_intended(self, fingerprint: bytes) -> bool:
        """Return whether this content of this key is intended, and not committed."""
        records = self._cell(fingerprint)
        place = _place_of(records, fingerprint)
        return place != -1 and records[place + _MARK] == _INTENDED[0]

    def was_committed(self, name: bytes) -> bool:
        """Return whether any content is committed for a key (its ``key_id``)."""
        records = self._cell(name)
        return any(records[place + _MARK] == _COMMITTED[0] for place in _places(records, name))

    def record_intent(self, fingerprints: t.Iterable[bytes], prefix_id: bytes) -> None:
        """Record what is about to be written, beside what was written before."""
        for fingerprint in fingerprints:
            if _place_of(self._cell(fingerprint), fingerprint) == -1:
                self._add(fingerprint + prefix_id + _INTENDED)

    def commit(self, fingerprints: t.Iterable[bytes], prefix_id: bytes) -> None:
        """Record that these were written. They replace all other records of their keys."""
        for fingerprint in fingerprints:
            records, name = self._cell(fingerprint), fingerprint[:_NAME]
            place = records.find(name)
            alone = place != -1 and not place % _RECORD and records.count(name) == 1
            if not alone or not records.startswith(fingerprint + prefix_id, place):
                self._drop(name)
                self._add(fingerprint + prefix_id + _COMMITTED)
            elif records[place + _MARK] != _COMMITTED[0]:
                records[place + _MARK] = _COMMITTED[0]
                self.dirty.add(fingerprint[0])
                self._recent += fingerprint + prefix_id + _COMMITTED

    def forget(self, key: str) -> None:
        """Drop all records of a key."""
        self._drop(key_id(key))

    def abort(self, fingerprint: bytes) -> None:
        """Drop the intent to write this content: it was not written."""
        self._drop(fingerprint, lambda record: record.endswith(_INTENDED))

    def abort_all(self, prefix_ids: t.Container[bytes]) -> None:
        """Drop all intents below some prefixes."""
        for number, records in enumerate(self._cells):
            if _INTENDED in records[_MARK::_RECORD]:
                self._keep(
                    number,
                    lambda record: record.endswith(_COMMITTED) or record[_FINGERPRINT:_MARK] not in prefix_ids,
                )

    def mark_seen(self, name: bytes) -> None:
        """Remember that a key (a ``key_id`` or a fingerprint) exists on either side, for ``forget_unseen``."""
        if self._count:
            self._seen[name[0]] += name[:_NAME]

    def clear_seen(self) -> None:
        """Forget what was seen, before both sides are read whole."""
        for seen in self._seen:
            seen.clear()

    def forget_unseen(self, prefix_ids: t.Container[bytes]) -> None:
        """Drop the records of keys below some prefixes that exist on neither side: one that reappears is not owned."""
        for bucket in range(BUCKETS):
            seen = {name for (name,) in _NAME_ALONE.iter_unpack(self._seen[bucket])}
            self._seen[bucket].clear()
            for number in self._cells_of(bucket):
                if not all(name in seen for (name,) in _NAME_OF_RECORD.iter_unpack(self._cells[number])):
                    self._keep(number, functools.partial(_is_elsewhere_or_seen, prefix_ids, seen))

    def keep(self, numbers: t.Iterable[int]) -> Kept:
        """Return what ``restore`` needs to make these buckets what they are now, when nothing else is changed until then."""
        return Kept({number: self._joined(number) for number in numbers}, set(self.dirty), len(self._recent))

    def restore(self, kept: Kept) -> None:
        """Undo the changes since ``keep``."""
        for number, records in kept.buckets.items():
            for cell in self._cells_of(number):
                self._count -= len(self._cells[cell]) // _RECORD
                self._cells[cell].clear()
            for record in _each(records):
                self._cell(record).extend(record)
            self._count += len(records) // _RECORD
        self.dirty |= kept.dirty | kept.buckets.keys()  # what is stored of them may be what was undone
        del self._recent[kept.recent :]

    def _joined(self, number: int) -> bytes:
        return b"".join(self._cells[cell] for cell in self._cells_of(number))

    def take_dirty(self) -> dict[int, bytes]:
        """Return the content of all dirty buckets, b"" for an empty one, and mark them clean."""
        taken = {number: self.bucket(number) for number in sorted(self.dirty)}
        self.dirty.clear()
        self._recent.clear()
        return taken

    def take_part(self) -> tuple[int, bytes]:
        """Return the number and content of a new part: the records that were added or committed since the last one or ``take_dirty``.

        The buckets stay dirty. A record that was dropped meanwhile may be in it: an intent claims no key that has another content.
        """
        number = self.parts[-1] + 1 if self.parts else 0
        self.parts.append(number)
        data = MAGIC + bytes(self._recent)
        self._recent.clear()
        return number, data

    def take_parts(self) -> list[int]:
        """Return the numbers of all parts, which then count as deleted: the buckets were stored."""
        taken, self.parts = self.parts, []
        return taken

    def bucket(self, number: int) -> bytes:
        """Return one bucket as it is stored. The records are sorted: equal ledgers have equal bytes."""
        ordered = [record for cell in self._cells_of(number) for record in sorted(_each(self._cells[cell]))]
        return MAGIC + b"".join(ordered) if ordered else b""

    def _replay(self, records: bytes) -> None:
        """Record what a part has, in its order."""
        for record in _each(records):
            note = self.commit if record.endswith(_COMMITTED) else self.record_intent
            note([record[:_FINGERPRINT]], record[_FINGERPRINT:_MARK])

    def _cell(self, name: bytes) -> bytearray:
        """Return the cell of a key (a ``key_id`` or what begins with one)."""
        return self._cells[int.from_bytes(name[:3], "big") >> self._shift]

    def _cells_of(self, bucket: int) -> range:
        """Return the numbers of a bucket's cells, in the order of their records."""
        return range(bucket << self._cell_bits, (bucket + 1) << self._cell_bits)

    def _halve_cells(self) -> None:
        """Divide every cell in two until they are small."""
        before = self._cells, self._cell_bits
        while self._count > _CELL_RECORDS * (BUCKETS << self._cell_bits) and self._cell_bits < _MOST_CELL_BITS:
            self._cell_bits += 1
        if self._cell_bits != before[1]:
            self._shift = 16 - self._cell_bits
            self._cells = cells = [bytearray() for _number in range(BUCKETS << self._cell_bits)]
            for records in before[0]:
                for (record,) in _WHOLE_RECORD.iter_unpack(records):
                    cells[int.from_bytes(record[:3], "big") >> self._shift] += record
                records.clear()

    def _add(self, record: bytes) -> None:
        self._cell(record).extend(record)
        self._recent += record
        self.dirty.add(record[0])
        self._count += 1
        if self._count > _CELL_RECORDS * len(self._cells):
            self._halve_cells()

    def _drop(self, start: bytes, condition: t.Callable[[bytes], bool] = lambda _record: True) -> None:
        """Drop the records that begin with these bytes (a key_id or a fingerprint) and fulfil the condition."""
        records = self._cell(start)
        for place in reversed(list(_places(records, start))):
            if condition(bytes(records[place : place + _RECORD])):
                del records[place : place + _RECORD]
                self.dirty.add(start[0])
                self._count -= 1

    def _keep(self, number: int, condition: t.Callable[[bytes], bool]) -> None:
        """Drop the records of a cell that do not fulfil the condition."""
        records = self._cells[number]
        kept = b"".join(record for record in _each(records) if condition(record))
        if len(kept) != len(records):
            self._cells[number] = bytearray(kept)
            self.dirty.add(number >> self._cell_bits)
            self._count -= (len(records) - len(kept)) // _RECORD


def _is_elsewhere_or_seen(prefix_ids: t.Container[bytes], seen: t.Container[bytes], record: bytes) -> bool:
    """Return whether a record is of another prefix, or of a key that was seen."""
    return record[_FINGERPRINT:_MARK] not in prefix_ids or record[:_NAME] in seen


def _body(data: bytes, what: str) -> bytes:
    """Return the records of a bucket or part. Raises InvalidLedger."""
    body = data[len(MAGIC) :]
    if not data.startswith(MAGIC) or len(body) % _RECORD:
        raise InvalidLedger(f"{what} is not one that this collection wrote")
    return body


def _each(records: bytes | bytearray) -> t.Iterator[bytes]:
    """Yield the records of a bucket."""
    for (record,) in _WHOLE_RECORD.iter_unpack(records):
        yield record


def _place_of(records: bytearray, start: bytes, after: int = 0) -> int:
    """Return where the first record with these first bytes is, -1 for none. A match across two records does not count."""
    place = records.find(start, after)
    while place != -1 and place % _RECORD:
        place = records.find(start, place + 1)
    return place


def _places(records: bytearray, start: bytes) -> t.Iterator[int]:
    """Yield where all records with these first bytes are."""
    place = _place_of(records, start)
    while place != -1:
        yield place
        place = _place_of(records, start, place + 1)

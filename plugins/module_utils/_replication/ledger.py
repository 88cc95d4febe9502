# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keys a replication wrote, and with what: the only keys that it may delete or overwrite without being told to.

Held as a record of 20 bytes a key: 8 for its name, 8 for what was written, 3 for the prefix that it belongs to, and a mark; in 256
buckets by the first byte, each of which is one key of the destination's store. No I/O; store.py reads and writes the buckets.

A record is announced before the key is written and settled when it was seen to be there. What is only announced proves
nothing but that this very content, if it is there, is ours: so a run that dies makes nothing ours that was somebody else's.
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
_MARK = _FINGERPRINT + _PREFIX_ID
_RECORD = _MARK + 1
_INTENDED, _COMMITTED = b"\0", b"\1"
_NAME_ALONE = struct.Struct(f"{_NAME}s")
_NAME_OF_RECORD = struct.Struct(f"{_NAME}s{_RECORD - _NAME}x")

OURS = "ours"
EDITED = "edited"
FOREIGN = "foreign"


class InvalidLedger(Error):
    """What stands in place of a bucket is not one."""


def key_id(key: str) -> bytes:
    """Return the 8 bytes that stand for a key at the destination."""
    return hashlib.blake2b(key.encode(), digest_size=_NAME).digest()


def fingerprint_of(key: str, value: bytes, flags: int) -> bytes:
    """Return the 16 bytes that stand for a key at the destination and for what it holds; they begin with its name's."""
    return fingerprint_of_hash(key, hashlib.blake2b(kv_bytes(key.encode(), value, flags)).digest())


def fingerprint_of_hash(key: str, found: bytes) -> bytes:
    """Return the same from the hash that a digest gave for the key (digest.SetDigest.add)."""
    return key_id(key) + found[:_CONTENT]


def prefix_id(prefix: str) -> bytes:
    """Return the 3 bytes that stand for a prefix at the destination. Should two of them be the same, keys are forgotten, not taken."""
    return hashlib.blake2b(prefix.encode(), digest_size=_PREFIX_ID).digest()


class Ledger:
    """The keys that one replication wrote. ``dirty`` names the buckets that changed since they were read or taken."""

    def __init__(self, buckets: t.Mapping[int, bytes] | None = None) -> None:
        self._records = [bytearray() for _number in range(BUCKETS)]
        self._seen = [bytearray() for _number in range(BUCKETS)]
        self.dirty: set[int] = set()
        for number, data in (buckets or {}).items():
            body = data[len(MAGIC) :]
            if not data.startswith(MAGIC) or len(body) % _RECORD or not 0 <= number < BUCKETS:
                raise InvalidLedger(f"bucket {number:02x} is not one that this collection wrote")
            self._records[number] += body

    def __len__(self) -> int:
        return sum(map(len, self._records)) // _RECORD

    def state(self, fingerprint: bytes) -> str:
        """Tell whether a key that holds what its fingerprint says is OURS, EDITED by somebody since, or FOREIGN."""
        if _place_of(self._records[fingerprint[0]], fingerprint) != -1:
            return OURS
        return EDITED if self.was_committed(fingerprint[:_NAME]) else FOREIGN

    def is_committed(self, fingerprint: bytes) -> bool:
        """Tell whether a key is known to have been written with what its fingerprint says."""
        records = self._records[fingerprint[0]]
        place = _place_of(records, fingerprint)
        return place != -1 and records[place + _MARK] == _COMMITTED[0]

    def was_committed(self, name: bytes) -> bool:
        """Tell whether a key is known to have been written, with whatever."""
        records = self._records[name[0]]
        return any(records[place + _MARK] == _COMMITTED[0] for place in _places(records, name))

    def record_intent(self, fingerprints: t.Iterable[bytes], prefix_id: bytes) -> None:
        """Note what is about to be written, beside what was written before."""
        for fingerprint in fingerprints:
            if _place_of(self._records[fingerprint[0]], fingerprint) == -1:
                self._add(fingerprint + prefix_id + _INTENDED)

    def commit(self, fingerprints: t.Iterable[bytes], prefix_id: bytes) -> None:
        """Note that these were written, and that nothing else counts any more of their keys."""
        for fingerprint in fingerprints:
            records, name = self._records[fingerprint[0]], fingerprint[:_NAME]
            place = _place_of(records, name)
            alone = place != -1 and _place_of(records, name, place + 1) == -1
            if not alone or records[place : place + _MARK] != fingerprint + prefix_id:
                self._drop(name)
                self._add(fingerprint + prefix_id + _COMMITTED)
            elif records[place + _MARK] != _COMMITTED[0]:
                records[place + _MARK] = _COMMITTED[0]
                self.dirty.add(fingerprint[0])

    def forget(self, key: str) -> None:
        """Note that a key is not ours any more."""
        self._drop(key_id(key))

    def abort(self, fingerprint: bytes) -> None:
        """Note that what was announced was not written."""
        self._drop(fingerprint, lambda one: one.endswith(_INTENDED))

    def abort_all(self, prefix_ids: t.Container[bytes]) -> None:
        """Note that nothing is about to be written any more below some prefixes."""
        for number in range(BUCKETS):
            self._keep(number, lambda one: one.endswith(_COMMITTED) or one[_FINGERPRINT:_MARK] not in prefix_ids)

    def mark_seen(self, name: bytes) -> None:
        """Note that a key was found, on either side; a fingerprint will do for its name."""
        if self._records[name[0]]:
            self._seen[name[0]] += name[:_NAME]

    def forget_unseen(self, prefix_ids: t.Container[bytes]) -> None:
        """Forget keys below some prefixes that were found on neither side: whoever makes one again is not us."""
        for number, records in enumerate(self._records):
            seen = {name for (name,) in _NAME_ALONE.iter_unpack(self._seen[number])}
            self._seen[number].clear()
            if not all(name in seen for (name,) in _NAME_OF_RECORD.iter_unpack(records)):
                self._keep(number, functools.partial(_stays, prefix_ids, seen))

    def take_dirty(self) -> dict[int, bytes]:
        """Return the buckets to write, b"" for one that holds nothing any more; they are clean from now on."""
        taken = {number: self.bucket(number) for number in sorted(self.dirty)}
        self.dirty.clear()
        return taken

    def bucket(self, number: int) -> bytes:
        """Return one bucket as it is stored, the records in order, so that equal contents are equal bytes."""
        ordered = sorted(_each(self._records[number]))
        return MAGIC + b"".join(ordered) if ordered else b""

    def _add(self, record: bytes) -> None:
        self._records[record[0]] += record
        self.dirty.add(record[0])

    def _drop(self, start: bytes, goes: t.Callable[[bytes], bool] = lambda _one: True) -> None:
        """Drop the records that begin so (a name or a fingerprint)."""
        records = self._records[start[0]]
        for place in reversed(list(_places(records, start))):
            if goes(bytes(records[place : place + _RECORD])):
                del records[place : place + _RECORD]
                self.dirty.add(start[0])

    def _keep(self, number: int, stays: t.Callable[[bytes], bool]) -> None:
        """Drop the records of a bucket that are not to stay."""
        kept = b"".join(one for one in _each(self._records[number]) if stays(one))
        if len(kept) != len(self._records[number]):
            self._records[number] = bytearray(kept)
            self.dirty.add(number)


def _stays(prefix_ids: t.Container[bytes], seen: t.Container[bytes], one: bytes) -> bool:
    """Tell whether a record is of another prefix, or of a key that was seen."""
    return one[_FINGERPRINT:_MARK] not in prefix_ids or one[:_NAME] in seen


def _each(records: bytes | bytearray) -> t.Iterator[bytes]:
    """Yield the records of a bucket."""
    for start in range(0, len(records), _RECORD):
        yield bytes(records[start : start + _RECORD])


def _place_of(records: bytearray, start: bytes, after: int = 0) -> int:
    """Return where the first record begins that begins so, -1 for none; the same bytes across two records do not count."""
    place = records.find(start, after)
    while place != -1 and place % _RECORD:
        place = records.find(start, place + 1)
    return place


def _places(records: bytearray, start: bytes) -> t.Iterator[int]:
    """Yield where all records begin that begin so."""
    place = _place_of(records, start)
    while place != -1:
        yield place
        place = _place_of(records, start, place + 1)

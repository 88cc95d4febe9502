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

import array
import functools
import hashlib
import typing as t

from .._consul.digest import kv_bytes
from .._consul.errors import Error

BUCKETS = 256
MAGIC = b"own1"
_KEY = 8
_CONTENT = 8
_HOME = 3
_MARK = _KEY + _CONTENT + _HOME
_RECORD = _MARK + 1
_ANNOUNCED, _SETTLED = b"\0", b"\1"

OURS = "ours"
EDITED = "edited"
FOREIGN = "foreign"


class BadLedger(Error):
    """What stands in place of a bucket is not one."""


def name_of(key: str) -> bytes:
    """Return the 8 bytes that stand for a key at the destination."""
    return hashlib.blake2b(key.encode(), digest_size=_KEY).digest()


def content_of(key: str, value: bytes, flags: int) -> bytes:
    """Return the 8 bytes that stand for what a key holds."""
    return content_of_hash(hashlib.blake2b(kv_bytes(key.encode(), value, flags)).digest())


def content_of_hash(found: bytes) -> bytes:
    """Return the same of the hash that a digest gave for the key (digest.SetDigest.add)."""
    return found[:_CONTENT]


def home_of(prefix: str) -> bytes:
    """Return the 3 bytes that stand for a prefix at the destination. Should two of them be the same, keys are forgotten, not taken."""
    return hashlib.blake2b(prefix.encode(), digest_size=_HOME).digest()


class Ledger:
    """The keys that one replication wrote. ``dirty`` names the buckets that changed since they were read or taken."""

    def __init__(self, buckets: t.Mapping[int, bytes] | None = None) -> None:
        self._records: dict[int, bytearray] = {}
        self._seen: dict[int, array.array[int]] = {}
        self.dirty: set[int] = set()
        for number, data in (buckets or {}).items():
            body = data[len(MAGIC) :]
            if not data.startswith(MAGIC) or len(body) % _RECORD or not 0 <= number < BUCKETS:
                raise BadLedger(f"bucket {number:02x} is not one that this collection wrote")
            self._records[number] = bytearray(body)

    def __len__(self) -> int:
        return sum(len(records) for records in self._records.values()) // _RECORD

    def state(self, key: str, content: bytes) -> str:
        """Tell whether a key that holds ``content`` is OURS, EDITED by somebody since, or FOREIGN."""
        found = self._found(name_of(key))
        if any(one[_KEY : _KEY + _CONTENT] == content for one in found):
            return OURS
        return EDITED if any(one.endswith(_SETTLED) for one in found) else FOREIGN

    def is_settled(self, key: str, content: bytes | None = None) -> bool:
        """Tell whether a key is known to have been written, with this content if one is given."""
        return any(
            one.endswith(_SETTLED) and content in (None, one[_KEY : _KEY + _CONTENT])
            for one in self._found(name_of(key))
        )

    def announce(self, key: str, content: bytes, home: bytes) -> None:
        """Note what is about to be written, beside what was written before."""
        name = name_of(key)
        if not any(one[_KEY : _KEY + _CONTENT] == content for one in self._found(name)):
            self._add(name, content, home, _ANNOUNCED)

    def settle(self, key: str, content: bytes, home: bytes) -> None:
        """Note that this was written, and nothing else counts any more."""
        name = name_of(key)
        settled = name + content + home + _SETTLED
        found = self._found(name)
        if found == [settled[:_MARK] + _ANNOUNCED]:
            records = self._records[name[0]]
            place = next(_places(records, name))
            records[place : place + _RECORD] = settled
            self.dirty.add(name[0])
        elif found != [settled]:
            self._drop(name)
            self._add(name, content, home, _SETTLED)

    def forget(self, key: str) -> None:
        """Note that a key is not ours any more."""
        self._drop(name_of(key))

    def withdraw(self, key: str, content: bytes) -> None:
        """Note that what was announced was not written."""
        name = name_of(key)
        self._drop(name, lambda one: one.endswith(_ANNOUNCED) and one[_KEY : _KEY + _CONTENT] == content)

    def withdraw_all(self, homes: t.Container[bytes]) -> None:
        """Note that nothing is about to be written any more below some prefixes."""
        for number in list(self._records):
            self._keep(number, lambda one: one.endswith(_SETTLED) or one[_KEY + _CONTENT : _MARK] not in homes)

    def see(self, key: str) -> None:
        """Note that a key was found, on either side."""
        if not self._records:
            return
        name = name_of(key)
        if name[0] in self._records:
            self._seen.setdefault(name[0], array.array("Q")).append(int.from_bytes(name, "big"))

    def forget_unseen(self, homes: t.Container[bytes]) -> None:
        """Forget keys below some prefixes that were found on neither side: whoever makes one again is not us."""
        for number in list(self._records):
            seen = set(self._seen.pop(number, ()))
            self._keep(number, functools.partial(_stays, homes, seen))

    def take_dirty(self) -> dict[int, bytes]:
        """Return the buckets to write, b"" for one that holds nothing any more; they are clean from now on."""
        taken = {number: self.bucket(number) for number in sorted(self.dirty)}
        self.dirty.clear()
        return taken

    def bucket(self, number: int) -> bytes:
        """Return one bucket as it is stored, the records in order, so that equal contents are equal bytes."""
        ordered = sorted(_each(self._records.get(number, b"")))
        return MAGIC + b"".join(ordered) if ordered else b""

    def _found(self, name: bytes) -> list[bytes]:
        records = self._records.get(name[0], b"")
        if name not in records:
            return []
        return [bytes(records[place : place + _RECORD]) for place in _places(records, name)]

    def _add(self, name: bytes, content: bytes, home: bytes, mark: bytes) -> None:
        self._records.setdefault(name[0], bytearray()).extend(name + content + home + mark)
        self.dirty.add(name[0])

    def _drop(self, name: bytes, goes: t.Callable[[bytes], bool] = lambda _one: True) -> None:
        records = self._records.get(name[0], bytearray())
        for place in reversed(list(_places(records, name))):
            if goes(bytes(records[place : place + _RECORD])):
                del records[place : place + _RECORD]
                self.dirty.add(name[0])

    def _keep(self, number: int, stays: t.Callable[[bytes], bool]) -> None:
        """Drop the records of a bucket that are not to stay."""
        kept = b"".join(one for one in _each(self._records[number]) if stays(one))
        if len(kept) != len(self._records[number]):
            self._records[number] = bytearray(kept)
            self.dirty.add(number)


def _stays(homes: t.Container[bytes], seen: t.Container[int], one: bytes) -> bool:
    """Tell whether a record is of another prefix, or of a key that was seen."""
    return one[_KEY + _CONTENT : _MARK] not in homes or int.from_bytes(one[:_KEY], "big") in seen


def _each(records: bytes | bytearray) -> t.Iterator[bytes]:
    """Yield the records of a bucket."""
    for start in range(0, len(records), _RECORD):
        yield bytes(records[start : start + _RECORD])


def _places(records: bytes | bytearray, name: bytes) -> t.Iterator[int]:
    """Yield where the records of a name begin; the same bytes across two records do not count."""
    place = records.find(name)
    while place != -1:
        if place % _RECORD == 0:
            yield place
        place = records.find(name, place + 1)

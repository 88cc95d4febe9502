# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keys a replication wrote, and with what: the only keys that it may delete or overwrite without being told to.

Held as 8 bytes for the key's name and 8 for what was written, in 256 buckets by the first byte; each bucket is one key of the
destination's store. No I/O; store.py reads and writes the buckets. While a run writes, a key has two contents: the one that
was written before and the one about to be; so a run that dies leaves nothing that looks like somebody else's edit.
"""

from __future__ import annotations

import hashlib
import typing as t

from .._consul.digest import kv_bytes
from .._consul.errors import Error

BUCKETS = 256
MAGIC = b"own1"
_KEY = 8
_RECORD = 16

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
    return found[: _RECORD - _KEY]


class Ledger:
    """The keys that one replication wrote. ``dirty`` names the buckets that changed since they were read or taken."""

    def __init__(self, buckets: t.Mapping[int, bytes] | None = None) -> None:
        self._records: dict[int, bytearray] = {}
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
        name = name_of(key)
        contents = self._contents(name)
        if not contents:
            return FOREIGN
        return OURS if content in contents else EDITED

    def announce(self, key: str, content: bytes) -> None:
        """Note what is about to be written, beside what was written before."""
        name = name_of(key)
        if content not in self._contents(name):
            self._bucket(name).extend(name + content)
            self.dirty.add(name[0])

    def settle(self, key: str, content: bytes) -> None:
        """Note that this was written, and nothing else counts any more."""
        name = name_of(key)
        if self._contents(name) != [content]:
            self._drop(name)
            self._bucket(name).extend(name + content)
            self.dirty.add(name[0])

    def forget(self, key: str) -> None:
        """Note that a key is not ours any more."""
        name = name_of(key)
        if self._contents(name):
            self._drop(name)
            self.dirty.add(name[0])

    def withdraw(self, key: str, content: bytes) -> None:
        """Note that what was announced was not written."""
        name = name_of(key)
        contents = self._contents(name)
        if content in contents:
            self._drop(name)
            for other in contents:
                if other != content:
                    self._bucket(name).extend(name + other)
            self.dirty.add(name[0])

    def take_dirty(self) -> dict[int, bytes]:
        """Return the buckets to write, b"" for one that holds nothing any more; they are clean from now on."""
        taken = {number: self.bucket(number) for number in sorted(self.dirty)}
        self.dirty.clear()
        return taken

    def bucket(self, number: int) -> bytes:
        """Return one bucket as it is stored, the records in order, so that equal contents are equal bytes."""
        records = self._records.get(number, b"")
        ordered = sorted(records[start : start + _RECORD] for start in range(0, len(records), _RECORD))
        return MAGIC + b"".join(ordered) if ordered else b""

    def _bucket(self, name: bytes) -> bytearray:
        return self._records.setdefault(name[0], bytearray())

    def _contents(self, name: bytes) -> list[bytes]:
        records = self._records.get(name[0], b"")
        if name not in records:
            return []
        return [bytes(records[place + _KEY : place + _RECORD]) for place in _places(records, name)]

    def _drop(self, name: bytes) -> None:
        records = self._bucket(name)
        for place in reversed(list(_places(records, name))):
            del records[place : place + _RECORD]


def _places(records: bytes | bytearray, name: bytes) -> t.Iterator[int]:
    """Yield where the records of a name begin; the same bytes across two records do not count."""
    place = records.find(name)
    while place != -1:
        if place % _RECORD == 0:
            yield place
        place = records.find(name, place + 1)

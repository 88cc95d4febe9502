# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A digest of a set of records that does not depend on their order, for KV and for every snapshot table.

It is the sum (modulo 2^512) of the records' BLAKE2b hashes: Consul writes maps and some tables in random order and shards of
KV arrive in any order, but equal contents must have equal digests.
"""

from __future__ import annotations

import hashlib
import struct

RESERVED_PREFIX = b"consulops/"  # this collection's own keys: never part of a digest, never replicated

_MODULUS = 1 << 512
_KV_HEAD = struct.Struct(">IQ")


class SetDigest:
    """Add records in any order; ``count`` is their number, ``hexdigest()`` their digest."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0

    def add(self, record: bytes) -> bytes:
        """Add the canonical bytes of one record; return their BLAKE2b hash (64 bytes)."""
        found = hashlib.blake2b(record).digest()
        self.total += int.from_bytes(found, "little")
        self.count += 1
        return found

    def merge(self, other: SetDigest) -> None:
        """Add all records of another digest."""
        self.total += other.total
        self.count += other.count

    def hexdigest(self) -> str:
        """Return 64 hexadecimal digits."""
        total = (self.total % _MODULUS).to_bytes(64, "little")
        return hashlib.sha256(self.count.to_bytes(8, "little") + total).hexdigest()


def kv_bytes(key: bytes, value: bytes, flags: int) -> bytes:
    """Return the canonical bytes of a key with its value and flags."""
    return _KV_HEAD.pack(len(key), flags) + key + value


def short_digest(data: bytes) -> str:
    """Return 16 hexadecimal digits to show in place of a value."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()

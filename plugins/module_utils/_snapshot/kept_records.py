# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records that were read once and may be looked at again: canonical bytes with table, type and name, compressed.

A comparison needs them only where two states differ and were written by different versions of Consul. Records of one
table resemble each other, so a block of them takes some tenth of its size. They lie in parts by a checksum of their
name: the records of one name of two states are found in the same part of each, and only one part is unpacked at a time.
"""

from __future__ import annotations

import typing as t
import zlib

from .._consul._libraries import msgpack

PARTS = 32
BLOCK_BYTES = 32 << 10
_LEVEL = 1  # zlib's fastest: it takes less time than the canonical bytes


Name = tuple[str, bytes]  # table and name of a record


class KeptRecord(t.NamedTuple):
    """One record. ``written_at``: the Raft index of its last write, 0 where no rule asks for it."""

    table: str
    kind: int
    name: bytes
    written_at: int
    content: bytes

    @property
    def full_name(self) -> Name:
        """The table and the name, which several records can have."""
        return self.table, self.name


class KeptRecords:
    """Keeps records; those of one part stay in the order in which they were added."""

    def __init__(self) -> None:
        self._parts = tuple(_Part() for _number in range(PARTS))

    def add(self, record: KeptRecord) -> None:
        """Keep a record."""
        self._parts[zlib.crc32(record.name) % PARTS].add(msgpack.packb(tuple(record), use_bin_type=True))

    def parts(self) -> t.Iterator[t.Iterator[KeptRecord]]:
        """Return the records part by part: all of one name are in one part, the same in each KeptRecords."""
        return map(iter, self._parts)

    @property
    def kept_bytes(self) -> int:
        """How much memory the records take, compressed or waiting for it."""
        return sum(part.kept_bytes for part in self._parts)


class _Part:
    __slots__ = ("_blocks", "_open", "kept_bytes")

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._open = bytearray()
        self.kept_bytes = 0

    def add(self, packed: bytes) -> None:
        self._open += packed
        self.kept_bytes += len(packed)
        if len(self._open) >= BLOCK_BYTES:
            block = zlib.compress(self._open, _LEVEL)
            self._blocks.append(block)
            self.kept_bytes += len(block) - len(self._open)
            self._open = bytearray()

    def __iter__(self) -> t.Iterator[KeptRecord]:
        for block in self._blocks:
            yield from _unpacked(zlib.decompress(block))
        yield from _unpacked(bytes(self._open))


def _unpacked(block: bytes) -> t.Iterator[KeptRecord]:
    unpacker = msgpack.Unpacker(raw=False, use_list=False, max_buffer_size=max(len(block), 1))
    unpacker.feed(block)
    for values in unpacker:
        yield KeptRecord(*values)

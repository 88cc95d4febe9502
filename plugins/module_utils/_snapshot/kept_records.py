# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records that were read once and may be looked at again: canonical bytes with table, type and name, compressed.

A comparison needs them only where two states differ and were written by different versions of Consul. Records of one
table resemble each other, so a block of them takes some tenth of its size.
"""

from __future__ import annotations

import typing as t
import zlib

from .._consul._libraries import msgpack

BLOCK_BYTES = 64 << 10
_LEVEL = 1  # zlib's fastest: it takes less time than the canonical bytes


class KeptRecord(t.NamedTuple):
    """One record. ``written_at``: the Raft index of its last write, 0 when that was not kept."""

    table: str
    kind: int
    name: bytes
    written_at: int
    content: bytes


class KeptRecords:
    """Keeps records in the order in which they were added."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._open: list[bytes] = []
        self._open_bytes = 0

    def add(self, record: KeptRecord) -> None:
        """Keep a record."""
        packed = msgpack.packb(tuple(record), use_bin_type=True)
        self._open.append(packed)
        self._open_bytes += len(packed)
        if self._open_bytes >= BLOCK_BYTES:
            self._blocks.append(zlib.compress(b"".join(self._open), _LEVEL))
            self._open, self._open_bytes = [], 0

    def __iter__(self) -> t.Iterator[KeptRecord]:
        for block in self._blocks:
            yield from _unpacked(zlib.decompress(block))
        yield from _unpacked(b"".join(self._open))


def _unpacked(block: bytes) -> t.Iterator[KeptRecord]:
    unpacker = msgpack.Unpacker(raw=False, use_list=False, max_buffer_size=max(len(block), 1))
    unpacker.feed(block)
    for values in unpacker:
        yield KeptRecord(*values)

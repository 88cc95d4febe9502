# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads a BoltDB file, the format of ``raft.db``: the newest committed keys of a bucket. Never writes, and takes no lock.

Source: https://github.com/etcd-io/bbolt, its page and meta structures. Numbers are in the byte order of the machine that wrote the
file; Consul runs on little-endian machines.
"""

from __future__ import annotations

import os
import struct
import typing as t
from pathlib import Path

MAGIC, VERSION = 0xED0CDAED, 2
BRANCH, LEAF = 1, 2
IS_BUCKET = 1
PAGE_SIZES = tuple(1 << power for power in range(9, 17))
DEEPEST = 40  # a tree of pages this deep would hold more keys than there are indexes
_PAGE = struct.Struct("<QHHI")  # id, flags, count, overflow
_META = struct.Struct("<IIIIQQQQQ")  # magic, version, page size, flags, root, sequence, freelist, pages, transaction
_LEAF = struct.Struct("<IIII")  # flags, position, size of the key, size of the value
_BRANCH = struct.Struct("<IIQ")  # position, size of the key, page
_BUCKET = struct.Struct("<QQ")  # root, sequence

Item = tuple[int, bytes, bytes]  # flags, key, value


class UnreadableBolt(ValueError):
    """The file is not a BoltDB file, or a damaged one, or was changed while it was read."""


class BoltFile:
    """An open BoltDB file. Use it in a ``with`` block. Raises UnreadableBolt and OSError."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        try:
            self._page_size, self._root = self._meta()
        except UnreadableBolt:
            self._file.close()
            raise

    def __enter__(self) -> BoltFile:
        return self

    def __exit__(self, *_args: object) -> None:
        self._file.close()

    def newest(self, bucket: str) -> t.Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of a bucket, the greatest key first; nothing if there is no such bucket."""
        for flags, key, value in self._backwards(self._page(self._root), 0):
            if key == bucket.encode() and flags & IS_BUCKET:
                root, _sequence = _unpack(_BUCKET, value, 0)
                page = self._page(root) if root else value[_BUCKET.size :]
                yield from ((found, data) for _flags, found, data in self._backwards(page, 0))
                return

    def _meta(self) -> tuple[int, int]:
        """Return the page size and the root of the newest valid description of the file; there are two, written in turn."""
        found = []
        for offset in (0, *PAGE_SIZES):
            data = self._read(offset, _PAGE.size + _META.size + 8)
            if len(data) < _PAGE.size + _META.size + 8:
                continue
            body = data[_PAGE.size : _PAGE.size + _META.size]
            magic, version, page_size, _flags, root, _sequence, _free, _pages, transaction = _META.unpack(body)
            (checksum,) = struct.unpack_from("<Q", data, _PAGE.size + _META.size)
            is_whole = magic == MAGIC and version == VERSION and checksum == fnv1a(body)
            if is_whole and page_size in PAGE_SIZES and offset in (0, page_size):
                found.append((transaction, page_size, root))
        if not found:
            raise UnreadableBolt("it is not a BoltDB file")
        return max(found)[1:]

    def _backwards(self, page: bytes, depth: int) -> t.Iterator[Item]:
        """Yield the items of a page and those below it, the greatest key first."""
        if depth > DEEPEST:
            raise UnreadableBolt("its pages are in a circle")
        _number, flags, count, _overflow = _unpack(_PAGE, page, 0)
        if not flags & (BRANCH | LEAF):
            raise UnreadableBolt("a page of it is neither a branch nor a leaf")
        element = _LEAF if flags & LEAF else _BRANCH
        for number in reversed(range(count)):
            start = _PAGE.size + number * element.size
            if flags & LEAF:
                item_flags, position, key_size, value_size = _unpack(_LEAF, page, start)
                key_end = start + position + key_size
                if key_end + value_size > len(page):
                    raise UnreadableBolt("an item of it is longer than its page")
                yield item_flags, page[start + position : key_end], page[key_end : key_end + value_size]
            else:
                _position, _key_size, below = _unpack(_BRANCH, page, start)
                yield from self._backwards(self._page(below), depth + 1)

    def _page(self, number: int) -> bytes:
        """Return a page with those that it continues in."""
        offset = number * self._page_size
        if offset + self._page_size > self._size:
            raise UnreadableBolt("it is shorter than its pages need")
        data = self._read(offset, self._page_size)
        found, _flags, _count, overflow = _unpack(_PAGE, data, 0)
        if found != number:
            raise UnreadableBolt("a page of it has the number of another")
        if not overflow:
            return data
        if offset + (overflow + 1) * self._page_size > self._size:
            raise UnreadableBolt("it is shorter than its pages need")
        return self._read(offset, (overflow + 1) * self._page_size)

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset) if offset < self._size else b""


def _unpack(what: struct.Struct, data: bytes, offset: int) -> tuple[int, ...]:
    if offset + what.size > len(data):
        raise UnreadableBolt("a page of it is cut short")
    return what.unpack_from(data, offset)


def fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash, by which a description of the file is known to be whole."""
    found = 0xCBF29CE484222325
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return found

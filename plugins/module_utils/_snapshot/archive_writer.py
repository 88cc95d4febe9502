# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packs a state into the container that archive.py reads, piece by piece while it is read."""

from __future__ import annotations

import hashlib
import tarfile
import typing as t
import zlib

from .archive import BLOCK
from .errors import BadSnapshot
from .gunzip import CHUNK, Source

GZIP = 31  # zlib's name for a gzip stream with the largest window


class ArchiveStream:
    """A source of gzip(tar(meta.json, state.bin, SHA256SUMS)) as ``consul snapshot save`` writes it.

    ``state`` must have exactly ``state_size`` bytes. ``level`` is that of gzip; 0 does not compress. Raises BadSnapshot
    and what ``state`` raises.
    """

    def __init__(self, meta: bytes, state: Source, state_size: int, *, level: int) -> None:
        self._pieces = _pieces(meta, state, state_size)
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, GZIP)
        self._ready = bytearray()
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, b"" at the end."""
        while not self._ready and not self._ended:
            piece = next(self._pieces, None)
            self._ended = piece is None
            self._ready += self._compressor.flush() if piece is None else self._compressor.compress(piece)
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data


def _pieces(meta: bytes, state: Source, state_size: int) -> t.Iterator[bytes]:
    yield _member("meta.json", meta)
    yield _header("state.bin", state_size)
    left, digest = state_size, hashlib.sha256()
    while left:
        data = state.read(min(left, CHUNK))
        if not data:
            raise BadSnapshot("its state.bin became shorter while it was read")
        left -= len(data)
        digest.update(data)
        yield data
    yield _padding(state_size)
    sums = {"meta.json": hashlib.sha256(meta).hexdigest(), "state.bin": digest.hexdigest()}
    yield _member("SHA256SUMS", "".join(f"{value}  {name}\n" for name, value in sums.items()).encode())
    yield bytes(2 * BLOCK)


def _member(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + _padding(len(data))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)

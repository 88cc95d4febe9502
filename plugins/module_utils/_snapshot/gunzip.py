# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decompresses the gzip stream of a snapshot piece by piece; used by archive.py."""

from __future__ import annotations

import typing as t
import zlib

from .errors import BadSnapshot, DamagedArchive

CHUNK = 1 << 18
GZIP_MAGIC = b"\x1f\x8b"
SHOWN_BYTES = 60  # of data that is not gzip, in the error message


class Source(t.Protocol):
    """Anything that returns up to ``size`` bytes, b"" at its end."""

    def read(self, size: int) -> bytes: ...


class GunzipReader:
    """Decompresses exactly one gzip member; anything after it is an error. Raises BadSnapshot and DamagedArchive."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._zlib = zlib.decompressobj(wbits=31)
        self._input = b""
        self._begun = False

    def read(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes, b"" at the end of the gzip member."""
        while not self._zlib.eof:
            if not self._input:
                self._input = self._source.read(CHUNK) if self._begun else self._first()
                if not self._input:
                    raise BadSnapshot("the file is cut short: its gzip stream does not end")
            try:
                data = self._zlib.decompress(self._input, size)
            except zlib.error as error:
                reason = str(error).rpartition(": ")[2]
                raise DamagedArchive(f"the gzip stream is damaged ({reason})") from None
            self._input = self._zlib.unconsumed_tail
            if data:
                return data
        return b""

    def _first(self) -> bytes:
        """Return the beginning of the source, after checking that it is gzip data."""
        self._begun = True
        data = b""
        while len(data) < SHOWN_BYTES:
            piece = self._source.read(CHUNK)
            if not piece:
                break
            data += piece
        if not data:
            raise BadSnapshot("it is empty")
        if data[:2] != GZIP_MAGIC[: len(data)]:
            start = " ".join(data[:SHOWN_BYTES].decode("utf-8", "replace").split())
            raise BadSnapshot(f"it is not gzip data but begins with {start!r}")
        return data

    def exactly(self, size: int, what: str) -> bytes:
        """Return exactly ``size`` bytes. Raises BadSnapshot when the stream ends before."""
        data = b""
        while len(data) < size:
            piece = self.read(size - len(data))
            if not piece:
                raise BadSnapshot(f"the file ends where {what} should be")
            data += piece
        return data

    def expect_end(self) -> None:
        """Raise BadSnapshot if anything follows the archive: Consul's own restore refuses that too."""
        if self.read(1):
            raise BadSnapshot("there is more data after the archive inside the gzip stream")
        if self._zlib.unused_data or self._source.read(1):
            raise BadSnapshot("there is more data after the end of the gzip stream")

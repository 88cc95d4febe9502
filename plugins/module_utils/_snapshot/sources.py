# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources to read a snapshot from: a file, and one that hashes (and copies) what passes through it."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

from .._consul.private_file import os_errors_as
from .gunzip import CHUNK, Source


class Writable(t.Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes) -> None: ...


class HashingSource:
    """A source that counts, hashes and, with ``copy_to``, copies what is read from another source."""

    def __init__(self, source: Source, copy_to: Writable | None = None) -> None:
        self._source = source
        self._copy_to = copy_to
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was read so far."""
        return self._hash.hexdigest()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        if self._copy_to is not None:
            self._copy_to.write(data)
        self._hash.update(data)
        self.size += len(data)
        return data


def size_and_sha256(source: Source, copy_to: Writable | None = None) -> tuple[int, str]:
    """Read a source to its end, copy it if asked to, and return its size and SHA-256. Raises what reading and writing raise."""
    hashing = HashingSource(source, copy_to)
    while hashing.read(CHUNK):
        pass
    return hashing.size, hashing.sha256


class SnapshotFile:
    """A snapshot file as a source. Raises LocalFailure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with os_errors_as(f"reading {path}"):
            self._stream = path.open("rb", buffering=0)

    def read(self, size: int) -> bytes:
        with os_errors_as(f"reading {self._path}"):
            return self._stream.read(size) or b""

    def __enter__(self) -> SnapshotFile:
        return self

    def __exit__(self, *_args: object) -> None:
        self._stream.close()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots that a server's Raft keeps on its disk, ``DATA_DIR/raft/snapshots/TERM-INDEX-MS``, as a source to read.

Such a directory holds ``state.bin``, with the same records as in a snapshot file, and ``meta.json`` with its size and
CRC-64. Source: hashicorp/raft, file_snapshot.go.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul.errors import InvalidOption, LocalFailure
from .._consul.private_file import os_errors_as
from .archive import MAX_SMALL_MEMBER, Meta, parse_meta
from .archive_writer import ArchiveStream
from .crc64 import Crc64
from .errors import BadSnapshot
from .gunzip import CHUNK
from .sources import SnapshotFile

META, STATE = "meta.json", "state.bin"
_LOGS = ("raft.db", "wal")  # Raft's log, as a file of BoltDB or, in newer versions, a directory
_NAME = re.compile(r"\d+-\d+-\d+")  # one that is being written ends in .tmp


@dataclass(frozen=True)
class RaftSnapshot:
    """One snapshot of a server's Raft whose size and CRC are those that its ``meta`` gives.

    ``meta_json`` is what meta.json of a snapshot file says of it. ``skipped``: why newer ones cannot be used, a sentence
    each.
    """

    directory: Path
    meta: Meta
    meta_json: bytes
    skipped: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"the Raft snapshot {self.directory}"

    @property
    def taken_s(self) -> float:
        """When the server made it, in seconds since 1970; 0 if unknown."""
        return self.meta.taken_ms / 1000


class RaftSnapshotStream:
    """A Raft snapshot as a source in the form of a snapshot file. Use it in a ``with`` block.

    ``level`` is that of gzip; 0, which does not compress, suits a stream that is only read. Raises LocalFailure and
    BadSnapshot.
    """

    def __init__(self, found: RaftSnapshot, *, level: int = 0) -> None:
        self._state = SnapshotFile(found.directory / STATE)
        self._archive = ArchiveStream(found.meta_json, self._state, found.meta.size, level=level)

    def read(self, size: int) -> bytes:
        return self._archive.read(size)

    def __enter__(self) -> RaftSnapshotStream:
        return self

    def __exit__(self, *args: object) -> None:
        self._state.__exit__(*args)


def is_raft_directory(path: Path) -> bool:
    """Return whether a directory is a Raft snapshot, or one in which a server keeps them. Raises LocalFailure."""
    with os_errors_as(f"reading the directory {path}"):
        return _is_snapshot(path) or _folder(path) is not None


def find(path: Path) -> RaftSnapshot:
    """Return the Raft snapshot in a directory: itself, or the newest usable one of a server's data directory.

    Raises InvalidOption for a directory of another kind, BadSnapshot when nothing in it can be used, and LocalFailure.
    """
    with os_errors_as(f"reading the directory {path}"):
        if not path.is_dir():
            raise InvalidOption(f"{path} is not a directory: name DATA_DIR/raft/snapshots of a Consul server.")
        if _is_snapshot(path):
            return verified(path)
        folder = _folder(path)
        if folder is None:
            raise InvalidOption(
                f"{path} is not a directory of Raft snapshots: name DATA_DIR/raft/snapshots of a Consul server, "
                "or one of the directories in it."
            )
        names = [found.name for found in folder.iterdir() if _NAME.fullmatch(found.name)]
    if not names:
        raise BadSnapshot(
            f"{folder} holds no Raft snapshot: the server has not written one yet, and its state is only in its log."
        )
    skipped: list[str] = []
    for name in sorted(names, key=_newest_first):
        try:
            found = verified(folder / name)
        except (BadSnapshot, LocalFailure) as error:
            skipped.append(str(error))
        else:
            return RaftSnapshot(found.directory, found.meta, found.meta_json, tuple(skipped))
    raise BadSnapshot(skipped[0] if len(skipped) == 1 else f"None of the Raft snapshots is usable. {' '.join(skipped)}")


def verified(directory: Path) -> RaftSnapshot:
    """Return the Raft snapshot in its directory, after comparing state.bin with meta.json.

    Raises BadSnapshot and LocalFailure.
    """
    meta_path, state_path = directory / META, directory / STATE
    with os_errors_as(f"reading {directory}"):
        for path in (meta_path, state_path):
            if not path.is_file():
                raise _unusable(directory, f"it has no {path.name}")
        size = state_path.stat().st_size
        if meta_path.stat().st_size > MAX_SMALL_MEMBER:
            raise _unusable(directory, "its meta.json is too large to be the description of a Raft snapshot")
        text = meta_path.read_bytes()
    try:
        meta = parse_meta(text)
        crc = base64.b64decode(json.loads(text)["CRC"], validate=True)
    except (BadSnapshot, KeyError, TypeError, ValueError, binascii.Error):
        raise _unusable(directory, "its meta.json is not the description of a Raft snapshot") from None
    if size != meta.size:
        raise _unusable(directory, f"its state.bin has {size} bytes, and meta.json says {meta.size}")
    if _crc_of(state_path) != crc:
        raise _unusable(directory, "its state.bin does not have the CRC that meta.json gives: one of them is damaged")
    return RaftSnapshot(directory, meta, _archived(text))


def _unusable(directory: Path, reason: str) -> BadSnapshot:
    return BadSnapshot(f"{directory} is not a usable Raft snapshot: {reason}.")


def _is_snapshot(path: Path) -> bool:
    return (path / META).is_file() or (path / STATE).is_file()


def _folder(path: Path) -> Path | None:
    """Return the directory of Raft snapshots that ``path`` is or, as a data directory or its ``raft``, contains."""
    candidates = (path / "raft" / "snapshots", path / "snapshots", path)
    return next((folder for folder in candidates if folder.is_dir() and _keeps_snapshots(folder)), None)


def _keeps_snapshots(folder: Path) -> bool:
    """Return whether a server keeps its Raft snapshots here: one is there, or its log is beside an empty directory."""
    if any(_NAME.fullmatch(found.name) and found.is_dir() for found in folder.iterdir()):
        return True
    return folder.name == "snapshots" and any((folder.parent / log).exists() for log in _LOGS)


def _newest_first(name: str) -> tuple[int, ...]:
    """Sort by index, then time: term, index and time make a name."""
    term, index, milliseconds = map(int, name.split("-"))
    return (-index, -term, -milliseconds)


def _archived(text: bytes) -> bytes:
    """Return meta.json as a snapshot file has it: Raft's own, without the CRC."""
    values: dict[str, t.Any] = json.loads(text)
    values.pop("CRC")
    return (json.dumps(values, separators=(",", ":")) + "\n").encode()


def _crc_of(path: Path) -> bytes:
    checksum = Crc64()
    with SnapshotFile(path) as source:
        while True:
            data = source.read(CHUNK)
            if not data:
                return checksum.digest()
            checksum.update(data)

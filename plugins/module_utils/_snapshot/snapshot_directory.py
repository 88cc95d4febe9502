# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists the snapshots of a directory, newest first, and verifies them against their manifests."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul.errors import LocalFailure
from .._consul.private_file import os_errors_as
from . import manifest as manifests
from .manifest import Manifest
from .sources import SnapshotFile, size_and_sha256

SNAPSHOT_SUFFIX = ".snap"
ENCRYPTED_SUFFIX = ".age"


@dataclass(frozen=True)
class SnapshotEntry:
    """One snapshot file. ``time`` is the manifest's, else the file's. ``problem`` is "" when nothing is wrong.

    ``intact`` is None when the contents were not read again, else whether they are what the manifest says.
    """

    path: Path
    time: float
    size: int
    manifest: Manifest | None
    intact: bool | None
    problem: str

    @property
    def datacenter(self) -> str | None:
        """The datacenter, None when no manifest says it."""
        return self.manifest.datacenter if self.manifest else None


def list_directory(directory: Path, *, verify: bool = False) -> list[SnapshotEntry]:
    """Return every snapshot of a directory, newest first; with ``verify`` each file is read and hashed again.

    A file counts when its name ends in ``.snap`` or ``.snap.age``, or a manifest stands beside it. Raises LocalFailure.
    """
    with os_errors_as(f"reading the directory {directory}"):
        names = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    files = {path for path in names if path.name.endswith(SNAPSHOT_SUFFIX)}
    files |= {
        path.with_name(path.name[: -len(manifests.SUFFIX)])
        for path in names
        if path.name.endswith(SNAPSHOT_SUFFIX + manifests.SUFFIX)
    }
    files |= {_plain_name(path) for path in names if path.name.endswith(SNAPSHOT_SUFFIX + ENCRYPTED_SUFFIX)}
    entries = [entry(path, verify=verify) for path in sorted(files) if not path.is_dir()]
    return sorted(entries, key=_newest_first)


def entry(path: Path, *, verify: bool = False) -> SnapshotEntry:
    """Return what is known about one snapshot file without decoding it; an error of reading it becomes its ``problem``.

    ``path`` may also be the name that an encrypted file would have without its encryption.
    """
    path = _plain_name(path)
    manifest, problem = None, ""
    try:
        manifest = manifests.load(manifests.manifest_path(path))
        if manifest is None:
            problem = "no manifest: not saved by this collection, or the manifest is lost"
    except LocalFailure as error:
        problem = str(error)
    when = manifest.time if manifest else 0.0
    encrypted = path.with_name(path.name + ENCRYPTED_SUFFIX)
    if manifest.encryption is not None if manifest else not path.exists() and encrypted.exists():
        path = encrypted
    try:
        with os_errors_as(f"reading {path}"):
            if not path.exists():
                return SnapshotEntry(path, when, 0, manifest, False, "the file is gone; only its manifest is left")
            status = path.stat()
        intact: bool | None = None
        if manifest is not None and status.st_size != manifest.stored_size:
            intact, problem = False, f"the file has {status.st_size} bytes, its manifest says {manifest.stored_size}"
        elif manifest is not None and verify:
            intact = file_sha256(path) == manifest.stored_sha256
            problem = "" if intact else "the file is not the one that its manifest describes (SHA-256 differs)"
    except LocalFailure as error:
        return SnapshotEntry(path, when, 0, manifest, False, str(error))
    return SnapshotEntry(
        path, manifest.time if manifest else status.st_mtime, status.st_size, manifest, intact, problem
    )


def _plain_name(path: Path) -> Path:
    if path.name.endswith(SNAPSHOT_SUFFIX + ENCRYPTED_SUFFIX):
        return path.with_name(path.name[: -len(ENCRYPTED_SUFFIX)])
    return path


def _newest_first(found: SnapshotEntry) -> tuple[float, int, str]:
    index = found.manifest.index if found.manifest else 0
    return (-found.time, -index, found.path.name)


def newest(entries: t.Iterable[SnapshotEntry], datacenter: str) -> SnapshotEntry | None:
    """Return the newest entry of a datacenter that has a manifest and is not a safety snapshot, None without one.

    ``entries`` are newest first.
    """
    return next(
        (found for found in entries if found.manifest and found.datacenter == datacenter and not found.manifest.safety),
        None,
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file. Raises LocalFailure."""
    with SnapshotFile(path) as stream:
        return size_and_sha256(stream)[1]

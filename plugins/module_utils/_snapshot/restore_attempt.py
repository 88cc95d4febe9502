# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The note that a snapshot file was sent for a restore: it stays until the outcome of that restore is known.

A snapshot that makes the leader panic is survived once, not twice (Raft keeps two snapshots), so a second run must
find the note. It is a local file named after the SHA-256 of the snapshot, written before the request, both beside the
snapshot file, where a second run of the same file finds it whatever safety_path it names, and in the safety directory,
in case the snapshot's directory is read-only or the file is moved. It is not in the target's KV: a restore that was
applied replaces all keys and would remove the note just when its answer was lost, and a token that may restore (acl =
"write") need not be allowed to write keys.
"""

from __future__ import annotations

import logging
from pathlib import Path

from .._consul.errors import LocalFailure
from .._consul.private_file import PrivateFile, os_errors_as
from .._consul.units import timestamp

log = logging.getLogger("consulops")


def attempted_at(snapshot: Path, safety_path: Path, sha256: str) -> str | None:
    """Return when this file was sent without its outcome becoming known, None when it was not. Raises LocalFailure."""
    for marker in _markers(snapshot, safety_path, sha256):
        with os_errors_as(f"reading {marker}"):
            if marker.exists():
                found = marker.read_text(encoding="utf-8", errors="replace").strip()
                log.debug("%s was sent at %s with an unknown outcome (%s)", snapshot, found, marker)
                return found
    return None


def record_attempt(snapshot: Path, safety_path: Path, sha256: str, now: float) -> list[str]:
    """Note that the file is about to be sent; return warnings. Raises LocalFailure when no note could be written."""
    beside, *others = _markers(snapshot, safety_path, sha256)
    for marker in others:
        _write(marker, now)
    try:
        _write(beside, now)
    except LocalFailure as error:
        if not others:
            raise
        return [
            f"that this snapshot was sent is noted in {safety_path} only ({error}): if the outcome of this restore stays "
            "unknown, name the same safety_path when you restore the file again"
        ]
    return []


def clear_attempt(snapshot: Path, safety_path: Path, sha256: str) -> None:
    """Remove the note: the outcome is known. Raises LocalFailure."""
    for marker in _markers(snapshot, safety_path, sha256):
        with os_errors_as(f"removing {marker}"):
            if marker.exists():  # a read-only directory has none, and refuses even to remove nothing
                marker.unlink(missing_ok=True)


def _markers(snapshot: Path, safety_path: Path, sha256: str) -> list[Path]:
    """Return where the note belongs: beside the snapshot file first, then in the safety directory if it is another."""
    directories = [snapshot.resolve().parent]
    if safety_path.resolve() not in directories:
        directories.append(safety_path)
    return [directory / f".consulops-restore-{sha256[:16]}.attempt" for directory in directories]


def _write(marker: Path, now: float) -> None:
    with PrivateFile(marker.parent) as part:
        part.write(f"{timestamp(now)}\n".encode())
        part.commit(marker)

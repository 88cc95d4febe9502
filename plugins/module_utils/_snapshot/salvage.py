# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packs a Raft snapshot of a server's disk into a snapshot file, after every record of it was decoded.

For the day when all servers are dead and no backup is younger than what is on their disks.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .._consul._libraries import require
from .._consul.errors import GuardRefused, LocalFailure
from .._consul.private_file import PrivateFile, os_errors_as
from . import load_check, raft_directory, save, save_guards
from .manifest import Manifest, of_summary
from .raft_directory import RaftSnapshot, RaftSnapshotStream
from .sources import HashingSource
from .summary import summarize

GZIP_LEVEL = 6


@dataclass(frozen=True)
class Salvaged:
    """The outcome: the file, what it holds, the Raft snapshot that it was made of, and warnings."""

    path: Path
    manifest: Manifest
    source: RaftSnapshot
    warnings: tuple[str, ...]


def salvage(directory: Path, destination: str, now: float) -> Salvaged:
    """Write the Raft snapshot in ``directory`` (see raft_directory.find) to a file with mode 0600, and its manifest.

    ``destination`` is a file, or a directory that gets a file with the default name. ``now``: seconds since 1970.
    Nothing is replaced. Raises BadSnapshot, GuardRefused, InvalidOption and LocalFailure; then nothing was written.
    """
    require("msgpack")
    target, is_directory = save_guards.destination(destination)
    folder = target if is_directory else target.parent
    with os_errors_as(f"reading {folder}"):
        if not folder.is_dir():
            raise LocalFailure(f"The directory {folder} does not exist: create it (mode 0700) or name another.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise LocalFailure(f"The directory {folder} is not writable for the user that runs this.")
        if not is_directory and target.exists():
            raise GuardRefused(f"{target} exists and would be replaced: name another file. Nothing was written.")
    found = raft_directory.find(directory)
    with PrivateFile(folder) as data, PrivateFile(folder) as description:
        with RaftSnapshotStream(found, level=GZIP_LEVEL) as stream:
            copy = HashingSource(stream, copy_to=data)
            summary = summarize(copy, found.label, as_of=now)
        manifest = of_summary(
            summary,
            time=found.taken_s,
            node=None,
            stale=True,  # a server's own state: others may have been ahead of it
            size=copy.size,
            sha256=copy.sha256,
        )
        name = save_guards.DEFAULT_NAME if is_directory else None
        path = save.put_in_place(data, description, target, name, manifest)
    return Salvaged(path, manifest, found, (*found.skipped, *load_check.upgrade_warnings(summary.problems)))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies a data directory before it is changed: whole or not at all, and not twice while it stays as it was."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
import typing as t
from pathlib import Path

from ..._consul.errors import GuardRefused, LocalFailure

PART = ".part"
SPARE_BYTES = 64 << 20
COPY_TIMEOUT_S = 6 * 3600.0

State = dict[str, tuple[int, ...]]


def state_of(directory: Path) -> State:
    """Return what a copy must have: each path with its type, rights and owner, and size and time of files. Raises OSError."""
    found = {}
    for folder, _folders, files in os.walk(directory, onerror=_raise):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            at = path.lstat()
            file = (at.st_size, at.st_mtime_ns) if stat.S_ISREG(at.st_mode) else ()
            found[str(path.relative_to(directory))] = (at.st_mode, at.st_uid, at.st_gid, *file)
    return found


def copy_of(source: Path, copies: Path) -> Path | None:
    """Return the copy of the directory as it is now, None if there is none. Raises LocalFailure."""
    try:
        wanted = state_of(source)
        there = sorted(copies.iterdir(), reverse=True) if copies.is_dir() else []
        return next(
            (one for one in there if one.suffix != PART and one.is_dir() and state_of(one / "data") == wanted), None
        )
    except OSError as error:
        raise LocalFailure(f"{source} cannot be compared with its copies in {copies}: {error}.") from error


def make_copy(source: Path, copies: Path) -> Path:
    """Copy the directory and return where. Raises GuardRefused if there is no space, and LocalFailure."""
    check_space(source, copies)
    goal = copies / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    part = goal.with_suffix(PART)
    try:
        copies.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in copies.glob(f"*{PART}"):
            shutil.rmtree(old)
        part.mkdir(mode=0o700)
        words = ["cp", "-a", "--", str(source), str(part / "data")]
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COPY_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise LocalFailure(f"{source} could not be copied: {' '.join(done.stderr.split())}.")
        os.sync()
        if state_of(part / "data") != state_of(source):
            raise LocalFailure(
                f"{source} changed while it was copied: something still writes to it. Stop it, and run this again."
            )
        part.rename(goal)
    except (OSError, subprocess.SubprocessError) as error:
        raise LocalFailure(f"{source} could not be copied to {part}: {error}.") from error
    return goal


def check_space(source: Path, copies: Path) -> None:
    """Raise GuardRefused if the copy would not fit where the copies are, LocalFailure if that cannot be found out."""
    if source.resolve() in (copies.resolve(), *copies.resolve().parents):
        raise GuardRefused(
            f"The copies of {source} cannot be in it: name another directory than {copies}. The data was not changed."
        )
    try:
        needed = sum(one[3] for one in state_of(source).values() if len(one) > 3) + SPARE_BYTES
        there = next(path for path in (copies, *copies.parents) if path.is_dir())
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise LocalFailure(f"The size of {source} cannot be found out: {error}.") from error
    if needed > free:
        raise GuardRefused(
            f"A copy of {source} needs {needed >> 20} MiB in {copies}, where {free >> 20} MiB are free: name another "
            "directory. The data was not changed."
        )


def _raise(error: OSError) -> t.NoReturn:
    raise error

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that hold secrets or must never be half written: 0600 from the first byte, whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
import typing as t
from pathlib import Path

from .errors import LocalFailure

PRIVATE = 0o600
PART_SUFFIX = ".consulops-part"
ABANDONED_AFTER_S = 3600.0  # a part file this old without a living writer is left over from a crash


class PrivateFile:
    """A new file beside its destination, private to its owner, that takes the destination's place on ``commit``.

    Use it in a ``with`` block: without a commit nothing stays behind. Raises LocalFailure.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / f".{secrets.token_hex(8)}{PART_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os_errors_as(f"creating a file in {directory}"):
            self._descriptor = os.open(self.path, flags, PRIVATE)
        self._open = True
        with contextlib.suppress(OSError):  # not every file system can lock; the lock only protects from sweeping
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> None:
        """Append all of ``data``."""
        view = memoryview(data)
        with os_errors_as(f"writing to {self.path.parent}"):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def flush(self) -> None:
        """Bring everything to the disk; after this a commit cannot lack space."""
        with os_errors_as(f"writing to {self.path.parent}"):
            os.fchmod(self._descriptor, PRIVATE)
            os.fsync(self._descriptor)

    def commit(self, destination: Path) -> None:
        """Take the destination's place in one step and make that durable."""
        self.flush()
        with os_errors_as(f"putting {destination} in place"):
            self.path.replace(destination)
            self._close()
            sync_directory(destination.parent)

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)

    def __enter__(self) -> PrivateFile:
        return self

    def __exit__(self, *_args: object) -> None:
        if self._open:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            self._close()


@contextlib.contextmanager
def os_errors_as(doing: str) -> t.Iterator[None]:
    """Turn an OSError into a LocalFailure that says what was being done and what helps."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: " Free some space, or choose another path; nothing incomplete was left there.",
            errno.EDQUOT: " Raise the quota, or choose another path; nothing incomplete was left there.",
            errno.EACCES: " The user that runs this needs the right to do so.",
            errno.ENOENT: " Correct the path."
            if doing.startswith("reading")
            else " Create it first, or correct the path.",
        }.get(error.errno or 0, "")
        raise LocalFailure(f"{doing}: {error.strerror or error}.{advice}") from None


@contextlib.contextmanager
def locked(directory: Path) -> t.Iterator[None]:
    """Let only one writer at a time put files that belong together into a directory. Raises LocalFailure."""
    with os_errors_as(f"locking {directory}"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # not every file system can lock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_abandoned(directory: Path, now: float | None = None) -> list[str]:
    """Remove part files whose writer died; return their names. Never touches one that is being written."""
    removed = []
    moment = time.time() if now is None else now
    for path in sorted(directory.glob(f".*{PART_SUFFIX}")):
        with contextlib.suppress(OSError):
            if moment - path.stat().st_mtime < ABANDONED_AFTER_S:
                continue
            with path.open("rb") as part:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            removed.append(path.name)
    return removed

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files with secrets that must never be half written: mode 0600 from the first byte, complete or absent."""

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
ABANDONED_AFTER_S = 3600.0  # a part file this old without a running writer is left over from a crash
LOCK_WAIT_S = 30.0  # the lock is held while two files are renamed: milliseconds, on a slow disk seconds
LOCK_POLL_S = 0.05


class PrivateFile:
    """A new file beside its destination, readable by its owner only, that replaces the destination on ``commit``.

    Use it in a ``with`` block: without a commit it is removed. Raises LocalFailure.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / f".{secrets.token_hex(8)}{PART_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os_errors_as(f"creating a file in {directory}"):
            self._descriptor = os.open(self.path, flags, PRIVATE)
        self._open = True
        with contextlib.suppress(
            OSError
        ):  # not every file system can lock; the lock only protects from sweep_abandoned
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> None:
        """Append all of ``data``."""
        view = memoryview(data)
        with os_errors_as(f"writing to {self.path.parent}"):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def flush(self) -> None:
        """Write everything to the disk; after this a commit cannot run out of space."""
        with os_errors_as(f"writing to {self.path.parent}"):
            os.fchmod(self._descriptor, PRIVATE)
            os.fsync(self._descriptor)

    def commit(self, destination: Path) -> None:
        """Replace the destination in one step and make that durable."""
        self.flush()
        with os_errors_as(f"putting {destination} in place"):
            self.path.replace(destination)
            self._close()
            sync_directory(destination.parent)

    def commit_new(self, destination: Path) -> bool:
        """Put the file in place in one step and make that durable; False when the destination exists, which is kept."""
        self.flush()
        try:
            with os_errors_as(f"putting {destination} in place"):
                try:
                    os.link(self.path, destination)
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                        raise
                    return self._rename_new(destination)  # not every file system has hard links
                sync_directory(destination.parent)
                return True
        finally:
            self.__exit__()

    def _rename_new(self, destination: Path) -> bool:
        """Rename to a destination that does not exist; the lock keeps other processes of ours from creating it."""
        with locked(destination.parent):
            if os.path.lexists(destination):
                return False
            self.commit(destination)
            return True

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)

    def __enter__(self) -> PrivateFile:
        return self

    def __exit__(self, *_args: object) -> None:
        if self._open:
            # A file system that was made read-only, or that is gone, refuses; why the write failed is known by then.
            with contextlib.suppress(OSError):
                self.path.unlink()
            with contextlib.suppress(OSError):
                self._close()


@contextlib.contextmanager
def os_errors_as(doing: str) -> t.Iterator[None]:
    """Turn an OSError into a LocalFailure that says what was being done and what can be done about it."""
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
def locked(directory: Path, wait_s: float = LOCK_WAIT_S) -> t.Iterator[None]:
    """Let only one process at a time put files that belong together into a directory.

    Raises LocalFailure when another process still has the lock after ``wait_s`` seconds.
    """
    with os_errors_as(f"locking {directory}"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _wait_for_lock(descriptor, directory, wait_s)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, directory: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LocalFailure(
                    f"locking {directory}: another process has had the lock for {wait_s:g} s. Try again when it has finished."
                ) from None
            time.sleep(LOCK_POLL_S)  # flock cannot wait with a timeout
        except OSError:
            return  # not every file system can lock
        else:
            return


def sync_directory(directory: Path) -> None:
    """Write a directory's entries to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_abandoned(directory: Path, now: float | None = None) -> list[str]:
    """Remove part files whose writer died; return their names. One that is being written is left alone. Raises LocalFailure."""
    removed = []
    moment = time.time() if now is None else now
    with os_errors_as(f"reading the directory {directory}"):
        parts = sorted(directory.glob(f".*{PART_SUFFIX}"))
    for path in parts:
        with contextlib.suppress(OSError):
            if moment - path.stat().st_mtime < ABANDONED_AFTER_S:
                continue
            with path.open("rb") as part:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            removed.append(path.name)
    return removed

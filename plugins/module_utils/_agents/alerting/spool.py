# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The spool: messages that were accepted and are not delivered yet, on disk, so that a crash or restart loses none.

A message is on the disk before ``add`` returns. When the disk cannot take it, it is kept in memory, ``problem`` says why, and the
file is written as soon as that is possible again. That a message was dealt with is written without waiting for the disk: after a
power failure it may be sent once more, with the same key.

Each receiver may have ``LIMIT_MESSAGES`` messages and ``LIMIT_BYTES`` waiting. Beyond that, ``add`` removes its oldest reminders,
then its oldest messages, and returns them. A receiver that is away cannot push out messages of another.
"""

from __future__ import annotations

import itertools
import threading
import typing as t
from pathlib import Path

from ..._consul.errors import Error, LocalFailure
from ..._consul.private_file import sweep_abandoned
from ..._consul.units import count_of
from . import spool_file
from .notification import FIRING, Notification
from .spool_file import Done, Fates, Key, NewerSpool, SpoolFile, Stored, done_line, header_line, key_of, queued_line

LIMIT_MESSAGES = 1000
LIMIT_BYTES = 16 << 20
REMEMBERED_DONE = 1000  # a message that is submitted again after it was delivered is recognised
REMEMBERED_FIRES = 50  # the state of the agent, which has the rest, is saved soon after a message was delivered
CLOSE_WAIT_S = 0.2
COMPACT_ABOVE_BYTES = 1 << 20
COMPACT_FACTOR = 4  # the file is written anew when it is this many times as long as what still waits


class Added(t.NamedTuple):
    """What came of adding a message: whether it is new, and the messages that had to go because the receiver has too many.

    ``fate`` is None, or for one that was dealt with before what became of it.
    """

    is_new: bool
    removed: list[Notification]
    fate: Done | None


class Spool:
    """The messages of all receivers in one file. Safe for several threads; ``problem`` is one sentence, or empty."""

    def __init__(self, path: Path, limit_messages: int = LIMIT_MESSAGES, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path = path
        self._limit_messages = limit_messages
        self._limit_bytes = limit_bytes
        self._file_lock = threading.Lock()  # taken before the other one; held while the disk works
        self._lock = threading.Lock()  # guards what follows; never held while the disk works
        self._pending: dict[Key, Stored] = {}
        self._sizes: dict[Key, int] = {}
        self._done: dict[Key, Done] = {}
        self._file: SpoolFile | None = SpoolFile(path)
        self._unsaved = b""  # lines that the file lacks
        self._must_sync = False  # whether one of them must be on the disk before anything else is done
        self._compact_above = COMPACT_ABOVE_BYTES
        self._failure = ""
        self._damage = ""
        self._load()

    @property
    def problem(self) -> str:
        """Why messages are in memory only, or what was wrong with the file at the start; empty if all is well."""
        return self._failure or self._damage

    @property
    def failure(self) -> str:
        """Why messages are in memory only; empty if they are on the disk."""
        return self._failure

    def pending(self, receiver: str) -> list[Stored]:
        """Return the messages that wait for a receiver, in the order in which they were queued."""
        with self._lock:
            return [stored for key, stored in self._pending.items() if key[0] == receiver]

    def receivers(self) -> set[str]:
        """Return the receivers for which messages wait."""
        with self._lock:
            return {key[0] for key in self._pending}

    def waiting(self) -> frozenset[str]:
        """Return the IDs of all messages that wait."""
        with self._lock:
            return frozenset(stored.notification.id for stored in self._pending.values())

    def fates(self) -> Fates:
        """Return what is known of messages: None for one that waits."""
        with self._lock:
            return {**self._done, **dict.fromkeys(self._pending)}

    def add(self, notification: Notification, at: float) -> Added:
        """Store a message; ``at`` is the time in Unix seconds.

        One that waits already or was dealt with lately is not stored again. Never raises for a disk that fails: see ``problem``.
        """
        key, stored = key_of(notification), Stored(notification, at)
        line, given_up = queued_line(stored), Done(False, at)
        with self._lock:
            if key in self._pending or key in self._done:
                return Added(False, [], self._done.get(key))
            removed = self._make_room(key[0], len(line), given_up)
            self._pending[key], self._sizes[key] = stored, len(line)
            self._note(*(done_line(key_of(one), given_up) for one in removed), line)
            self._must_sync = True
        self._write(wait=True)
        return Added(True, removed, None)

    def remove(self, notification: Notification, ok: bool, at: float) -> bool:
        """Note that a message was delivered (``ok``) or given up, ``at`` a time in Unix seconds.

        Return False if it was not waiting. Never waits for the disk.
        """
        key = key_of(notification)
        with self._lock:
            if key not in self._pending:
                return False
            done = Done(ok, at, _fires(notification) if ok else ())
            self._forget(key, done)
            self._note(done_line(key, done))
        self._write(wait=False)
        return True

    @property
    def is_behind(self) -> bool:
        """Whether memory holds something that the file lacks and that ``retry`` may be able to write."""
        return self._file is not None and bool(self._unsaved or not self._file.is_open)

    def retry(self) -> None:
        """Write what the file lacks; for a disk that has room again."""
        if self.is_behind:
            self._write(wait=False)

    def close(self) -> None:
        """Write what the file lacks, if possible, and close it. Does not wait for a disk that hangs."""
        self.retry()
        file, self._file = self._file, None  # a late thread must not write a file that another process may have by now
        if file is not None and self._file_lock.acquire(timeout=CLOSE_WAIT_S):
            file.close()
            self._file_lock.release()

    # -----------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        try:
            content = spool_file.read(self._path)
        except (NewerSpool, LocalFailure) as error:
            # What the file holds must not be overwritten.
            self._file, self._failure = None, str(error) if isinstance(error, NewerSpool) else _in_memory(error)
            return
        self._pending, self._done = content.pending, content.done
        self._sizes = {key: len(queued_line(stored)) for key, stored in content.pending.items()}
        self._trim_done()
        if content.damaged and not self._keep_damaged(content.damaged):
            return
        if self._path.parent.is_dir():
            sweep_abandoned(self._path.parent)
        self._write(wait=True)

    def _keep_damaged(self, lines: int) -> bool:
        """Copy a damaged file before it is written anew. Return whether that was possible; else it stays as it is."""
        try:
            copy = spool_file.keep_damaged(self._path)
        except LocalFailure as error:
            self._file, self._failure = None, _in_memory(error)
            return False
        self._damage = f"{self._path}: {count_of(lines, 'line')} cannot be read and may have been messages; the file as it was is {copy}."
        return True

    def _make_room(self, receiver: str, size: int, given_up: Done) -> list[Notification]:
        own = [(key, stored) for key, stored in self._pending.items() if key[0] == receiver]
        count, total = len(own) + 1, sum(self._sizes[key] for key, _stored in own) + size
        removed = []
        by_worth = sorted(own, key=lambda pair: pair[1].notification.kind != "reminder")  # stable: oldest first in each
        for key, stored in by_worth:
            if count <= self._limit_messages and total <= self._limit_bytes:
                break
            count, total = count - 1, total - self._sizes[key]
            self._forget(key, given_up)
            removed.append(stored.notification)
        return removed

    def _forget(self, key: Key, done: Done) -> None:
        del self._pending[key], self._sizes[key]
        self._done[key] = done
        self._trim_done()

    def _trim_done(self) -> None:
        for old in list(itertools.islice(self._done, max(0, len(self._done) - REMEMBERED_DONE))):
            del self._done[old]
        for old in list(itertools.islice(self._done, max(0, len(self._done) - REMEMBERED_FIRES))):
            if self._done[old].fires:
                self._done[old] = self._done[old]._replace(fires=())

    def _note(self, *lines: bytes) -> None:
        """Remember lines that the file must get. The lock is held."""
        if self._file is not None:
            self._unsaved += b"".join(lines)

    def _write(self, *, wait: bool) -> None:
        """Write what the file lacks. Without ``wait`` that is left to the thread that is writing, if there is one."""
        if not self._file_lock.acquire(blocking=wait):
            return
        try:
            while self._file is not None and self._write_once(self._file):
                pass
        finally:
            self._file_lock.release()

    def _write_once(self, file: SpoolFile) -> bool:
        """Write the lines that there are now. Return whether there are more by then."""
        with self._lock:
            lines, must_sync, everything = self._unsaved, self._must_sync, None
            self._unsaved, self._must_sync = b"", False
            if not file.is_open:
                everything = list(self._all_lines())
        try:
            if everything is None:
                file.append(lines, durable=must_sync)
            else:
                file.rewrite(everything)
        except LocalFailure as error:
            with self._lock:
                self._failure = _in_memory(error)
                self._unsaved, self._must_sync = lines + self._unsaved, True
                if len(self._unsaved) > self._limit_bytes:
                    self._unsaved = b""
                    file.close()  # so that it is written anew, from what is in memory
            return False
        self._compact(file)
        with self._lock:
            self._failure = ""
            return bool(self._unsaved)

    def _compact(self, file: SpoolFile) -> None:
        """Write the file anew when most of it was dealt with. A disk without room for a second file keeps the first."""
        with self._lock:
            if file.size <= max(self._compact_above, COMPACT_FACTOR * sum(self._sizes.values())):
                return
            lines, everything = self._unsaved, list(self._all_lines())
            self._unsaved = b""
        try:
            file.rewrite(everything)
            self._compact_above = COMPACT_ABOVE_BYTES
        except LocalFailure:
            self._compact_above = 2 * file.size
            with self._lock:
                self._unsaved = lines + self._unsaved

    def _all_lines(self) -> t.Iterator[bytes]:
        yield header_line()
        yield from (done_line(key, done) for key, done in self._done.items())
        yield from (queued_line(stored) for stored in self._pending.values())


def _fires(notification: Notification) -> tuple[str, ...]:
    return tuple(alert.episode for alert in notification.alerts if alert.status == FIRING)


def _in_memory(error: Error) -> str:
    return f"{str(error).rstrip('.')}. Messages are kept in memory only, until that is corrected."

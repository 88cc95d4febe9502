# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the consumer of events knows of Consul, kept in a file: after a restart only what is different from that is an event.

A stream is one watched thing of one datacenter, and its position has a value for each of its keys. The file is a journal: a header, then
a line for each change of a key. What was written is safe when the process is killed; after a loss of power an event may be repeated.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import typing as t
from pathlib import Path

from ...._consul.errors import LocalFailure
from ...._consul.private_file import PRIVATE, PrivateFile, os_errors_as

VERSION = 1
HEADER = {"consulops_event_positions": VERSION}
COMPACT_AFTER = 10_000  # lines that were added since the file was written anew

Position = dict[str, t.Any]


def decode(text: str, place: str) -> dict[str, Position]:
    """Return the positions of a journal by stream. A last line that was cut does not count. Raises LocalFailure."""
    lines = text.split("\n")
    lines.pop()  # what follows the last line feed: nothing, or a line that was cut
    if not lines:
        return {}
    if _parsed(lines[0]) != HEADER:
        raise LocalFailure(
            f"{place}: this is not a state file of this version of the event source. Name another one, or delete it to begin anew."
        )
    found: dict[str, Position] = {}
    for number, line in enumerate(lines[1:], 2):
        entry = _parsed(line)
        if (
            not isinstance(entry, list)
            or len(entry) not in (1, 3)
            or not all(isinstance(one, str) for one in entry[:2])
        ):
            raise LocalFailure(f"{place}: line {number} is damaged. Delete the file to begin anew.")
        position = found.setdefault(entry[0], {})
        if len(entry) == 3:
            apply(position, {entry[1]: entry[2]})
    return found


def encode(positions: t.Mapping[str, Position]) -> str:
    """Return the shortest journal of positions."""
    lines = [_line(HEADER)]
    for stream, position in positions.items():
        lines.append(_line([stream]))
        lines += [_line([stream, key, value]) for key, value in position.items()]
    return "".join(lines)


def _parsed(line: str) -> t.Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _line(value: t.Any) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def apply(position: Position, values: t.Mapping[str, t.Any]) -> None:
    """Set keys of a position; None removes one. The newest key is the last."""
    for key, value in values.items():
        position.pop(key, None)
        if value is not None:
            position[key] = value


class PositionStore:
    """Positions of all streams, in memory and, with a path, in a file that no other process may use meanwhile. For several threads."""

    def __init__(self, path: Path | None) -> None:
        """Read the file, if it is there. Raises LocalFailure."""
        self._path = path
        self._mutex = threading.Lock()
        self._positions: dict[str, Position] = {}
        self._added = 0
        self._journal: int | None = None
        self._lock: int | None = None
        if path is not None:
            self._open(path)

    def _open(self, path: Path) -> None:
        lock_path = path.with_name(f"{path.name}.lock")
        with os_errors_as(f"opening {lock_path}"):
            self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise LocalFailure(f"{path}: another event source uses this state file. Give each its own.") from None
        except OSError:
            pass  # not every file system can lock
        try:
            with os_errors_as(f"reading {path}"):
                text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            self._positions = decode(text, str(path))
            self._compact(path)
        except LocalFailure:
            self.close()
            raise

    def _compact(self, path: Path) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None
        with PrivateFile(path.parent) as file:
            file.write(encode(self._positions).encode())
            file.commit(path)
        with os_errors_as(f"opening {path}"):
            self._journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._added = 0

    def close(self) -> None:
        """Let others use the file."""
        with self._mutex:
            for descriptor in (self._journal, self._lock):
                if descriptor is not None:
                    os.close(descriptor)
            self._journal = self._lock = self._path = None

    def get(self, stream: str) -> Position | None:
        """Return a copy of the position of a stream, None if it never had one."""
        with self._mutex:
            found = self._positions.get(stream)
            return None if found is None else dict(found)

    def begin(self, stream: str, position: Position) -> None:
        """Give a stream its first position. Raises LocalFailure."""
        self._add([[stream], *([stream, key, value] for key, value in position.items())])

    def record(self, stream: str, changes: t.Mapping[str, t.Any]) -> None:
        """Set keys of a position; None removes one. In memory this is done whatever the file does. Raises LocalFailure."""
        self._add([[stream, key, value] for key, value in changes.items()])

    def _add(self, entries: t.Sequence[list[t.Any]]) -> None:
        with self._mutex:
            for entry in entries:
                position = self._positions.setdefault(entry[0], {})
                if len(entry) == 3:
                    apply(position, {entry[1]: entry[2]})
            if self._path is None:
                return
            self._added += len(entries)
            if self._journal is None or self._added > COMPACT_AFTER + 2 * sum(map(len, self._positions.values())):
                self._compact(self._path)
                return
            self._append("".join(map(_line, entries)).encode())

    def _append(self, data: bytes) -> None:
        journal = t.cast("int", self._journal)
        with os_errors_as(f"writing to {self._path}"):
            before = os.lseek(journal, 0, os.SEEK_END)
            try:
                done = os.write(journal, data)
                if done < len(data):
                    raise OSError(28, "No space left on device")
            except OSError:
                os.ftruncate(journal, before)  # half a line would damage the next one
                raise

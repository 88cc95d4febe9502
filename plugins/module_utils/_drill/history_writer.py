# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the history of a drill: a line of JSON for each thing that happens, in the order in which it is written."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
import typing as t
from collections import Counter

from .._consul.errors import InvalidOption, LocalFailure
from .history_reader import FORMAT


class HistoryWriter:
    """Appends to a file, from any thread; times are nanoseconds since this object was made.

    ``events`` counts those that were written, by name. A line is with the kernel before ``append`` returns, so killing the process loses
    nothing. After a failure every later line fails too. Construction raises InvalidOption for a file that has something in it, both raise
    LocalFailure.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.events: Counter[str] = Counter()
        self._mutex = threading.Lock()
        self._failure: str | None = None
        self._origin_ns = time.monotonic_ns()
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LocalFailure(f"creating the history {path}: {error.strerror or error}. Name another file.") from None
        found = os.fstat(self._descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size:
            os.close(self._descriptor)
            raise InvalidOption(f"The history {path} has something in it: name a file that does not exist yet.")

    def now_ns(self) -> int:
        """Return the time of the drill."""
        return time.monotonic_ns() - self._origin_ns

    def header(self, fields: t.Mapping[str, t.Any]) -> None:
        """Write the first line."""
        with self._mutex:
            self._write({"type": "header", "format": FORMAT, **fields})

    def append(self, kind: str, fields: t.Mapping[str, t.Any]) -> int:
        """Write a line of type ``kind`` and return its time: not after anything that is done next, not before what was done last."""
        with self._mutex:
            time_ns = self.now_ns()
            self._write({"type": kind, **fields, "time": time_ns})
        return time_ns

    def event(self, name: str, fields: t.Mapping[str, t.Any] | None = None) -> int:
        """Write something that is not an operation of a client, and return its time."""
        time_ns = self.append("event", {"event": name, **(fields or {})})
        with self._mutex:
            self.events[name] += 1
        return time_ns

    def _write(self, line: t.Mapping[str, t.Any]) -> None:
        if self._failure is not None:
            raise LocalFailure(self._failure)
        left = memoryview(json.dumps(line).encode() + b"\n")
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self._failure = (
                f"writing the history {self.path}: {error.strerror or error}. The drill was ended; "
                "what was recorded before is in the file, and its last line may be cut."
            )
            raise LocalFailure(self._failure) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> HistoryWriter:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()

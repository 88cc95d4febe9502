# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets one job at a time work with the waiting place of a policy; the job that takes its snapshots comes first."""

from __future__ import annotations

import contextlib
import threading
import typing as t

POLL_S = 0.1


class PlaceLock:
    """The lock of one waiting place. All methods may be called from any thread.

    ``changed`` is set when the one that comes first is done; whoever waits for it clears it. ``terms`` grows with each time that it
    had the place: what was read of the place before is worth nothing then.
    """

    def __init__(self) -> None:
        self.changed = threading.Event()
        self.terms = 0
        self._mutex = threading.Lock()
        self._place = threading.Lock()
        self._wanted = 0
        self._yield_place: t.Callable[[], None] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether the one that comes first has the place, or waits for it."""
        return self._wanted > 0

    @contextlib.contextmanager
    def taken_over(self, stopping: threading.Event) -> t.Iterator[bool]:
        """Take the place, and end the transfer of whoever has it. False if ``stopping`` was set meanwhile."""
        with self._mutex:
            self._wanted += 1
            yield_place = self._yield_place
        if yield_place is not None:
            yield_place()
        is_taken = False
        try:
            while not is_taken and not stopping.is_set():
                is_taken = self._place.acquire(timeout=POLL_S)
            yield is_taken
        finally:
            with self._mutex:
                self._wanted -= 1
                self.terms += 1
            if is_taken:
                self._place.release()
            self.changed.set()

    @contextlib.contextmanager
    def borrowed(self, yield_place: t.Callable[[], None]) -> t.Iterator[bool]:
        """Take the place if nobody has or wants it, else give False. ``yield_place`` is called from another thread when it is wanted."""
        with self._mutex:
            is_taken = not self._wanted and self._place.acquire(blocking=False)
            self._yield_place = yield_place if is_taken else None
        try:
            yield is_taken
        finally:
            if is_taken:
                with self._mutex:
                    self._yield_place = None
                self._place.release()

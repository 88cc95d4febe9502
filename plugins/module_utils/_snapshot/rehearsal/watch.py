# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watches the Consul of a rehearsal from a thread: ends it when it has too much memory, when the time is up, or when nobody waits."""

from __future__ import annotations

import threading
import time
import typing as t

from .isolated_consul import IsolatedConsul
from .isolation_check import peak_memory

EVERY_S = 0.05  # the kernel does not say when a process passes a limit without ending it
MEMORY, TIME, STOPPED = "memory", "time", "stopped"


class Watch:
    """Watches from the start of the ``with`` block to its end. ``reason`` is why Consul was ended, "" while it was not.

    ``peak_bytes`` is how much memory Consul has had at most. ``is_wanted`` is asked again and again.
    """

    def __init__(
        self, consul: IsolatedConsul, memory_bytes: int, deadline: float, is_wanted: t.Callable[[], bool]
    ) -> None:
        self.reason = ""
        self.peak_bytes = 0
        self._consul = consul
        self._memory_bytes = memory_bytes
        self._deadline = deadline
        self._is_wanted = is_wanted
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rehearsal watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_args: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._done.wait(EVERY_S):
            self._look()
            if self.peak_bytes > self._memory_bytes:
                self.reason = MEMORY
            elif time.monotonic() > self._deadline:
                self.reason = TIME
            elif not self._is_wanted():
                self.reason = STOPPED
            if self.reason:
                self._consul.stop()
                return

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, peak_memory(self._consul.pid) or 0)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A few threads that run programs side by side; those of one lane run one after the other, in the order in which they came."""

from __future__ import annotations

import threading
import typing as t
from dataclasses import dataclass

LIMIT_WAITING = 1024  # as many events as are remembered


@dataclass(frozen=True)
class Task:
    """Something to run. ``lane`` is None if it may run beside everything else."""

    run: t.Callable[[], None]
    lane: t.Hashable = None


class ProgramPool:
    """Runs tasks in threads, from the first ``submit`` to ``close``. The threads do not keep the process from ending.

    ``is_broken`` when a thread has ended because a task raised, which is a bug.
    """

    def __init__(self, threads: int) -> None:
        self.is_broken = False
        self._most = threads
        self._changed = threading.Condition()  # guards what follows
        self._waiting: list[Task] = []
        self._busy_lanes: set[t.Hashable] = set()
        self._running = 0
        self._threads = 0
        self._closed = False

    @property
    def load(self) -> tuple[int, int]:
        """How many tasks run, and how many wait."""
        with self._changed:
            return self._running, len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether so many tasks wait that no more should be added."""
        with self._changed:
            return len(self._waiting) >= LIMIT_WAITING

    def submit(self, task: Task) -> None:
        """Run a task as soon as a thread is free."""
        with self._changed:
            self._waiting.append(task)
            if self._threads < min(self._most, self._running + len(self._waiting)):
                self._threads += 1
                threading.Thread(target=self._work, name=f"program {self._threads}", daemon=True).start()
            self._changed.notify()

    def close(self) -> int:
        """Start no more tasks, and return how many are left. Those that run may end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return len(self._waiting)

    def _work(self) -> None:
        ended_well = False
        try:
            while (task := self._next()) is not None:
                task.run()
                self._finish(task)
            ended_well = True
        finally:
            self.is_broken = self.is_broken or not ended_well

    def _next(self) -> Task | None:
        """Wait for a task that may run now; None when there is none to come."""
        with self._changed:
            while not self._closed:
                for position, task in enumerate(self._waiting):
                    if task.lane is None or task.lane not in self._busy_lanes:
                        del self._waiting[position]
                        self._running += 1
                        if task.lane is not None:
                            self._busy_lanes.add(task.lane)
                        return task
                self._changed.wait()
            return None

    def _finish(self, task: Task) -> None:
        with self._changed:
            self._running -= 1
            self._busy_lanes.discard(task.lane)
            self._changed.notify_all()

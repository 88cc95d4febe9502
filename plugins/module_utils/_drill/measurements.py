# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts the operations of a running drill and keeps their times, for the progress line and the summary."""

from __future__ import annotations

import threading
import typing as t
from array import array
from collections import Counter
from dataclasses import dataclass, field

from .history import FAIL, INFO, OK
from .phase_timing import percentile

NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Counts:
    """How many operations ended in each way."""

    ok: int
    failed: int
    unknown: int

    @property
    def all(self) -> int:
        """How many ended at all."""
        return self.ok + self.failed + self.unknown


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds that 50, 90, 99 and 100 % of some times are not above; None without any."""

    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


@dataclass
class Measurements:
    """What has ended so far. ``add`` may be called from any thread.

    Latencies are those of successful operations, from their intended start; lateness is from the intended start to the real one.
    """

    last_change_ns: int = 0  # when a change was last acknowledged
    _outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    _latencies_ns: array[int] = field(default_factory=lambda: array("q"))
    _lateness_ns: array[int] = field(default_factory=lambda: array("q"))
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def add(self, workload: str, outcome: str, intended_ns: int, started_ns: int, ended_ns: int) -> None:
        """Count one operation."""
        with self._mutex:
            self._outcomes[workload, outcome] += 1
            self._lateness_ns.append(started_ns - intended_ns)
            if outcome == OK:
                self._latencies_ns.append(ended_ns - intended_ns)

    def counts(self, workload: str | None = None) -> Counts:
        """Return the counts of one workload, or of all."""
        with self._mutex:
            items = [(outcome, n) for (name, outcome), n in self._outcomes.items() if workload in (None, name)]
        return Counts(*(sum(n for found, n in items if found == outcome) for outcome in (OK, FAIL, INFO)))

    def latency(self) -> Percentiles:
        """Return the percentiles of latencies."""
        with self._mutex:
            return percentiles(self._latencies_ns)

    def lateness(self) -> Percentiles:
        """Return the percentiles of how late operations were started."""
        with self._mutex:
            return percentiles(self._lateness_ns)


def percentiles(times_ns: t.Iterable[int]) -> Percentiles:
    """Return percentiles of times, in nanoseconds."""
    ordered = sorted(times_ns)
    if not ordered:
        return Percentiles(None, None, None, None)

    return Percentiles(*(round(percentile(ordered, percent) / NS_PER_MS, 3) for percent in (50, 90, 99, 100)))

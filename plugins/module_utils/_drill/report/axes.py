# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The axes of drawings: where a time, a latency or a number is, and the labels. Pure geometry."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from ..history import NS

WIDTH = 1000  # units of a drawing, which is stretched to the page
MOST_TICKS = 6  # as many labels as stand beside each other on a telephone
_STEPS_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30),
    *(60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400),
)
_LEAST_NS = 10_000  # of a latency: 0.01 ms


class Tick(t.NamedTuple):
    """A label, and where it is: in percent of the width, or in units from the top."""

    place: float
    label: str


@dataclass(frozen=True)
class TimeAxis:
    """The time of a drill, from left to right."""

    start_ns: int
    end_ns: int

    def share(self, time_ns: int) -> float:
        """Return where a time is, between 0 and 1."""
        span_ns = max(1, self.end_ns - self.start_ns)
        return min(max(0.0, (time_ns - self.start_ns) / span_ns), 1.0)

    def x(self, time_ns: int) -> float:
        """Return where a time is in a drawing."""
        return round(WIDTH * self.share(time_ns), 1)

    def percent(self, time_ns: int) -> float:
        """Return where a time is, in percent."""
        return round(100 * self.share(time_ns), 2)

    def ticks(self) -> list[Tick]:
        """Return labels at round times."""
        step_s = step_of((self.end_ns - self.start_ns) / NS, MOST_TICKS)
        first = math.ceil(self.start_ns / NS / step_s)
        times_s = [number * step_s for number in range(first, first + MOST_TICKS + 1)]
        return [
            Tick(self.percent(round(time_s * NS)), time_label(time_s, step_s))
            for time_s in times_s
            if self.start_ns <= round(time_s * NS) <= self.end_ns
        ]


def step_of(span_s: float, most: int) -> float:
    """Return the shortest round time of which at most ``most`` are in a span."""
    for step_s in _STEPS_S:
        if span_s <= step_s * most:
            return step_s
    return _STEPS_S[-1] * math.ceil(span_s / most / _STEPS_S[-1])


def time_label(time_s: float, step_s: float) -> str:
    """Return a time of the axis for people, no finer than the step."""
    if step_s >= 3600:
        return f"{round(time_s / 3600, 1):g} h"
    if step_s >= 60:
        return f"{round(time_s / 60, 1):g} min"
    return f"{round(time_s, 3):g} s"


@dataclass(frozen=True)
class LatencyAxis:
    """Latencies from ``bottom`` up to ``top``, logarithmic."""

    least_exponent: int
    greatest_exponent: int
    top: float
    bottom: float

    def y(self, latency_ns: int) -> float:
        """Return where a latency is, from the top."""
        share = (math.log10(max(latency_ns, _LEAST_NS)) - self.least_exponent) / (
            self.greatest_exponent - self.least_exponent
        )
        return round(self.bottom - (self.bottom - self.top) * min(max(0.0, share), 1.0), 1)

    def ticks(self) -> list[Tick]:
        """Return a label for each power of ten."""
        exponents = range(self.least_exponent, self.greatest_exponent + 1)
        return [Tick(self.y(10**exponent), _power_label(exponent)) for exponent in exponents]


def latency_axis(latencies_ns: t.Sequence[int], top: float, bottom: float) -> LatencyAxis:
    """Return an axis on which all these latencies are."""
    least = max(min(latencies_ns, default=10**6), _LEAST_NS)
    greatest = max([least, *latencies_ns])
    low = math.floor(math.log10(least))
    return LatencyAxis(low, max(low + 1, math.ceil(math.log10(greatest))), top, bottom)


def _power_label(exponent: int) -> str:
    return f"{10 ** (exponent - 6):g} ms" if exponent < 9 else f"{10 ** (exponent - 9):,} s"


def latency_label(latency_ns: int) -> str:
    """Return a latency for people."""
    return f"{latency_ns / 1e6:,.1f} ms" if latency_ns < NS else f"{latency_ns / NS:,.2f} s"


def round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20 ... that is not below a value."""
    if value <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(value))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= value), 10 * power)

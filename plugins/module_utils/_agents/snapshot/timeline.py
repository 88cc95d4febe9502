# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The geometry of the drawings on the page: when snapshots were taken, by destination, and how large they are. Pure.

The axis of time is logarithmic in the age: a retention keeps the last hours and the last years, and both must be seen.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

WIDTH, ROW_HEIGHT, PLOT_HEIGHT = 1000, 20, 90  # units of the drawings, which are stretched to the page
LINEAR_S = 3600.0  # ages below this are spread almost evenly
SHORTEST_S = 6 * 3600.0
MOST_SIZES = 1000
_HOUR_S, _DAY_S = 3600.0, 86400.0
_TICKS = (
    *((_HOUR_S, "1h"), (6 * _HOUR_S, "6h"), (_DAY_S, "1d"), (7 * _DAY_S, "1w"), (30 * _DAY_S, "1mo")),
    *((91 * _DAY_S, "3mo"), (365 * _DAY_S, "1y"), (3 * 365 * _DAY_S, "3y"), (10 * 365 * _DAY_S, "10y")),
)
_LEAST_GAP = 90  # units between two labels


class SnapshotPoint(t.NamedTuple):
    """One snapshot in one destination. ``is_usable``: nothing is known to be wrong with it."""

    time: float
    size: int
    is_usable: bool


class Tick(t.NamedTuple):
    """A label of the axis: where it is in percent of the width, and how old what is there is."""

    percent: float
    label: str


@dataclass(frozen=True)
class Timeline:
    """The drawings of one policy, as paths of SVG. ``rows``: by destination, marks of usable and of other snapshots."""

    grid: str
    ticks: tuple[Tick, ...]
    rows: t.Mapping[str, tuple[str, str]]
    sizes: str
    largest: int


def timeline(places: t.Mapping[str, t.Sequence[SnapshotPoint]], now: float) -> Timeline:
    """Return the drawings for the snapshots of each destination, at ``now`` (Unix seconds)."""
    every = [point for points in places.values() for point in points]
    longest_s = max([SHORTEST_S, *(now - point.time for point in every)])

    def at(time: float) -> float:
        age_s = min(max(0.0, now - time), longest_s)
        return round(WIDTH * (1 - math.log1p(age_s / LINEAR_S) / math.log1p(longest_s / LINEAR_S)), 1)

    ticks: list[tuple[float, str]] = []
    for age_s, label in _TICKS:
        x = at(now - age_s)
        if age_s <= longest_s and x <= (ticks[-1][0] if ticks else WIDTH) - _LEAST_GAP and x >= _LEAST_GAP / 3:
            ticks.append((x, label))
    by_time = {point.time: point.size for point in every}
    newest = sorted(by_time.items())[-MOST_SIZES:]
    largest = max((size for _time, size in newest), default=0)
    return Timeline(
        grid="".join(f"M{x:g} 0V{PLOT_HEIGHT}" for x, _label in ticks),
        ticks=tuple(Tick(round(100 * x / WIDTH, 2), label) for x, label in ticks),
        rows={name: (_marks(points, at, True), _marks(points, at, False)) for name, points in places.items()},
        sizes=_line([(at(time), _height(size, largest)) for time, size in newest]),
        largest=largest,
    )


def _marks(points: t.Iterable[SnapshotPoint], at: t.Callable[[float], float], is_usable: bool) -> str:
    places = sorted({at(point.time) for point in points if point.is_usable is is_usable})
    return "".join(f"M{x:g} 2V{ROW_HEIGHT - 2}" for x in places)


def _height(size: int, largest: int) -> float:
    """Return where a size is in the plot, from the top; the largest is a little below it."""
    return round(PLOT_HEIGHT - 4 - (PLOT_HEIGHT - 10) * (size / largest if largest else 0), 1)


def _line(points: t.Sequence[tuple[float, float]]) -> str:
    if not points:
        return ""
    first, *rest = points
    # A line of no length is a dot, with round ends.
    return f"M{first[0]:g} {first[1]:g}" + ("".join(f"L{x:g} {y:g}" for x, y in rest) or "h0")

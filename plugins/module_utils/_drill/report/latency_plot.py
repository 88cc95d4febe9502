# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drawing of latencies over time, by outcome. It stays small for any number of operations."""

from __future__ import annotations

import typing as t

from ..._consul.markup import Element, element
from ..history import FAIL, INFO, OK, Operation
from .axes import LatencyAxis, TimeAxis, latency_axis, latency_label
from .figure import context_keys, figure, mark_key
from .scenario import Scenario

HEIGHT, STRIP, MARGIN = (
    266,
    30,
    6,
)  # units; in the strip at the top are operations of unknown outcome, which have no latency
CELL = 2  # units: where several operations fall into one cell, one mark stands for all of them
OUTCOME_NAMES = {OK: "acknowledged", FAIL: "failed", INFO: "unknown outcome"}
_BAR = 8  # length of the upright mark of a failure
_FEW = 1500  # so many marks have room for large ones


class Marks(t.NamedTuple):
    """The marks of one outcome, as a path, and how many they are."""

    path: str
    total: int


def latency_figure(operations: t.Sequence[Operation], scenario: Scenario) -> Element:
    """Return the drawing of the operations of the load, from their intended start."""
    axis = latency_axis(
        [one.end_ns - one.intended_ns for one in operations if one.end_ns is not None], STRIP, HEIGHT - MARGIN
    )
    marks = {outcome: marks_of(operations, outcome, scenario.axis, axis) for outcome in OUTCOME_NAMES}
    layers = [layer for outcome, (path, count) in marks.items() if count for layer in _layers(outcome, path)]
    shown = sum(one.total for one in marks.values())
    caption = (
        f"Latency of {len(operations):,} operations by their intended start, {shown:,} marks: where several fall on the same spot, one "
        f"mark stands for them, so none is hidden. {_slowest(operations)}"
    )
    keys = [
        mark_key(OUTCOME_NAMES[outcome], *_layers(outcome, _KEY_PATHS[outcome]))
        for outcome, one in marks.items()
        if one.total
    ]
    drawn = figure(scenario, HEIGHT, layers, axis.ticks(), caption)
    size = "plot few" if shown <= _FEW else "plot"
    return element("div", element("p", *keys, *context_keys(scenario), class_="legend"), drawn, class_=size)


def marks_of(operations: t.Iterable[Operation], outcome: str, time_axis: TimeAxis, axis: LatencyAxis) -> Marks:
    """Return one mark for each cell in which there is an operation of this outcome."""
    cells = set()
    for one in operations:
        if one.outcome == outcome:
            y = STRIP / 2 if one.end_ns is None else axis.y(one.end_ns - one.intended_ns)
            cells.add((round(time_axis.x(one.intended_ns) / CELL) * CELL, round(y / CELL) * CELL))
    if outcome == FAIL:
        return Marks("".join(f"M{x} {max(0, y - _BAR // 2)}v{_BAR}" for x, y in sorted(cells)), len(cells))
    return Marks("".join(f"M{x} {y}h0" for x, y in sorted(cells)), len(cells))


def _layers(outcome: str, path: str) -> list[Element]:
    """Return how an outcome is drawn: a dot, an upright bar, or a ring, which is a disc with a smaller one on it."""
    if outcome == INFO:
        return [element("path", d=path, class_="mark info"), element("path", d=path, class_="mark hole")]
    return [element("path", d=path, class_=f"mark {outcome}")]


_KEY_PATHS = {OK: "M7 7h0", FAIL: "M7 3v8", INFO: "M7 7h0"}


def _slowest(operations: t.Sequence[Operation]) -> str:
    known = [one for one in operations if one.end_ns is not None and one.outcome == OK]
    if not known:
        return "Nothing was acknowledged."
    slowest = max(known, key=_latency_of)
    return f"The slowest acknowledged one took {latency_label(_latency_of(slowest))}: {slowest}."


def _latency_of(operation: Operation) -> int:
    return t.cast(int, operation.end_ns) - operation.intended_ns

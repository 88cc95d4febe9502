# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drawing of operations a second over time, by outcome."""

from __future__ import annotations

import typing as t

from ..._consul.markup import Element, element
from ..history import FAIL, INFO, NS, OK, Operation
from .axes import WIDTH, Tick, TimeAxis, round_up, step_of
from .figure import context_keys, figure, mark_key
from .latency_plot import OUTCOME_NAMES
from .scenario import Scenario

HEIGHT, TOP = 140, 16
MOST_BINS = 150


class Rates(t.NamedTuple):
    """Operations a second in each stretch of ``step_ns``, by outcome."""

    step_ns: int
    by_outcome: t.Mapping[str, t.Sequence[float]]


def rate_figure(operations: t.Sequence[Operation], scenario: Scenario) -> Element:
    """Return the drawing of how many operations ended in each way."""
    rates = rates_of(operations, scenario.axis)
    most = max((rate for row in rates.by_outcome.values() for rate in row), default=0.0)
    scale = round_up(most)
    layers = [
        element("path", d=_line(row, rates.step_ns, scenario.axis, scale), class_=f"line {outcome}")
        for outcome, row in rates.by_outcome.items()
    ]
    caption = (
        f"Operations a second, in steps of {rates.step_ns / NS:g} s, at most {most:,.0f}. An operation counts when it ended, "
        "and one of unknown outcome when it was sent. Some compare-and-sets and locks fail without any fault: another client was first."
    )
    keys = [
        mark_key(OUTCOME_NAMES[outcome], element("path", d="M0 7H14", class_=f"line {outcome}"))
        for outcome in rates.by_outcome
    ]
    labels = [Tick(_y(value, scale), f"{value:g}/s") for value in (scale, scale / 2)]
    drawn = figure(scenario, HEIGHT, layers, labels, caption)
    return element("div", element("p", *keys, *context_keys(scenario), class_="legend"), drawn, class_="plot")


def rates_of(operations: t.Iterable[Operation], axis: TimeAxis) -> Rates:
    """Return operations a second; outcomes without any are left out."""
    step_ns = max(NS // 10, round(step_of((axis.end_ns - axis.start_ns) / NS, MOST_BINS) * NS))
    bins = (axis.end_ns - axis.start_ns) // step_ns + 1
    counts = {outcome: [0] * bins for outcome in (OK, FAIL, INFO)}
    for one in operations:
        moment_ns = one.start_ns if one.end_ns is None else one.end_ns
        counts[one.outcome][(moment_ns - axis.start_ns) // step_ns] += 1
    return Rates(
        step_ns, {outcome: [count * NS / step_ns for count in row] for outcome, row in counts.items() if any(row)}
    )


def _line(row: t.Sequence[float], step_ns: int, axis: TimeAxis, scale: float) -> str:
    path = f"M0 {_y(row[0], scale):g}"
    for number, rate in enumerate(row):
        path += f"V{_y(rate, scale):g}H{min(axis.x(axis.start_ns + (number + 1) * step_ns), WIDTH):g}"
    return path


def _y(rate: float, scale: float) -> float:
    return round(HEIGHT - (HEIGHT - TOP) * rate / scale, 1)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A drawing over the time of a drill: its frame, which all of them share, with the faults and the end of the load."""

from __future__ import annotations

import typing as t

from ..._consul.markup import Element, add, element
from .axes import WIDTH, Tick
from .scenario import Scenario


def figure(
    scenario: Scenario, height: int, layers: t.Iterable[Element], labels: t.Iterable[Tick], caption: str
) -> Element:
    """Return a drawing with layers above the faults. ``labels`` stand at the left, at their place from the top.

    Drawings are stretched in width only, so a mark is made of a line's ends and of upright lines, which keep their shape.
    """
    axis = scenario.axis
    ticks, rows = axis.ticks(), list(labels)
    grid = "".join(f"M{10 * tick.place:g} 0V{height}" for tick in ticks)
    grid += "".join(f"M0 {tick.place:g}H{WIDTH}" for tick in rows)
    bands = "".join(
        f"M{axis.x(start_ns):g} 0V{height}H{max(axis.x(end_ns), axis.x(start_ns) + 1):g}V0Z"
        for start_ns, end_ns in scenario.fault_bands
    )
    drawn = element(
        "svg",
        element("path", d=grid, class_="grid"),
        element("path", d=bands, class_="band") if bands else None,
        None
        if scenario.load_end_ns is None
        else element("path", d=f"M{axis.x(scenario.load_end_ns):g} 0V{height}", class_="end"),
        *layers,
        viewBox=f"0 0 {WIDTH} {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=caption,
        style=f"height:{height}px",
    )
    field = element("div", drawn, class_="field")
    add(field, *(element("span", tick.label, class_="level", style=f"top:{tick.place:g}px") for tick in rows))
    return element("figure", field, time_labels(ticks), element("figcaption", caption))


def time_labels(ticks: t.Iterable[Tick]) -> Element:
    """Return the labels below a drawing."""
    return element("div", *(_time_label(tick) for tick in ticks), class_="axis")


def _time_label(tick: Tick) -> Element:
    edge = "first" if tick.place < 4 else "last" if tick.place > 96 else None
    place = f"right:{100 - tick.place:g}%" if edge == "last" else f"left:{tick.place:g}%"
    return element("span", tick.label, class_=edge, style=place)


def mark_key(name: str, *shapes: Element) -> Element:
    """Return an entry of a legend: shapes on 14 x 14 units, and what they mean."""
    drawn = element("svg", *shapes, viewBox="0 0 14 14", class_="key", aria_hidden="true")
    return element("span", drawn, f" {name}")


def context_keys(scenario: Scenario) -> list[Element]:
    """Return the legend of what every drawing has: faults and the end of the load."""
    found = []
    if scenario.fault_bands:
        found.append(mark_key("a fault was on", element("path", d="M1 0V14H13V0Z", class_="band")))
    if scenario.load_end_ns is not None:
        found.append(mark_key("end of the load", element("path", d="M7 0V14", class_="end")))
    return found

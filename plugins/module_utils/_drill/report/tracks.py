# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows over the time of a drill: the leader that each address names, faults and alerts; and the events as a list."""

from __future__ import annotations

import string
import typing as t

from ..._consul.markup import Element, element, more, shortened, table
from ..history import NS, Event
from .axes import TimeAxis
from .figure import time_labels
from .scenario import NO_ANSWER, NO_LEADER, Interval, Scenario, Segment, fields_text

MOST_ROWS = 20
MOST_SEGMENTS = 300  # of one row
MOST_EVENTS = 100
MOST_CHANGES = 200
TONES = 6  # colours of leaders; letters tell them apart without colour
_LEAST_PERCENT = 0.15  # a shorter segment could not be seen


def leader_tracks(scenario: Scenario) -> list[Element]:
    """Return a row for each address with the leaders that it named, and what the letters mean."""
    shown = list(scenario.leaders.items())[:MOST_ROWS]
    letters: dict[str, int] = {}
    for one in sorted((one for _node, row in shown for one in row), key=_start_of):
        if one.leader not in (NO_LEADER, NO_ANSWER):
            letters.setdefault(one.leader, len(letters))
    rows = [_leader_row(node, row, letters, scenario.axis) for node, row in shown]
    keys = [
        element(
            "span", element("span", _letter(place), class_=f"chip tone{place % TONES}"), f" {shortened(leader, 60)}"
        )
        for leader, place in list(letters.items())[:MOST_ROWS]
    ]
    names = {one.leader for _node, row in shown for one in row}
    for name, style in ((NO_LEADER, "none"), (NO_ANSWER, "silent")):
        if name in names:
            keys.append(
                element("span", element("span", "–" if name == NO_LEADER else "?", class_=f"chip {style}"), f" {name}")
            )
    return [
        element("p", *keys, class_="legend"),
        *rows,
        time_labels(scenario.axis.ticks()),
        *more(len(scenario.leaders) - len(shown), "address"),
        _leader_list(shown),
    ]


def _start_of(segment: Segment) -> int:
    return segment.start_ns


def _letter(place: int) -> str:
    return string.ascii_uppercase[place] if place < 26 else str(place + 1)


def _leader_row(node: str, segments: t.Sequence[Segment], letters: t.Mapping[str, int], axis: TimeAxis) -> Element:
    bars = []
    for one in segments[:MOST_SEGMENTS]:
        if one.leader in letters:
            letter, style = _letter(letters[one.leader]), f"tone{letters[one.leader] % TONES}"
        else:
            letter, style = ("–", "none") if one.leader == NO_LEADER else ("?", "silent")
        title = f"{_seconds(one.start_ns)} to {_seconds(one.end_ns)}: {one.leader}"
        bars.append(_bar(axis, one.start_ns, one.end_ns, letter, style, title))
    return _row(node, bars)


def _leader_list(shown: t.Sequence[tuple[str, t.Sequence[Segment]]]) -> Element:
    changes = sorted((one.start_ns, node, one.leader) for node, row in shown for one in row)
    rows = [(_seconds(time_ns), node, leader) for time_ns, node, leader in changes[:MOST_CHANGES]]
    return element(
        "details",
        element("summary", f"All {len(changes):,} changes as text"),
        table(("Time", "Address of", "names as leader"), rows, numbers_from=9),
        *more(len(changes) - len(rows), "change"),
    )


def interval_tracks(found: t.Sequence[Interval], axis: TimeAxis, thing: str) -> list[Element]:
    """Return a row for each fault or alert. A ``thing`` without an end goes on until the end of the history."""
    rows = []
    for one in found[:MOST_ROWS]:
        start_ns = axis.start_ns if one.start_ns is None else one.start_ns
        end_ns = axis.end_ns if one.end_ns is None else one.end_ns
        began = "start not recorded" if one.start_ns is None else _seconds(start_ns)
        ended = "no end recorded" if one.end_ns is None else _seconds(end_ns)
        label = f"{one.subject or thing}: {began} to {ended}" + (
            "" if one.end_ns is None or one.start_ns is None else f", {_seconds(end_ns - start_ns)}"
        )
        rows.append(_row(label, [_bar(axis, start_ns, end_ns, "", thing, label)]))
    return [*rows, time_labels(axis.ticks()), *more(len(found) - len(rows), thing)]


def event_list(events: t.Sequence[Event]) -> list[Element]:
    """Return the events as a table."""
    rows = [
        (_seconds(one.time_ns), shortened(one.name, 60), shortened(fields_text(one))) for one in events[:MOST_EVENTS]
    ]
    return [table(("Time", "Event", "What it says"), rows, numbers_from=9), *more(len(events) - len(rows), "event")]


def _row(label: str, bars: t.Iterable[Element]) -> Element:
    track = element("div", *bars, class_="track")
    return element("div", element("div", shortened(label, 160), class_="name"), track, class_="row")


def _bar(axis: TimeAxis, start_ns: int, end_ns: int, letter: str, style: str, title: str) -> Element:
    left = axis.percent(start_ns)
    width = max(_LEAST_PERCENT, round(axis.percent(end_ns) - left, 2))
    return element(
        "span", letter, class_=style, style=f"left:{min(left, 100 - _LEAST_PERCENT):g}%;width:{width:g}%", title=title
    )


def _seconds(time_ns: int) -> str:
    return f"{time_ns / NS:,.2f}\N{NO-BREAK SPACE}s"

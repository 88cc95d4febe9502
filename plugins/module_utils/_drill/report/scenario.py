# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happened beside the operations, from the events of a history: leaders, faults, alerts. Unknown events are kept."""

from __future__ import annotations

import itertools
import json
import typing as t
from bisect import bisect_left
from dataclasses import dataclass

from ..._consul.markup import shortened
from ..history import (
    ALERT_FIRING,
    ALERT_RESOLVED,
    BEAT,
    BEAT_SEEN,
    FAULT_ENDED,
    FAULT_STARTED,
    LEADER,
    LOAD_ENDED,
    PLANNED,
    Event,
    History,
)
from ..phase_timing import FAULT, phase_bands
from .axes import TimeAxis

NO_LEADER, NO_ANSWER = "none", "no answer"
_NOT_LISTED = (LEADER, PLANNED, "progress", BEAT, BEAT_SEEN)  # shown elsewhere, or a summary of the operations
_FRAME = ("type", "event", "time", "at")
MOST_OPEN = 100
# Fields that say which fault or alert an event is about, whatever else it has.
_IDENTITY = ("name", "fault", "kind", "node", "nodes", "host", "hosts", "service", "check", "rule", "alert")


_Identity = tuple[tuple[str, str], ...]


class Segment(t.NamedTuple):
    """The leader that an address named for some time."""

    start_ns: int
    end_ns: int
    leader: str


class Interval(t.NamedTuple):
    """Something that began and ended. ``end_ns`` is None when its end is not in the history, ``start_ns`` when its start is not."""

    subject: str
    start_ns: int | None
    end_ns: int | None


@dataclass(frozen=True)
class Scenario:
    """The time of a drill and what happened in it. ``fault_bands`` are the times in which a fault was on."""

    axis: TimeAxis
    load_end_ns: int | None
    fault_bands: tuple[tuple[int, int], ...]
    faults: tuple[Interval, ...]
    alerts: tuple[Interval, ...]
    leaders: t.Mapping[str, t.Sequence[Segment]]
    events: tuple[Event, ...]


def scenario_of(history: History) -> Scenario:
    """Return what happened in a history."""
    events = sorted(history.events, key=_time_of)
    starts = [min(one.intended_ns, one.start_ns) for one in history.operations] + [one.time_ns for one in events]
    start_ns = min(starts, default=0)
    axis = TimeAxis(start_ns, max(history.end_ns, start_ns + 1))
    load_end_ns = next((one.time_ns for one in events if one.name == LOAD_ENDED), None)
    bands = phase_bands(events, axis.start_ns, axis.end_ns)
    return Scenario(
        axis,
        load_end_ns,
        tuple((band.start_ns, band.end_ns) for band in bands if band.phase == FAULT),
        intervals(events, FAULT_STARTED, FAULT_ENDED),
        intervals(events, ALERT_FIRING, ALERT_RESOLVED),
        leader_segments(events, history.header.nodes, axis.end_ns if load_end_ns is None else load_end_ns),
        tuple(one for one in events if one.name not in _NOT_LISTED),
    )


def _time_of(event: Event) -> int:
    return event.time_ns


def leader_segments(events: t.Iterable[Event], nodes: t.Sequence[str], end_ns: int) -> dict[str, list[Segment]]:
    """Return the leaders that each address named; the last one counts until ``end_ns``, when nobody asks any more."""
    found: dict[str, list[Segment]] = {node: [] for node in nodes}
    for event in events:
        if event.name == LEADER and event.time_ns <= end_ns:
            segments = found.setdefault(as_text(event.fields.get("node", "")), [])
            if segments:
                segments[-1] = segments[-1]._replace(end_ns=event.time_ns)
            segments.append(Segment(event.time_ns, end_ns, _leader(event.fields.get("leader"))))
    return {node: segments for node, segments in found.items() if segments}


def _leader(value: t.Any) -> str:
    if value is None:
        return NO_ANSWER
    return NO_LEADER if value == "" else as_text(value)


def intervals(events: t.Iterable[Event], start_name: str, end_name: str) -> tuple[Interval, ...]:
    """Return what began and ended. An end belongs to the last start that is still open and does not contradict it.

    One that says the same is preferred; of the others only the last MOST_OPEN are looked at.
    """
    found: list[Interval] = []
    still_open: dict[int, _Identity] = {}
    same: dict[_Identity, list[int]] = {}
    for event in events:
        identity = tuple((name, as_text(event.fields[name])) for name in _IDENTITY if name in event.fields)
        if event.name == start_name:
            still_open[len(found)] = identity
            same.setdefault(identity, []).append(len(found))
            found.append(Interval(fields_text(event), event.time_ns, None))
        elif event.name == end_name:
            place = same[identity][-1] if same.get(identity) else _agreeing(still_open, identity)
            if place is None:
                found.append(Interval(fields_text(event), None, event.time_ns))
                continue
            of_same = same[still_open.pop(place)]
            del of_same[bisect_left(of_same, place)]
            found[place] = found[place]._replace(end_ns=event.time_ns)
    return tuple(found)


def _agreeing(still_open: dict[int, _Identity], identity: _Identity) -> int | None:
    """Return the last start that has no other value in a field that both have."""
    said = dict(identity)
    for place, other in itertools.islice(reversed(still_open.items()), MOST_OPEN):
        if all(said.get(name, value) == value for name, value in other):
            return place
    return None


def fields_text(event: Event) -> str:
    """Return the fields of an event for people. Of hosts their names are enough."""
    hosts = event.fields.get("hosts")
    if isinstance(hosts, list) and hosts and all(isinstance(one, dict) and "node" in one for one in hosts):
        named = ", ".join(as_text(one["node"]) for one in hosts)
        return shortened(
            " ".join(as_text(event.fields[name]) for name in ("fault", "shape") if event.fields.get(name))
            + f": {named}"
        )
    return ", ".join(
        f"{name.replace('_', ' ')} {as_text(value)}" for name, value in event.fields.items() if name not in _FRAME
    )


def as_text(value: t.Any) -> str:
    """Return any value of JSON for people."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        return shortened(value)
    try:
        return shortened(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return "nested too deeply"

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long no change was acknowledged after a fault began, and after it was healed: the recovery times of a drill."""

from __future__ import annotations

import typing as t
from bisect import bisect_left
from dataclasses import dataclass

from ..history import FAULT_ENDED, FAULT_STARTED, Event, History
from ..phase_timing import acknowledged_changes, load_span_ns


@dataclass(frozen=True)
class Recovery:
    """The longest time without an acknowledged change that began before the next fault or healing.

    It counts from the event on at the earliest, and goes on until a change was acknowledged, even after the next event.
    ``gap_ns`` is None when it is unknown, because no change was tried. ``is_recovered`` is false when the load ended first:
    then it was at least so long.
    """

    event: Event
    gap_ns: int | None
    is_recovered: bool

    @property
    def is_healing(self) -> bool:
        """Whether a fault ended, and did not begin."""
        return self.event.name == FAULT_ENDED


def recoveries(history: History) -> list[Recovery]:
    """Return the recovery after each fault and each healing, in the order of time."""
    events = sorted((one for one in history.events if one.name in (FAULT_STARTED, FAULT_ENDED)), key=_time_of)
    _start_ns, end_ns = load_span_ns(history)
    ends = acknowledged_changes(history)
    tried = sorted(one.intended_ns for one in history.operations if not one.is_read and not one.is_final)
    times = [one.time_ns for one in events]
    found = []
    for place, event in enumerate(events):
        until_ns = min([*times[place + 1 :][:1], end_ns])
        if event.time_ns >= end_ns or not _is_tried(tried, event.time_ns, until_ns):
            found.append(Recovery(event, None, False))
        else:
            found.append(Recovery(event, *_longest(ends, event.time_ns, until_ns, end_ns)))
    return found


def longest(found: t.Iterable[Recovery], *, is_healing: bool) -> Recovery | None:
    """Return the longest known recovery after a fault, or after a healing."""
    known = [one for one in found if one.is_healing == is_healing and one.gap_ns is not None]
    return max(known, key=_gap_of, default=None)


def _gap_of(one: Recovery) -> int:
    return t.cast(int, one.gap_ns)


def _time_of(event: Event) -> int:
    return event.time_ns


def _is_tried(tried: t.Sequence[int], start_ns: int, until_ns: int) -> bool:
    place = bisect_left(tried, start_ns)
    return place < len(tried) and tried[place] <= max(until_ns, start_ns)


def _longest(ends: t.Sequence[int], start_ns: int, until_ns: int, end_ns: int) -> tuple[int, bool]:
    """Return the longest gap that begins between ``start_ns`` and ``until_ns``, and whether an acknowledged change ended it."""
    first = bisect_left(ends, start_ns)
    last = bisect_left(ends, max(until_ns, start_ns), first)
    begins = [start_ns, *ends[first:last]]
    following = [*ends[first : last + 1], end_ns][: len(begins)]
    gaps = [(max(0, after - before), place) for place, (before, after) in enumerate(zip(begins, following))]
    longest_ns, place = max(gaps)
    return longest_ns, first + place < len(ends) and ends[first + place] <= end_ns

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long operations took before, in and after faults, and for how long nothing was acknowledged."""

from __future__ import annotations

import typing as t
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from .history import FAIL, FAULT_ENDED, FAULT_STARTED, INFO, LOAD_ENDED, NS, OK, Event, History, Operation

WHOLE, BEFORE, FAULT, AFTER = "whole", "before", "fault", "after"
READS, CHANGES = "reads", "changes"
_PERCENTS = (50, 95, 99, 100)


class Band(t.NamedTuple):
    """A stretch of time of one phase."""

    phase: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class PhaseTiming:
    """The reads or the changes of one phase.

    ``latency_ms`` are the percentiles 50, 95, 99 and 100 of acknowledged operations from their intended start, None without any.
    ``longest_gap_s`` is the longest time within the phase in which none was acknowledged.
    """

    phase: str
    kind: str
    seconds: float
    ok: int
    failed: int
    unknown: int
    latency_ms: tuple[float, ...] | None
    longest_gap_s: float


def phase_timings(history: History) -> list[PhaseTiming]:
    """Return the timing of each phase that the drill had. Final reads are left out: they wait for servers."""
    operations = [one for one in history.operations if not one.is_final]
    if not operations:
        return []
    start_ns = min(one.intended_ns for one in operations)
    end_ns = max(start_ns, *(one.start_ns if one.end_ns is None else one.end_ns for one in operations))
    bands = phase_bands(history.events, start_ns, end_ns)
    timings = []
    for phase in (WHOLE, BEFORE, FAULT, AFTER):
        of_phase = [band for band in bands if band.phase == phase]
        for kind in (CHANGES, READS):
            of_kind = [one for one in operations if one.is_read == (kind == READS)]
            if of_phase and of_kind:
                timings.append(_timing(of_phase, bands, of_kind, kind))
    return timings


def phase_bands(events: t.Iterable[Event], start_ns: int, end_ns: int) -> list[Band]:
    """Return the phases from start to end, which begin and end with faults. A fault that does not end lasts until the end."""
    bands: list[Band] = []
    phase, since_ns, open_faults = BEFORE, start_ns, 0
    for event in sorted(events, key=_time_of):
        if event.name not in (FAULT_STARTED, FAULT_ENDED):
            continue
        open_faults = max(0, open_faults + (1 if event.name == FAULT_STARTED else -1))
        following = FAULT if open_faults else (BEFORE if phase == BEFORE else AFTER)
        moment_ns = min(max(event.time_ns, start_ns), end_ns)
        if following != phase:
            bands.append(Band(phase, since_ns, moment_ns))
            phase, since_ns = following, moment_ns
    bands.append(Band(WHOLE if phase == BEFORE else phase, since_ns, end_ns))
    return [band for band in bands if band.end_ns > band.start_ns or len(bands) == 1]


def _time_of(event: Event) -> int:
    return event.time_ns


def _timing(
    of_phase: t.Sequence[Band], bands: t.Sequence[Band], operations: t.Sequence[Operation], kind: str
) -> PhaseTiming:
    starts = [band.start_ns for band in bands]
    phase = of_phase[0].phase
    inside = [one for one in operations if bands[max(0, bisect_right(starts, one.intended_ns) - 1)].phase == phase]
    acknowledged = [one for one in inside if one.outcome == OK]
    latencies = sorted(t.cast(int, one.end_ns) - one.intended_ns for one in acknowledged)
    ends = sorted(t.cast(int, one.end_ns) for one in operations if one.outcome == OK)
    return PhaseTiming(
        phase,
        kind,
        sum(band.end_ns - band.start_ns for band in of_phase) / NS,
        len(acknowledged),
        sum(one.outcome == FAIL for one in inside),
        sum(one.outcome == INFO for one in inside),
        tuple(percentile(latencies, percent) / 1e6 for percent in _PERCENTS) if latencies else None,
        max(longest_gap_ns(ends, band) for band in of_phase) / NS,
    )


def percentile(ordered: t.Sequence[int], percent: int) -> int:
    """Return the smallest of the values that ``percent`` percent are not above."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def longest_gap_ns(ends: t.Sequence[int], band: Band) -> int:
    """Return the longest time in a band without one of the moments ``ends``, which are sorted."""
    inside = ends[bisect_left(ends, band.start_ns) : bisect_right(ends, band.end_ns)]
    moments = [band.start_ns, *inside, band.end_ns]
    return max(after - before for before, after in zip(moments, moments[1:]))


def load_span_ns(history: History) -> tuple[int, int]:
    """Return when the clients began and ended, as far as the history says."""
    load = [one for one in history.operations if not one.is_final]
    ends = [one.start_ns if one.end_ns is None else one.end_ns for one in load]
    named = [one.time_ns for one in history.events if one.name == LOAD_ENDED]
    start_ns = min((one.start_ns for one in load), default=0)
    return start_ns, max(start_ns, named[0] if named else max(ends, default=0))


def acknowledged_changes(history: History) -> list[int]:
    """Return when changes of the clients were acknowledged, in order."""
    changes = (one for one in history.operations if not one.is_read and not one.is_final and one.outcome == OK)
    return sorted(t.cast(int, one.end_ns) for one in changes)

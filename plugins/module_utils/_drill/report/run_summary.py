# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of a drill in numbers, to compare it with others."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..expectations import MISSED
from ..history import NS, OK, History
from ..judge import HistoryJudgement
from ..phase_timing import Band, acknowledged_changes, load_span_ns, longest_gap_ns, percentile
from .recovery import Recovery, longest, recoveries


@dataclass(frozen=True)
class RunSummary:
    """The numbers of one run; None where they are unknown or the drill had no fault. Times are of changes, in seconds.

    ``problem`` says why a history could not be read; then nothing else is known.
    """

    source: str
    started: str = ""
    drill: str = ""
    datacenter: str = ""
    verdict: str = "unknown"
    operations: int = 0
    missed: int = 0
    fault_s: float | None = None
    healing_s: float | None = None
    longest_gap_s: float | None = None
    p99_s: float | None = None
    is_recovered: bool = True
    problem: str = ""


def run_summary(source: str, history: History, judgement: HistoryJudgement) -> RunSummary:
    """Return the numbers of a run; ``source`` is the name of its file."""
    found = recoveries(history)
    ends = acknowledged_changes(history)
    changes = [one for one in history.operations if not one.is_read and not one.is_final]
    latencies = sorted(t.cast(int, one.end_ns) - one.intended_ns for one in changes if one.outcome == OK)
    return RunSummary(
        source,
        history.header.started,
        history.header.drill,
        history.header.datacenter,
        judgement.verdict,
        len(history.operations),
        sum(one.verdict == MISSED for one in judgement.outcomes),
        _longest_s(found, is_healing=False),
        _longest_s(found, is_healing=True),
        longest_gap_ns(ends, Band("whole", *load_span_ns(history))) / NS if changes else None,
        percentile(latencies, 99) / NS if latencies else None,
        all(one.is_recovered for one in found if one.gap_ns is not None),
    )


def _longest_s(found: t.Iterable[Recovery], *, is_healing: bool) -> float | None:
    one = longest(found, is_healing=is_healing)
    return None if one is None else t.cast(int, one.gap_ns) / NS

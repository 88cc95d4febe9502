# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges a history: applies the checkers of its workloads."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .check_result import INVALID, VALID, CheckResult, overall_verdict
from .expectations import MET, Outcome, judge_expectations
from .history import WORKLOADS, History
from .index_order import check_index_order
from .linearizability import MAX_STEPS, check_linearizability
from .lock_checker import check_locks
from .phase_timing import PhaseTiming, phase_timings
from .set_checker import check_set

# What Consul promises of reads; the verdict is about what was seen all the same.
_PROMISES = {
    "stale": "reads were stale: any server answers them, and Consul does not promise that they are up to date",
    "default": "reads were default: a leader that was just replaced may answer one that is out of date",
}


@dataclass(frozen=True)
class HistoryJudgement:
    """What the checkers found, how long operations took, and what became of what was expected."""

    results: tuple[CheckResult, ...]
    timings: tuple[PhaseTiming, ...]
    outcomes: tuple[Outcome, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst verdict of the checkers."""
        return overall_verdict(self.results)

    @property
    def is_passed(self) -> bool:
        """Whether all that was expected is met; without expectations, whether the history is valid."""
        if self.outcomes:
            return all(one.verdict == MET for one in self.outcomes)
        return self.verdict == VALID


def judge_history(history: History, max_steps: int = MAX_STEPS) -> HistoryJudgement:
    """Return the judgement of a history. ``max_steps`` is the limit of the search for each key."""
    present = {*history.header.workloads, *(one.workload for one in history.operations)}
    results: list[CheckResult] = []
    for workload in WORKLOADS:
        if workload in present:
            results += _check(workload, history, max_steps)
    outcomes = judge_expectations(history, overall_verdict(results))
    return HistoryJudgement(tuple(results), tuple(phase_timings(history)), tuple(outcomes))


def _check(workload: str, history: History, max_steps: int) -> t.Sequence[CheckResult]:
    operations = history.of(workload)
    if workload == "set":
        return [check_set(operations, history.header.nodes)]
    if workload == "lock":
        return [check_locks(operations)]
    promise = _PROMISES.get(history.header.consistency)
    results = [check_linearizability(operations, max_steps), check_index_order(operations)]
    return [
        replace(one, remarks=(*one.remarks, promise)) if promise and one.verdict == INVALID else one for one in results
    ]

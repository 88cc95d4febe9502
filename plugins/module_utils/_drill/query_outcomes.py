# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges what clients got from a prepared query: for how long no instance, and when another datacenter answered. Pure."""

from __future__ import annotations

import typing as t

from .drill_definition import Objective
from .expectation_outcome import MET, UNKNOWN_MULTIPLIER, Outcome, limited, not_known
from .fault_times import fault_times
from .history import (
    NS,
    QUERY_ANSWERED,
    QUERY_ENDED,
    QUERY_STARTED,
    QUERY_UNANSWERED,
    Event,
    History,
)

NOT_WATCHED = "the drill did not look a prepared query up"
TOO_EARLY = "the drill ended too early"


class _Wanted(t.NamedTuple):
    """Who is to answer after what, and what ends the wait, as words of sentences."""

    name: str
    whom: str
    cause: str
    ending: str
    is_home: bool


class QueryJudge:
    """What a history says of the prepared query."""

    def __init__(self, history: History) -> None:
        self._started = next((event for event in history.events if event.name == QUERY_STARTED), None)
        ended = next((event for event in history.events if event.name == QUERY_ENDED), None)
        self._has_ended = ended is not None
        self._end_ns = history.end_ns if ended is None else ended.time_ns
        self._changes = [event for event in history.events if event.name in (QUERY_ANSWERED, QUERY_UNANSWERED)]
        self._faults = list(fault_times(history.events, self._end_ns))

    def answers(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge the longest time without an instance, from the beginning of the first look-up without one."""
        why = self._why_unknown(limit_s)
        if why or limit_s is None:
            return not_known("query_answers", objective, limit_s, why)
        gaps = [
            (following.time_ns if following else self._end_ns) - int(event.fields.get("since", event.time_ns))
            for event, following in zip(self._changes, [*self._changes[1:], None])
            if event.name == QUERY_UNANSWERED
        ]
        words = "The query had no instance for {} at most"
        outcome = limited("query_answers", max(gaps, default=0) / NS, limit_s, words)
        if outcome.verdict == MET and not self._has_ended:
            return not_known("query_answers", objective, limit_s, TOO_EARLY)
        return outcome

    def moves(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge how long after the first fault began another datacenter answered, while a fault lasted."""
        fault = self._faults[0] if self._faults else None
        why = self._why_unknown(limit_s) or ("" if fault else "no fault was made")
        if why or limit_s is None or fault is None:
            return not_known("query_moves", objective, limit_s, why)
        wanted = _Wanted("query_moves", "Another datacenter", "the fault", "the fault was healed", is_home=False)
        return self._since(wanted, objective, limit_s, fault.start_ns, self._faults[-1].end_ns)

    def returns(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge how long after the last healing the own datacenter answered again."""
        healed = self._faults[-1] if self._faults and self._faults[-1].has_ended else None
        why = self._why_unknown(limit_s) or ("" if healed else "no fault was healed")
        if why or limit_s is None or healed is None:
            return not_known("query_returns", objective, limit_s, why)
        wanted = _Wanted("query_returns", "The own datacenter", "healing", "the drill ended", is_home=True)
        return self._since(wanted, objective, limit_s, healed.end_ns, self._end_ns)

    # -----------------------------------------------------------------------------------------------------------

    def _since(self, wanted: _Wanted, objective: Objective, limit_s: float, from_ns: int, until_ns: int) -> Outcome:
        """Judge how long after a moment the query was answered as wanted; it must be before another one."""
        answered_ns = self._first_answer(from_ns, is_home=wanted.is_home)
        if answered_ns is not None and answered_ns <= until_ns:
            words = f"{wanted.whom} answered the query {{}} after {wanted.cause}"
            return limited(wanted.name, (answered_ns - from_ns) / NS, limit_s, words)
        waited_s = (until_ns - from_ns) / NS
        if waited_s <= limit_s:
            why = f"{wanted.ending} after {waited_s:.1f} s, and until then it did not answer"
            return not_known(wanted.name, objective, limit_s, why)
        words = f"{wanted.whom} did not answer the query in the {{}} after {wanted.cause}"
        return limited(wanted.name, waited_s, limit_s, words)

    def _first_answer(self, from_ns: int, *, is_home: bool) -> int | None:
        """Return when the query was answered from where it is wanted at or after a moment, None if it never was."""
        before = [event for event in self._changes if event.time_ns <= from_ns]
        if before and self._is_wanted(before[-1], is_home=is_home):
            return from_ns
        later = (
            event.time_ns
            for event in self._changes
            if event.time_ns > from_ns and self._is_wanted(event, is_home=is_home)
        )
        return next(later, None)

    def _is_wanted(self, event: Event, *, is_home: bool) -> bool:
        home = None if self._started is None else self._started.fields.get("datacenter")
        there = event.fields.get("datacenter")
        return event.name == QUERY_ANSWERED and isinstance(there, str) and (there == home) == is_home

    def _why_unknown(self, limit_s: float | None) -> str:
        if self._started is None:
            return NOT_WATCHED
        return UNKNOWN_MULTIPLIER if limit_s is None else ""

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges the alerts of a drill: whether exactly one alert fired and ended for what was wrong, and how long after it. Pure."""

from __future__ import annotations

import typing as t

from ..drill_definition import CANARY, Objective
from ..expectation_outcome import MET, MISSED, UNKNOWN, Outcome
from ..history import (
    ALERT_FIRING,
    ALERT_RESOLVED,
    ALERTS_ENDED,
    ALERTS_STARTED,
    CANARY_ASKED,
    CANARY_SET,
    CRITICAL,
    FAULT_ENDED,
    FAULT_STARTED,
    NS,
    PASSING,
    Event,
    History,
)


class AlertJudge:
    """What a history says of alerts."""

    def __init__(self, history: History) -> None:
        self._events = history.events
        started = self._first(ALERTS_STARTED)
        self._about = None if started is None else str(started.fields.get("about"))
        ended = self._first(ALERTS_ENDED)
        self._listened_ns = None if ended is None else ended.time_ns

    def firing(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge how long after its cause the alert arrived."""
        return self._judge("alert_firing", ALERT_FIRING, "fired", objective, limit_s)

    def resolved(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge how long after the end of its cause the end of the alert arrived."""
        return self._judge("alert_resolved", ALERT_RESOLVED, "ended", objective, limit_s)

    # -----------------------------------------------------------------------------------------------------------

    def _judge(self, name: str, event_name: str, verb: str, objective: Objective, limit_s: float | None) -> Outcome:
        def outcome(verdict: str, measured: float | str | None, sentence: str) -> Outcome:
            return Outcome(name, verdict, measured, objective.seconds if limit_s is None else limit_s, sentence)

        cause = self._cause(event_name == ALERT_FIRING)
        if limit_s is None or not isinstance(cause, Event):
            return outcome(
                UNKNOWN, None, f"Not known: {cause if isinstance(cause, str) else 'the raft_multiplier is unknown'}."
            )
        found = [event for event in self._events if event.name == event_name]
        of_key: dict[str, list[Event]] = {}
        for event in found:
            of_key.setdefault(str(event.fields.get("alert")), []).append(event)
        most = max(map(len, of_key.values()), default=0)
        if most > 1:
            return outcome(MISSED, f"{most} times", f"The alert {verb} {most} times; expected is once.")
        early = [event for event in found if event.time_ns < cause.time_ns]
        if early:
            seconds = round((cause.time_ns - early[0].time_ns) / NS, 3)
            return outcome(MISSED, -seconds, f"The alert {verb} {seconds:.2f} s before its cause {self._words(verb)}.")
        expected = 1 if event_name == ALERT_FIRING else len(self._firing_keys())
        if len(of_key) < max(1, expected):
            return self._missing(outcome, verb, cause, limit_s)
        seconds = round((max(event.time_ns for event in found) - cause.time_ns) / NS, 3)
        said = f"The alert {verb} {seconds:.2f} s after its cause {self._words(verb)}; the objective is {limit_s:g} s."
        if seconds > limit_s:
            return outcome(MISSED, seconds, said)
        if self._listened_ns is None:
            return outcome(
                UNKNOWN, seconds, f"Not known: the drill ended before it was sure that the alert {verb} only once."
            )
        return outcome(MET, seconds, said)

    def _missing(self, outcome: t.Callable[..., Outcome], verb: str, cause: Event, limit_s: float) -> Outcome:
        if self._listened_ns is None or (self._listened_ns - cause.time_ns) / NS < limit_s:
            return outcome(
                UNKNOWN,
                None,
                f"Not known: the drill ended before the alert {verb}, and before {limit_s:g} s were over.",
            )
        return outcome(
            MISSED,
            None,
            f"No message that the alert {verb} arrived; the objective is {limit_s:g} s after its cause {self._words(verb)}.",
        )

    def _cause(self, is_beginning: bool) -> Event | str:
        """Return the event from which on an alert, or its end, is due; or why it is not known."""
        if self._about is None:
            return "the drill did not listen for alerts"
        if self._about != CANARY:
            faults = [event for event in self._events if event.name == (FAULT_STARTED if is_beginning else FAULT_ENDED)]
            if not faults:
                return "no fault was made" if is_beginning else "no fault was healed"
            return faults[0 if is_beginning else -1]
        status = CRITICAL if is_beginning else PASSING
        if self._canary(CANARY_SET, CRITICAL) is None:
            return "Consul did not acknowledge that the check of the canary failed"
        return self._canary(CANARY_ASKED, status) or "the drill ended before the check of the canary passed again"

    def _words(self, verb: str) -> str:
        return "began" if verb == "fired" else "ended"

    def _canary(self, name: str, status: str) -> Event | None:
        return next((one for one in self._events if one.name == name and one.fields.get("status") == status), None)

    def _firing_keys(self) -> set[str]:
        return {str(event.fields.get("alert")) for event in self._events if event.name == ALERT_FIRING}

    def _first(self, name: str) -> Event | None:
        return next((event for event in self._events if event.name == name), None)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges what a drill saw at its replica: how late writes arrived, and whether what was acknowledged is there. Pure."""

from __future__ import annotations

import typing as t
from bisect import bisect_left

from ..drill_definition import Objective
from ..expectation_outcome import MET, MISSED, UNKNOWN, UNKNOWN_MULTIPLIER, Outcome, limited, not_known
from ..fault_times import fault_times
from ..history import (
    BEAT,
    BEAT_SEEN,
    FAULT_ENDED,
    LOAD_ENDED,
    NS,
    OK,
    REPLICA_COMPARED,
    REPLICA_DELETED,
    REPLICA_ENDED,
    REPLICA_READ,
    REPLICA_SILENT,
    REPLICA_STARTED,
    Event,
    History,
)

SHORT_GAP_S = 0.5  # shorter times without an answer are not recorded
NOT_WATCHED = "the drill did not watch a replica"
TOO_EARLY = "the drill ended before its replica was watched to the end"


class _Beat(t.NamedTuple):
    """A heartbeat: when it was sent, and when the replica had it, None while it did not."""

    sent_ns: int
    seen_ns: int | None


class ReplicaJudge:
    """What a history says of the replica."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._events = history.events
        self._is_watched = bool(self._of(REPLICA_STARTED))
        ended = self._of(REPLICA_ENDED)
        self._ended_ns = ended[0].time_ns if ended else None
        self._beats = self._read_beats()
        self._faults = [(one.start_ns, one.end_ns) for one in fault_times(history.events, history.end_ns)]

    def lag(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge the longest time from a write until the replica had it, of writes that no fault touched."""

        def reason() -> str | None:
            return None if lags else "no heartbeat was written outside of faults"

        end_ns = self._end_ns
        lags = [
            ((beat.seen_ns or end_ns) - beat.sent_ns) / NS
            for beat in self._beats
            if not any(start < (beat.seen_ns or end_ns) and beat.sent_ns < end for start, end in self._faults)
        ]
        words = "The replica was behind by {} at most"
        outcome = self._seconds("replica_lag", objective, limit_s, reason, lambda: max(lags), words)
        return self._if_ended(outcome, objective, limit_s)

    def caught_up(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge how long after the last healing the replica had a write that was made after it."""
        healed = self._of(FAULT_ENDED)
        after = [beat for beat in self._beats if healed and beat.sent_ns >= healed[-1].time_ns]
        seen = [beat.seen_ns for beat in after if beat.seen_ns is not None]

        def reason() -> str | None:
            if not healed:
                return "no fault was healed"
            return None if after else "no heartbeat was written after healing"

        def measure() -> float:
            return ((min(seen) if seen else self._end_ns) - healed[-1].time_ns) / NS

        words = (
            "The replica had caught up {} after healing" if seen else "The replica had not caught up {} after healing"
        )
        return self._seconds("replica_caught_up", objective, limit_s, reason, measure, words, is_open=not seen)

    def equal(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge how long after the load all keys were the same on both sides."""
        compared, ended = self._of(REPLICA_COMPARED), self._of(LOAD_ENDED)
        is_equal = bool(compared) and compared[-1].fields.get("equal") is True

        def reason() -> str | None:
            return None if compared and ended else "both sides could not be read after the load"

        def measure() -> float:
            return (compared[-1].time_ns - ended[0].time_ns) / NS

        keys = f"all {compared[-1].fields.get('source_keys'):,} keys" if is_equal else "the keys"
        words = (
            f"The replica had {keys} of the source {{}} after the load"
            if is_equal
            else ("The keys of source and replica were not equal {} after the load")
        )
        return self._seconds("replica_equal", objective, limit_s, reason, measure, words, is_open=not is_equal)

    def answers(self, objective: Objective, limit_s: float | None) -> Outcome:
        """Judge the longest time without an answer of the replica's leader."""
        gaps = [float(event.fields.get("seconds", 0)) for event in self._of(REPLICA_SILENT)]
        words = "The replica's leader did not answer for {} at most"
        outcome = self._seconds(
            "replica_answers", objective, limit_s, lambda: None, lambda: max(gaps, default=SHORT_GAP_S), words
        )
        return self._if_ended(outcome, objective, limit_s)

    def lacks(self, most: int) -> Outcome:
        """Judge how many acknowledged additions the replica did not have at the end of the faults."""
        name, objective = "replica_lacks", f"at most {most:,}"
        readings = [
            one for one in self._of(REPLICA_READ) if any(start < one.time_ns < end for start, end in self._faults)
        ]
        if not readings:
            return Outcome(name, UNKNOWN, None, objective, "Not known: the replica was not read while a fault lasted.")
        worst, oldest_s, count = 0, 0.0, 0
        for reading in readings:
            there = set(reading.fields.get("added") or ())
            known = [
                one
                for one in self._history.of("set")
                if one.f == "add" and one.outcome == OK and (one.end_ns or 0) < reading.time_ns
            ]
            missing = [one for one in known if one.value not in there]
            if len(missing) >= worst:
                began_ns = max(start for start, end in self._faults if start < reading.time_ns < end)
                worst, count = len(missing), len(known)
                oldest_s = max((began_ns - (one.end_ns or 0) for one in missing), default=0) / NS
        lost = f", the oldest one acknowledged {oldest_s:.2f} s before the fault" if worst else ""
        sentence = (
            f"The replica lacked {worst:,} of {count:,} acknowledged additions{lost}; {objective} is the objective."
        )
        return Outcome(name, MISSED if worst > most else MET, float(worst), objective, sentence)

    def keeps_keys(self) -> Outcome:
        """Judge whether a key disappeared at the replica."""
        name, objective = "replica_keeps_keys", "no key is deleted"
        count = sum(int(event.fields.get("count", 0)) for event in self._of(REPLICA_DELETED))
        if count:
            return Outcome(
                name, MISSED, float(count), objective, f"{count:,} keys were deleted at the replica; none may be."
            )
        if self._ended_ns is None:
            return Outcome(
                name, UNKNOWN, None, objective, f"Not known: {TOO_EARLY if self._is_watched else NOT_WATCHED}."
            )
        return Outcome(name, MET, 0.0, objective, "No key was deleted at the replica.")

    # -----------------------------------------------------------------------------------------------------------

    def _seconds(
        self,
        name: str,
        objective: Objective,
        limit_s: float | None,
        reason: t.Callable[[], str | None],
        measure: t.Callable[[], float],
        words: str,
        *,
        is_open: bool = False,
    ) -> Outcome:
        """Return the outcome of something that is measured in seconds; with ``is_open`` it took at least as long as that."""
        why = NOT_WATCHED if not self._is_watched else reason()
        if limit_s is None:
            why = UNKNOWN_MULTIPLIER
        if why is not None or limit_s is None:
            return not_known(name, objective, limit_s, str(why))
        outcome = limited(name, measure(), limit_s, words)
        return not_known(name, objective, limit_s, TOO_EARLY) if is_open and outcome.verdict == MET else outcome

    def _if_ended(self, outcome: Outcome, objective: Objective, limit_s: float | None) -> Outcome:
        """Return the outcome, unless what is met so far could still have been missed."""
        if outcome.verdict == MET and self._ended_ns is None:
            return not_known(outcome.name, objective, limit_s, TOO_EARLY)
        return outcome

    def _of(self, name: str) -> list[Event]:
        return [event for event in self._events if event.name == name]

    @property
    def _end_ns(self) -> int:
        return self._history.end_ns if self._ended_ns is None else self._ended_ns

    def _read_beats(self) -> list[_Beat]:
        """Return the heartbeats; one that a later one replaced before the replica was asked arrived with that one at the latest."""
        seen = [(int(event.fields.get("number", 0)), event.time_ns) for event in self._of(BEAT_SEEN)]
        beats = []
        for event in self._of(BEAT):
            place = bisect_left(seen, (int(event.fields.get("number", 0)), 0))
            seen_ns = seen[place][1] if place < len(seen) else None
            beats.append(_Beat(int(event.fields.get("sent", event.time_ns)), seen_ns))
        return beats

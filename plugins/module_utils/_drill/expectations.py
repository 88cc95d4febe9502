# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges what a drill expected of Consul: how long nothing was acknowledged, who led, and when all was well again. Pure.

What was expected stands in the history itself, as an event, so a history of a drill that was killed is judged as well.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .alerts.alert_outcomes import AlertJudge
from .check_result import VALID
from .drill_definition import CHANGES, OBJECTIVES, Expectations, Objective
from .expectation_outcome import MET, MISSED, UNKNOWN, UNKNOWN_MULTIPLIER, Outcome, limited, not_known
from .fault_times import FaultTime, fault_times
from .history import HEALTHY, LEADER, NS, PLANNED, Event, History
from .phase_timing import Band, acknowledged_changes, load_span_ns, longest_gap_ns
from .query_outcomes import QueryJudge
from .replica.replica_outcomes import ReplicaJudge
from .snapshot_outcome import judge_snapshot

HISTORY = "history"  # the outcome that says whether the history is valid
STEP_DOWN_S = (
    1.0  # for raft_multiplier 1: so long a leader without a majority may still acknowledge (its lease is 0.5 s)
)


class _Fault(t.NamedTuple):
    """One fault as it was: from when to when in nanoseconds, and the nodes that it struck. Without an end it lasted until the end."""

    band: Band
    nodes: frozenset[str]
    has_ended: bool


def plan_event(title: str, expect: Expectations, raft_multiplier: int | None) -> dict[str, t.Any]:
    """Return the fields of the event that says what is expected."""
    return {"title": title, "raft_multiplier": raft_multiplier, "expect": asdict(expect)}


def expected(expect: Expectations, raft_multiplier: int | None) -> list[str]:
    """Return what is expected, as sentences."""
    words = {
        "gap_at_fault": "changes are acknowledged again at most {} after a fault",
        "gap_at_healing": "changes are acknowledged again at most {} after healing",
        "healthy_after": "all servers are healthy at most {} after the last healing",
        "alert_firing": "one alert arrives at most {} after its cause began",
        "alert_resolved": "its end arrives at most {} after its cause ended",
        "replica_lag": "while nothing fails, a write is at the replica at most {} later",
        "replica_caught_up": "a write after the last healing is at the replica at most {} after that healing",
        "replica_equal": "all keys are the same at the replica at most {} after the load",
        "replica_answers": "the replica's leader answers at least every {}",
        "query_answers": "the prepared query has an instance at least every {}",
        "query_moves": "another datacenter answers the prepared query at most {} after the first fault began",
        "query_returns": "the own datacenter answers it again at most {} after the last healing",
    }
    found = []
    for name, sentence in words.items():
        objective = getattr(expect, name)
        if objective is not None:
            limit_s = _limit_s(objective, raft_multiplier)
            limit = f"{objective.seconds:g} s * raft_multiplier" if limit_s is None else f"{limit_s:g} s"
            found.append(sentence.format(limit))
    if expect.leader is not None:
        found.append("another server leads" if expect.leader == CHANGES else "the leader stays")
    if expect.changes_refused:
        found.append("no change is acknowledged while the fault lasts")
    if expect.replica_lacks is not None:
        found.append(f"the replica lacks at most {expect.replica_lacks:,} acknowledged additions at the end of a fault")
    if expect.replica_keeps_keys:
        found.append("no key is deleted at the replica")
    if expect.snapshot_restores:
        found.append("a snapshot, restored into a throw-away Consul, has all that was acknowledged")
    if expect.history_valid:
        found.append(
            "the history is valid: no acknowledged write is lost, no read is out of date, no lock has two holders"
        )
    return found


def judge_expectations(history: History, verdict: str) -> list[Outcome]:
    """Return the outcome of each expectation of a history; ``verdict`` is that of its checkers. Empty if nothing was expected."""
    planned = next((event for event in history.events if event.name == PLANNED), None)
    expect = None if planned is None else _expectations(planned)
    if planned is None or expect is None:
        return []
    multiplier = planned.fields.get("raft_multiplier")
    known = multiplier if isinstance(multiplier, int) else None
    found = _Judge(history, known)
    outcomes = [_history_outcome(verdict)] if expect.history_valid else []
    if expect.gap_at_fault is not None:
        outcomes.append(found.gap("gap_at_fault", "a fault", expect.gap_at_fault, found.fault_bands()))
    if expect.gap_at_healing is not None:
        outcomes.append(found.gap("gap_at_healing", "healing", expect.gap_at_healing, found.healing_bands()))
    if expect.healthy_after is not None:
        outcomes.append(found.healthy(expect.healthy_after))
    if expect.leader is not None:
        outcomes.append(found.leader(expect.leader))
    if expect.changes_refused:
        outcomes.append(found.refused())
    if expect.snapshot_restores:
        outcomes.append(judge_snapshot(history))
    outcomes += _alert_outcomes(history, expect, known) + _replica_outcomes(history, expect, known)
    return outcomes + _query_outcomes(history, expect, known)


def _alert_outcomes(history: History, expect: Expectations, raft_multiplier: int | None) -> list[Outcome]:
    alerts, outcomes = AlertJudge(history), []
    if expect.alert_firing is not None:
        outcomes.append(alerts.firing(expect.alert_firing, _limit_s(expect.alert_firing, raft_multiplier)))
    if expect.alert_resolved is not None:
        outcomes.append(alerts.resolved(expect.alert_resolved, _limit_s(expect.alert_resolved, raft_multiplier)))
    return outcomes


def _replica_outcomes(history: History, expect: Expectations, raft_multiplier: int | None) -> list[Outcome]:
    if not expect.needs_replica:
        return []
    replica = ReplicaJudge(history)
    judges = {
        "replica_lag": replica.lag,
        "replica_caught_up": replica.caught_up,
        "replica_equal": replica.equal,
        "replica_answers": replica.answers,
    }
    objectives = {name: getattr(expect, name) for name in judges}
    outcomes = [
        judges[name](objective, _limit_s(objective, raft_multiplier))
        for name, objective in objectives.items()
        if objective is not None
    ]
    if expect.replica_lacks is not None:
        outcomes.append(replica.lacks(expect.replica_lacks))
    if expect.replica_keeps_keys:
        outcomes.append(replica.keeps_keys())
    return outcomes


def _query_outcomes(history: History, expect: Expectations, raft_multiplier: int | None) -> list[Outcome]:
    query = QueryJudge(history)
    judges = {"query_answers": query.answers, "query_moves": query.moves, "query_returns": query.returns}
    objectives = {name: getattr(expect, name) for name in expect.of_query}
    return [judges[name](one, _limit_s(one, raft_multiplier)) for name, one in objectives.items()]


def _history_outcome(verdict: str) -> Outcome:
    known = {VALID: MET, "invalid": MISSED}.get(verdict, UNKNOWN)
    return Outcome(HISTORY, known, verdict, VALID, f"The history is {verdict}.")


def _expectations(planned: Event) -> Expectations | None:
    given = planned.fields.get("expect")
    if not isinstance(given, dict):
        return None
    try:
        objectives = {
            name: None
            if given.get(name) is None
            else Objective(float(given[name]["seconds"]), bool(given[name]["scaled"]))
            for name in OBJECTIVES
        }
    except (KeyError, TypeError, ValueError):
        return None
    lacks = given.get("replica_lacks")
    leader, refused = given.get("leader"), given.get("changes_refused")
    return Expectations(
        **objectives,
        leader=leader if isinstance(leader, str) else None,
        changes_refused=refused is True,
        history_valid=given.get("history_valid") is not False,
        replica_lacks=lacks if isinstance(lacks, int) else None,
        replica_keeps_keys=given.get("replica_keeps_keys") is True,
        snapshot_restores=given.get("snapshot_restores") is True,
    )


class _Judge:
    """Measures a history."""

    def __init__(self, history: History, multiplier: int | None) -> None:
        self._history = history
        self._multiplier = multiplier
        self._acknowledged = acknowledged_changes(history)
        _start_ns, self._end_ns = load_span_ns(history)
        self._faults = [_fault(one) for one in fault_times(history.events, self._end_ns)]

    def fault_bands(self) -> list[Band]:
        """Return from when to when each fault lasted."""
        return [fault.band for fault in self._faults]

    def healing_bands(self) -> list[Band]:
        """Return the time from each healing to the next fault, or to the end."""
        starts = [fault.band.start_ns for fault in self._faults[1:]] + [self._end_ns]
        return [
            Band("after", fault.band.end_ns, max(start_ns, fault.band.end_ns))
            for fault, start_ns in zip(self._faults, starts)
            if fault.has_ended
        ]

    def gap(self, name: str, when: str, objective: Objective, bands: t.Sequence[Band]) -> Outcome:
        """Judge the longest time without an acknowledged change in some stretches."""
        limit_s = _limit_s(objective, self._multiplier)
        if not bands or limit_s is None:
            return self._unknown(name, objective, "no fault was made" if not bands else UNKNOWN_MULTIPLIER)
        gap_s = round(max(longest_gap_ns(self._acknowledged, band) for band in bands) / NS, 3)
        verdict = MET if gap_s <= limit_s else MISSED
        sentence = f"At {when} no change was acknowledged for {gap_s:.2f} s; at most {limit_s:g} s is the objective."
        return Outcome(name, verdict, gap_s, limit_s, sentence)

    def healthy(self, objective: Objective) -> Outcome:
        """Judge how long after the last healing autopilot called all servers healthy."""
        limit_s = _limit_s(objective, self._multiplier)
        if not self._faults or not self._faults[-1].has_ended or limit_s is None:
            return self._unknown("healthy_after", objective, "no fault was healed")
        healed_ns = self._faults[-1].band.end_ns
        found = [
            event.time_ns for event in self._history.events if event.name == HEALTHY and event.time_ns >= healed_ns
        ]
        if not found:
            waited_s = round((self._end_ns - healed_ns) / NS, 3)
            if waited_s < limit_s:
                return self._unknown("healthy_after", objective, f"the drill ended {waited_s:.1f} s after healing")
            sentence = (
                f"The datacenter was not healthy in the {waited_s:.1f} s after healing; the objective is {limit_s:g} s."
            )
            return Outcome("healthy_after", MISSED, None, limit_s, sentence)
        return limited(
            "healthy_after", (found[0] - healed_ns) / NS, limit_s, "The datacenter was healthy {} after healing"
        )

    def leader(self, expected: str) -> Outcome:
        """Judge whether another server led while faults lasted, as the addresses say that no fault struck."""
        if not self._faults:
            return Outcome("leader", UNKNOWN, None, expected, "No fault was made, so the leader means nothing.")
        bands = self.fault_bands()
        struck = frozenset().union(*(fault.nodes for fault in self._faults))
        first_ns = bands[0].start_ns
        named = [event for event in self._history.events if event.name == LEADER and event.fields.get("leader")]
        before = {event.fields["leader"] for event in named if event.time_ns < first_ns}
        after = [
            event.fields["leader"]
            for event in named
            if event.fields.get("node") not in struck
            and any(band.start_ns <= event.time_ns <= band.end_ns for band in bands)
        ]
        if not before:
            return Outcome("leader", UNKNOWN, None, expected, "No leader was known before the fault.")
        others = sorted({str(name) for name in after} - {str(name) for name in before})
        verdict = MET if bool(others) == (expected == CHANGES) else MISSED
        measured = f"changed to {', '.join(others)}" if others else "stayed"
        return Outcome("leader", verdict, measured, expected, f"The leader {measured}; expected: it {expected}.")

    def refused(self) -> Outcome:
        """Judge whether changes were acknowledged while a fault lasted, after a leader had time to step down."""
        objective = "no change acknowledged"
        if not self._faults or self._multiplier is None:
            return Outcome(
                "changes_refused", UNKNOWN, None, objective, "No fault was made, or raft_multiplier is unknown."
            )
        grace_ns = int(STEP_DOWN_S * self._multiplier * NS)
        count = sum(
            fault.band.start_ns + grace_ns < moment_ns < fault.band.end_ns
            for fault in self._faults
            for moment_ns in self._acknowledged
        )
        sentence = f"{count:,} changes were acknowledged while there was no quorum; none may be."
        return Outcome("changes_refused", MISSED if count else MET, float(count), objective, sentence)

    def _unknown(self, name: str, objective: Objective, reason: str) -> Outcome:
        return not_known(name, objective, _limit_s(objective, self._multiplier), reason)


def _limit_s(objective: Objective, raft_multiplier: int | None) -> float | None:
    """Return the limit of an objective, None where it depends on a multiplier that is not known."""
    if objective.scaled and raft_multiplier is None:
        return None
    return objective.limit_s(raft_multiplier or 1)


def _fault(fault: FaultTime) -> _Fault:
    hosts = fault.started.fields.get("hosts")
    nodes = frozenset(
        str(one["node"])
        for one in (hosts if isinstance(hosts, list) else ())
        if isinstance(one, dict) and "node" in one
    )
    return _Fault(Band("fault", fault.start_ns, fault.end_ns), nodes, fault.has_ended)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of snapshot agents whose newest snapshot is old, not everywhere or not rehearsed, as the agents publish it.

They are judged for the rules that an entry names: most tokens that judge a datacenter may not read these keys. What cannot be read of
a policy is unknown, for that one only.
"""

from __future__ import annotations

import typing as t

from ..._consul.reserved_keys import SNAPSHOT_ROOT
from ..._consul.snapshot_status import (
    RehearsalRecord,
    SnapshotStatus,
    StatusPlace,
    joined,
    parse_status,
    place_of,
)
from ..._consul.snapshot_waiting import WaitingPlace, WaitingSnapshots, parse_waiting, waiting_place_of
from ..._consul.units import count_of, human_age, timestamp
from ..finding import RANK
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup
from .snapshots import AGE_RULE, MAX_CLOCK_DIFFERENCE_S, UNVERIFIED_RULE, Snapshots

REHEARSAL_RULE = "snapshot_rehearsal_overdue"
RULES = (Rule(REHEARSAL_RULE, enabled=False),)
WHAT = "snapshot policies"

_MILD = "warning"  # an old rehearsal says nothing bad of the snapshots, a failed one does
# The agent publishes at least every minute: with less, a takeover would be a finding.
SILENT_AFTER_S = 180.0


class Policy(t.NamedTuple):
    """One policy of the datacenter, and whose status it is."""

    place: StatusPlace
    status: SnapshotStatus


class Waiting(t.NamedTuple):
    """What waits on a host that does not hold the lease of its policy."""

    place: WaitingPlace
    held: WaitingSnapshots


class SnapshotPolicies(t.NamedTuple):
    """The policies of the datacenter that can be read, and what waits of them elsewhere; ``total`` is how many there are."""

    found: tuple[Policy, ...]
    total: int
    waiting: tuple[Waiting, ...] = ()


def _read_policies(reader: Reader) -> None:
    found, waiting = [], []
    total = 0
    for entry in reader.published(SNAPSHOT_ROOT):
        place, held_at = place_of(entry.key), waiting_place_of(entry.key)
        total += place is not None
        try:
            if place is not None:
                found.append(Policy(place, parse_status(entry.value)))
            elif held_at is not None:
                waiting.append(Waiting(held_at, parse_waiting(entry.value)))
        except ValueError:
            reader.observation.add_unknown(
                WHAT,
                f"{entry.key} does not hold what the snapshot agent writes. Delete it; the agent writes it anew within a minute.",
            )
    reader.observation.add(SnapshotPolicies(tuple(found), total, tuple(waiting)))


def judge(judging: Judging) -> None:
    """Judge each policy; each kind of problem is a finding of its own."""
    policies = judging.observation.get(SnapshotPolicies)
    if policies is None:
        return
    age, unverified = judging.rules.get_named(AGE_RULE), judging.rules.get_named(UNVERIFIED_RULE)
    rehearsal = judging.rules.get(REHEARSAL_RULE)
    if age is not None and not policies.total and judging.observation.get(Snapshots) is None:
        judging.add(
            AGE_RULE,
            age.worst_severity,
            f"no snapshot of {judging.datacenter} is known: no snapshot agent has published a policy",
            advice="Start a snapshot agent, or name a directory with the option snapshots.",
        )
    for held in policies.waiting:
        _judge_waiting(judging, unverified, held)
    for one in policies.found:
        _judge_silence(judging, one)
        if age is not None:
            _judge_age(judging, age, one)
        if unverified is not None:
            _judge_destinations(judging, unverified, one)
        if rehearsal is not None and one.status.rehearsal is not None:
            _judge_rehearsal(judging, rehearsal, one.place, one.status.rehearsal)


def _judge_silence(judging: Judging, one: Policy) -> None:
    """Say that a status may have changed since. The age of the newest snapshot goes on growing, and is judged as it is."""
    age_s = judging.observation.time - one.status.at
    if age_s >= SILENT_AFTER_S:
        judging.add_unknown(
            WHAT,
            f"nothing was published of {one.place} for {human_age(age_s)}, so what was taken since is not known. Start its agent, "
            f"or delete {one.place.key} if the policy is no more.",
        )
    elif age_s < -MAX_CLOCK_DIFFERENCE_S:
        judging.add_unknown(
            WHAT,
            f"the status of {one.place} is dated {human_age(-age_s)} ahead, so ages are not known. Compare the clocks.",
        )


def _judge_age(judging: Judging, rule: Rule, one: Policy) -> None:
    """Judge the age by the policy's objective, which knows its schedule; the thresholds are those of directories."""
    status = one.status
    what = status.age_problem(judging.observation.time)
    if not what:
        return
    judging.add(
        AGE_RULE,
        rule.worst_severity,
        f"policy {one.place} in {judging.datacenter}: {what}",
        check=_identity(one.place, "age"),
        detail=f"as published at {timestamp(status.at)}",
        advice=joined(status.reasons()) or "See its status: consulops snapshot status --from-consul.",
    )


def _judge_destinations(judging: Judging, rule: Rule, one: Policy) -> None:
    for name, place in one.status.destinations.items():
        whose = f"of policy {one.place} in {name}"
        if place.damage:
            judging.add(
                UNVERIFIED_RULE,
                rule.severity,
                f"the newest snapshot {whose} is not intact",
                check=_identity(one.place, f"{name}/damage"),
                detail=f"{place.place}: {place.damage}",
            )
        if place.problem:
            waiting = f", {count_of(place.waiting, 'snapshot')} waiting" if place.waiting else ""
            judging.add(
                UNVERIFIED_RULE,
                rule.severity,
                f"{name} of policy {one.place} does not work{waiting}",
                check=_identity(one.place, f"{name}/problem"),
                detail=f"as published at {timestamp(one.status.at)}",
                advice=place.problem,
            )


def _judge_waiting(judging: Judging, rule: Rule | None, one: Waiting) -> None:
    """Judge what waits without the lease: that its host tries to deliver it is good, that it cannot is not."""
    place, held, now = one.place, one.held, judging.observation.time
    if now - held.at >= SILENT_AFTER_S:
        judging.add_unknown(
            WHAT,
            f"nothing was published by {place.node} for {human_age(now - held.at)}: then {held.sentence(held.at)} on it, of policy "
            f"{place}. Start its agent, or delete {place.key} if the host is no more.",
        )
    elif rule is not None and held.reasons():
        judging.add(
            UNVERIFIED_RULE,
            rule.severity,
            f"{held.sentence(now)}, of policy {place} on {place.node}, which does not hold its lease",
            check=f"snapshot/{place.agent}/{place.policy}/{place.node}/waiting",
            detail=f"as published at {timestamp(held.at)}",
            advice=held.reasons(),
        )


def _judge_rehearsal(judging: Judging, rule: Rule, place: StatusPlace, one: RehearsalRecord) -> None:
    last = "never" if one.at is None else f"last at {timestamp(one.at)}"
    if one.is_ok is False:
        judging.add(
            REHEARSAL_RULE,
            rule.severity,
            f"the last rehearsal of policy {place} failed: its snapshots may not restore",
            check=_identity(place, "rehearsal"),
            detail=last,
            advice=one.error,
        )
    if one.is_overdue:
        judging.add(
            REHEARSAL_RULE,
            min(_MILD, rule.severity, key=RANK.__getitem__),
            f"a rehearsal of policy {place} is overdue, {last}",
            check=_identity(place, "rehearsal_overdue"),
            advice="See the status of its agent.",
        )


def _identity(place: StatusPlace, kind: str) -> str:
    node = f"{place.node}/" if place.node else ""
    return f"snapshot/{place.agent}/{place.policy}/{node}{kind}"


GROUP = RuleGroup(
    RULES,
    judge,
    (Reading(WHAT, _read_policies, (AGE_RULE, UNVERIFIED_RULE, REHEARSAL_RULE), only_named=True),),
    needs_leader=True,
)

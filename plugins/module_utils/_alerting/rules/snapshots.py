# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The age and the integrity of a datacenter's newest snapshot in a directory.

The caller finds it: reading snapshots is another wing's work. What snapshot agents publish is judged by the same rules in
``snapshot_policies.py``.
"""

from __future__ import annotations

import typing as t

from ..._consul.units import human_age
from ..judging import Judging
from ..rule import Rule
from ..rule_group import RuleGroup

HOUR_S = 3600.0
AGE_RULE, UNVERIFIED_RULE = "snapshot_age", "snapshot_unverified"
RULES = (
    Rule(AGE_RULE, "seconds", warning=26 * HOUR_S, critical=50 * HOUR_S),
    Rule(UNVERIFIED_RULE, severity="warning"),
)

MAX_CLOCK_DIFFERENCE_S = 300.0  # a snapshot dated further ahead than this means that a clock is wrong


class Snapshot(t.NamedTuple):
    """A snapshot file. ``time`` in Unix seconds; ``problem`` is "" when the file is intact."""

    path: str
    time: float
    problem: str


class Snapshots(t.NamedTuple):
    """The newest snapshot of each datacenter in a directory, by datacenter."""

    newest: t.Mapping[str, Snapshot | None]


def judge(judging: Judging) -> None:
    """Judge the datacenter's newest snapshot, unless the datacenter's name is not known."""
    snapshots = judging.observation.get(Snapshots)
    if snapshots is None or not judging.observation.has_name:
        return
    newest = snapshots.newest.get(judging.datacenter)
    rule = judging.rules.get(AGE_RULE)
    if newest is None:
        if rule is not None:
            judging.add(AGE_RULE, rule.worst_severity, f"there is no snapshot of {judging.datacenter}")
        return
    if rule is not None:
        _judge_age(judging, rule, newest)
    if newest.problem:
        judging.add_by_rule(
            UNVERIFIED_RULE,
            f"the newest snapshot of {judging.datacenter} is not intact",
            detail=f"{newest.path}: {newest.problem}",
        )


def _judge_age(judging: Judging, rule: Rule, newest: Snapshot) -> None:
    age_s = judging.observation.time - newest.time
    judging.add(
        AGE_RULE,
        rule.severity_above(max(0.0, age_s)),
        f"the newest snapshot of {judging.datacenter} is {human_age(max(0.0, age_s))} old",
        detail=newest.path,
    )
    if age_s < -MAX_CLOCK_DIFFERENCE_S:
        judging.add(
            AGE_RULE,
            "warning",
            f"the newest snapshot of {judging.datacenter} is dated {human_age(-age_s)} ahead",
            detail=newest.path,
            advice="Compare the clocks: until they agree, the age of the snapshot is not known.",
        )


GROUP = RuleGroup(RULES, judge)

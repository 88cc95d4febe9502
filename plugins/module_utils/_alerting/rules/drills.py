# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drills that were not as expected, or are overdue, as drills publish it. Off until an entry names a rule."""

from __future__ import annotations

import typing as t

from ..._consul.drill_status import DrillStatus, parse_drill_status
from ..._consul.reserved_keys import DRILL_STATUS_ROOT
from ..._consul.units import human_age, timestamp
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

FAILED_RULE, OVERDUE_RULE = "drill_failed", "drill_overdue"
OVERDUE_AFTER_S = 35 * 86400.0  # one that is run every month, and a few days
RULES = (
    Rule(FAILED_RULE, severity="warning", enabled=False),
    Rule(OVERDUE_RULE, unit="seconds", warning=OVERDUE_AFTER_S, enabled=False),
)
WHAT = "drills"


class Drills(t.NamedTuple):
    """The last run of each drill of the datacenter that can be read; ``total`` is how many there are."""

    found: tuple[DrillStatus, ...]
    total: int


def _read_drills(reader: Reader) -> None:
    found = []
    entries = reader.published(DRILL_STATUS_ROOT)
    for entry in entries:
        try:
            found.append(parse_drill_status(entry.key, entry.value))
        except ValueError:
            reader.observation.add_unknown(
                WHAT,
                f"{entry.key} does not hold what a drill writes. Delete it; the next run of the drill writes it anew.",
            )
    reader.observation.add(Drills(tuple(found), len(entries)))


def judge(judging: Judging) -> None:
    """Judge the last run of each drill."""
    drills = judging.observation.get(Drills)
    if drills is None:
        return
    failed, overdue = judging.rules.get(FAILED_RULE), judging.rules.get(OVERDUE_RULE)
    if overdue is not None and not drills.total:
        judging.add(
            OVERDUE_RULE,
            "warning",
            f"no drill of {judging.datacenter} is known",
            advice="Run one that publishes its outcome: option publish of consul_drill.",
        )
    for one in drills.found:
        if failed is not None and not one.is_passed:
            judging.add(
                FAILED_RULE,
                failed.severity,
                f"the last drill {one.drill} of {judging.datacenter} was not as expected",
                check=f"drill/{one.drill}/failed",
                detail=f"run {one.run} at {timestamp(one.at)}",
                advice=" ".join(one.reasons),
            )
        age_s = max(0.0, judging.observation.time - one.at)
        severity = "none" if overdue is None else overdue.severity_above(age_s)
        if severity != "none":
            judging.add(
                OVERDUE_RULE,
                severity,
                f"the drill {one.drill} of {judging.datacenter} is overdue: its last run was {human_age(age_s)} ago",
                check=f"drill/{one.drill}/overdue",
                detail=f"run {one.run} at {timestamp(one.at)}",
                advice=f"Run it, or delete {one.key} if it is no more.",
            )


GROUP = RuleGroup(
    RULES, judge, (Reading(WHAT, _read_drills, (FAILED_RULE, OVERDUE_RULE), only_named=True),), needs_leader=True
)

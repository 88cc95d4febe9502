# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What drills publish, and the rules that judge it."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._alerting.judge import judge
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observation import Observation
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rule_options import make_rules
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.drills import Drills
from ansible_collections.consulops.failover.plugins.module_utils._consul.drill_status import (
    DrillStatus,
    parse_drill_status,
)
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_run import status_of
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0
DAY_S = 86400.0
GOOD = DrillStatus("leader-killed", "20261129T015235Z-3a576b", NOW - DAY_S, True)
BOTH: tuple[dict[str, t.Any], ...] = ({"rule": "drill_failed"}, {"rule": "drill_overdue"})


def found(*statuses: DrillStatus, rules: t.Sequence[dict[str, t.Any]] = BOTH) -> list[tuple[str, str, str]]:
    observation = Observation("dc1", NOW)
    observation.add(Drills(statuses, len(statuses)))
    return [(one.rule, one.severity, one.check) for one in judge(observation, make_rules(list(rules)), {}).findings]


def test_a_drill_that_was_passed_a_day_ago_is_no_finding() -> None:
    assert found(GOOD) == []


def test_one_that_failed_and_one_that_is_overdue_are_findings() -> None:
    failed = DrillStatus("halves", "run", NOW - 60, False, ("The history is invalid.",))
    old = DrillStatus("ring", "run", NOW - 36 * DAY_S, True)
    assert sorted(found(GOOD, failed, old)) == [
        ("drill_failed", "warning", "drill/halves/failed"),
        ("drill_overdue", "warning", "drill/ring/overdue"),
    ]
    strict = [{"rule": "drill_overdue", "warning": "1h", "critical": "35d"}]
    assert sorted(found(GOOD, old, rules=strict)) == [
        ("drill_overdue", "critical", "drill/ring/overdue"),
        ("drill_overdue", "warning", "drill/leader-killed/overdue"),
    ]


def test_no_drill_at_all_is_a_finding_only_for_who_asks_whether_one_is_overdue() -> None:
    assert found() == [("drill_overdue", "warning", "")]
    assert found(rules=[{"rule": "drill_failed"}]) == found(rules=[]) == []


def test_the_status_says_what_was_not_as_expected() -> None:
    outcomes = [{"sentence": "It took long.", "verdict": "missed"}, {"sentence": "Fine.", "verdict": "met"}]
    judgement = {"passed": False, "verdict": "valid", "expectations": outcomes}
    judgement["recovery"] = {"seconds": 1.9, "recovered": True}
    assert status_of("d", "r", NOW, judgement).reasons == ("It took long.",)
    assert status_of("d", "r", NOW, {**judgement, "expectations": []}).reasons == ("the history is valid",)
    assert status_of("d", "r", NOW, {**judgement, "passed": True}).reasons == ()
    assert status_of("d", "r", NOW, judgement).recovery_s == 1.9


@given(
    st.builds(
        DrillStatus,
        st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
        st.text(max_size=20),
        st.integers(0, 4_000_000_000).map(float),
        st.booleans(),
        st.lists(st.text(max_size=40), max_size=5).map(tuple),
        st.none() | st.integers(0, 4_000_000).map(lambda ms: ms / 1000),
        st.booleans(),
    )
)
def test_what_a_drill_publishes_is_what_the_rules_read(published: DrillStatus) -> None:
    assert parse_drill_status(published.key, published.value()) == published


@given(st.one_of(st.binary(max_size=40), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_anything_else_is_no_status(value: bytes | str) -> None:
    with pytest.raises(ValueError):
        parse_drill_status("consulops/drills/d", value if isinstance(value, bytes) else value.encode())

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshot of a drill, judged from histories that are written here line by line."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_definition import Expectations
from ansible_collections.consulops.failover.plugins.module_utils._drill.expectations import (
    expected,
    judge_expectations,
    plan_event,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_reader import read_history
from hypothesis import given
from hypothesis import strategies as st

Line = dict[str, t.Any]
EXPECT = Expectations(snapshot_restores=True)


def outcome(additions: t.Mapping[int, str], /, **event: t.Any) -> tuple[str, t.Any]:
    """Return verdict and measure for additions with their outcomes, and the fields of the event; without fields there is none."""
    lines: list[Line] = [
        {"type": "header", "format": 1, "workloads": ["set"], "consistency": "default"},
        {"type": "event", "event": "drill_plan", "time": 0, **json.loads(json.dumps(plan_event("D", EXPECT, 1)))},
    ]
    for number, how in additions.items():
        lines.append(
            {"type": "invoke", "process": number, "workload": "set", "f": "add", "value": number, "time": number}
        )
        lines.append({"type": how, "process": number, "value": number, "index": 5, "time": number})
    if event:
        lines.append({"type": "event", "event": "snapshot_rehearsed", "time": 99, **event})
    history = read_history(json.dumps(line).encode() + b"\n" for line in lines)
    found = judge_expectations(history, "valid")[-1]
    assert found.name == "snapshot_restores"
    return found.verdict, found.measured


def test_everything_acknowledged_must_be_in_it() -> None:
    added = {1: "ok", 2: "ok", 3: "info", 4: "fail"}
    assert outcome(added, outcome="restored", added=[1, 2]) == ("met", 0.0)
    assert outcome(added, outcome="restored", added=[1, 2, 3]) == ("met", 0.0), "one of unknown outcome may be"
    assert outcome(added, outcome="restored", added=[2, 3]) == ("missed", 1.0)
    assert outcome(added, outcome="restored", added=[1, 2, 9]) == ("missed", 0.0), "nobody made it"


@pytest.mark.parametrize(
    ("event", "verdict"),
    [
        ({}, "unknown"),
        ({"outcome": "unknown", "sentence": "no memory"}, "unknown"),
        ({"outcome": "restored"}, "unknown"),
        ({"outcome": "better", "added": [1]}, "unknown"),
        ({"outcome": "failed", "sentence": "it panics", "added": [1]}, "missed"),
    ],
)
def test_only_a_snapshot_that_was_restored_is_met(event: Line, verdict: str) -> None:
    assert outcome({1: "ok"}, **event)[0] == verdict


@given(st.dictionaries(st.integers(1, 9), st.sampled_from(["ok", "fail", "info"])), st.sets(st.integers(1, 9)))
def test_it_is_met_only_where_nothing_is_lost_and_nothing_was_invented(added: dict[int, str], there: set[int]) -> None:
    acknowledged = {number for number, how in added.items() if how == "ok"}
    verdict, _lost = outcome(added, outcome="restored", added=sorted(there))
    is_right = acknowledged <= there <= set(added)
    assert verdict == ("unknown" if not acknowledged else "met" if is_right else "missed")


def test_what_is_expected_of_the_snapshot_is_said() -> None:
    assert "a snapshot, restored into a throw-away Consul, has all that was acknowledged" in expected(EXPECT, 1)

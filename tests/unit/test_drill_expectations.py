# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a drill expected, judged from histories that are written here line by line."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_definition import Expectations, Objective
from ansible_collections.consulops.failover.plugins.module_utils._drill.expectations import (
    expected,
    judge_expectations,
    plan_event,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.history import History
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_reader import read_history
from ansible_collections.consulops.failover.plugins.module_utils._drill.judge import judge_history
from hypothesis import given
from hypothesis import strategies as st

S = 1_000_000_000
Line = dict[str, t.Any]
ALL = Expectations(
    gap_at_fault=Objective(5, scaled=True),
    gap_at_healing=Objective(2, scaled=False),
    healthy_after=Objective(3, scaled=False),
    leader="changes",
)


def event(name: str, at_s: float, **fields: t.Any) -> Line:
    return {"type": "event", "event": name, "time": int(at_s * S), **fields}


def fault(at_s: float, until_s: float | None, *nodes: str) -> list[Line]:
    hosts = [{"host": f"h-{node}", "node": node} for node in nodes]
    # The lines are written later than the moments on the hosts, which count.
    lines = [event("fault_started", at_s + 0.3, at=int(at_s * S), hosts=hosts)]
    return lines if until_s is None else [*lines, event("fault_ended", until_s + 0.3, at=int(until_s * S), hosts=hosts)]


def history(
    expect: Expectations, events: t.Sequence[Line], changes_s: t.Sequence[float], multiplier: int | None = 1
) -> History:
    """Return a history with a change of 1 ms that was acknowledged at each of the times."""
    lines: list[Line] = [
        {"type": "header", "format": 1, "workloads": ["set"], "consistency": "default"},
        event("drill_plan", 0, **json.loads(json.dumps(plan_event("A drill", expect, multiplier)))),
    ]
    for number, moment_s in enumerate(changes_s):
        end = int(moment_s * S)
        lines.append(
            {
                "type": "invoke",
                "process": number,
                "workload": "set",
                "f": "add",
                "value": number,
                "time": max(0, end - 10**6),
            }
        )
        lines.append({"type": "ok", "process": number, "value": number, "index": number + 1, "time": end})
    return read_history(json.dumps(line).encode() + b"\n" for line in [*lines, *events])


def verdicts(*args: t.Any, **more: t.Any) -> dict[str, tuple[str, t.Any]]:
    return {one.name: (one.verdict, one.measured) for one in judge_expectations(history(*args, **more), "valid")}


def steady(*stretches: tuple[float, float]) -> list[float]:
    """Return a change every 0.1 s in each stretch."""
    return [start + number / 10 for start, end in stretches for number in range(int((end - start) * 10) + 1)]


def test_gaps_are_measured_from_the_moments_on_the_hosts() -> None:
    events = [event("leader", 1, node="n1", leader="a"), event("leader", 1, node="n2", leader="a")]
    events += [*fault(5, 12, "n1"), event("leader", 8, node="n2", leader="b"), event("healthy", 14.5)]
    found = verdicts(ALL, [*events, event("load_ended", 20)], steady((0, 5), (8.5, 12), (13.5, 20)))
    assert found == {
        "history": ("met", "valid"),
        "gap_at_fault": ("met", 3.5),
        "gap_at_healing": ("met", 1.5),
        "healthy_after": ("met", 2.5),
        "leader": ("met", "changed to b"),
    }


def test_what_takes_too_long_is_missed() -> None:
    events = [event("leader", 1, node="n2", leader="a"), *fault(5, 12, "n1"), event("load_ended", 20)]
    found = verdicts(ALL, events, steady((0, 5), (11, 12), (15, 20)))
    assert found == {
        "history": ("met", "valid"),
        "gap_at_fault": ("missed", 6.0),
        "gap_at_healing": ("missed", 3.0),
        "healthy_after": ("missed", None),
        "leader": ("missed", "stayed"),
    }
    assert verdicts(ALL, events, steady((0, 5), (11, 12), (15, 20)), multiplier=2)["gap_at_fault"] == ("met", 6.0)


def test_what_a_struck_node_says_of_the_leader_does_not_count() -> None:
    events = [event("leader", 1, node="n2", leader="a"), *fault(5, 12, "n1"), event("leader", 7, node="n1", leader="b")]
    assert verdicts(Expectations(leader="stays"), events, [])["leader"] == ("met", "stayed")
    late = [*events, event("leader", 13, node="n2", leader="b")]
    assert verdicts(Expectations(leader="stays"), late, [])["leader"] == ("met", "stayed"), "after healing"


def test_what_is_not_known_is_unknown() -> None:
    nothing = verdicts(ALL, [event("load_ended", 20)], steady((0, 20)))
    assert {name: verdict for name, (verdict, _measured) in nothing.items()} == {
        "history": "met",
        **dict.fromkeys(("gap_at_fault", "gap_at_healing", "healthy_after", "leader"), "unknown"),
    }
    cut = verdicts(ALL, fault(5, None, "n1"), steady((0, 5), (7, 9)))
    assert cut["gap_at_healing"][0] == cut["healthy_after"][0] == "unknown" and cut["gap_at_fault"] == ("met", 2.0)
    unknown = verdicts(ALL, [*fault(5, 12), event("load_ended", 20)], steady((0, 20)), multiplier=None)
    assert unknown["gap_at_fault"][0] == "unknown" and unknown["gap_at_healing"][0] == "met"
    early = verdicts(ALL, [*fault(5, 12), event("load_ended", 14)], steady((0, 14)))
    assert early["healthy_after"][0] == "unknown", "it ended before the objective was over"


def test_a_change_that_is_acknowledged_without_a_quorum_is_seen() -> None:
    expect = Expectations(changes_refused=True)
    ends = [*fault(5, 15, "n1"), event("load_ended", 20)]
    assert verdicts(expect, ends, steady((0, 5.8), (15.2, 20)))["changes_refused"] == ("met", 0.0)
    assert verdicts(expect, ends, [*steady((0, 5)), 9.0])["changes_refused"] == ("missed", 1.0)
    assert verdicts(expect, ends, [*steady((0, 5)), 9.0], multiplier=5)["changes_refused"] == ("met", 0.0)


def test_a_drill_that_only_reports_is_passed_with_an_invalid_history() -> None:
    only = history(
        Expectations(gap_at_fault=Objective(9, scaled=False), history_valid=False), fault(5, 7), steady((0, 9))
    )
    judgement = judge_history(only)
    assert judgement.verdict != "valid" and judgement.is_passed, "no final read: unknown"
    assert not judge_history(history(Expectations(), [], steady((0, 9)))).is_passed


@pytest.mark.parametrize("fields", [{}, {"expect": []}, {"expect": {"gap_at_fault": {"seconds": "x"}}}])
def test_a_plan_of_another_form_expects_nothing(fields: Line) -> None:
    lines = [
        {"type": "header", "format": 1, "workloads": ["set"], "consistency": "default"},
        event("drill_plan", 0, **fields),
    ]
    assert judge_expectations(read_history(json.dumps(line).encode() + b"\n" for line in lines), "valid") == []


def test_what_is_expected_is_said_in_seconds() -> None:
    assert expected(ALL, 5)[0] == "changes are acknowledged again at most 25 s after a fault"
    assert "5 s * raft_multiplier" in expected(ALL, None)[0]


@given(st.lists(st.floats(0, 30), max_size=60), st.floats(1, 10), st.floats(0.1, 10))
def test_a_gap_is_never_longer_than_its_stretch_and_more_changes_never_make_it_longer(
    changes: list[float], start: float, length: float
) -> None:
    events = [*fault(start, start + length), event("load_ended", 31)]
    found = verdicts(ALL, events, sorted(changes))["gap_at_fault"][1]
    more = verdicts(ALL, events, sorted([*changes, start + length / 2]))["gap_at_fault"][1]
    assert 0 <= more <= found <= length + 0.001

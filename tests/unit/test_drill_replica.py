# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a drill saw at its replica, judged from histories that are written here line by line."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_definition import Expectations, Objective
from ansible_collections.consulops.failover.plugins.module_utils._drill.expectations import (
    expected,
    judge_expectations,
    plan_event,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.history_reader import read_history
from ansible_collections.consulops.failover.plugins.module_utils._drill.replica.key_comparison import numbers_in
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_definition import definition_of
from hypothesis import given
from hypothesis import strategies as st

S = 1_000_000_000
Line = dict[str, t.Any]
TEN = Objective(10, scaled=False)
ALL = Expectations(
    replica_lag=TEN,
    replica_caught_up=TEN,
    replica_equal=TEN,
    replica_answers=TEN,
    replica_lacks=1,
    replica_keeps_keys=True,
)
FAULT = {"at": "4s", "for": "6s", "fault": "killed", "targets": "leader"}


def event(name: str, at_s: float, **fields: t.Any) -> Line:
    return {"type": "event", "event": name, "time": int(at_s * S), **fields}


def beat(number: int, sent_s: float, seen_s: float | None) -> list[Line]:
    written = event("beat", sent_s + 0.01, number=number, sent=int(sent_s * S))
    return [written] if seen_s is None else [written, event("beat_seen", seen_s, number=number)]


def addition(number: int, end_s: float) -> list[Line]:
    begun = {"type": "invoke", "process": number, "workload": "set", "f": "add", "value": number, "time": 0}
    return [begun, {"type": "ok", "process": number, "value": number, "index": number, "time": int(end_s * S)}]


def cut(at_s: float = 10, until_s: float = 20) -> list[Line]:
    return [event("fault_started", at_s), event("fault_ended", until_s)]


def outcomes(lines: t.Sequence[Line], expect: Expectations = ALL) -> dict[str, tuple[str, t.Any]]:
    header = {"type": "header", "format": 1, "workloads": ["set"], "consistency": "default"}
    planned = event("drill_plan", 0, **json.loads(json.dumps(plan_event("A drill", expect, 1))))
    history = read_history(json.dumps(line).encode() + b"\n" for line in [header, planned, *lines])
    found = judge_expectations(history, "valid")
    return {one.name: (one.verdict, one.measured) for one in found if one.name != "history"}


def watched(*lines: Line, until_s: float | None = 60) -> list[Line]:
    end = [] if until_s is None else [event("replica_ended", until_s)]
    return [event("replica_started", 0), *lines, event("load_ended", 40), *end]


def test_a_replica_that_lags_only_while_it_is_cut_off_and_catches_up_is_met() -> None:
    lines = watched(
        *beat(1, 1, 1.5),
        *addition(7, 2),
        *addition(8, 9.9),
        *cut(),
        *beat(2, 12, 21),
        event("replica_read", 19, added=[7]),
        *beat(3, 20.5, 22.5),
        event("replica_silent", 30, seconds=3.0),
        event("replica_compared", 43, equal=True, source_keys=9),
    )
    assert outcomes(lines) == {
        "replica_lag": ("met", 2.0),
        "replica_caught_up": ("met", 2.5),
        "replica_equal": ("met", 3.0),
        "replica_answers": ("met", 3.0),
        "replica_lacks": ("met", 1.0),
        "replica_keeps_keys": ("met", 0.0),
    }


def test_what_is_late_lost_or_deleted_is_missed() -> None:
    lines = watched(
        *beat(1, 1, None),
        *[line for number in (5, 6, 7) for line in addition(number, 8)],
        *cut(),
        event("replica_read", 19, added=[6]),
        event("replica_deleted", 19.5, count=2, keys="set/5; set/7"),
        *beat(2, 25, None),
        event("replica_silent", 40, seconds=12.5),
        event("replica_compared", 55, equal=False, source_keys=9),
        until_s=56,
    )
    assert outcomes(lines) == {
        # The first heartbeat was touched by the fault.
        "replica_lag": ("missed", 31.0),
        "replica_caught_up": ("missed", 36.0),
        "replica_equal": ("missed", 15.0),
        "replica_answers": ("missed", 12.5),
        "replica_lacks": ("missed", 2.0),
        "replica_keeps_keys": ("missed", 2.0),
    }


def test_a_heartbeat_that_a_later_one_replaced_arrived_with_that_one() -> None:
    lines = watched(*beat(1, 1, None), *beat(2, 1.5, 3))
    assert outcomes(lines, Expectations(replica_lag=TEN))["replica_lag"] == ("met", 2.0)


def test_what_was_acknowledged_after_the_reading_is_not_lost() -> None:
    lines = watched(*addition(1, 9), *addition(2, 19.5), *cut(), event("replica_read", 19, added=[1]))
    assert outcomes(lines, Expectations(replica_lacks=0))["replica_lacks"] == ("met", 0.0)


@given(st.lists(st.integers(0, 3), max_size=4), st.booleans())
def test_a_drill_that_ended_too_early_is_never_met(seen: list[int], is_started: bool) -> None:
    beats = [line for number, late in enumerate(seen) for line in beat(number, 21 + number, 21 + number + late)]
    lines = [*cut(), *beats]
    found = outcomes([event("replica_started", 0), *lines] if is_started else lines)
    met = {name for name, (verdict, _measured) in found.items() if verdict == "met"}
    # That a write after healing has arrived cannot change any more.
    assert met <= ({"replica_caught_up"} if is_started else set())
    assert {verdict for verdict, _measured in found.values()} <= {"met", "unknown"}


def test_a_reading_outside_of_faults_says_nothing() -> None:
    lines = watched(*addition(1, 9), *cut(), event("replica_read", 20.5, added=[]))
    assert outcomes(lines, Expectations(replica_lacks=0))["replica_lacks"] == ("unknown", None)


def test_what_is_expected_of_the_replica_is_said() -> None:
    said = " ".join(expected(ALL, 1))
    for words in (
        "at most 10 s later",
        "leader answers at least every 10 s",
        "lacks at most 1 acknowledged",
        "deleted",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("expect", "sentence"),
    [
        ({"replica_lag": "soon"}, "drill.expect.replica_lag: 'soon' is not a duration"),
        ({"replica_lacks": -1}, "drill.expect.replica_lacks: -1 is not a number of keys"),
        ({"replica_lacks": "1"}, "drill.expect.replica_lacks: expected an integer"),
        ({"replica_lacks": 1}, "drill.expect.replica_lacks: it is measured at faults"),
        ({"replica_caught_up": "1s"}, "drill.expect.replica_caught_up: it is measured at faults"),
    ],
)
def test_what_is_wrong_is_said_with_the_path_of_the_key(expect: Line, sentence: str) -> None:
    with pytest.raises(InvalidOption) as error:
        definition_of({"name": "d", "title": "D", "expect": expect}, 1)
    assert str(error.value).startswith(sentence)


def test_a_drill_that_expects_nothing_of_a_replica_needs_none() -> None:
    definition, _load = definition_of({"name": "d", "title": "D", "faults": [FAULT]}, 1)
    assert not definition.expect.needs_replica
    definition, _load = definition_of({"name": "d", "title": "D", "expect": {"replica_keeps_keys": True}}, 1)
    assert definition.expect.needs_replica


def test_numbers_are_those_of_the_folder() -> None:
    assert numbers_in({"set/2", "set/10", "set/x", "register/k1", "drill"}, "set/") == [2, 10]

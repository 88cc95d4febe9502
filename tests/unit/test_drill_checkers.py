# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checkers that need no search: order of indexes, sets, locks; the form of results, and times by phase."""

from __future__ import annotations

import random

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._drill.check_result import (
    INVALID,
    MAX_VIOLATIONS,
    UNKNOWN,
    VALID,
    Violation,
    check_result,
    overall_verdict,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.history import (
    FAIL,
    INFO,
    OK,
    Event,
    Header,
    History,
    Operation,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.index_order import check_index_order
from ansible_collections.consulops.failover.plugins.module_utils._drill.judge import judge_history
from ansible_collections.consulops.failover.plugins.module_utils._drill.lock_checker import check_locks
from ansible_collections.consulops.failover.plugins.module_utils._drill.phase_timing import (
    percentile,
    phase_bands,
    phase_timings,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.real_time_order import indexed, out_of_order
from ansible_collections.consulops.failover.plugins.module_utils._drill.set_checker import check_set
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.drill_histories import operation

S = 1_000_000_000


def add(value: int, start: int, outcome: str = OK) -> Operation:
    return operation("add", value, start, start + 1, outcome, workload="set")


def final_read(node: str, *values: int, start: int = 1000) -> Operation:
    return operation(
        "read", values, start, start + 1, workload="set", node=node, is_final=True, line=5000 + int(node[1:])
    )


def acquire(holder: str, start: int, end: int, index: int | None = None, until: int | None = None) -> Operation:
    return operation("acquire", holder, start, end, workload="lock", state_index=index, until_ns=until)


def release(holder: str, start: int, outcome: str = OK) -> Operation:
    return operation("release", holder, start, start + 1, outcome, workload="lock")


# ---------------------------------------------------------------------------------------------------------------
# Indexes


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10), st.integers(0, 5), st.booleans()), max_size=12))
def test_out_of_order_agrees_with_the_comparison_of_each_pair(rows: list[tuple[int, int, int, bool]]) -> None:
    made = [
        indexed(operation("read" if is_read else "write", number, start, start + took, line=number), index)
        for number, (start, took, index, is_read) in enumerate(rows)
    ]

    def must_grow(_earlier: Operation, later: Operation) -> bool:
        return not later.is_read

    expected = {
        later.operation.line
        for later in made
        for earlier in made
        if earlier.end_ns < later.operation.start_ns
        and (later.state_index < earlier.state_index + (0 if later.operation.is_read else 1))
    }
    assert {one.later.operation.line for one in out_of_order(made, must_grow)} == expected


def test_a_stale_read_is_measured_in_indexes_and_seconds() -> None:
    history = [
        operation("write", 1, 0, 1 * S, state_index=10),
        operation("write", 2, 2 * S, 3 * S, state_index=20),
        operation("write", 3, 4 * S, 5 * S, state_index=30),
        operation("read", 1, 8 * S, 9 * S, state_index=10),
    ]
    result = check_index_order(history)
    assert result.verdict == INVALID and result.violation_count == 1
    assert result.counts["stale_reads"] == 1 and result.counts["most_indexes_behind"] == 20
    assert result.counts["longest_stale_s"] == 5.0  # since the write of 2 had returned


def test_a_read_that_finds_nothing_after_a_write_had_returned_is_stale() -> None:
    history = [operation("write", 1, 0, 1, state_index=10), operation("read", None, 5, 6)]
    assert check_index_order(history).verdict == INVALID
    before = [operation("read", None, 0, 1), operation("write", 1, 5, 6, state_index=10)]
    assert check_index_order(before).verdict == VALID


@pytest.mark.parametrize(("start", "end"), [(0, 3), (5, 6)])
def test_two_writes_with_one_index_are_a_violation(start: int, end: int) -> None:
    history = [operation("write", 1, 0, 3, state_index=10), operation("write", 2, start, end, state_index=10, line=9)]
    result = check_index_order(history)
    assert result.verdict == INVALID and result.violation_count == 1
    assert "the same index" in result.violations[0].sentence


def test_without_any_index_the_order_is_unknown() -> None:
    assert check_index_order([operation("write", 1, 0, 1)]).verdict == UNKNOWN


# ---------------------------------------------------------------------------------------------------------------
# Sets


@given(st.randoms(use_true_random=False), st.integers(1, 30), st.integers(1, 4))
def test_a_set_checker_finds_exactly_what_is_missing(chance: random.Random, count: int, servers: int) -> None:
    adds = [add(value, value, chance.choice((OK, OK, FAIL, INFO))) for value in range(count)]
    acknowledged = {one.value for one in adds if one.outcome == OK}
    refused = {one.value for one in adds if one.outcome == FAIL}
    copies = [{value for value in range(count + 2) if chance.random() < 0.8} for _server in range(servers)]
    names = [f"n{number}" for number in range(servers)]
    reads = [final_read(name, *sorted(copy)) for name, copy in zip(names, copies)]
    result = check_set([*adds, *reads], names)
    somewhere = set().union(*copies)
    lost = acknowledged - somewhere
    assert result.counts["lost"] == len(lost)
    assert result.counts["stale"] == sum(len(acknowledged - copy - lost) for copy in copies)
    assert result.counts["unexpected"] == len(somewhere & (refused | {count, count + 1}))
    if not result.violation_count:
        assert result.verdict == (VALID if acknowledged else UNKNOWN)


def test_an_addition_that_ends_after_the_read_began_may_be_missing() -> None:
    late = operation("add", 2, 990, 1000, workload="set")
    assert check_set([add(1, 0), late, final_read("n1", 1)]).verdict == VALID


def test_a_set_without_a_final_read_is_unknown_and_so_is_one_whose_server_is_silent() -> None:
    assert check_set([add(1, 0)]).verdict == UNKNOWN
    assert check_set([add(1, 0), final_read("n1", 1)._replace(is_final=False)]).verdict == UNKNOWN
    result = check_set([add(1, 0), final_read("n1", 1)], ("n1", "n2"))
    assert result.verdict == UNKNOWN and "n2" in result.unknown[0]


def test_unknown_additions_that_took_effect_are_counted_and_are_no_violation() -> None:
    result = check_set([add(1, 0), add(2, 1, INFO), add(3, 2, INFO), final_read("n1", 1, 3)], ("n1",))
    assert result.verdict == VALID and result.counts["unknown_in_effect"] == 1
    assert result.remarks == ("k: 1 of 2 additions of unknown outcome took effect",)


# ---------------------------------------------------------------------------------------------------------------
# Locks


def test_one_holder_after_the_other_is_valid() -> None:
    history = [acquire("a", 0, 5, 1), release("a", 20), acquire("b", 18, 25, 2), release("b", 30)]
    assert check_locks(history).verdict == VALID


def test_two_certain_holds_that_overlap_are_a_violation() -> None:
    history = [acquire("a", 0, 5), release("a", 20), acquire("b", 4, 8), release("b", 30)]
    result = check_locks(history)
    assert result.verdict == INVALID and [one.value for one in result.violations[0].operations] == ["a", "b"]


def test_a_lock_that_is_acquired_while_another_certainly_holds_it_is_a_violation() -> None:
    assert check_locks([acquire("a", 0, 5), release("a", 20), acquire("b", 10, 12)]).verdict == INVALID


@pytest.mark.parametrize("ended", [[], [release("a", 20, INFO)], [release("a", 20, FAIL)]])
def test_a_hold_whose_end_is_not_certain_excludes_nobody(ended: list[Operation]) -> None:
    history = [acquire("a", 0, 5), *ended, acquire("b", 10, 12), release("b", 30)]
    assert check_locks(history).verdict == VALID


def test_a_hold_without_a_release_lasts_as_long_as_its_session_certainly_does() -> None:
    held = acquire("a", 0, 5, until=100)
    assert check_locks([held, acquire("b", 50, 60)]).verdict == INVALID
    assert check_locks([held, release("a", 40, INFO), acquire("b", 50, 60)]).verdict == VALID
    assert check_locks([held, acquire("b", 101, 110)]).verdict == VALID


def test_a_holder_that_takes_its_lock_again_is_no_second_one() -> None:
    history = [acquire("a", 0, 5, 1), acquire("a", 10, 12, 1), release("a", 20), acquire("b", 30, 31, 2)]
    assert check_locks(history).verdict == VALID
    lost_between = [acquire("a", 0, 5), acquire("b", 6, 7), release("b", 8), acquire("a", 10, 12), release("a", 20)]
    assert check_locks(lost_between).verdict == VALID


def test_a_lock_index_that_does_not_grow_with_a_new_holder_is_a_violation() -> None:
    history = [acquire("a", 0, 5, 7), release("a", 20), acquire("b", 30, 31, 7)]
    (violation,) = check_locks(history).violations
    assert "LockIndex did not grow" in violation.sentence


def test_a_lock_that_nobody_acquired_is_unknown() -> None:
    assert check_locks([]).verdict == UNKNOWN


# ---------------------------------------------------------------------------------------------------------------
# Verdicts


def test_the_overall_verdict_is_the_worst_and_nothing_checked_is_unknown() -> None:
    valid = check_result("c", "w", {}, [])
    unknown = check_result("c", "w", {}, [], ["why"])
    invalid = check_result("c", "w", {}, [Violation("x", "k", ())], ["why"])
    assert overall_verdict([]) == UNKNOWN
    assert overall_verdict([valid, valid]) == VALID
    assert overall_verdict([valid, unknown]) == UNKNOWN
    assert overall_verdict([unknown, invalid, valid]) == INVALID


def test_all_violations_are_counted_and_only_the_first_are_kept() -> None:
    result = check_result("c", "w", {}, [Violation(str(number), "k", ()) for number in range(100)])
    assert result.violation_count == 100 and len(result.violations) == MAX_VIOLATIONS


def test_a_workload_of_the_header_that_did_nothing_is_unknown() -> None:
    history = History(Header("d", ("set", "lock"), "default"), [])
    judgement = judge_history(history)
    assert [(one.workload, one.verdict) for one in judgement.results] == [("set", UNKNOWN), ("lock", UNKNOWN)]
    assert judgement.timings == ()


# ---------------------------------------------------------------------------------------------------------------
# Phases


def event(name: str, seconds: int) -> Event:
    return Event(0, name, seconds * S, {})


def test_phases_begin_and_end_with_faults_and_an_open_fault_lasts_until_the_end() -> None:
    events = [event("fault_started", 10), event("leader", 11), event("fault_started", 12), event("fault_ended", 15)]
    assert [(one.phase, one.end_ns // S) for one in phase_bands(events, 0, 60 * S)] == [("before", 10), ("fault", 60)]
    ended = [*events, event("fault_ended", 20), event("fault_started", 30), event("fault_ended", 40)]
    phases = [(one.phase, one.start_ns // S, one.end_ns // S) for one in phase_bands(ended, 0, 60 * S)]
    assert phases == [
        ("before", 0, 10),
        ("fault", 10, 20),
        ("after", 20, 30),
        ("fault", 30, 40),
        ("after", 40, 60),
    ]
    assert [one.phase for one in phase_bands([event("leader", 3)], 0, 60 * S)] == ["whole"]


def test_latency_counts_from_the_intended_start_and_a_gap_within_its_phase() -> None:
    writes = [operation("write", n, n * S, n * S + S // 100, line=n + 2) for n in range(10)]
    stalled = operation("write", 99, 14 * S, 15 * S, line=50)._replace(intended_ns=10 * S)
    after = [operation("write", 100 + n, (15 + n) * S, (15 + n) * S + S // 100) for n in range(1, 6)]
    events = [event("fault_started", 10), event("fault_ended", 14)]
    history = History(Header("d", ("register",), "default"), [*writes, stalled, *after], events)
    before, fault, healed = phase_timings(history)
    assert (before.phase, before.kind, before.ok) == ("before", "changes", 10)
    assert before.latency_ms == (10.0, 10.0, 10.0, 10.0) and before.longest_gap_s == 1.0
    assert (fault.phase, fault.ok, fault.latency_ms) == ("fault", 1, (5000.0,) * 4) and fault.longest_gap_s == 4.0
    assert healed.ok == 5 and healed.longest_gap_s == pytest.approx(1.01)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300), st.sampled_from([50, 95, 99, 100]))
def test_a_percentile_is_the_smallest_value_that_so_many_are_not_above(values: list[int], percent: int) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)

    def share(value: int) -> float:
        return 100 * sum(one <= value for one in ordered) / len(ordered)

    assert share(found) >= percent
    assert all(share(value) < percent for value in ordered if value < found)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Linearizability of registers: against brute force, on simulated histories, and what a violation shows."""

from __future__ import annotations

import os
import random
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._drill.check_result import INVALID, UNKNOWN, VALID
from ansible_collections.consulops.failover.plugins.module_utils._drill.history import FAIL, INFO, OK, Operation
from ansible_collections.consulops.failover.plugins.module_utils._drill.index_order import check_index_order
from ansible_collections.consulops.failover.plugins.module_utils._drill.linearizability import (
    check_linearizability,
    smallest_part,
    smallest_prefix,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.register_search import make_register, search
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.lab.drill_histories import operation, simulated

RANDOM_HISTORIES = int(os.environ.get("CONSULOPS_HISTORIES", "20000"))
PLENTY = 100_000


def is_linearizable(operations: t.Sequence[Operation]) -> bool | None:
    return search(make_register(operations), PLENTY).is_linearizable


def has_an_order(operations: t.Sequence[Operation], state: t.Any = None) -> bool:
    """Try every order of the operations, with and without each unknown one. Operations that failed are not given."""
    if not any(one.outcome == OK for one in operations):
        return True
    for place, one in enumerate(operations):
        if any(other.end_ns is not None and other.end_ns < one.start_ns for other in operations):
            continue  # that one was over before this one began, so it comes first
        if one.is_read:
            following, is_legal = state, one.value == state or one.outcome == INFO
        elif one.f == "cas":
            following, is_legal = one.value[1], one.value[0] == state
        else:
            following, is_legal = one.value, True
        if is_legal and has_an_order([*operations[:place], *operations[place + 1 :]], following):
            return True
    return False


def random_history(chance: random.Random, *, values_are_unique: bool) -> list[Operation]:
    """Return a few operations with random times and results."""
    found = []
    plan = [chance.choice(("read", "read", "write", "cas")) for _number in range(chance.randrange(2, 7))]
    changes = sum(f != "read" for f in plan)
    unwritten = list(range(changes)) if values_are_unique else [chance.randrange(2) for _number in range(changes)]
    possible = [None, *unwritten]
    for number, f in enumerate(plan):
        start = chance.randrange(12)
        outcome = chance.choice((OK, OK, OK, INFO))
        value: t.Any = chance.choice(possible)
        if f != "read":
            new = unwritten.pop()
            value = (value, new) if f == "cas" else new
        found.append(operation(f, value, start, start + chance.randrange(8), outcome, line=number))
    return found


@pytest.mark.parametrize("values_are_unique", [True, False])
def test_the_search_agrees_with_brute_force(values_are_unique: bool) -> None:
    chance = random.Random(f"drill {values_are_unique}")
    counts = {True: 0, False: 0}
    for _number in range(RANDOM_HISTORIES // 2):
        history = random_history(chance, values_are_unique=values_are_unique)
        expected = has_an_order(history)
        assert is_linearizable(history) is expected, list(map(str, history))
        counts[expected] += 1
    assert min(counts.values()) > RANDOM_HISTORIES // 20


@given(st.randoms(use_true_random=False), st.booleans())
def test_each_smallest_prefix_and_part_is_refuted_by_brute_force_too(chance: random.Random, unique: bool) -> None:
    history = random_history(chance, values_are_unique=unique)
    if is_linearizable(history):
        return
    prefix = smallest_prefix(history, PLENTY)
    assert not has_an_order(prefix)
    last_ns = max(one.end_ns for one in prefix if one.end_ns is not None)
    before = [one if one.end_ns != last_ns else one._replace(outcome=INFO, end_ns=None) for one in prefix]
    assert has_an_order([one for one in before if not (one.is_read and one.outcome == INFO)])
    part = smallest_part(prefix, PLENTY)
    assert not has_an_order(part) and {one.line for one in part} <= {one.line for one in prefix}
    reads = [place for place, one in enumerate(part) if one.is_read]
    assert all(has_an_order([*part[:place], *part[place + 1 :]]) for place in reads)


@settings(max_examples=25)
@given(
    st.integers(0, 2**32),
    st.sampled_from([(1, 5), (3, 10), (10, 4)]),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.booleans(),
)
def test_what_a_register_did_is_linearizable_and_its_indexes_are_in_order(
    seed: int, size: tuple[int, int], unknown_share: float, each: bool
) -> None:
    history = simulated(seed, 300, *size, unknown_share, clients_of_each_key=each)
    assert check_linearizability(history).verdict == VALID
    assert check_index_order(history).verdict == VALID


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(2, 30))
@example(2311158, 3)
def test_a_stale_read_of_a_register_is_found_by_both_checkers(seed: int, behind: int) -> None:
    history = simulated(seed, 200, 1, 3)
    changes = [one for one in history if not one.is_read and one.outcome == OK and one.state_index is not None]
    in_order = sorted(changes, key=lambda one: one.state_index or 0)
    old, new = in_order[-behind], in_order[-1]
    # Of two changes at one time values do not say which came first; indexes do, which the first checker does not know.
    assume((old.end_ns or 0) < new.start_ns)
    value = old.value if old.f == "write" else old.value[1]
    moment = max(one.end_ns or 0 for one in history) + 1
    stale = operation("read", value, moment, moment + 1, key=old.key, state_index=old.state_index, line=10**6)
    assert old is not new
    for result in (check_linearizability([*history, stale]), check_index_order([*history, stale])):
        assert result.verdict == INVALID
        assert stale in result.violations[0].operations


def test_a_lost_update_is_shown_by_the_three_operations_that_prove_it() -> None:
    noise = [operation("write", 10 + n, 10 * n, 10 * n + 5, line=n + 2) for n in range(50)]
    late = [
        operation("write", 1, 600, 610, line=60),
        operation("write", 2, 620, 630, line=61),
        operation("read", 1, 640, 650, line=62),
        operation("read", 2, 660, 670, line=63),
    ]
    result = check_linearizability([*noise, *late])
    (violation,) = result.violations
    assert [one.line for one in violation.operations] == [60, 61, 62]
    assert "read of line 62" in violation.sentence and violation.key == "k"


def test_the_smallest_prefix_ends_with_the_first_operation_that_cannot_be_explained() -> None:
    history = [
        operation("write", 1, 0, 1),
        operation("read", 1, 2, 3),
        operation("write", 2, 4, 90),
        operation("read", None, 5, 6),
        operation("read", 2, 7, 8),
    ]
    prefix = smallest_prefix(history, PLENTY)
    assert [one.start_ns for one in prefix] == [0, 2, 4, 5] and prefix[2].outcome == INFO


def test_an_unknown_write_may_take_effect_late_or_never() -> None:
    unknown = operation("write", 7, 0, None, INFO)
    late = [operation("write", 1, 10, 20), operation("read", 1, 30, 40), operation("read", 7, 50, 60)]
    assert is_linearizable([unknown, *late]) and is_linearizable([unknown, *late[:2]])
    back = operation("read", 1, 70, 80)
    assert is_linearizable([unknown, *late, back]) is False


def test_what_failed_did_not_happen() -> None:
    refused = operation("write", 7, 0, 5, FAIL)
    assert is_linearizable([refused, operation("read", 7, 10, 20)]) is False
    assert is_linearizable([refused, operation("read", None, 10, 20)])


def test_unknown_changes_that_nobody_saw_cost_nothing() -> None:
    history = simulated(1, 2000, 1, 10, 0.5)
    result = check_linearizability(history)
    assert result.verdict == VALID and result.counts["unknown_unseen"] > 100
    assert result.counts["steps"] < 4 * result.counts["operations"]


def test_a_search_that_takes_too_long_is_unknown_and_never_valid() -> None:
    history = simulated(3, 400, 2, 10)
    result = check_linearizability(history, max_steps=20)
    assert result.verdict == UNKNOWN and len(result.unknown) == 2
    assert "within 20 steps" in result.unknown[0]


def test_a_history_without_acknowledged_operations_is_unknown() -> None:
    assert check_linearizability([]).verdict == UNKNOWN
    assert check_linearizability([operation("write", 1, 0, 5, FAIL)]).verdict == UNKNOWN

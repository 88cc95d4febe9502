# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks registers for linearizability: each key's operations must have one order, in agreement with real time, that explains them."""

from __future__ import annotations

import typing as t

from .check_result import CheckResult, Violation, check_result
from .history import INFO, NS, OK, Operation, by_key
from .register_search import make_register, search

CHECKER = "linearizability"
MAX_STEPS = 500_000  # for a key: some 5 seconds and 100 MB


def check_linearizability(operations: t.Iterable[Operation], max_steps: int = MAX_STEPS) -> CheckResult:
    """Return whether the registers are linearizable. A key that needs more steps is unknown."""
    violations, unknown = [], []
    counts = dict.fromkeys(("operations", "acknowledged", "keys", "unknown", "unknown_unseen", "steps"), 0)
    for key, of_key in by_key(operations).items():
        register = make_register(of_key)
        found = search(register, max_steps)
        counts["keys"] += 1
        counts["operations"] += len(of_key)
        counts["acknowledged"] += sum(one.outcome == OK for one in of_key)
        counts["unknown"] += sum(one.outcome == INFO and not one.is_read for one in of_key)
        counts["unknown_unseen"] += register.left_out
        counts["steps"] += found.steps
        if found.is_linearizable is None:
            unknown.append(f"key {key}: no order was found within {max_steps:,} steps, and none was excluded")
        elif not found.is_linearizable:
            violations.append(_violation(key, of_key, max_steps))
    if not counts["acknowledged"]:
        unknown.append("no operation was acknowledged")
    return check_result(CHECKER, "register", counts, violations, unknown)


def _violation(key: str, operations: t.Sequence[Operation], max_steps: int) -> Violation:
    prefix = smallest_prefix(operations, max_steps)
    last_end_ns = max(one.end_ns for one in prefix if one.end_ns is not None)
    last = next(one for one in prefix if one.end_ns == last_end_ns)
    sentence = (
        f"key {key} is not linearizable: until {last_end_ns / NS:.3f} s, when the {last.f} of line {last.line} returned, "
        f"its {len(prefix)} operations have no order that explains what they returned"
    )
    return Violation(sentence, key, tuple(smallest_part(prefix, max_steps)))


def smallest_prefix(operations: t.Sequence[Operation], max_steps: int) -> list[Operation]:
    """Return what had happened at the first moment from which on the operations cannot be explained.

    Changes that had not returned at that moment are of unknown outcome. ``operations`` are not linearizable.
    """
    ends = sorted({t.cast(int, one.end_ns) for one in operations if one.outcome == OK})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if _is_refuted(_until(operations, ends[middle]), max_steps):
            high = middle
        else:
            low = middle + 1
    return _until(operations, ends[high])


def _until(operations: t.Sequence[Operation], moment_ns: int) -> list[Operation]:
    found = []
    for one in operations:
        if one.start_ns > moment_ns:
            continue
        if one.outcome == OK and t.cast(int, one.end_ns) <= moment_ns:
            found.append(one)
        elif one.outcome in (OK, INFO) and not one.is_read:
            found.append(one._replace(outcome=INFO, end_ns=None, state_index=None))
    return found


def _is_refuted(operations: t.Iterable[Operation], max_steps: int) -> bool:
    return search(make_register(operations), max_steps).is_linearizable is False


def smallest_part(operations: t.Sequence[Operation], max_steps: int) -> list[Operation]:
    """Return operations that cannot be explained, without any that are not needed for that.

    A value goes with everything that wrote or saw it, so that what is left is a history that could have been; reads go by themselves too.
    """
    groups = _reduced(_by_value(operations), max_steps)
    kept = [one for group in groups for one in group]
    changes = [one for one in kept if not one.is_read]
    reads = _reduced([[one] for one in kept if one.is_read], max_steps, changes)
    return sorted(changes + [one for group in reads for one in group], key=_line_of)


def _line_of(operation: Operation) -> int:
    return operation.line


def _reduced(
    groups: list[list[Operation]], max_steps: int, always: t.Sequence[Operation] = ()
) -> list[list[Operation]]:
    """Leave out groups, many at a time first, as long as the rest cannot be explained."""
    size = max(1, len(groups) // 2)
    while True:
        place = 0
        while place < len(groups):
            fewer = groups[:place] + groups[place + size :]
            if _is_refuted([*always, *(one for group in fewer for one in group)], max_steps):
                groups = fewer
            else:
                place += size
        if size == 1:
            return groups
        size //= 2


def _by_value(operations: t.Sequence[Operation]) -> list[list[Operation]]:
    """Return the operations that share a value with each other; a compare-and-set joins two values."""
    group_of: dict[t.Any, list[Operation]] = {}
    for one in operations:
        group: list[Operation] = []
        for value in _values(one):
            joined = group_of.get(value, group)
            if joined is not group:
                group, smaller = (joined, group) if len(joined) > len(group) else (group, joined)
                group += smaller
                group_of.update((moved, group) for member in smaller for moved in _values(member))
        group.append(one)
        group_of.update((value, group) for value in _values(one))
    return list({id(group): group for group in group_of.values()}.values())


def _values(operation: Operation) -> tuple[t.Any, ...]:
    return t.cast("tuple[t.Any, ...]", operation.value) if operation.f == "cas" else (operation.value,)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks the ModifyIndexes of registers: an independent check of linearizability that needs no search.

A transaction returns the ModifyIndex that it wrote, and a read the one that it saw. For each key they give Consul's own order, which must
agree with real time.
"""

from __future__ import annotations

import typing as t

from .check_result import CheckResult, Violation, check_result
from .history import NS, OK, Operation, by_key
from .real_time_order import Indexed, OutOfOrder, Superseded, indexed, out_of_order

CHECKER = "index_order"


def check_index_order(operations: t.Iterable[Operation]) -> CheckResult:
    """Return whether indexes agree with real time, and how stale reads were, in indexes and seconds."""
    violations: list[Violation] = []
    compared = without_index = stale_reads = most_behind = longest_ns = 0
    for key, of_key in by_key(one for one in operations if one.outcome == OK).items():
        known = [indexed(one, index) for one in of_key for index in [_index(one)] if index is not None]
        compared += len(known)
        without_index += len(of_key) - len(known)
        violations += _written_twice(key, known)
        wrong = out_of_order(known, _must_grow)
        superseded = Superseded(known) if wrong else None
        for one in wrong:
            behind = one.earlier.state_index - one.later.state_index
            since_ns = superseded.since_ns(one.later.state_index) if superseded and behind else None
            stale_ns = 0 if since_ns is None else one.later.operation.start_ns - since_ns
            if one.later.operation.is_read:
                stale_reads += 1
                most_behind, longest_ns = max(most_behind, behind), max(longest_ns, stale_ns)
            violations.append(_violation(key, one, stale_ns))
    counts = {
        "compared": compared,
        "without_index": without_index,
        "stale_reads": stale_reads,
        "most_indexes_behind": most_behind,
        "longest_stale_s": round(longest_ns / NS, 6),
    }
    unknown = [] if compared else ["no acknowledged operation has an index"]
    return check_result(CHECKER, "register", counts, violations, unknown)


def _index(operation: Operation) -> int | None:
    """Return an operation's index. A key that does not exist yet has none, and was changed before everything else."""
    if operation.state_index is None and operation.is_read and operation.value is None:
        return 0
    return operation.state_index


def _must_grow(_earlier: Operation, later: Operation) -> bool:
    return not later.is_read


def _violation(key: str, one: OutOfOrder, stale_ns: int) -> Violation:
    earlier, later = one
    is_equal = earlier.state_index == later.state_index
    what = "the same index" if is_equal else f"an index {earlier.state_index - later.state_index} lower"
    stale = f", a state that was out of date for {stale_ns / NS:.3f} s" if stale_ns else ""
    sentence = (
        f"key {key}: the {later.operation.f} of line {later.operation.line} began after the {earlier.operation.f} of line "
        f"{earlier.operation.line} had returned, and has {what} ({later.state_index}, not above {earlier.state_index}){stale}"
    )
    return Violation(sentence, key, (earlier.operation, later.operation))


def _written_twice(key: str, known: t.Iterable[Indexed]) -> list[Violation]:
    """Return acknowledged changes that have one index together, so that one of them was lost."""
    first_of: dict[int, Operation] = {}
    violations = []
    for one in known:
        if one.operation.is_read:
            continue
        first = first_of.setdefault(one.state_index, one.operation)
        if (
            first is not one.operation and not t.cast(int, first.end_ns) < one.operation.start_ns
        ):  # else it is out of order
            sentence = f"key {key}: the changes of lines {first.line} and {one.operation.line} have the same index {one.state_index}"
            violations.append(Violation(sentence, key, (first, one.operation)))
    return violations

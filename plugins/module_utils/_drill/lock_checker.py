# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks locks: never two holders at one time, and a LockIndex that grows with every new holder.

Only intervals that are certain count. A lock is held from the return of its acquisition until its release begins, when Consul
accepts the release: it would refuse that of a holder who lost the lock. Without that, it is held as long as the TTL of its session
lasts, where the history says until when.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .check_result import CheckResult, Violation, check_result
from .history import FAIL, NS, OK, Operation, by_key
from .real_time_order import indexed, out_of_order

CHECKER = "holders"


@dataclass(frozen=True)
class Hold:
    """An acquired lock: certainly held from ``start_ns`` to ``end_ns``, which are the same where only the acquisition is known."""

    acquired: Operation
    start_ns: int
    end_ns: int


def check_locks(operations: t.Iterable[Operation]) -> CheckResult:
    """Return whether each lock had one holder at most."""
    violations: list[Violation] = []
    acquired = refused = unknown = certain = without_index = 0
    for key, of_key in by_key(operations).items():
        attempts = [one for one in of_key if one.f == "acquire"]
        held = [one for one in attempts if one.outcome == OK]
        holds = certain_holds(of_key)
        acquired += len(held)
        refused += sum(one.outcome == FAIL for one in attempts)
        unknown += sum(one.outcome not in (OK, FAIL) for one in of_key)
        certain += sum(hold.end_ns > hold.start_ns for hold in holds)
        known = [indexed(one, one.state_index) for one in held if one.state_index is not None]
        without_index += len(held) - len(known)
        violations += two_holders(key, holds)
        violations += [
            Violation(
                f"lock {key}: the LockIndex did not grow: {late.state_index} for {late.operation.value}, after {early.state_index} for "
                f"{early.operation.value}",
                key,
                (early.operation, late.operation),
            )
            for early, late in out_of_order(known, _is_new_holder)
        ]
    counts = {
        "acquired": acquired,
        "refused": refused,
        "unknown": unknown,
        "certain_holds": certain,
        "without_index": without_index,
    }
    return check_result(CHECKER, "lock", counts, violations, [] if acquired else ["no lock was acquired"])


def _is_new_holder(earlier: Operation, later: Operation) -> bool:
    return bool(earlier.value != later.value)


def certain_holds(operations: t.Sequence[Operation]) -> list[Hold]:
    """Return when one lock was certainly held: an interval for each acquisition that succeeded."""
    releases: dict[str, list[Operation]] = {}
    for one in operations:
        if one.f == "release":
            releases.setdefault(one.value, []).append(one)
    acquired: dict[str, list[Operation]] = {}
    for one in operations:
        if one.f == "acquire" and one.outcome == OK:
            acquired.setdefault(one.value, []).append(one)
    holds = []
    for holder, of_holder in acquired.items():
        of_holder.sort(key=_start_of)
        ended = sorted(releases.get(holder, ()), key=_start_of)
        place = 0
        for number, one in enumerate(of_holder):
            start_ns = t.cast(int, one.end_ns)
            while place < len(ended) and ended[place].start_ns < start_ns:
                place += 1
            release = ended[place] if place < len(ended) else None
            if (
                release
                and number + 1 < len(of_holder)
                and t.cast(int, of_holder[number + 1].end_ns) <= release.start_ns
            ):
                release = None  # it took the lock again before; whether it had lost it in between is unknown
            holds.append(Hold(one, start_ns, max(start_ns, _held_until(one, release, start_ns))))
    return holds


def _start_of(operation: Operation) -> int:
    return operation.start_ns


def _held_until(acquired: Operation, release: Operation | None, start_ns: int) -> int:
    if release is not None and release.outcome == OK:
        return release.start_ns
    until_ns = start_ns if acquired.until_ns is None else acquired.until_ns
    return until_ns if release is None else min(until_ns, release.start_ns)


def two_holders(key: str, holds: t.Iterable[Hold]) -> list[Violation]:
    """Return each hold that overlaps one of another holder that began before, or was acquired entirely within one."""
    violations = []
    open_holds: list[Hold] = []  # the two that end last, of different holders
    for hold in sorted(holds, key=_begin_of):
        holder = hold.acquired.value
        for other in open_holds:
            if other.acquired.value == holder:
                continue
            is_overlap = hold.start_ns < min(other.end_ns, hold.end_ns)
            is_within = other.start_ns < hold.acquired.start_ns and hold.start_ns < other.end_ns
            if is_overlap or is_within:
                sentence = (
                    f"lock {key}: {other.acquired.value} held it until {other.end_ns / NS:.3f} s at least, and {holder} acquired it "
                    f"at {hold.start_ns / NS:.3f} s at the latest"
                )
                violations.append(Violation(sentence, key, (other.acquired, hold.acquired)))
                break
        open_holds = _two_last([*open_holds, hold])
    return violations


def _begin_of(hold: Hold) -> int:
    return hold.start_ns


def _end_of(hold: Hold) -> int:
    return hold.end_ns


def _two_last(holds: list[Hold]) -> list[Hold]:
    """Return the hold that ends last, and that of another holder that ends last."""
    last = max(holds, key=_end_of)
    others = [hold for hold in holds if hold.acquired.value != last.acquired.value]
    return [last, max(others, key=_end_of)] if others else [last]

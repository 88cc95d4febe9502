# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares the indexes of operations with real time: what begins after something has returned must not be of an earlier state."""

from __future__ import annotations

import typing as t
from bisect import bisect_right

from .history import Operation


class Indexed(t.NamedTuple):
    """An operation that returned, and the index of its state."""

    state_index: int
    end_ns: int
    operation: Operation


class OutOfOrder(t.NamedTuple):
    """An operation that began after ``earlier`` had returned, and has an index that is too small."""

    earlier: Indexed
    later: Indexed


def indexed(operation: Operation, index: int) -> Indexed:
    """Return an operation that returned, with its index."""
    return Indexed(index, t.cast(int, operation.end_ns), operation)


def out_of_order(found: t.Iterable[Indexed], must_grow: t.Callable[[Operation, Operation], bool]) -> list[OutOfOrder]:
    """Return each operation with a smaller index than the highest of those that had returned before it began.

    The same index is too small as well where ``must_grow(earlier, later)``. Takes O(n log n).
    """
    by_end = sorted(found, key=_end_of)
    by_start = sorted(by_end, key=_start_of)
    violations = []
    highest: Indexed | None = None
    place = 0
    for later in by_start:
        while by_end[place].end_ns < later.operation.start_ns:  # ends at the latest at its own end
            if highest is None or by_end[place].state_index > highest.state_index:
                highest = by_end[place]
            place += 1
        if highest is None or later.state_index > highest.state_index:
            continue
        if later.state_index < highest.state_index or must_grow(highest.operation, later.operation):
            violations.append(OutOfOrder(highest, later))
    return violations


def _end_of(one: Indexed) -> int:
    return one.end_ns


def _start_of(one: Indexed) -> int:
    return one.operation.start_ns


class Superseded:
    """When each index was certainly not the newest any more."""

    def __init__(self, found: t.Iterable[Indexed]) -> None:
        by_index = sorted(found, key=_index_of)
        self._indexes = [one.state_index for one in by_index]
        self._first_ends = [one.end_ns for one in by_index]
        for place in range(len(by_index) - 2, -1, -1):
            self._first_ends[place] = min(self._first_ends[place], self._first_ends[place + 1])

    def since_ns(self, index: int) -> int | None:
        """Return when the first operation with a higher index had returned, None without one."""
        place = bisect_right(self._indexes, index)
        return self._first_ends[place] if place < len(self._first_ends) else None


def _index_of(one: Indexed) -> int:
    return one.state_index

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Searches for an order of a register's operations that explains what each of them returned.

The search of Wing and Gong with Lowe's memory of states ("Testing for linearizability", 2017). Three rules make it short:

- A read that may come next and that sees the current value is taken at once: it changes nothing, so an order without it there
  exists only if one with it exists.
- A change of unknown outcome is left out when nothing that is known to have happened depends on its value.
- Where each value is written once, as the recorder does it, a value is not overwritten while an operation still has to see it, and a
  change that was seen came before the first operation that saw it returned.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .history import INFO, OK, Operation

NEVER = 1 << 63  # the end of an operation that may take effect at any time, or not at all
_ANY: t.Any = object()  # what a write expects
_NOTHING: t.Any = object()  # what a read writes


@dataclass(frozen=True)
class Register:
    """The operations of one register, by their starts, as lists with one place each.

    ``expects`` is the value that must be there, ``gives`` the one that is there afterwards. ``values_are_unique``: each is written once.
    """

    starts: t.Sequence[int]
    ends: t.Sequence[int]
    expects: t.Sequence[t.Any]
    gives: t.Sequence[t.Any]
    values_are_unique: bool
    left_out: int  # changes of unknown outcome whose values were not seen


class Found(t.NamedTuple):
    """Whether there is an order, None when the budget was used up; and the steps that were needed."""

    is_linearizable: bool | None
    steps: int


def make_register(operations: t.Iterable[Operation]) -> Register:
    """Return what has to be ordered: acknowledged operations, and changes of unknown outcome whose values were seen."""
    possible = [one for one in operations if one.outcome == OK or (one.outcome == INFO and not one.is_read)]
    written = [_gives(one) for one in possible if not one.is_read]
    is_unique = len(set(written)) == len(written)
    seen_by_ns = _seen_by(possible)
    rows = []
    for one in possible:
        gives = _gives(one)
        if one.outcome == OK:
            end_ns = t.cast(int, one.end_ns)
        elif gives in seen_by_ns:
            end_ns = seen_by_ns[gives] if is_unique else NEVER
        else:
            continue
        rows.append((one.start_ns, end_ns, one.line, _expects(one), gives))
    rows.sort(key=_start_of)
    starts, ends, _lines, expects, gives_list = zip(*rows) if rows else ((),) * 5
    return Register(starts, ends, expects, gives_list, is_unique, len(possible) - len(rows))


def _start_of(row: tuple[t.Any, ...]) -> tuple[int, int]:
    return row[0], row[2]


def _expects(operation: Operation) -> t.Any:
    if operation.f == "cas":
        return operation.value[0]
    return operation.value if operation.is_read else _ANY


def _gives(operation: Operation) -> t.Any:
    if operation.f == "cas":
        return operation.value[1]
    return _NOTHING if operation.is_read else operation.value


def _seen_by(operations: t.Iterable[Operation]) -> dict[t.Any, int]:
    """Return the values that were seen, by reads and compare-and-sets that happened, and when the first of these had returned.

    What an unknown compare-and-set expected was seen too, when the value that it wrote was.
    """
    seen_by_ns: dict[t.Any, int] = {}
    unknown_cas: dict[t.Any, list[t.Any]] = {}
    for one in operations:
        if one.outcome == INFO:
            if one.f == "cas":
                unknown_cas.setdefault(one.value[1], []).append(one.value[0])
            continue
        expected = _expects(one)
        if expected is not _ANY:
            seen_by_ns[expected] = min(seen_by_ns.get(expected, NEVER), t.cast(int, one.end_ns))
    waiting = list(seen_by_ns)
    while waiting:
        value = waiting.pop()
        for expected in unknown_cas.get(value, ()):
            if seen_by_ns[value] < seen_by_ns.get(expected, NEVER):
                seen_by_ns[expected] = seen_by_ns[value]
                waiting.append(expected)
    return seen_by_ns


class _Frame:
    """A point of the search: the changes that can come next and were not tried yet, and how to come back to it."""

    __slots__ = ("choices", "reads", "state", "first", "mask", "chosen")

    def __init__(self, choices: list[int], reads: list[int], state: t.Any, first: int, mask: int) -> None:
        self.choices = choices
        self.reads = reads
        self.state = state
        self.first = first
        self.mask = mask
        self.chosen = 0


def search(register: Register, max_steps: int) -> Found:
    """Search for an order, with at most so many changes tried."""
    return _Search(register).run(max_steps)


class _Search:
    """The state of a search: the operations that have no place in the order yet, in a linked list by their starts.

    Places are counted from 1, and 0 is the head of the list. ``first`` is the first of the list and ``mask`` has a bit for each
    operation behind it that has a place, so that both together name the operations that have one.
    """

    def __init__(self, register: Register) -> None:
        count = len(register.starts)
        self._starts = (0, *register.starts)
        self._ends = (0, *register.ends)
        self._expects = (None, *register.expects)
        self._gives = (None, *register.gives)
        self._is_unique = register.values_are_unique
        self._after = [*range(1, count + 1), 0]
        self._before = [count, *range(count)]
        self._required = sum(end != NEVER for end in register.ends)
        self._needed: dict[t.Any, int] = {}  # by how many operations without a place a value has to be seen
        for expected in register.expects:
            if expected is not _ANY:
                self._needed[expected] = self._needed.get(expected, 0) + 1
        self._first = 1
        self._mask = 0
        self._frames: list[_Frame] = []

    def run(self, max_steps: int) -> Found:
        tried: set[tuple[int, int, t.Any]] = set()
        state: t.Any = None
        steps = 0
        while True:
            self._expand(state)
            if not self._required:
                return Found(True, steps)
            while True:
                steps += 1
                if steps > max_steps:
                    return Found(None, max_steps)
                frame = self._frames[-1]
                if not frame.choices:
                    if not self._go_back():
                        return Found(False, steps)
                    continue
                place = frame.choices.pop()
                self._remove(place)
                state = self._gives[place]
                point = (self._first, self._mask, state)
                if point not in tried:
                    tried.add(point)
                    frame.chosen = place
                    break
                self._restore(place)
                self._first, self._mask = frame.first, frame.mask

    def _expand(self, state: t.Any) -> None:
        """Take the reads that see the state, and note which changes can come next: those that began before another had to end."""
        starts, ends, after, expects, gives = self._starts, self._ends, self._after, self._expects, self._gives
        reads: list[int] = []
        choices: list[int] = []
        bound = NEVER
        place = after[0]
        while place and starts[place] <= bound:
            following = after[place]
            expected = expects[place]
            if gives[place] is _NOTHING:
                if expected == state:
                    self._remove(place)
                    reads.append(place)
                    place = following
                    continue
            elif expected is _ANY or expected == state:
                choices.append(place)
            if ends[place] < bound:
                bound = ends[place]
            place = following
        needed = self._needed.get(state, 0)
        if self._is_unique and needed:
            # Only a compare-and-set may take the value away, when nothing else has to see it.
            choices = [one for one in choices if expects[one] is not _ANY] if needed == 1 else []
        if len(choices) > 1:
            choices.sort(key=ends.__getitem__, reverse=True)  # the last is tried first
        self._frames.append(_Frame(choices, reads, state, self._first, self._mask))

    def _go_back(self) -> bool:
        """Undo the last change and the reads behind it; return False at the beginning."""
        frame = self._frames.pop()
        for place in reversed(frame.reads):
            self._restore(place)
        if not self._frames:
            return False
        last = self._frames[-1]
        self._restore(last.chosen)
        self._first, self._mask = last.first, last.mask
        return True

    def _remove(self, place: int) -> None:
        following, previous = self._after[place], self._before[place]
        self._after[previous] = following
        self._before[following] = previous
        if self._ends[place] != NEVER:
            self._required -= 1
        expected = self._expects[place]
        if expected is not _ANY:
            self._needed[expected] -= 1
        self._mask |= 1 << (place - self._first)
        if previous == 0:
            first = following or len(self._after)
            self._mask >>= first - self._first
            self._first = first

    def _restore(self, place: int) -> None:
        """Put an operation back; those that were removed after it must be back already."""
        self._after[self._before[place]] = place
        self._before[self._after[place]] = place
        if self._ends[place] != NEVER:
            self._required += 1
        expected = self._expects[place]
        if expected is not _ANY:
            self._needed[expected] += 1

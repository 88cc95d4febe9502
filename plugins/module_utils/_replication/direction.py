# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of two sets that copy in opposite directions may write, agreed by two datacenters that share nothing. Pure.

Each destination has a register: a generation and the set that is active in it. A register only ever goes to a higher generation. A set
first records its generation at its source, where the other set writes, which ends the other's right to write; then at its own
destination, and each of its batches checks that register. For both to write, each register would have to be later than the other.
"""

from __future__ import annotations

import json
import typing as t

SOURCE, DESTINATION = "source", "destination"  # of the set that takes the direction


class DirectionRecord(t.NamedTuple):
    """What a register contains: the set ``active`` won the ``generation``."""

    generation: int
    active: str

    def as_json(self) -> bytes:
        """Return the stored document."""
        return json.dumps(self._asdict(), sort_keys=True).encode()


def parse_direction(value: bytes) -> DirectionRecord:
    """Return the record that a register holds. Raises ValueError for anything else."""
    try:
        document = json.loads(value)
        generation, active = document["generation"], document["active"]
    except (LookupError, TypeError, ValueError, RecursionError):
        raise ValueError from None
    if isinstance(generation, bool) or not isinstance(generation, int) or not isinstance(active, str):
        raise ValueError
    return DirectionRecord(generation, active)


class Register(t.NamedTuple):
    """A register as it was read: its record, None for none, and the index of its key, 0 for no key."""

    record: DirectionRecord | None
    at_index: int


class Read(t.NamedTuple):
    """Read the register of a side; the answer is a Register."""

    side: str


class Record(t.NamedTuple):
    """Write the record to the register of a side if that still has this index. There is no answer: it is read again."""

    side: str
    record: DirectionRecord
    at_index: int


class Taken(t.NamedTuple):
    """The outcome: ``lost_to`` is what another set recorded, None for success; ``at_index`` is what each batch checks then."""

    lost_to: DirectionRecord | None
    at_index: int = 0


Steps = t.Generator[t.Union[Read, Record], t.Optional[Register], Taken]


def take_direction(wanted: DirectionRecord) -> Steps:
    """Yield the steps by which the set ``wanted.active`` takes the direction, and return the outcome."""
    index = 0
    for side in (SOURCE, DESTINATION):
        outcome = yield from take_register(wanted, side)
        if outcome.lost_to is not None:
            return outcome
        index = outcome.at_index
    return Taken(None, index)


def take_register(wanted: DirectionRecord, side: str) -> Steps:
    """Yield the steps that record what is wanted in the register of one side, and return the outcome."""
    while True:
        found = t.cast("Register", (yield Read(side)))
        if found.record == wanted:
            return Taken(None, found.at_index)
        # Of two sets with one generation the first one won it: that is a mistake of the configuration.
        if found.record is not None and found.record.generation >= wanted.generation:
            return Taken(found.record)
        yield Record(side, wanted, found.at_index)

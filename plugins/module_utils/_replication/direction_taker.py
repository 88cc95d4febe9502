# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes the direction of a set in two datacenters: carries out the steps of direction.py."""

from __future__ import annotations

import json
import logging
import typing as t

from .._consul import errors, kv, txn
from .._consul.client import Client
from .._consul.txn import Operation
from .._consul.units import timestamp
from .control import direction_key, freeze_key, frozen_generation
from .direction import (
    DESTINATION,
    SOURCE,
    DirectionRecord,
    Read,
    Register,
    Steps,
    Taken,
    parse_direction,
    take_direction,
    take_register,
)

log = logging.getLogger("consulops")


class SetDirection(t.NamedTuple):
    """What the configuration says: the set ``name`` reverses the set ``reverses`` and is active in this generation."""

    name: str
    reverses: str
    generation: int

    @property
    def wanted(self) -> DirectionRecord:
        """The record of both registers when this set may write."""
        return DirectionRecord(self.generation, self.name)

    def lost_text(self, lost_to: DirectionRecord) -> str:
        """Return why the set may not write, as its status says who froze it."""
        if lost_to.generation == self.generation:
            return f"the direction: generation {lost_to.generation} was taken by {lost_to.active}, so {self.name} needs a higher one"
        return f"the direction: it was reversed by {lost_to.active}, generation {lost_to.generation}"

    def in_effect(self, index: int) -> Operation:
        """Return the operation that makes a transaction at the destination fail when the direction is another one."""
        return Operation("check-index", direction_key(self.name), index=index)


class DirectionTaker:
    """Takes the direction for one set. ``guard`` is the operation that checks its lock at the destination.

    All methods raise a ConsulError.
    """

    def __init__(
        self, set_direction: SetDirection, source: Client, destination: Client | None, guard: Operation | None = None
    ) -> None:
        self._set = set_direction
        self._source, self._destination, self._guard = source, destination, guard

    def end_the_other(self, now: float) -> Taken:
        """End the right of the other set to write at our source, which needs nothing of our destination; ``now`` in Unix seconds."""
        outcome = self._carry_out(take_register(self._set.wanted, SOURCE))
        if outcome.lost_to is None:
            self._freeze_the_other(outcome.at_index, now)
        return outcome

    def take(self, now: float) -> Taken:
        """Take the direction, and end the freeze of an earlier one; ``now`` in Unix seconds."""
        outcome = self.end_the_other(now)
        if outcome.lost_to is None:
            outcome = self._carry_out(take_direction(self._set.wanted))
        if outcome.lost_to is None:
            self._end_own_freeze(outcome.at_index)
        return outcome

    def _carry_out(self, steps: Steps) -> Taken:
        answer: Register | None = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as ended:
                return t.cast("Taken", ended.value)
            if isinstance(step, Read):
                answer = self._read(step.side)
            else:
                answer = None
                self._write(
                    step.side, Operation("cas", self._key(step.side), step.record.as_json(), index=step.at_index)
                )

    def _key(self, side: str) -> str:
        return direction_key(self._set.reverses if side == SOURCE else self._set.name)

    def _client(self, side: str) -> Client:
        return self._source if side == SOURCE else t.cast("Client", self._destination)

    def _read(self, side: str) -> Register:
        key = self._key(side)
        try:
            entries = kv.read_key(self._client(side), key, consistency="consistent").entries
        except errors.PermissionDenied as error:
            raise self._with_right(error, side) from None
        if not entries:
            return Register(None, 0)
        try:
            return Register(parse_direction(entries[0].value), entries[0].modify_index)
        except ValueError:
            raise errors.Rejected(
                f"{key} of the {side} does not hold a direction, so nothing is written. See which set is active, then delete the key."
            ) from None

    def _write(self, side: str, operation: Operation) -> None:
        """Write if nobody else did: what is there now is read again."""
        fence = [self._guard] if side == DESTINATION and self._guard is not None else []
        try:
            txn.Writer(self._client(side), fence=fence).commit([operation])
        except errors.PermissionDenied as error:
            raise self._with_right(error, side) from None

    def _with_right(self, error: errors.PermissionDenied, side: str) -> errors.PermissionDenied:
        return error.with_advice(
            f"{self._set.name} cannot record its direction at the {side}:",
            f'The token of the {side} needs key_prefix "consulops/replication/" {{ policy = "write" }}. Nothing is written.',
        )

    def _freeze_the_other(self, at_index: int, now: float) -> None:
        """Freeze the other set for those that know no directions: single runs, and agents with an older configuration."""
        document = {
            "by": "the direction",
            "reason": f"it was reversed by {self._set.name}, generation {self._set.generation}",
            "at": timestamp(now),
            "direction": self._set.generation,
        }
        key = freeze_key(self._set.reverses)
        index = 0
        for entry in kv.read_key(self._source, key).entries:
            if frozen_generation(entry.value) in (None, self._set.generation):
                return  # by an operator, or by us
            index = entry.modify_index
        register = Operation("check-index", self._key(SOURCE), index=at_index)
        self._change(self._source, [register], Operation("cas", key, json.dumps(document).encode(), index=index))

    def _end_own_freeze(self, at_index: int) -> None:
        destination = self._client(DESTINATION)
        for entry in kv.read_key(destination, freeze_key(self._set.name)).entries:
            if frozen_generation(entry.value) is not None:
                end = Operation("delete-cas", entry.key, index=entry.modify_index)
                self._change(destination, [self._set.in_effect(at_index)], end)

    def _change(self, client: Client, fence: t.Sequence[Operation], operation: Operation) -> None:
        """Change a freeze key while the register is as it was read. If it is not, the next look finds out."""
        try:
            txn.Writer(client, fence=fence).commit([operation])
        except errors.Conflict as error:
            log.debug("%s: the direction changed meanwhile: %s", self._set.name, error)

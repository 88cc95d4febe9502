# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes diverged keys equal on both sides by compare-and-set, and lets the replication own them.

A key is written only as it was exported, and only if it still is what was read. What is equal then is added to the ledger as an intent:
that proves no more than that this very content, if the old side holds it, belongs to the replication. So nothing here needs the
replication's lock, which its agent holds, and a run that is killed leaves nothing behind that could claim a key of others.
"""

from __future__ import annotations

import functools
import logging
import secrets
import typing as t
from dataclasses import dataclass, field

from .._consul import errors, key_path, txn
from .._consul.errors import NotConverged
from .._consul.kv import Entry
from .._consul.txn import Operation
from .._consul.units import count_of
from .checkpoint import intents_operation
from .control import not_frozen, request_comparison
from .divergence import NEW, OLD, Divergence
from .divergence_export import DivergenceExport
from .divergence_scan import MappingDivergence, Scanner
from .ledger import intent_part, prefix_id
from .mapping import PrefixMapping
from .plan import Problem
from .request import ReplicationRequest
from .sides import Side

PART_INTENTS = 15_000  # of 20 bytes: in base64 they are within the 512 kB of a value and of a transaction
BY = "reconcile"

log = logging.getLogger("consulops")


@dataclass
class ReconcileOutcome:
    """What was done in one mapping. ``written`` and ``deleted`` count keys at the new and at the old side."""

    mapping: PrefixMapping
    written: dict[str, int] = field(default_factory=lambda: {NEW: 0, OLD: 0})
    deleted: dict[str, int] = field(default_factory=lambda: {NEW: 0, OLD: 0})
    owned: int = 0
    failed: list[Problem] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many keys were written or deleted."""
        return sum(self.written.values()) + sum(self.deleted.values())


class Stopped(NotConverged):
    """A run that did not finish. ``outcomes`` say what was done until then."""

    def __init__(self, message: str, outcomes: list[ReconcileOutcome]) -> None:
        super().__init__(message)
        self.outcomes = outcomes


def reconcile(
    scanner: Scanner,
    request: ReplicationRequest,
    found: t.Sequence[MappingDivergence],
    export: DivergenceExport | None,
    now: float,
) -> list[ReconcileOutcome]:
    """Carry out what the decisions say. ``now`` (Unix seconds) makes the names of what is added to the ledger unique.

    Raises Stopped, which says how far it came.
    """
    run = _Run(scanner, request, export, now)
    outcomes = [ReconcileOutcome(one.mapping) for one in found]
    try:
        for one, outcome in zip(found, outcomes):
            run.mapping(one, outcome)
        run.ask_for_comparison(
            only_new=not any(outcome.changed or outcome.owned for outcome in outcomes),
        )
    except errors.ConsulError as error:
        if isinstance(error, errors.Conflict):
            error = errors.Conflict(f"The replication {scanner.active.name!r} was frozen: {error}", 409)
        done = sum(outcome.changed for outcome in outcomes)
        raise Stopped(
            f"{error} {count_of(done, 'key')} written or deleted before that. Run it again to continue", outcomes
        ) from None
    return outcomes


class _Run:
    def __init__(
        self, scanner: Scanner, request: ReplicationRequest, export: DivergenceExport | None, now: float
    ) -> None:
        self._scanner = scanner
        self._export = export
        self._name = scanner.active.name
        self._first_number = int(now * 1000) * 1_000_000
        sides = scanner.sides
        fence = not_frozen(self._name)
        self._sides: dict[str, Side] = {NEW: sides.source, OLD: sides.destination}
        self._writers = {
            NEW: txn.Writer(sides.source.client, request.batch_ops, skip_denied=True),
            OLD: txn.Writer(sides.destination.client, request.batch_ops, fence, skip_denied=True),
        }

    def mapping(self, found: MappingDivergence, outcome: ReconcileOutcome) -> None:
        """Reconcile one mapping. Raises a ConsulError."""
        intents = list(found.equal)
        for ref in found.refs:
            for keys in self._scanner.read(found.mapping, ref):
                planned = [one for one in keys if one.key in found.versions]
                intents += self._write(found, planned, outcome)
                intents = self._store(found.mapping, intents, outcome, PART_INTENTS)
        self._store(found.mapping, intents, outcome, 1)

    def ask_for_comparison(self, *, only_new: bool) -> None:
        """Let the agent compare everything, which reads the ledger again. Raises a ConsulError."""
        self._send(OLD, [request_comparison(self._name, BY, only_new=only_new)])

    def _write(self, found: MappingDivergence, keys: t.Sequence[Divergence], outcome: ReconcileOutcome) -> list[bytes]:
        """Write keys, and once again those that others wrote to. Returns the fingerprints of what is equal now."""
        equal: list[bytes] = []
        deletions = [one for one in keys if one.winning is None]
        planned = [one for one in keys if one.winning is not None]
        planned += self._scanner.confirmed(found.mapping, deletions)
        again: list[Divergence] = []
        for one in self._attempt(found, planned, outcome, equal):
            log.debug("%s was written to by others, planning it again", one.key)
            if key_path.is_addressable(one.key) and key_path.is_addressable(one.old_key):
                shard = self._scanner.read_key(found.mapping, one.key)
                again += shard.keys
                equal += shard.equal  # by a request whose answer was lost, or by others
            else:
                again.append(one)
        for one in self._attempt(found, again, outcome, equal):
            outcome.failed.append(Problem(one.key, "written to by others at the same time, twice"))
        return equal

    def _attempt(
        self,
        found: MappingDivergence,
        keys: t.Sequence[Divergence],
        outcome: ReconcileOutcome,
        equal: list[bytes],
    ) -> list[Divergence]:
        """Write keys once. Returns those that others wrote to. Raises a ConsulError."""
        unplanned = [one for one in keys if one.winning is None and not _is_planned(found, one)]
        outcome.failed += [Problem(one.key, "deleted by others since it was planned") for one in unplanned]
        keys = [one for one in keys if one not in unplanned] if unplanned else keys
        if self._export is not None:
            changed = [one for one in keys if found.versions.get(one.key) != one.version]
            self._export.append(changed)
            found.versions.update((one.key, one.version) for one in changed)
        raced = []
        for side in (NEW, OLD):
            # What is written to one side is what the other one has.
            here = {one.key if side == NEW else one.old_key: one for one in keys if one.wins != side}
            if not here:
                continue
            operations = [_operation(name, one.losing, one.winning) for name, one in here.items()]
            for refusal in self._send(side, operations):
                one = here.pop(refusal.operation.key)
                if txn.STALE in refusal.reason:
                    raced.append(one)
                else:
                    outcome.failed.append(Problem(one.key, refusal.reason))
            for one in here.values():
                fingerprint = one.fingerprint()
                if fingerprint is None:
                    outcome.deleted[side] += 1
                else:
                    outcome.written[side] += 1
                    equal.append(fingerprint)
        return raced

    def _send(self, side: str, operations: t.Sequence[Operation]) -> tuple[txn.Refusal, ...]:
        """Send operations to a side. Those that were applied by a request whose answer was lost come back as refused."""
        commit = functools.partial(self._writers[side].commit, operations)
        return self._sides[side].retry.run(commit).refused

    def _store(
        self, mapping: PrefixMapping, intents: list[bytes], outcome: ReconcileOutcome, least: int
    ) -> list[bytes]:
        """Add intents to the ledger once there are so many. Returns those that are left. Raises a ConsulError."""
        while len(intents) >= least:
            data = intent_part(intents[:PART_INTENTS], prefix_id(mapping.destination))
            number = self._first_number + secrets.randbelow(1_000_000)
            for refusal in self._send(OLD, [intents_operation(self._name, data, number)]):
                raise errors.Rejected(f"{refusal.operation.key} could not be written: {refusal.reason}.")
            outcome.owned += len(intents[:PART_INTENTS])
            intents = intents[PART_INTENTS:]
        return intents


def _is_planned(found: MappingDivergence, one: Divergence) -> bool:
    """Return whether this key was to be deleted when the guards looked at the deletions."""
    return one.old_key in found.deletes[OLD] if one.wins == NEW else one.key in found.deletes[NEW]


def _operation(name: str, losing: Entry | None, winning: Entry | None) -> Operation:
    """Return the compare-and-set operation that gives a key the winning content."""
    if winning is None:
        return Operation("delete-cas", name, index=0 if losing is None else losing.modify_index)
    return Operation("cas", name, winning.value, winning.flags, index=0 if losing is None else losing.modify_index)

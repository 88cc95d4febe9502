# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the keys of one mapping by compare-and-set, reads them back, and decides again about keys that others wrote to."""

from __future__ import annotations

import logging
import typing as t

from .._consul import errors, txn
from .._consul.retry import is_transient
from .ledger import prefix_id
from .outcome import MappingOutcome
from .plan import Change, Problem, ShardPlan, plan_shard
from .prepared import MappingPlan
from .run_context import ATTEMPTS, RunContext
from .shard_reader import ShardRef

GROUP_KEYS = 10_000  # so many keys are written before they are read back

log = logging.getLogger("consulops")

Group = dict[str, tuple[Change, ShardRef]]  # by name at the destination


class KeyWriter:
    """Writes what a plan contains and counts it in the outcome. Raises a ConsulError when the run cannot go on."""

    def __init__(self, context: RunContext, plan: MappingPlan, outcome: MappingOutcome) -> None:
        self._context = context
        self._plan = plan
        self._mapping = plan.mapping
        self._outcome = outcome
        self._prefix_id = prefix_id(plan.mapping.destination)

    def write(self) -> None:
        """Write all shards of the mapping in groups, so that transactions are full."""
        group: Group = {}
        for work in self._plan.work:
            changes, work.changes = work.changes, None  # frees the memory of a group once it is written
            if changes is None:
                shard = self._plan_again(work.ref)
                changes = shard.changes
                _add_new(self._outcome.conflicts, shard.conflicts)
                _add_new(self._outcome.unwritable, shard.unwritable)
            self._record_intent(changes)
            group.update((change.key, (change, work.ref)) for change in changes)
            if len(group) >= GROUP_KEYS:
                self._write_group(group)
                group = {}
        if group:
            self._write_group(group)

    def _write_group(self, group: Group) -> None:
        """Write changes whose intent is recorded. Keys that others wrote to are decided again, up to ATTEMPTS times."""
        for attempt in range(1, ATTEMPTS + 1):
            size = len(group)
            unsure = self._send(group)
            if not self._context.request.verify:
                self._commit([group.pop(key)[0] for key in group.keys() - unsure])
            self._commit([group.pop(key)[0] for key in self._read_back(group)])
            log.debug(
                "%s: attempt %d to write %d keys, %d are not as they were written",
                self._mapping,
                attempt,
                size,
                len(group),
            )
            group = self._decide_again(group)
            if not group:
                return
        for key, (change, _ref) in group.items():
            self._context.ledger.abort(change.fingerprint)
            self._outcome.conflicts.append(Problem(key, f"written to by others in {ATTEMPTS} attempts"))

    def _send(self, group: Group) -> set[str]:
        """Send the intents that are not stored yet, and the changes. Returns the keys that may not have been written.

        Refused keys leave the group.
        """
        operations = [change.operation() for change, _ref in group.values()]
        ledger = self._context.ledger
        dirty = set(ledger.dirty)
        fits = len(dirty) + len(operations) <= self._context.writer.room
        if dirty and not (fits and self._context.joins_intents):
            self._context.save_ledger()
            dirty = set()
        try:
            # In one transaction both are written or none is.
            refused = self._context.send([*self._context.ledger_operations(), *operations])
        except errors.ConsulError as error:
            if not is_transient(error):
                raise
            ledger.dirty |= dirty
            log.debug("%s: it is not known whether %d keys were written: %s", self._mapping, len(group), error)
            destination = self._context.sides.destination
            destination.retry.run(destination.client.check_leader)
            return set(group)
        unsure = set()
        for refusal in refused:
            key = refusal.operation.key
            if key not in group:
                raise errors.Rejected(f"{key} could not be written: {refusal.reason}.")
            if txn.STALE in refusal.reason or "doesn't exist" in refusal.reason:
                unsure.add(key)
            else:
                self._context.ledger.abort(group.pop(key)[0].fingerprint)
                self._outcome.unwritable.append(Problem(key, refusal.reason))
        return unsure

    def _read_back(self, group: Group) -> list[str]:
        """Return the keys that have the content that was to be written."""
        written = []
        refs = list(dict.fromkeys(ref for _change, ref in group.values()))
        for shard in self._context.reader.read_destination(self._mapping, refs, self._context.request.concurrency):
            for entry in shard.entries:
                wanted = group.get(entry.key)
                if wanted is not None and (entry.value, entry.flags) == (wanted[0].value, wanted[0].flags):
                    written.append(entry.key)
        return written

    def _record_intent(self, changes: t.Iterable[Change]) -> None:
        self._context.ledger.record_intent((change.fingerprint for change in changes), self._prefix_id)

    def _commit(self, changes: t.Sequence[Change]) -> None:
        self._context.ledger.commit((change.fingerprint for change in changes), self._prefix_id)
        created = sum(change.kind == "created" for change in changes)
        self._outcome.created += created
        self._outcome.updated += len(changes) - created

    def _plan_again(self, ref: ShardRef) -> ShardPlan:
        """Read a shard of both sides again, also of a side that had no keys in it before, and decide."""
        combined = ShardPlan()
        request, ledger = self._context.request, self._context.ledger
        for pair in self._context.reader.read(self._mapping, ref._replace(at_source=True, at_destination=True)):
            shard = plan_shard(self._mapping, request.policy, ledger, pair.source.entries, pair.destination.entries)
            combined.changes += shard.changes
            combined.conflicts += shard.conflicts
            combined.unwritable += shard.unwritable
        return combined

    def _decide_again(self, group: Group) -> Group:
        """Plan keys again that do not have the content that was to be written. Returns those that are to be written again."""
        for change, _ref in group.values():
            self._context.ledger.abort(change.fingerprint)
        remaining: Group = {}
        for ref in dict.fromkeys(ref for _change, ref in group.values()):
            shard = self._plan_again(ref)
            self._outcome.conflicts += [problem for problem in shard.conflicts if problem.key in group]
            remaining.update((change.key, (change, ref)) for change in shard.changes if change.key in group)
        self._record_intent(change for change, _ref in remaining.values())
        return remaining


def _add_new(known: list[Problem], problems: t.Iterable[Problem]) -> None:
    """Add the problems of keys for which none is known yet."""
    keys = {problem.key for problem in known}
    known += [problem for problem in problems if problem.key not in keys]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the keys of one mapping by compare-and-set, reads them back, and decides again about keys that others wrote to."""

from __future__ import annotations

import logging
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor

from .._consul import errors
from .group_sender import Group, SentGroup, send_group
from .ledger import prefix_id
from .outcome import MappingOutcome
from .plan import Change, Problem, ShardPlan, plan_shard
from .prepared import MappingPlan, ShardWork
from .run_context import ATTEMPTS, RunContext
from .shard_reader import ShardPair, ShardRef

GROUP_KEYS = 5_000  # so many keys are written before they are read back; the next so many are planned meanwhile

log = logging.getLogger("consulops")


class _InFlight(t.NamedTuple):
    """A group that is being sent, and the buckets of the ledger that are sent with it."""

    group: Group
    buckets: set[int]
    sent: Future[SentGroup]


class KeyWriter:
    """Writes what a plan contains and counts it in the outcome. Raises a ConsulError when the run cannot go on."""

    def __init__(self, context: RunContext, plan: MappingPlan, outcome: MappingOutcome) -> None:
        self._context = context
        self._plan = plan
        self._mapping = plan.mapping
        self._outcome = outcome
        self._prefix_id = prefix_id(plan.mapping.destination)

    def write(self) -> None:
        """Write all shards of the mapping in groups, so that transactions are full. A group is planned while another is sent."""
        in_flight: _InFlight | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="group") as pool:
            try:
                for group in self._groups():
                    before, in_flight = in_flight, None
                    if before is not None:
                        self._finish(pool, before)
                    in_flight = self._start(pool, group)
            finally:
                if in_flight is not None:
                    self._finish(pool, in_flight)

    def _groups(self) -> t.Iterator[Group]:
        """Yield the changes of all shards, their intents recorded."""
        group: Group = {}
        for ref, changes in self._changes():
            self._record_intent(changes)
            group.update((change.key, (change, ref)) for change in changes)
            if len(group) >= GROUP_KEYS:
                yield group
                group = {}
        if group:
            yield group

    def _changes(self) -> t.Iterator[tuple[ShardRef, list[Change]]]:
        """Yield the changes of each shard. Those that are not in memory are read, while the group before is sent.

        More threads that read then would only take turns with those that send: it took 5 % more processor time (measured).
        """
        for work in self._plan.work:
            changes, work.changes = work.changes, None  # frees the memory of a group once it is written
            yield work.ref, self._plan_unheld(work) if changes is None else changes

    def _plan_unheld(self, work: ShardWork) -> list[Change]:
        """Read a shard and return its changes."""
        try:
            pairs = list(self._context.reader.read(self._mapping, _both_sides(work.ref)))
        except errors.PermissionDenied as error:
            if not (work.unread_keys and work.may_be_left_out):
                raise
            self._plan.leave_out(work, str(error))
            return []
        shard = self._plan_pairs(pairs)
        self._plan.complete(work, shard, max(pair.source.index for pair in pairs))
        _add_new(self._outcome.conflicts, shard.conflicts)
        _add_new(self._outcome.unwritable, shard.unwritable)
        return shard.changes

    def _start(self, pool: ThreadPoolExecutor, group: Group) -> _InFlight:
        """Begin to send a group, with everything that changed in the ledger."""
        context = self._context
        dirty = set(context.ledger.dirty)
        operations = context.intent_operations()
        buckets = dirty - context.ledger.dirty
        joined = context.joins_intents and len(operations) + len(group) <= context.writer.room
        return _InFlight(
            group, buckets, pool.submit(send_group, context, self._mapping, group, operations, joined=joined)
        )

    def _finish(self, pool: ThreadPoolExecutor, one: _InFlight) -> None:
        """Wait until a group is sent. Keys that others wrote to are decided again and sent, up to ATTEMPTS times."""
        for attempt in range(1, ATTEMPTS + 1):
            group, size = one.group, len(one.group)
            self._note(one)
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
            if attempt < ATTEMPTS:
                one = self._start(pool, group)
        for key, (change, _ref) in group.items():
            self._context.ledger.abort(change.fingerprint)
            self._outcome.conflicts.append(Problem(key, f"written to by others in {ATTEMPTS} attempts"))

    def _note(self, one: _InFlight) -> None:
        """Wait until a group is sent, and note what became of it. Keys that were written or refused leave it."""
        sent, group, ledger = one.sent.result(), one.group, self._context.ledger
        if not sent.stored_ledger:
            ledger.dirty |= one.buckets
        for problem in sent.unwritable:
            ledger.abort(group.pop(problem.key)[0].fingerprint)
        self._outcome.unwritable += sent.unwritable
        self._commit([group.pop(key)[0] for key in sent.written])

    def write_again(self, group: Group) -> None:
        """Decide again about keys that others wrote to after this run did."""
        remaining = self._decide_again(group)
        if remaining:
            with ThreadPoolExecutor(1, thread_name_prefix="group") as pool:
                self._finish(pool, self._start(pool, remaining))

    def _record_intent(self, changes: t.Iterable[Change]) -> None:
        self._context.ledger.record_intent((change.fingerprint for change in changes), self._prefix_id)

    def _commit(self, changes: t.Sequence[Change]) -> None:
        self._context.ledger.commit((change.fingerprint for change in changes), self._prefix_id)
        created = sum(change.kind == "created" for change in changes)
        self._outcome.created += created
        self._outcome.updated += len(changes) - created

    def _plan_pairs(self, pairs: t.Iterable[ShardPair]) -> ShardPlan:
        """Decide about a shard that was read in one or several parts."""
        combined = ShardPlan()
        request, ledger = self._context.request, self._context.ledger
        for pair in pairs:
            shard = plan_shard(self._mapping, request.policy, ledger, pair.source.entries, pair.destination.entries)
            combined.counts.add(shard.counts)
            combined.digest.merge(shard.digest)
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
            shard = self._plan_pairs(self._context.reader.read(self._mapping, _both_sides(ref)))
            self._outcome.conflicts += [problem for problem in shard.conflicts if problem.key in group]
            remaining.update((change.key, (change, ref)) for change in shard.changes if change.key in group)
        self._record_intent(change for change, _ref in remaining.values())
        return remaining


def _both_sides(ref: ShardRef) -> ShardRef:
    """Return a shard that is read on both sides, also on one that had no keys in it before."""
    return ref._replace(at_source=True, at_destination=True)


def _add_new(known: list[Problem], problems: t.Iterable[Problem]) -> None:
    """Add the problems of keys for which none is known yet."""
    keys = {problem.key for problem in known}
    known += [problem for problem in problems if problem.key not in keys]

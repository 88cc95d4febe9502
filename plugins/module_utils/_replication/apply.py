# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carries out what prepare.py decided, under the lock: writes the keys of all mappings, then deletes, then stores the ledger."""

from __future__ import annotations

import logging
import time
import typing as t

from .._consul import errors, txn
from .._consul.client import Client
from .._consul.txn import Operation
from .._consul.units import count_of
from .checkpoint import lock_key, read_checkpoint, state_operation
from .control import not_frozen
from .delete_guards import deferral_reason
from .key_deleter import KeyDeleter
from .key_writer import KeyWriter
from .ledger import Ledger, prefix_id, prefix_ids
from .outcome import Interrupted, MappingOutcome
from .plan import Problem
from .prepare import prepare
from .prepared import PreparedReplication
from .request import ReplicationRequest
from .run_context import RunContext
from .run_lock import held_lock
from .shard_reader import Reader
from .sides import Sides
from .single_transaction import can_be_single, changed_since, write_single
from .state import State, successor

log = logging.getLogger("consulops")


def _no_operations(_outcomes: t.Sequence[MappingOutcome]) -> t.Sequence[Operation]:
    return ()


class Applied(t.NamedTuple):
    """What was decided in the end (another run may have written in between) and what was done. ``state`` is what is stored now."""

    prepared: PreparedReplication
    outcomes: list[MappingOutcome]
    state: State | None


def perform(
    source: Client, destination: Client, request: ReplicationRequest, prepared: PreparedReplication, now: float
) -> Applied:
    """Carry out what was decided. ``now`` (Unix seconds) becomes the time of the state.

    Raises GuardRefused before anything is written, and Interrupted or a ConsulError that says how far the run came.
    """
    with held_lock(destination, prepared.name, request.lock_wait_s) as lock:
        if read_checkpoint(destination, prepared.name).version != prepared.checkpoint.version:
            # Another run wrote between our reading and our lock, and may have been interrupted: decide again.
            log.debug("another run of %s wrote meanwhile: deciding again", prepared.name)
            prepared = prepare(source, destination, request, is_to_write=True)
        sides = Sides.of(source, destination, request)
        return perform_held(
            make_context(
                sides, prepared.name, request, prepared.checkpoint.ledger, (lock.guard, not_frozen(prepared.name))
            ),
            prepared,
            now,
        )


def make_context(
    sides: Sides,
    name: str,
    request: ReplicationRequest,
    ledger: Ledger,
    guards: t.Sequence[Operation],
    *,
    joins_intents: bool = False,
) -> RunContext:
    """Return the context of a run. ``guards`` are operations without which no transaction is written, the lock's first."""
    writer = txn.Writer(sides.destination.client, request.batch_ops, guards, skip_denied=True)
    return RunContext(name, request, sides, Reader(sides), ledger, writer, joins_intents)


def perform_held(
    context: RunContext,
    prepared: PreparedReplication,
    now: float,
    ending: Ending | None = None,
    *,
    is_whole: bool = True,
) -> Applied:
    """Carry out what was decided, under a lock that the caller holds. Raises Interrupted.

    With ``is_whole`` the plans are those of everything that is replicated, else those of a part.
    """
    run = _Run(context, prepared, ending or Ending(), is_whole)
    return Applied(prepared, *run.all(now))


class Ending(t.NamedTuple):
    """How a run of a caller that holds the lock ends: ``deferral`` says why it deletes nothing ("" if it does).

    ``known`` are keys that could not be written before, for which no deletion waits. ``operations`` makes what is written together
    with the last batch, from the outcomes.
    """

    deferral: str = ""
    known: t.Container[str] = ()
    operations: t.Callable[[t.Sequence[MappingOutcome]], t.Sequence[Operation]] = _no_operations


class _Run:
    """One run under the lock."""

    def __init__(self, context: RunContext, prepared: PreparedReplication, ending: Ending, is_whole: bool) -> None:
        self._context = context
        self._prepared = prepared
        self._ending = ending
        self._is_whole = is_whole
        self._outcomes = [
            MappingOutcome(plan.mapping, conflicts=list(plan.conflicts), unwritable=list(plan.unwritable))
            for plan in prepared.plans
        ]

    def all(self, now: float) -> tuple[list[MappingOutcome], State]:
        """Write and delete. Return what was done, and the state that was stored. Raises Interrupted."""
        try:
            state = self._write_and_delete(now)
        except errors.ConsulError as error:
            if isinstance(error, errors.Conflict):
                key = lock_key(self._context.name)
                error = errors.Conflict(
                    f"The lock {key} was lost, to another run or by hand, or the replication was frozen: {error}", 409
                )
            written = sum(outcome.written for outcome in self._outcomes)
            raise Interrupted(
                f"{error} {count_of(written, 'key')} written or deleted before that; no key outside the plan was touched. Run it "
                "again to continue",
                self._prepared,
                self._outcomes,
            ) from None
        return self._outcomes, state

    def _write_and_delete(self, now: float) -> State:
        prepared, context = self._prepared, self._context
        mappings = context.request.mappings
        for plan in prepared.plans:
            context.ledger.commit([*plan.adopted, *plan.equal_again], prefix_id(plan.mapping.destination))
        state = successor(
            prepared.checkpoint.state, prepared.source, mappings, now, prepared.reversed_after, prepared.upstream
        )
        if self._is_whole:
            # The state changes at the beginning and at the end of every run that writes. So a run that waited for the lock knows
            # that it must read again, also when it read while this one was writing.
            context.save_ledger(state)
        elif can_be_single(context, prepared.plans):
            single = successor(state, prepared.source, mappings, now)
            if self._write_single(single):
                return single
        for plan, outcome in zip(prepared.plans, self._outcomes):
            started = time.monotonic()
            KeyWriter(context, plan, outcome).write()
            outcome.seconds = plan.seconds + time.monotonic() - started
        self._delete()
        if self._is_whole:
            context.ledger.abort_all(prefix_ids(mapping.destination for mapping in mappings))
        state = successor(state, prepared.source, mappings, now)
        context.save_ledger(state, self._ending.operations(self._outcomes))
        return state

    def _write_single(self, state: State) -> bool:
        """Write everything in one transaction; return False when there is still something to write, the ledger at least."""
        context, plans = self._context, self._prepared.plans
        started = time.monotonic()

        def more() -> t.Sequence[Operation]:
            return [state_operation(context.name, state), *self._ending.operations(self._outcomes)]

        if not write_single(context, plans, self._outcomes, more):
            return False
        is_done = True
        for plan, outcome in zip(plans, self._outcomes):
            outcome.seconds = plan.seconds + time.monotonic() - started
            changed = changed_since(context, plan, outcome)
            if changed:
                is_done = False
                KeyWriter(context, plan, outcome).write_again(changed)
            plan.work.clear()
        if is_done:
            self._delete()
        return is_done

    def _delete(self) -> None:
        """Delete in all mappings, or in none when a key of any could not be written."""
        policy, ending = self._context.request.policy, self._ending
        deferral = ending.deferral or deferral_reason(self._outcomes, policy, ending.known)
        for plan, outcome in zip(self._prepared.plans, self._outcomes):
            started = time.monotonic()
            if deferral:
                outcome.deferred_deletes += [Problem(deletion.key, deferral) for deletion in plan.to_delete]
            elif plan.to_delete:
                KeyDeleter(self._context, plan, outcome).delete()
            incomplete = outcome.conflicts or outcome.unwritable or outcome.deferred_deletes or plan.unconfirmed
            outcome.verified = self._context.request.verify and not incomplete
            outcome.seconds += time.monotonic() - started
            log.debug(
                "%s: %d created, %d updated, %d deleted, %d deletions deferred, in %.3f s",
                plan.mapping,
                outcome.created,
                outcome.updated,
                outcome.deleted,
                len(outcome.deferred_deletes),
                outcome.seconds,
            )

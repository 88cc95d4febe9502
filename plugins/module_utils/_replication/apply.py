# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes what prepare.py decided: keys by compare-and-set, then deletions, each confirmed to be gone from the source.

Every transaction is fenced by the lock that keeps two runs of one replication apart.
"""

from __future__ import annotations

import functools
import os
import socket
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.errors import GuardRefused, NotConverged
from .._consul.kv import Operation
from .._consul.lock import Lock
from .._consul.retry import RetryPolicy, is_transient
from .._consul.units import count_of
from . import checkpoint as store
from .delete_guards import why_not_delete
from .ledger import fingerprint_of, prefix_id
from .mapping import PrefixMapping
from .plan import Change, Problem, ShardPlan, plan_shard
from .prepare import MappingPlan, PreparedReplication, ReplicationRequest, confirm, prefix_ids, prepare
from .shard_reader import Reader, ShardRef

ATTEMPTS = 3
GROUP_KEYS = 10_000  # as many keys are written, then read again
MAX_WRITERS = 4  # more connections only make other users of Consul wait longer (measured)
LOCK_TTL_S = 15
LOCK_DELAY_S = 1  # every transaction checks the lock, so a former owner writes nothing late


Wanted = dict[str, tuple[Change, ShardRef]]  # by name at the destination


class Interrupted(NotConverged):
    """A run that did not come to its end, with what became of each mapping until then."""

    prepared: PreparedReplication
    outcomes: list[MappingOutcome]


@dataclass
class MappingOutcome:
    """What became of one mapping. ``deferred_deletes`` are deletions that were not made, and why."""

    mapping: PrefixMapping
    created: int = 0
    updated: int = 0
    deleted: int = 0
    verified: bool = False
    conflicts: list[Problem] = field(default_factory=list)
    unwritable: list[Problem] = field(default_factory=list)
    deferred_deletes: list[Problem] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def written(self) -> int:
        """How many keys were written or deleted."""
        return self.created + self.updated + self.deleted


def perform(
    source: Client, destination: Client, request: ReplicationRequest, prepared: PreparedReplication, now: float
) -> tuple[PreparedReplication, list[MappingOutcome]]:
    """Do what was decided; return what was decided in the end (another run may have come between) and what became of it.

    Raises GuardRefused before anything is written, and Interrupted or a ConsulError that says how far it came.
    """
    with _lock(destination, prepared.name) as lock:
        _acquire(lock, destination, prepared.name, request.lock_wait_s)
        if store.read_checkpoint(destination, prepared.name).version != prepared.checkpoint.version:
            # Another run wrote between our reading and our lock, and may have died in it: decide again.
            prepared = prepare(source, destination, request)
        run = _Run(source, destination, request, prepared, lock)
        return prepared, run.all(now)


def _lock(destination: Client, name: str) -> Lock:
    holder = f"{socket.gethostname()}, process {os.getpid()}".encode()
    return Lock(
        destination,
        store.lock_key(name),
        name=f"consulops replication {name}",
        value=holder,
        ttl_s=LOCK_TTL_S,
        lock_delay_s=LOCK_DELAY_S,
        node=_session_node(destination),
    )


def _session_node(destination: Client) -> str | None:
    """Return a node of the destination to hang a session on, when the agent that is asked is in another datacenter."""
    datacenter = destination.endpoint.datacenter
    if datacenter is None or destination.whoami().datacenter == datacenter:
        return None
    nodes = destination.get("/v1/health/service/consul", {"passing": ""}).json()
    names = sorted(str(node["Node"]["Node"]) for node in nodes)
    return names[0] if names else None


def _acquire(lock: Lock, destination: Client, name: str, wait_s: float) -> None:
    try:
        held = lock.acquire(wait_s)
    except errors.PermissionDenied as error:
        raise errors.PermissionDenied(
            f"The destination's token may not take the lock that keeps two runs apart: {error} It needs "
            'session_prefix "" { policy = "write" } and '
            f'key_prefix "{store.ROOT}" {{ policy = "write" }}. Nothing was changed.',
            error.status,
            error.consul_message,
        ) from None
    except errors.ServerFailed as error:
        if "node" in error.consul_message.lower() and destination.endpoint.datacenter is not None:
            raise errors.PermissionDenied(
                f"{error} A session in another datacenter hangs on one of its nodes, so the destination's token needs "
                'service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }, or its own url.',
                error.status,
                error.consul_message,
            ) from None
        raise
    if not held:
        entries = kv.read_key(destination, lock.key).entries
        holder = entries[0].value.decode("utf-8", "replace") if entries else "somebody"
        raise GuardRefused(
            f"Another run of the replication {name!r} is under way ({holder}) and did not end within {wait_s:g} s. Nothing was changed"
        )


class _Run:
    """One run under the lock."""

    def __init__(
        self,
        source: Client,
        destination: Client,
        request: ReplicationRequest,
        prepared: PreparedReplication,
        lock: Lock,
    ) -> None:
        self._source = source
        self._destination = destination
        self._request = request
        self._prepared = prepared
        self._ledger = prepared.checkpoint.ledger
        self._lock = lock
        self._retry = RetryPolicy(request.retry_s)
        self._reader = Reader(source, destination, request.consistency, request.max_stale_s, self._retry)
        self._fence = lock.guard
        self._writer = kv.Writer(destination, request.batch_ops, self._fence, skip_denied=True)
        self.outcomes = [
            MappingOutcome(plan.mapping, conflicts=list(plan.conflicts), unwritable=list(plan.unwritable))
            for plan in prepared.plans
        ]

    def all(self, now: float) -> list[MappingOutcome]:
        """Write every mapping, then delete, then note what is ours."""
        try:
            self._everything(now)
        except errors.ConsulError as error:
            if isinstance(error, errors.Conflict):
                error = errors.Conflict(f"The lock {self._lock.key} was lost, to another run or by hand: {error}", 409)
            written = sum(found.written for found in self.outcomes)
            interrupted = Interrupted(
                f"{error} {count_of(written, 'key')} written or deleted before that; no key was touched that the plan does not "
                "name. Run it again to go on"
            )
            interrupted.prepared, interrupted.outcomes = self._prepared, self.outcomes
            raise interrupted from None
        return self.outcomes

    def _everything(self, now: float) -> None:
        prepared = self._prepared
        for plan in prepared.plans:
            self._ledger.commit([*plan.adopted, *plan.equal_again], prefix_id(plan.mapping.destination))
        # The state changes at the beginning and at the end of every run that writes: one that waited for the lock so knows that
        # it has to look again, also when it looked while this one was writing.
        state = store.successor(
            prepared.checkpoint.state, prepared.source, self._request.mappings, now, prepared.reversed_after
        )
        self._save_ledger(state)
        for plan, outcome in zip(prepared.plans, self.outcomes):
            started = time.monotonic()
            self._write(plan, outcome)
            outcome.seconds = plan.seconds + time.monotonic() - started
        why_not = why_not_delete(self.outcomes, self._request.policy)
        for plan, outcome in zip(prepared.plans, self.outcomes):
            started = time.monotonic()
            if why_not:
                outcome.deferred_deletes += [Problem(deletion.key, why_not) for deletion in plan.to_delete]
            elif plan.to_delete:
                self._delete(plan, outcome)
            left = outcome.conflicts or outcome.unwritable or outcome.deferred_deletes
            outcome.verified = self._request.verify and not left
            outcome.seconds += time.monotonic() - started
        self._ledger.abort_all(prefix_ids(self._request.mappings))
        self._save_ledger(store.successor(state, prepared.source, self._request.mappings, now))

    def _save_ledger(self, state: store.State | None = None) -> None:
        operations = [] if state is None else [store.state_operation(self._prepared.name, state)]
        operations += store.ledger_operations(self._prepared.name, self._ledger)
        refused = self._retry.run(lambda: self._send(operations))
        if refused:
            raise errors.Rejected(f"{refused[0].operation.key} could not be written: {refused[0].reason}.")

    # -- keys that are written

    def _write(self, plan: MappingPlan, outcome: MappingOutcome) -> None:
        """Write the shards of a mapping, so many at once that transactions are full."""
        group: Wanted = {}
        for work in plan.work:
            changes, work.changes = work.changes, None  # so that memory holds no group that is written
            if changes is None:
                again = self._plan_again(plan.mapping, work.ref)
                changes = again.changes
                _add_new(outcome.conflicts, again.conflicts)
                _add_new(outcome.unwritable, again.unwritable)
            self._record_intent(plan.mapping, changes)
            group.update((change.key, (change, work.ref)) for change in changes)
            if len(group) >= GROUP_KEYS:
                self._write_group(plan.mapping, group, outcome)
                group = {}
        if group:
            self._write_group(plan.mapping, group, outcome)

    def _write_group(self, mapping: PrefixMapping, wanted: Wanted, outcome: MappingOutcome) -> None:
        """Write changes that are announced; ones that others wrote to meanwhile are decided again, three times in all."""
        for _attempt in range(ATTEMPTS):
            if self._ledger.dirty:
                self._save_ledger()
            unsure = self._commit(wanted, outcome)
            if not self._request.verify:
                self._record_committed(mapping, [wanted.pop(key)[0] for key in wanted.keys() - unsure], outcome)
            self._record_committed(mapping, [wanted.pop(key)[0] for key in self._read_back(mapping, wanted)], outcome)
            wanted = self._changed_meanwhile(mapping, wanted, outcome)
            if not wanted:
                return
        for key, (change, _ref) in wanted.items():
            self._ledger.abort(change.fingerprint)
            outcome.conflicts.append(Problem(key, f"written to by others in {ATTEMPTS} attempts"))

    def _commit(self, wanted: Wanted, outcome: MappingOutcome) -> set[str]:
        """Send changes; return the keys of which it is not known that they were written. Refused ones leave ``wanted``."""
        try:
            refused = self._send([change.operation() for change, _ref in wanted.values()])
        except errors.ConsulError as error:
            if not is_transient(error):
                raise
            self._retry.run(self._destination.check_leader)
            return set(wanted)
        unsure = set()
        for refusal in refused:
            key = refusal.operation.key
            if kv.STALE in refusal.reason or "doesn't exist" in refusal.reason:
                unsure.add(key)
            else:
                self._ledger.abort(wanted.pop(key)[0].fingerprint)
                outcome.unwritable.append(Problem(key, refusal.reason))
        return unsure

    def _send(self, operations: t.Sequence[Operation]) -> list[kv.Refusal]:
        """Write operations over as many connections as there may be and as they fill; return what Consul refused."""
        most = min(self._request.concurrency, MAX_WRITERS)
        size = max(self._writer.max_ops - 1, -(-len(operations) // most))
        parts = [operations[start : start + size] for start in range(0, len(operations), size)]
        with ThreadPoolExecutor(most, thread_name_prefix="write") as pool:
            done = list(pool.map(self._writer.commit, parts))
        return [refusal for committed in done for refusal in committed.refused]

    def _read_back(self, mapping: PrefixMapping, wanted: Wanted) -> list[str]:
        """Return the keys that hold now what they should."""
        arrived = []
        refs = list(dict.fromkeys(ref for _change, ref in wanted.values()))
        for shard in self._reader.read_destination(mapping, refs, self._request.concurrency):
            for entry in shard.entries:
                found = wanted.get(entry.key)
                if found is not None and (entry.value, entry.flags) == (found[0].value, found[0].flags):
                    arrived.append(entry.key)
        return arrived

    def _record_intent(self, mapping: PrefixMapping, changes: t.Iterable[Change]) -> None:
        self._ledger.record_intent((change.fingerprint for change in changes), prefix_id(mapping.destination))

    def _record_committed(self, mapping: PrefixMapping, changes: t.Sequence[Change], outcome: MappingOutcome) -> None:
        self._ledger.commit((change.fingerprint for change in changes), prefix_id(mapping.destination))
        created = sum(change.kind == "created" for change in changes)
        outcome.created += created
        outcome.updated += len(changes) - created

    def _plan_again(self, mapping: PrefixMapping, ref: ShardRef) -> ShardPlan:
        """Read a shard of both sides again, whichever sides had keys in it before, and decide."""
        whole = ShardPlan()
        for shard_pair in self._reader.read(mapping, ref._replace(at_source=True, at_destination=True)):
            shard = plan_shard(
                mapping, self._request.policy, self._ledger, shard_pair.source.entries, shard_pair.destination.entries
            )
            whole.changes += shard.changes
            whole.conflicts += shard.conflicts
            whole.unwritable += shard.unwritable
        return whole

    def _changed_meanwhile(self, mapping: PrefixMapping, wanted: Wanted, outcome: MappingOutcome) -> Wanted:
        """Decide again about keys that are not as they were written: somebody wrote to either side."""
        for change, _ref in wanted.values():
            self._ledger.abort(change.fingerprint)
        left: Wanted = {}
        for ref in dict.fromkeys(ref for _change, ref in wanted.values()):
            again = self._plan_again(mapping, ref)
            outcome.conflicts += [problem for problem in again.conflicts if problem.key in wanted]
            left.update((change.key, (change, ref)) for change in again.changes if change.key in wanted)
        self._record_intent(mapping, (change for change, _ref in left.values()))
        return left

    # -- keys that are deleted

    def _delete(self, plan: MappingPlan, outcome: MappingOutcome) -> None:
        """Delete what is confirmed to be gone from the source."""
        confirm(self._source, plan, self._retry)
        if plan.unconfirmed:
            outcome.deferred_deletes += [Problem(deletion.key, plan.unconfirmed) for deletion in plan.to_delete]
            return
        wanted = {deletion.key: deletion for deletion in plan.to_delete}
        for _attempt in range(ATTEMPTS):
            operations = [deletion.operation() for deletion in wanted.values()]
            # Safe to repeat: deleting what is deleted already succeeds.
            refused = self._retry.run(functools.partial(self._writer.commit, operations)).refused
            stale = {refusal.operation.key for refusal in refused}
            for refusal in refused:
                if kv.STALE not in refusal.reason:
                    outcome.unwritable.append(Problem(refusal.operation.key, refusal.reason))
                    del wanted[refusal.operation.key]
            gone = self._gone(wanted.keys() - stale)
            for key in gone:
                self._ledger.forget(key)
            outcome.deleted += len(gone)
            wanted = self._still_to_delete(
                plan.mapping, {key: wanted[key] for key in wanted if key not in gone}, outcome
            )
            if not wanted:
                return
        outcome.conflicts += [Problem(key, f"written to by others in {ATTEMPTS} attempts") for key in wanted]

    def _gone(self, keys: t.Iterable[str]) -> set[str]:
        names = set(keys)
        if self._request.verify and names:
            names -= self._retry.run(lambda: kv.present_of(self._destination, sorted(names)))
        return names

    def _still_to_delete(
        self, mapping: PrefixMapping, left: dict[str, Change], outcome: MappingOutcome
    ) -> dict[str, Change]:
        """Look at to_delete that somebody wrote to: one that holds the same may go, one that was edited is a conflict."""
        again = {}
        for key, deletion in left.items():
            if not kv.is_addressable(key):
                outcome.conflicts.append(
                    Problem(key, "written to by others, and not to be asked for by its name alone")
                )
                continue
            entries = self._retry.run(functools.partial(kv.read_key, self._destination, key)).entries
            if not entries:
                self._ledger.forget(key)
            elif _fingerprint(entries[0]) == deletion.fingerprint and not entries[0].session:
                again[key] = deletion._replace(at_index=entries[0].modify_index)
            else:
                outcome.conflicts.append(Problem(key, "edited at the destination, and gone from the source"))
        return again


def _add_new(known: list[Problem], found: t.Iterable[Problem]) -> None:
    """Add problems with keys that none is known of yet."""
    keys = {problem.key for problem in known}
    known += [problem for problem in found if problem.key not in keys]


def _fingerprint(entry: kv.Entry) -> bytes:
    return fingerprint_of(entry.key, entry.value, entry.flags)

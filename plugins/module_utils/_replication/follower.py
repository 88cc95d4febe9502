# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Follows a source under a lock that the caller holds: compares everything, then only the shards that change.

What is decided and how it is written is the same as for one run: compare in prepare.py, plan.py, apply.py.
"""

from __future__ import annotations

import copy
import functools
import logging
import time
import typing as t
from dataclasses import dataclass, field

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.digest import SetDigest
from .._consul.shard_plan import ShardSpec
from .._consul.txn import Operation
from . import control, preflight, source_epoch
from .apply import Applied, Ending, make_context, perform_held
from .checkpoint import Checkpoint
from .delete_guards import PlannedDeletes
from .delete_window import Decision, DeleteWindow, decide
from .epoch_reader import read_epoch
from .follow_options import FollowOptions
from .follow_progress import ChangedShard, Totals, Verification
from .follow_record import FollowRecord, parse_record, record_key
from .ledger import Ledger
from .mapping import RESERVED, PrefixMapping
from .open_problems import OpenProblems
from .origins import record_origins
from .outcome import MappingOutcome
from .plan import Counts, plan_shard
from .prepare import Room, compare, partial_source
from .prepared import MappingPlan, PreparedReplication
from .replication_result import planned_outcomes
from .request import ReplicationRequest
from .run_context import RunContext
from .shard_groups import Group, has_others, plan_groups
from .shard_reader import ShardRef
from .sides import Side, Sides
from .watched_mapping import WatchedMapping

log = logging.getLogger("consulops")

FEW_SOURCE_KEYS = 1000  # with so few left, a deletion is preceded by a look whether the source has any key at all


@dataclass
class Follower:
    """One term of a replication. One thread uses it. All times are in Unix seconds.

    ``guard`` is the operation that checks the lock, ``more_guards`` what else every transaction checks. ``compare_all`` comes first,
    and again after any error of a method.
    """

    source: Client
    destination: Client
    request: ReplicationRequest
    options: FollowOptions
    guard: Operation
    watched: list[WatchedMapping] = field(default_factory=list)
    problems: OpenProblems = field(default_factory=OpenProblems)
    totals: Totals = field(default_factory=Totals)
    decision: Decision = Decision()
    verification: Verification | None = None
    record: FollowRecord = field(default_factory=FollowRecord)
    more_guards: tuple[Operation, ...] = ()
    _epoch: source_epoch.Epoch | None = (
        None  # what the source is now; record.epoch is what it was when deletions were not paused
    )
    _prepared: PreparedReplication | None = None
    _checkpoint: Checkpoint | None = None
    _window_before: DeleteWindow = field(default_factory=DeleteWindow)
    _source_keys: dict[PrefixMapping, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.problems.keeps_conflicts = self.request.policy.on_conflict == "keep"

    @property
    def name(self) -> str:
        """The name of the replication."""
        return self.request.name

    @property
    def warnings(self) -> list[str]:
        """What the comparison of everything found that is not a key's problem, and which prefixes have no key now."""
        prepared = self._prepared
        if prepared is None:
            return []
        empty = [
            f"the source has no key below {mapping.source!r} that takes part: check the spelling of the prefix"
            for mapping, count in self._source_keys.items()
            if count <= 0 and not self.request.limits.allow_empty_source
        ]
        unconfirmed = [f"{plan.mapping}: {plan.unconfirmed}" for plan in prepared.plans if plan.unconfirmed]
        return [*empty, *prepared.warnings, *unconfirmed]

    @property
    def unchecked(self) -> list[str]:
        """What could not be checked."""
        return [] if self._prepared is None else self._prepared.unchecked

    # -----------------------------------------------------------------------------------------------------------
    # Everything

    def compare_all(self, acknowledged: str, now: float) -> None:
        """Compare everything, write what differs, and delete what may be deleted.

        ``acknowledged`` is the digest of the plan of deletions that an operator lets go on. Raises InvalidOption, GuardRefused,
        InvalidLedger, Interrupted or a ConsulError.
        """
        started = time.monotonic()
        checkpoint, self._checkpoint = self._checkpoint, None  # not to be trusted again if this fails
        if checkpoint is None:
            self.record = self._read_record()
        epoch = self._read_epoch()
        watched = [self._split(mapping) for mapping in self.request.mappings]
        known = self.problems.not_written()
        prepared = compare(
            self.source, self.destination, self.request, checkpoint, known, leaves_out_denied=True, is_to_write=True
        )
        keys = {plan.mapping.destination: plan.counts.destination_keys for plan in prepared.plans}
        record = self.record
        stored = record.as_json()
        if record.window.is_over(now, self.options.verify_every_s):
            record.window.restart(now)
        planned = [
            record.window.planned(plan.mapping, plan.counts, [] if plan.unconfirmed else plan.to_delete)
            for plan in prepared.plans
        ]
        changes = _sentences(source_epoch.changes(record.epoch, epoch))
        self._epoch = epoch if changes else source_epoch.continued(record.epoch, epoch)
        paused = self._decide(planned, changes, acknowledged)
        if not paused and acknowledged and acknowledged == self.decision.digest:
            record.window.restart(now)
        prepared.deferral = self._pause_text() or prepared.deferral
        if prepared.changed:
            preflight.check_writable(self.destination, self.name, prepared.plans)
        context = self._context(self._sides(), prepared.checkpoint.ledger)
        record_origins(context, prepared, self.source, now)
        more = [control.end_acknowledgement(self.name)] if acknowledged and not paused else []
        if prepared.changed or prepared.ledger_outdated:
            applied = perform_held(context, prepared, now, self._ending(keys, more), is_whole=not _unreadable(prepared))
        else:
            applied = Applied(prepared, planned_outcomes(prepared), prepared.checkpoint.state)
            self._count(applied.outcomes, keys)
            if more or record.as_json() != stored:
                context.save_ledger(None, [record.operation(self.name), *more])
        unreadable = _unreadable(prepared)  # also what could not be read when it was to be written
        self._prepared = prepared
        self.watched = watched
        self._finish(applied)
        self.problems.replace_all(applied.outcomes, paused)
        self.problems.unreadable.update(unreadable)
        self._source_keys = {plan.mapping: plan.counts.source_keys for plan in prepared.plans}
        self.verification = Verification(
            at=now,
            took_s=time.monotonic() - started,
            digest=_digest(prepared),
            is_equal=not unreadable and all(outcome.verified for outcome in applied.outcomes),
            source_keys=sum(plan.counts.source_keys for plan in prepared.plans),
            destination_keys=sum(plan.counts.destination_keys for plan in prepared.plans),
        )

    def _split(self, mapping: PrefixMapping) -> WatchedMapping:
        found = self._source_side().read_names(mapping.source)
        return WatchedMapping(mapping, self._groups(mapping, _sorted_names(found)), found.index)

    def _groups(self, mapping: PrefixMapping, names: t.Sequence[str]) -> list[Group]:
        most = max(1, self.options.max_watches // len(self.request.mappings))
        return plan_groups(names, mapping.source, most)

    # -----------------------------------------------------------------------------------------------------------
    # What changed

    def changed_shards(
        self,
        watched: WatchedMapping,
        groups: t.Iterable[ShardSpec],
        indexes: t.Mapping[ShardSpec, int] | None = None,
    ) -> t.Iterator[ChangedShard]:
        """Ask the shards of some groups for their indexes, and yield those that changed. Raises a ConsulError.

        ``indexes`` are those that groups are known to have, by what they watch. Shards that were dropped when the names were split
        again are yielded too.
        """
        side = self._source_side()
        for spec in watched.dropped:
            yield ChangedShard(watched, spec, _index_of(side, spec))
        for one in groups:
            group = watched.groups.get(one)
            if group is not None:
                yield from self._changed_in(watched, group, side, indexes or {})

    def _changed_in(
        self, watched: WatchedMapping, group: Group, side: Side, indexes: t.Mapping[ShardSpec, int]
    ) -> t.Iterator[ChangedShard]:
        """Yield the shards of a group that changed."""
        for part in group.parts:
            index = _index_of(side, part.watched)
            if not watched.is_part_changed(part, index):
                continue
            changed = list(self._changed_in(watched, part, side, {part.watched: index}))
            for shard in changed:
                yield shard._replace(within=((part.watched, index), *shard.within))
            if not changed:
                watched.mark_compared(part.watched, index)
        for spec in () if group.parts else group.shards:
            index = indexes[spec] if spec in indexes else _index_of(side, spec)
            if watched.is_changed(spec, index):
                yield ChangedShard(watched, spec, index)

    def find_others(self, watched: WatchedMapping) -> bool:
        """List the names of a mapping; if one is in no shard, split them again. Return whether that was so. Raises a ConsulError."""
        names = _sorted_names(self._source_side().read_names(watched.mapping.source))
        if not has_others(names, watched.groups.values()):
            return False
        watched.split_again(self._groups(watched.mapping, names))
        return True

    def shards_to_retry(self) -> list[ChangedShard]:
        """Return the shards with keys that could not be written or deleted. Raises a ConsulError."""
        found = {}
        for key in sorted(self.problems.retried()):
            for watched in self.watched:
                if key.startswith(watched.mapping.destination):
                    name = watched.mapping.to_source(key)
                    # Shards that are read and shards that are watched are not always the same.
                    is_shard = key in self.problems.unreadable
                    spec = ShardSpec(name) if is_shard else watched.shard_of(name) or ShardSpec(name, True)
                    found[watched.mapping, spec] = (watched, spec)
        side = self._source_side()
        return [ChangedShard(watched, spec, _index_of(side, spec)) for watched, spec in found.values()]

    def is_restored(self) -> bool:
        """Return whether the source is not what it was. Everything must be compared then. Raises a ConsulError."""
        epoch = self._read_epoch()
        if source_epoch.changes(self._epoch, epoch):
            return True
        self._epoch = source_epoch.continued(self._epoch, epoch)
        return False

    def compare_shards(self, shards: t.Sequence[ChangedShard], now: float) -> bool:
        """Compare shards, write what differs and delete what may be deleted. Return False when everything must be compared instead.

        Nothing was written when it raises a ConsulError; an Interrupted says how far it came.
        """
        if self._prepared is None or self._checkpoint is None:
            return False
        sides = self._sides()
        context = self._context(sides, self._checkpoint.ledger, joins_intents=True)
        plans: dict[PrefixMapping, MappingPlan] = {}
        room = Room()
        unreadable = {}
        compared = []
        for one in shards:
            mapping = one.watched.mapping
            plan = plans.setdefault(mapping, MappingPlan(mapping))
            try:
                pairs = list(context.reader.read(mapping, ShardRef(one.spec)))
            except errors.PermissionDenied as error:
                unreadable[mapping.to_destination(one.spec.prefix)] = str(error)
                one.watched.mark_unread(one.spec)
                continue
            compared.append(one)
            for pair in pairs:
                ledger = self._checkpoint.ledger
                shard = plan_shard(mapping, self.request.policy, ledger, pair.source.entries, pair.destination.entries)
                plan.add(shard, pair.ref, keep_changes=room.takes(shard.changes))
        self._checkpoint.ledger.clear_seen()
        for plan in plans.values():
            plan.unconfirmed = partial_source(sides, plan.mapping)
        if any(plan.to_delete for plan in plans.values()) and self.is_restored():
            return False
        touched = [ShardSpec(one.watched.mapping.to_destination(one.spec.prefix), one.spec.exact) for one in compared]
        was_paused = bool(self.record.paused)
        paused = self._decide_shards(plans, touched)
        prepared = PreparedReplication(
            self.name,
            self._prepared.source,
            self._prepared.destination,
            self._checkpoint,
            list(plans.values()),
            lines=[],
            reversed_after=0.0,
            unchecked=[],
            deferral=self._pause_text(),
        )
        if prepared.changed or prepared.ledger_outdated:
            ending = self._ending()
            self._checkpoint = None  # not to be trusted again if this fails
            applied = perform_held(context, prepared, now, ending, is_whole=False)
        else:
            applied = Applied(prepared, planned_outcomes(prepared), prepared.checkpoint.state)
            if bool(paused) != was_paused:  # the next term must know of it
                context.save_ledger(None, [self.record.operation(self.name)])
        self._finish(applied)
        self.problems.replace(touched, applied.outcomes, paused)
        self.problems.unreadable.update(unreadable)
        for plan, outcome in zip(prepared.plans, applied.outcomes):
            known = self._source_keys[plan.mapping] + outcome.created - outcome.deleted
            self._source_keys[plan.mapping] = max(known, plan.counts.source_keys)
        for one in compared:
            for spec, index in ((one.spec, one.at_index), *one.within):
                one.watched.mark_compared(spec, index)
        return True

    def _context(self, sides: Sides, ledger: Ledger, *, joins_intents: bool = False) -> RunContext:
        guards = (self.guard, control.not_frozen(self.name), *self.more_guards)
        return make_context(sides, self.name, self.request, ledger, guards, joins_intents=joins_intents)

    def _decide_shards(self, plans: t.Mapping[PrefixMapping, MappingPlan], touched: t.Sequence[ShardSpec]) -> set[str]:
        """Decide about the deletions of some shards; return the names of the plan that is paused."""
        planned = []
        for mapping in self.request.mappings:
            plan = plans.get(mapping)
            to_delete = [] if plan is None or plan.unconfirmed else plan.to_delete
            counts = Counts(source_keys=1, destination_keys=0)
            if to_delete and self._is_empty(mapping, len(to_delete)):
                counts.source_keys = 0
            planned.append(self.record.window.planned(mapping, counts, to_delete))
        return self._decide(planned, paused_names=self.problems.paused_outside(touched))

    def _is_empty(self, mapping: PrefixMapping, deletions: int) -> bool:
        """Return whether the source has no key that takes part, which is asked only where that can be. Raises a ConsulError."""
        if self._source_keys.get(mapping, 0) - deletions > FEW_SOURCE_KEYS:
            return False
        names = self._source_side().list_keys(mapping.source)
        return not any(mapping.includes(name) for name in names)

    # -----------------------------------------------------------------------------------------------------------

    def _decide(
        self,
        planned: t.Sequence[PlannedDeletes],
        changes: t.Sequence[str] = (),
        acknowledged: str = "",
        paused_names: t.AbstractSet[str] = frozenset(),
    ) -> set[str]:
        """Decide about deletions; return the names of the plan that is paused, none if none is."""
        limits, before = self.request.limits, self.record.paused
        decision = decide(planned, limits, changes, before, acknowledged, paused_names)
        if decision.is_paused and not self.record.paused:
            log.warning("%s: deletions are paused: %s", self.name, "; ".join(decision.reasons))
        elif changes and not decision.is_paused:
            log.warning("%s: %s; no key is to be deleted", self.name, "; ".join(changes))
        self.decision = decision
        self.record.paused = decision.reasons if decision.is_paused else ()
        if not decision.is_paused:
            self.record.epoch = self._epoch
            return set()
        return {change.key for one in planned for change in one.to_delete} | paused_names

    def _pause_text(self) -> str:
        return f"deletions are paused: {'; '.join(self.decision.reasons)}" if self.decision.is_paused else ""

    def _last_operations(
        self,
        outcomes: t.Sequence[MappingOutcome],
        keys: t.Mapping[str, int] | None = None,
        more: t.Sequence[Operation] = (),
    ) -> t.Sequence[Operation]:
        """Return what is written with the last batch: the record, with what was deleted. The last call counts."""
        self.record.window = copy.deepcopy(self._window_before)
        self._count(outcomes, keys or {})
        return [self.record.operation(self.name), *more]

    def _ending(self, keys: t.Mapping[str, int] | None = None, more: t.Sequence[Operation] = ()) -> Ending:
        """Return how a run ends that begins now."""
        self._window_before = copy.deepcopy(self.record.window)
        operations = functools.partial(self._last_operations, keys=keys, more=more)
        return Ending(self._pause_text(), self.problems.not_written(), operations)

    def _count(self, outcomes: t.Iterable[MappingOutcome], keys: t.Mapping[str, int]) -> None:
        for outcome in outcomes:
            prefix = outcome.mapping.destination
            self.record.window.add(prefix, keys.get(prefix, 0), outcome.created, outcome.deleted)

    def _finish(self, applied: Applied) -> None:
        prepared = applied.prepared
        self._checkpoint = prepared.checkpoint._replace(state=applied.state)
        self.totals.add(applied.outcomes)

    def forget(self) -> None:
        """Read the ledger again at the next comparison: what this term knows of it may not be what is stored."""
        self._checkpoint = None

    def _read_record(self) -> FollowRecord:
        entries = kv.read_key(self.destination, record_key(self.name)).entries
        return parse_record(entries[0].value, entries[0].key) if entries else FollowRecord()

    def _read_epoch(self) -> source_epoch.Epoch:
        return read_epoch(self.source, self.request.mappings[0].source)

    def _sides(self) -> Sides:
        return Sides.of(self.source, self.destination, self.request)

    def _source_side(self) -> Side:
        return self._sides().source


def _index_of(side: Side, spec: ShardSpec) -> int:
    """Return the index of a shard; 0, which counts as changed, where it may not be read: reading it says why. Raises a ConsulError."""
    try:
        return side.read_index(spec)
    except errors.PermissionDenied:
        return 0


def _unreadable(prepared: PreparedReplication) -> dict[str, str]:
    return {prefix: reason for plan in prepared.plans for prefix, reason in plan.unreadable.items()}


def _sentences(changes: t.Iterable[str]) -> list[str]:
    return [f"the source was restored or rebuilt, or is another cluster: {change}" for change in changes]


def _sorted_names(found: kv.Names) -> list[str]:
    return sorted(name for name in found.names if not name.startswith(RESERVED))


def _digest(prepared: PreparedReplication) -> str:
    whole = SetDigest()
    for plan in prepared.plans:
        whole.merge(plan.digest)
    return whole.hexdigest()

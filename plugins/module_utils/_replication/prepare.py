# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads both sides, compares them and decides, or refuses as a whole. Writes nothing: apply.py carries the decision out."""

from __future__ import annotations

import itertools
import logging
import time
import typing as t

from .._consul import errors
from .._consul.acl_filter import needed_rights
from .._consul.client import Client
from .._consul.errors import GuardRefused
from .._consul.key_path import key_path
from . import preflight
from .checkpoint import Checkpoint, read_checkpoint
from .control import read_control
from .delete_guards import PlannedDeletes, deferral_reason, refusals
from .inheritance import Inheritance
from .ledger import Ledger, prefix_ids
from .mapping import PrefixMapping
from .plan import Change, DiffLine, digest_text, plan_shard, value_text
from .prepared import MappingPlan, PreparedReplication
from .request import ReplicationRequest
from .shard_reader import Reader, ShardRef
from .sides import Sides

HELD_BYTES = 6_000_000  # of values that plans keep in memory; further shards are planned again when they are written
CHANGE_BYTES = 300  # what a change takes in memory beside its value

log = logging.getLogger("consulops")


def prepare(
    source: Client,
    destination: Client,
    request: ReplicationRequest,
    *,
    only_plans: bool = False,
    is_to_write: bool = False,
) -> PreparedReplication:
    """Read both sides, compare them and decide what to write and delete.

    With ``only_plans`` one that is frozen because the opposite direction is active is planned too: it is what a reversal would do.
    When it ``is_to_write``, what only the source has may be read later (see ``compare``).
    Raises InvalidOption, GuardRefused, InvalidLedger or a ConsulError.
    """
    prepared = compare(source, destination, request, is_to_write=is_to_write)
    deletes = [
        PlannedDeletes(plan.mapping, plan.counts, [] if plan.unconfirmed else plan.to_delete) for plan in prepared.plans
    ]
    refused = refusals(deletes, request.limits)
    if refused:
        raise GuardRefused(f"{'; '.join(refused)}. Nothing was changed")
    found = read_control(destination, prepared.name)
    if found.frozen is not None and not (only_plans and found.is_reversed):
        advice = (
            "To reverse the direction again, make it the active one with a higher generation"
            if found.is_reversed
            else f"To let it write again: consulops replicate thaw {prepared.name}"
        )
        raise GuardRefused(
            f"The replication {prepared.name!r} is frozen by {found.frozen}. Nothing was changed. {advice}"
        )
    if prepared.changed:
        preflight.check_writable(destination, prepared.name, prepared.plans)
    return prepared


def compare(
    source: Client,
    destination: Client,
    request: ReplicationRequest,
    checkpoint: Checkpoint | None = None,
    known: t.Container[str] = (),
    *,
    leaves_out_denied: bool = False,
    is_to_write: bool = False,
) -> PreparedReplication:
    """Read both sides and compare them. Whether so much may be deleted is for the caller to judge.

    When it ``is_to_write``, shards that only the source has, and for whose changes there is no room, are read when they are written:
    until then their names are counted.

    ``checkpoint`` is what the replication stored, if the caller holds its lock and knows it; ``known`` are keys that could not be
    written before, for which no deletion waits. With ``leaves_out_denied`` a shard that may not be read is in ``unreadable`` of its plan
    and in nothing else; otherwise PermissionDenied is raised. Raises InvalidOption, GuardRefused for another source and for a loop,
    InvalidLedger or a ConsulError.
    """
    direction = preflight.identify_datacenters(source, destination, request)
    preflight.check_readable(source, destination, request)
    name = request.name or direction[0]
    if checkpoint is None:
        checkpoint = read_checkpoint(destination, name)
    checkpoint.ledger.clear_seen()
    checked = preflight.check_direction(source, name, direction, checkpoint.state, request)
    inheritance = None
    if checked.reversed_names:
        inheritance = Inheritance([read_checkpoint(source, one).ledger for one in checked.reversed_names])
    # A first copy needs no more than names to be judged: without a ledger nothing can be owned, edited or deleted.
    may_leave_unread = is_to_write and not len(checkpoint.ledger) and inheritance is None
    planner = _Planner(
        Sides.of(source, destination, request),
        request,
        checkpoint.ledger,
        inheritance,
        leaves_out_denied=leaves_out_denied,
        may_leave_unread=may_leave_unread,
    )
    plans = [planner.plan(mapping) for mapping in request.mappings]
    # What was not read was not seen either, and stays owned.
    checkpoint.ledger.forget_unseen(prefix_ids(plan.mapping.destination for plan in plans if not plan.unreadable))
    for plan in plans:
        if plan.unconfirmed and not plan.counts.source_keys:
            raise errors.Filtered(f"{plan.unconfirmed}. There is nothing to copy, and nothing was changed.")
    return PreparedReplication(
        name,
        *direction,
        checkpoint,
        plans,
        planner.lines,
        checked.reversed_after,
        checked.unchecked,
        deferral_reason(plans, request.policy, known),
        preflight.hidden_sources(source, request),
        checked.upstream,
    )


class Room:
    """What is left of the memory for planned changes."""

    def __init__(self) -> None:
        self._bytes = HELD_BYTES
        self.is_full = False  # something did not fit

    def takes(self, changes: t.Sequence[Change]) -> bool:
        """Return whether all of these fit; they then take their part."""
        size = sum(len(change.value) + CHANGE_BYTES for change in changes)
        if size > self._bytes:
            self.is_full = True
            return False
        self._bytes -= size
        return True


class _Planner:
    """Plans one mapping after the other, within one limit of memory and one of lines of the diff."""

    def __init__(
        self,
        sides: Sides,
        request: ReplicationRequest,
        ledger: Ledger,
        inheritance: Inheritance | None,
        *,
        leaves_out_denied: bool = False,
        may_leave_unread: bool = False,
    ) -> None:
        self._leaves_out_denied = leaves_out_denied
        self._sides = sides
        self._may_leave_unread = may_leave_unread
        self._reader = Reader(sides)
        self._request = request
        self._ledger = ledger
        self._inheritance = inheritance
        self._room = Room()
        self.lines: list[DiffLine] = []

    def plan(self, mapping: PrefixMapping) -> MappingPlan:
        """Return what a mapping needs. Raises a ConsulError."""
        request = self._request
        started = time.monotonic()
        plan = MappingPlan(mapping)
        refs = self._reader.shards(mapping)
        denied = plan.unreadable if self._leaves_out_denied else None
        workers = min(request.concurrency, len(refs))
        read = self._reader.read_all(mapping, self._to_read(plan, refs), workers, denied)
        for pair in itertools.chain.from_iterable(read):
            describe = None
            if len(self.lines) < request.limit:
                describe = value_text if request.show_values else digest_text
            if self._inheritance is not None:
                self._inheritance.take_over(self._ledger, mapping, pair.source.entries, pair.destination.entries)
            shard = plan_shard(
                mapping, request.policy, self._ledger, pair.source.entries, pair.destination.entries, describe
            )
            self.lines += shard.lines[: request.limit - len(self.lines)]
            plan.source_index = max(plan.source_index, pair.source.index)
            plan.add(shard, pair.ref, keep_changes=self._room.takes(shard.changes))
        plan.seconds = time.monotonic() - started
        plan.unconfirmed = partial_source(self._sides, mapping)
        log.debug(
            "planned %s: %s, %d to delete, %d conflicts, %d unwritable; %d shards in %.3f s",
            mapping,
            plan.counts,
            len(plan.to_delete),
            len(plan.conflicts),
            len(plan.unwritable),
            len(refs),
            plan.seconds,
        )
        return plan

    def _to_read(self, plan: MappingPlan, refs: t.Iterable[ShardRef]) -> t.Iterator[ShardRef]:
        """Yield the shards that are to be read now. The others are added to the plan unread."""
        for ref in refs:
            is_described = len(self.lines) >= self._request.limit
            if self._may_leave_unread and self._room.is_full and is_described and ref.source_keys:
                plan.add_unread(ref, ref.source_keys, may_be_left_out=self._leaves_out_denied)
            else:
                yield ref


def partial_source(sides: Sides, mapping: PrefixMapping) -> str:
    """Return why nothing of a mapping may be deleted: Consul filtered what was read of the source. "" if it did not."""
    if sides.sees_all(mapping.source):
        return ""
    return (
        f"the source's token sees only a part of the keys below {mapping.source!r}, so absent cannot be told from hidden: "
        f"it needs {needed_rights(key_path(mapping.source))}"
    )


def confirm(sides: Sides, plan: MappingPlan) -> None:
    """Confirm each deletion at the source's leader by the key's own name. A key that exists again is not deleted.

    When the token sees only a part of them, or may not read one of the keys, none is confirmed, and ``plan.unconfirmed`` says
    so. Raises a ConsulError.
    """
    plan.unconfirmed = plan.unconfirmed or partial_source(sides, plan.mapping)
    if plan.unconfirmed:
        return
    deletions = {plan.mapping.to_source(deletion.key): deletion for deletion in plan.to_delete}
    try:
        existing = sides.source.existing_of(list(deletions))
    except errors.PermissionDenied as error:
        plan.unconfirmed = f"the source's token may not read every key, so absent cannot be told from denied: {error}"
        return
    plan.came_back += len(existing)
    plan.to_delete = [deletion for name, deletion in deletions.items() if name not in existing]
    log.debug("%s: %d keys are confirmed to be gone, %d exist again", plan.mapping, len(plan.to_delete), len(existing))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at both sides, compares them and decides, or refuses as a whole. Writes nothing; apply.py does what is decided here."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.digest import SetDigest
from .._consul.errors import GuardRefused
from .._consul.retry import RetryPolicy
from . import checkpoint as store
from .delete_guards import Limits, refusals, why_not_delete
from .ledger import Ledger, prefix_id
from .mapping import PrefixMapping, check_name, check_one_store
from .plan import Change, Counts, DiffLine, Policy, Problem, ShardPlan, digest_text, plan_shard, value_text
from .shard_reader import Reader, ShardRef

MAX_CONCURRENCY = 16
HELD_BYTES = 6_000_000  # of values that a plan keeps; shards beyond it are read again when they are written


class ReplicationRequest(t.NamedTuple):
    """What is asked for. Times in seconds.

    ``name`` is the replication's, "" for the source's datacenter. ``accept`` holds other_source and reversed. ``limit`` is how
    many changes are described, with their values when ``show_values`` is on.
    """

    mappings: tuple[PrefixMapping, ...]
    policy: Policy = Policy()
    limits: Limits = Limits()
    name: str = ""
    accept: tuple[str, ...] = ()
    consistency: str = "default"
    max_stale_s: float = 2.0
    verify: bool = True
    batch_ops: int | None = None
    concurrency: int = 4
    lock_wait_s: float = 60.0
    retry_s: float = 15.0
    limit: int = 100
    show_values: bool = False

    def check(self) -> None:
        """Raise InvalidOption for what cannot be meant. No I/O."""
        if self.name:
            check_name(self.name)
        for option, value, least in (
            ("max_deletes", self.limits.max_deletes, 0),
            ("max_delete_percent", self.limits.max_delete_percent, 0),
            ("concurrency", self.concurrency, 1),
            ("lock_wait", self.lock_wait_s, 0),
            ("retry_timeout", self.retry_s, 0),
            ("limit", self.limit, 0),
        ):
            if not least <= value < 1e9:  # false for nan too
                raise errors.InvalidOption(
                    f"{option} is {value:g}: it must be at least {least}, and less than 1,000,000,000."
                )
        if self.concurrency > MAX_CONCURRENCY:
            raise errors.InvalidOption(f"concurrency is {self.concurrency}: more than {MAX_CONCURRENCY} gains nothing.")


def batch_size(text: str) -> int | None:
    """Return the operations of a transaction, None for auto. Raises InvalidOption."""
    if text == "auto":
        return None
    # One operation of each transaction is the fence.
    if not (text.isascii() and text.isdigit()) or not 2 <= int(text) <= kv.TXN_OPS_NEW:
        raise errors.InvalidOption(f"batch_ops {text!r} is neither auto nor a number from 2 to {kv.TXN_OPS_NEW}.")
    return int(text)


@dataclass
class ShardWork:
    """One shard that has keys to write; ``changes`` is None when there were too many to keep."""

    ref: ShardRef
    changes: list[Change] | None


@dataclass
class MappingPlan:
    """What one mapping takes. ``unconfirmed`` says why it could not be asked whether the to_delete are gone; see ``confirm``."""

    mapping: PrefixMapping
    counts: Counts = field(default_factory=Counts)
    work: list[ShardWork] = field(default_factory=list)
    to_delete: list[Change] = field(default_factory=list)
    conflicts: list[Problem] = field(default_factory=list)
    unwritable: list[Problem] = field(default_factory=list)
    adopted: list[bytes] = field(default_factory=list)
    equal_again: list[bytes] = field(default_factory=list)
    unconfirmed: str = ""
    came_back: int = 0
    digest: SetDigest = field(default_factory=SetDigest)
    source_index: int = 0
    seconds: float = 0.0


@dataclass
class PreparedReplication:
    """What a run would do. ``reversed_after`` is when the other direction wrote last that this run ends, 0 for none.

    ``unchecked`` says what could not be asked.

    ``why_not_delete`` holds the deletions back when it says anything.
    """

    name: str
    source: str
    destination: str | None
    checkpoint: store.Checkpoint
    plans: list[MappingPlan]
    lines: list[DiffLine]
    reversed_after: float
    unchecked: list[str]
    why_not_delete: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything is to be written."""
        written = bool(self.reversed_after) or any(plan.work or plan.adopted for plan in self.plans)
        return written or any(plan.to_delete and not self.why_keep(plan) for plan in self.plans)

    @property
    def untidy(self) -> bool:
        """Whether the ledger is to be put in order, which changes no key: after a run that died, after edits by others."""
        return bool(self.checkpoint.ledger.dirty) or any(plan.equal_again for plan in self.plans)

    def why_keep(self, plan: MappingPlan) -> str:
        """Return why a mapping's to_delete are not deleted, "" when they are."""
        return self.why_not_delete or plan.unconfirmed


def prepare(source: Client, destination: Client, request: ReplicationRequest) -> PreparedReplication:
    """Look at both sides, compare, and decide. Writes nothing.

    Raises InvalidOption, GuardRefused, InvalidLedger or a ConsulError.
    """
    here, there = _introduce(source, destination, request)
    for mapping in request.mappings:
        _check_rights(source, destination, mapping)
    name = request.name or here
    try:
        own = store.read_checkpoint(destination, name)
    except errors.PermissionDenied as error:
        raise store.denied(error, name) from None
    unchecked: list[str] = []
    reversed_after = _check_direction(source, (name, here, there), own.state, request, unchecked)
    reader = Reader(source, destination, request.consistency, request.max_stale_s, RetryPolicy(request.retry_s))
    plans, lines = _plan_all(reader, request, own.ledger)
    refused = refusals([(plan.mapping, plan.counts, plan.to_delete) for plan in plans], request.limits)
    why_not = why_not_delete(plans, request.policy)
    prepared = PreparedReplication(name, here, there, own, plans, lines, reversed_after, unchecked, why_not)
    if refused:
        raise GuardRefused(f"{'; '.join(refused)}. Nothing was changed")
    if prepared.changed:
        _check_writable(destination, name, plans)
    return prepared


def _introduce(source: Client, destination: Client, request: ReplicationRequest) -> tuple[str, str | None]:
    """Return the names of both datacenters; make sure that each has a leader and that they are not one."""
    if request.consistency != "stale":
        source.check_leader()
    destination.check_leader()
    here = source.endpoint.datacenter or source.whoami().datacenter
    there = destination.endpoint.datacenter or destination.whoami().datacenter
    if here is None:
        raise errors.InvalidOption(
            f"The token may not ask {source.endpoint} for its datacenter, and more than one is known there: set the source's datacenter."
        )
    if here == there and _peers(source) == _peers(destination):
        check_one_store(request.mappings)
    return here, there


def _peers(client: Client) -> list[str]:
    """Return the Raft addresses of a datacenter's servers, which any token may ask for."""
    return sorted(map(str, client.get("/v1/status/peers").json()))


def _check_rights(source: Client, destination: Client, mapping: PrefixMapping) -> None:
    for client, prefix, side, policy in (
        (source, mapping.source, "source", "read"),
        (destination, mapping.destination, "destination", "write"),
    ):
        try:
            kv.check_readable(client, prefix)
        except errors.PermissionDenied as error:
            raise errors.PermissionDenied(
                f'The {side}\'s token may not read below {prefix!r}: {error} It needs key_prefix "{prefix}" '
                f'{{ policy = "{policy}" }}. Nothing was changed.',
                error.status,
                error.consul_message,
            ) from None


def _check_writable(destination: Client, name: str, plans: t.Sequence[MappingPlan]) -> None:
    """Ask Consul whether the first key of each mapping may be written, so that check mode says it too."""
    keys = [(f"{store.folder(name)}state", store.folder(name))]
    keys += [(key, plan.mapping.destination) for plan in plans for key in [_first_key(plan)] if key]
    for key, prefix in keys:
        # A key that alone is denied is named when it is written, and the rest goes on.
        if destination.may("key", "write", key) is False and destination.may("key", "write", prefix) is False:
            raise errors.PermissionDenied(
                f"The destination's token may not write {key!r} ({destination.endpoint}): see the policies in docs/replication.md. "
                "Nothing was changed."
            )


def _first_key(plan: MappingPlan) -> str | None:
    for work in plan.work:
        return work.changes[0].key if work.changes else None
    return plan.to_delete[0].key if plan.to_delete else None


def _check_direction(
    source: Client,
    names: tuple[str, str, str | None],
    own: store.State | None,
    request: ReplicationRequest,
    unchecked: list[str],
) -> float:
    """Refuse loops and new sources that nobody accepted; return when the other direction, which is to end, wrote last.

    0 when there is none. ``names`` are those of the replication, of the source and of the destination.
    """
    name, here, there = names
    moved = store.changed_sources(own, request.mappings)
    if own is not None and own.source != here:
        moved.append(f"{store.folder(name)} belongs to a replication from {own.source}, and this one is from {here}")
    if moved and "other_source" not in request.accept:
        raise GuardRefused(
            f"{'; '.join(moved)}. What it owns would be deleted or overwritten by what the other has. If that is meant, set "
            "accept: [other_source]. Nothing was changed"
        )
    if there is None:
        unchecked.append(
            "loops: the destination's token may not ask for its datacenter; set the destination's datacenter"
        )
        return 0.0
    try:
        states, unreadable = store.read_states(source)
    except errors.PermissionDenied:
        unchecked.append(f"loops: the source's token may not read {store.ROOT}")
        return 0.0
    unchecked += [f"loops: at the source, {reason}" for reason in unreadable]
    found, newest = store.find_loops(states, here, there, own, request.mappings)
    if found and "reversed" not in request.accept:
        raise GuardRefused(
            f"{'; '.join(found)}. If the direction shall be turned round now, set accept: [reversed] once; the other way is then "
            "refused. Nothing was changed"
        )
    return newest


def _plan_all(reader: Reader, request: ReplicationRequest, ledger: Ledger) -> tuple[list[MappingPlan], list[DiffLine]]:
    plans: list[MappingPlan] = []
    lines: list[DiffLine] = []
    room = HELD_BYTES
    for mapping in request.mappings:
        started = time.monotonic()
        plan = MappingPlan(mapping)
        for shard_pair in reader.read_all(mapping, reader.shards(mapping), request.concurrency):
            show = (value_text if request.show_values else digest_text) if len(lines) < request.limit else None
            shard = plan_shard(
                mapping, request.policy, ledger, shard_pair.source.entries, shard_pair.destination.entries, show
            )
            lines += shard.lines[: request.limit - len(lines)]
            plan.source_index = max(plan.source_index, shard_pair.source.index)
            size = sum(len(change.value) + 300 for change in shard.changes)
            _collect(plan, shard, shard_pair.ref, hold=size <= room)
            room -= size if size <= room else 0
        plan.seconds = time.monotonic() - started
        plans.append(plan)
    ledger.forget_unseen(prefix_ids(request.mappings))
    return plans, lines


def prefix_ids(mappings: t.Iterable[PrefixMapping]) -> set[bytes]:
    """Return what stands for the destinations of mappings in a ledger."""
    return {prefix_id(mapping.destination) for mapping in mappings}


def confirm(source: Client, plan: MappingPlan, retry: RetryPolicy) -> None:
    """Ask the source's leader for each deletion by its own name; one that is there again is no deletion any more.

    When the token may not read one of them nothing is known of any, and ``unconfirmed`` says so. Raises a ConsulError.
    """
    names = {plan.mapping.to_source(deletion.key): deletion for deletion in plan.to_delete}
    try:
        present = retry.run(lambda: kv.present_of(source, list(names)))
    except errors.PermissionDenied as error:
        plan.unconfirmed = (
            f"the source's token may not read every key, so that absent cannot be told from denied: {error}"
        )
        return
    plan.came_back += len(present)
    plan.to_delete = [deletion for name, deletion in names.items() if name not in present]


def _collect(plan: MappingPlan, shard: ShardPlan, ref: ShardRef, *, hold: bool) -> None:
    plan.counts.add(shard.counts)
    if shard.changes:
        plan.work.append(ShardWork(ref, shard.changes if hold else None))
    plan.to_delete += shard.to_delete
    plan.conflicts += shard.conflicts
    plan.unwritable += shard.unwritable
    plan.adopted += shard.adopted
    plan.equal_again += shard.equal_again
    plan.digest.merge(shard.digest)

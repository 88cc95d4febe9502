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
from .._consul.patience import Patience
from . import store
from .guard import Limits, refusals, why_not_delete
from .ownership import Ledger, home_of
from .pair import Pair, check_name, check_one_store
from .plan import Change, Line, Policy, Problem, ShardPlan, Tally, digest_text, plan_shard, value_text
from .read import Reader, Where

MAX_CONCURRENCY = 16
HELD_BYTES = 6_000_000  # of values that a plan keeps; shards beyond it are read again when they are written


class Request(t.NamedTuple):
    """What is asked for. Times in seconds.

    ``name`` is the replication's, "" for the source's datacenter. ``accept`` holds other_source and reversed. ``limit`` is how
    many changes are described, with their values when ``show_values`` is on.
    """

    pairs: tuple[Pair, ...]
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

    where: Where
    changes: list[Change] | None


@dataclass
class PairPlan:
    """What one pair takes. ``unconfirmed`` says why it could not be asked whether the victims are gone; see ``confirm``."""

    pair: Pair
    tally: Tally = field(default_factory=Tally)
    work: list[ShardWork] = field(default_factory=list)
    victims: list[Change] = field(default_factory=list)
    conflicts: list[Problem] = field(default_factory=list)
    quarantined: list[Problem] = field(default_factory=list)
    adopted: list[bytes] = field(default_factory=list)
    equal_again: list[bytes] = field(default_factory=list)
    unconfirmed: str = ""
    came_back: int = 0
    digest: SetDigest = field(default_factory=SetDigest)
    source_index: int = 0
    seconds: float = 0.0


@dataclass
class Prepared:
    """What a run would do. ``turned_after`` is when the other direction wrote last that this run ends, 0 for none.

    ``unchecked`` says what could not be asked.

    ``why_not_delete`` holds the deletions back when it says anything.
    """

    name: str
    source: str
    destination: str | None
    own: store.Own
    plans: list[PairPlan]
    lines: list[Line]
    turned_after: float
    unchecked: list[str]
    why_not_delete: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything is to be written."""
        written = bool(self.turned_after) or any(plan.work or plan.adopted for plan in self.plans)
        return written or any(plan.victims and not self.why_keep(plan) for plan in self.plans)

    @property
    def untidy(self) -> bool:
        """Whether the ledger is to be put in order, which changes no key: after a run that died, after edits by others."""
        return bool(self.own.ledger.dirty) or any(plan.equal_again for plan in self.plans)

    def why_keep(self, plan: PairPlan) -> str:
        """Return why a pair's victims are not deleted, "" when they are."""
        return self.why_not_delete or plan.unconfirmed


def prepare(source: Client, destination: Client, request: Request) -> Prepared:
    """Look at both sides, compare, and decide. Writes nothing.

    Raises InvalidOption, GuardRefused, BadLedger or a ConsulError.
    """
    here, there = _introduce(source, destination, request)
    for pair in request.pairs:
        _check_rights(source, destination, pair)
    name = request.name or here
    try:
        own = store.read_own(destination, name)
    except errors.PermissionDenied as error:
        raise store.denied(error, name) from None
    unchecked: list[str] = []
    turned_after = _check_direction(source, (name, here, there), own.state, request, unchecked)
    reader = Reader(source, destination, request.consistency, request.max_stale_s, Patience(request.retry_s))
    plans, lines = _plan_all(reader, request, own.ledger)
    refused = refusals([(plan.pair, plan.tally, plan.victims) for plan in plans], request.limits)
    why_not = why_not_delete(plans, request.policy)
    prepared = Prepared(name, here, there, own, plans, lines, turned_after, unchecked, why_not)
    if refused:
        raise GuardRefused(f"{'; '.join(refused)}. Nothing was changed")
    if prepared.changed:
        _check_writable(destination, name, plans)
    return prepared


def _introduce(source: Client, destination: Client, request: Request) -> tuple[str, str | None]:
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
        check_one_store(request.pairs)
    return here, there


def _peers(client: Client) -> list[str]:
    """Return the Raft addresses of a datacenter's servers, which any token may ask for."""
    return sorted(map(str, client.get("/v1/status/peers").json()))


def _check_rights(source: Client, destination: Client, pair: Pair) -> None:
    for client, prefix, side, policy in (
        (source, pair.source, "source", "read"),
        (destination, pair.destination, "destination", "write"),
    ):
        try:
            kv.check_readable(client, prefix)
        except errors.PermissionDenied as error:
            raise errors.PermissionDenied(
                f'The {side}\'s token may not read below {prefix!r}: {error} It needs key_prefix "{prefix}" '
                f'{{ policy = "{policy}" }}. Nothing was changed.',
                error.status,
                error.said,
            ) from None


def _check_writable(destination: Client, name: str, plans: t.Sequence[PairPlan]) -> None:
    """Ask Consul whether the first key of each pair may be written, so that check mode says it too."""
    keys = [(f"{store.folder(name)}state", store.folder(name))]
    keys += [(key, plan.pair.destination) for plan in plans for key in [_first_key(plan)] if key]
    for key, prefix in keys:
        # A key that alone is denied is named when it is written, and the rest goes on.
        if destination.may("key", "write", key) is False and destination.may("key", "write", prefix) is False:
            raise errors.PermissionDenied(
                f"The destination's token may not write {key!r} ({destination.endpoint}): see the policies in docs/replication.md. "
                "Nothing was changed."
            )


def _first_key(plan: PairPlan) -> str | None:
    for work in plan.work:
        return work.changes[0].key if work.changes else None
    return plan.victims[0].key if plan.victims else None


def _check_direction(
    source: Client,
    names: tuple[str, str, str | None],
    own: store.State | None,
    request: Request,
    unchecked: list[str],
) -> float:
    """Refuse circles and new sources that nobody accepted; return when the other direction, which is to end, wrote last.

    0 when there is none. ``names`` are those of the replication, of the source and of the destination.
    """
    name, here, there = names
    moved = store.moved_sources(own, request.pairs)
    if own is not None and own.source != here:
        moved.append(f"{store.folder(name)} belongs to a replication from {own.source}, and this one is from {here}")
    if moved and "other_source" not in request.accept:
        raise GuardRefused(
            f"{'; '.join(moved)}. What it owns would be deleted or overwritten by what the other has. If that is meant, set "
            "accept: [other_source]. Nothing was changed"
        )
    if there is None:
        unchecked.append(
            "circles: the destination's token may not ask for its datacenter; set the destination's datacenter"
        )
        return 0.0
    try:
        states, unreadable = store.read_states(source)
    except errors.PermissionDenied:
        unchecked.append(f"circles: the source's token may not read {store.ROOT}")
        return 0.0
    unchecked += [f"circles: at the source, {reason}" for reason in unreadable]
    found, newest = store.circles(states, here, there, own, request.pairs)
    if found and "reversed" not in request.accept:
        raise GuardRefused(
            f"{'; '.join(found)}. If the direction shall be turned round now, set accept: [reversed] once; the other way is then "
            "refused. Nothing was changed"
        )
    return newest


def _plan_all(reader: Reader, request: Request, ledger: Ledger) -> tuple[list[PairPlan], list[Line]]:
    plans: list[PairPlan] = []
    lines: list[Line] = []
    room = HELD_BYTES
    for pair in request.pairs:
        started = time.monotonic()
        plan = PairPlan(pair)
        for both in reader.read_all(pair, reader.shards(pair), request.concurrency):
            show = (value_text if request.show_values else digest_text) if len(lines) < request.limit else None
            shard = plan_shard(pair, request.policy, ledger, both.source.entries, both.destination.entries, show)
            lines += shard.lines[: request.limit - len(lines)]
            plan.source_index = max(plan.source_index, both.source.index)
            size = sum(len(change.value) + 300 for change in shard.changes)
            _collect(plan, shard, both.where, hold=size <= room)
            room -= size if size <= room else 0
        plan.seconds = time.monotonic() - started
        plans.append(plan)
    ledger.forget_unseen(homes_of(request.pairs))
    return plans, lines


def homes_of(pairs: t.Iterable[Pair]) -> set[bytes]:
    """Return what stands for the destinations of pairs in a ledger."""
    return {home_of(pair.destination) for pair in pairs}


def confirm(source: Client, plan: PairPlan, patience: Patience) -> None:
    """Ask the source's leader for each victim by its own name; one that is there again is no victim any more.

    When the token may not read one of them nothing is known of any, and ``unconfirmed`` says so. Raises a ConsulError.
    """
    names = {plan.pair.to_source(victim.key): victim for victim in plan.victims}
    try:
        present = patience.persist(lambda: kv.present_of(source, list(names)))
    except errors.PermissionDenied as error:
        plan.unconfirmed = (
            f"the source's token may not read every key, so that absent cannot be told from denied: {error}"
        )
        return
    plan.came_back += len(present)
    plan.victims = [victim for name, victim in names.items() if name not in present]


def _collect(plan: PairPlan, shard: ShardPlan, where: Where, *, hold: bool) -> None:
    plan.tally.add(shard.tally)
    if shard.changes:
        plan.work.append(ShardWork(where, shard.changes if hold else None))
    plan.victims += shard.victims
    plan.conflicts += shard.conflicts
    plan.quarantined += shard.quarantined
    plan.adopted += shard.adopted
    plan.equal_again += shard.equal_again
    plan.digest.merge(shard.digest)

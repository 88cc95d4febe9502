# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides whether one datacenter may take over from another, what may be lost by it, and what is still to be done. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul.replication_status import ReplicationStatus
from .._consul.units import count_of, human_age, some_of, timestamp
from .failover_record import FailoverRecord, Loss

PROMOTE, FINISH, NOTHING = "promote", "finish", "nothing"
UNHEALTHY = "unhealthy"  # an element of ``accept``
UNCHANGED = "Nothing was changed."


@dataclass(frozen=True)
class Side:
    """One datacenter. ``problem`` says why it cannot be used, "" if it has a leader and answers; health is None if it is not known."""

    name: str
    problem: str = ""
    is_healthy: bool | None = None
    tolerance: int | None = None

    @property
    def answers(self) -> bool:
        """Whether its leader answers."""
        return not self.problem


@dataclass(frozen=True)
class Copy:
    """What is known of the replication from the old to the new datacenter.

    ``generation`` is the number of the direction that is active in the new datacenter, and ``active`` the name of that replication,
    "" for none; ``is_reversed``: it is the one from the new to the old datacenter. ``differing`` is the number of keys that the new
    datacenter lacks or that differ there, None if that is not known, ``unknown_because`` says why. ``conflicts`` are keys of others that
    are not copied. ``written`` are the prefixes in which keys changed during the look, and ``status`` is what the replication
    published.
    """

    name: str
    reversed_by: str
    generation: int = 0
    active: str = ""
    differing: int | None = None
    unknown_because: str = ""
    conflicts: int = 0
    written: t.Sequence[str] = ()
    status: ReplicationStatus | None = None

    @property
    def is_reversed(self) -> bool:
        """Whether the direction is the other one already."""
        return self.active == self.reversed_by


class Limits(t.NamedTuple):
    """What the operator allows: ``max_loss_s`` is None if a loss that is not known is accepted too.

    ``allow_conflicts`` is false where the new datacenter must have nothing that it wrote alone, because that was decided about before.
    """

    confirm: str
    max_loss_s: float | None
    accept: t.Sequence[str] = ()
    allow_conflicts: bool = True


class Plan(t.NamedTuple):
    """``action`` is promote, finish (promoted, but not verified) or nothing. ``refusals`` say why it must not be carried out."""

    action: str
    generation: int
    loss: Loss
    refusals: list[str]
    sentences: list[str]


def make_plan(old: Side, new: Side, copied: Copy, record: FailoverRecord | None, limits: Limits, now: float) -> Plan:
    """Return the plan; ``record`` is that of the last failover to the new datacenter, ``now`` is in Unix seconds."""
    if copied.is_reversed:
        return _already(old, new, copied, record)
    loss = loss_of(old, copied, now)
    refusals = [*_about_name(new, limits), *_about_health(new, limits)]
    refusals += _about_writers(old, copied) if old.answers else []
    refusals += _about_loss(old, new, loss, limits)
    refusals += _about_conflicts(new, copied, limits)
    sentences = [
        f"{new.name} takes over from {old.name}.",
        _side_sentence(old),
        _side_sentence(new),
        loss_sentence(old, new, copied, loss),
    ]
    if copied.conflicts:
        sentences.append(
            f"{count_of(copied.conflicts, 'key')} of {new.name} were written there by others: they are not copied and stay."
        )
    sentences.append(
        f"Generation {copied.generation + 1} of the direction ends {copied.name} and begins {copied.reversed_by}."
    )
    return Plan(PROMOTE, copied.generation + 1, loss, refusals, sentences)


def _already(old: Side, new: Side, copied: Copy, record: FailoverRecord | None) -> Plan:
    is_this = record is not None and record.generation == copied.generation
    loss = record.loss if record is not None and is_this else Loss(None, None)
    said = f"{new.name} has taken over from {old.name}, generation {copied.generation}"
    if record is not None and is_this and record.finished is not None:
        return Plan(
            NOTHING, copied.generation, loss, [], [f"{said}, and that was finished {timestamp(record.finished)}."]
        )
    return Plan(FINISH, copied.generation, loss, [], [f"{said}. What is left is to be finished."])


def loss_of(old: Side, copied: Copy, now: float) -> Loss:
    """Return what the new datacenter may lack. ``now`` is in Unix seconds."""
    if copied.differing is not None:
        return Loss(0.0 if not copied.differing else None, copied.differing, now if not copied.differing else None)
    status = copied.status
    if status is None:
        return Loss(None, None)
    if status.behind_since is None:
        # What was written after the status was published may be there or not, and nobody knows when the old datacenter ended.
        until = status.at - status.lag_s
        return Loss(max(0.0, now - until), status.pending or None, until)
    # The replication noticed then that a side did not answer, or that a change waited.
    return Loss(status.lag_s, status.pending or None, status.behind_since - status.lag_s)


def loss_sentence(old: Side, new: Side, copied: Copy, loss: Loss) -> str:
    """Return what may be lost, in words."""
    if loss.keys == 0:
        return f"Nothing is missing in {new.name}: all keys were compared."
    if copied.differing is not None:
        return f"{new.name} lacks {count_of(loss.keys or 0, 'key')} of {old.name}, or has them with another content."
    why = copied.unknown_because.rstrip(".")
    because = f", because {why}" if why and old.answers else ""
    if loss.until is None or loss.seconds is None:
        return f"How much {new.name} lacks is not known{because}, and {copied.name} has published nothing that says it."
    known = f", of which {count_of(loss.keys, 'key')} are known" if loss.keys else ""
    return (
        f"{new.name} has what was written in {old.name} until {timestamp(loss.until)}. Writes of {human_age(loss.seconds)} may be "
        f"lost{known}, and all later ones if {old.name} went on{because}."
    )


def _about_name(new: Side, limits: Limits) -> list[str]:
    if limits.confirm == new.name:
        return []
    named = f"confirm is {limits.confirm!r}, and it" if limits.confirm else "It"
    return [f"{named} is not confirmed: set confirm to the name of the datacenter that takes over, {new.name}"]


def _about_health(new: Side, limits: Limits) -> list[str]:
    if new.is_healthy or UNHEALTHY in limits.accept:
        return []
    said = "is not known to be healthy" if new.is_healthy is None else "has servers that are not healthy"
    return [f"{new.name} {said}: mend that, or set accept: [{UNHEALTHY}]"]


def _about_writers(old: Side, copied: Copy) -> list[str]:
    if not copied.written:
        return []
    return [
        f"{old.name} answers and keys are still written there, below {some_of(list(copied.written))}: stop the writers, so that not both "
        "datacenters accept writes"
    ]


def _about_loss(old: Side, new: Side, loss: Loss, limits: Limits) -> list[str]:
    if limits.max_loss_s is None or loss.keys == 0:
        return []
    if loss.seconds is None:
        if loss.keys is not None:
            said = f"{count_of(loss.keys, 'key')} of {old.name} would be lost in {new.name}"
        else:
            said = f"how much of {old.name} would be lost is not known"
        return [f"{said}: wait, or accept it with max_loss: unknown"]
    if loss.seconds > limits.max_loss_s:
        return [
            f"writes of up to {human_age(loss.seconds)} would be lost, and max_loss is {human_age(limits.max_loss_s)}: accept it with a "
            "greater max_loss"
        ]
    return []


def _about_conflicts(new: Side, copied: Copy, limits: Limits) -> list[str]:
    if limits.allow_conflicts or not copied.conflicts:
        return []
    return [
        f"{new.name} has {count_of(copied.conflicts, 'key')} that it wrote alone: stop what writes there, and decide about such keys with "
        "consul_kv_reconcile"
    ]


def _side_sentence(side: Side) -> str:
    if not side.answers:
        return f"{side.name} does not answer: {side.problem}"
    if side.is_healthy is None:
        return f"{side.name} answers, and its health is not known."
    health = "all servers are healthy" if side.is_healthy else "not all servers are healthy"
    return f"{side.name} answers, {health}, and {count_of(side.tolerance or 0, 'server')} more may be lost."

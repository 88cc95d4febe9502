# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a policy that a snapshot agent publishes in its datacenter, for rules and commands that cannot ask the agent. No I/O."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from . import status_fields as fields
from .errors import InvalidOption
from .reserved_keys import SNAPSHOT_ROOT
from .txn import Operation
from .units import human_age, timestamp

_STATUS, _NODES = "status", "nodes/"


@dataclass(frozen=True)
class StatusPlace:
    """Whose status it is. ``node`` is "" for a policy of which one instance takes the snapshots, else the host that takes its own."""

    agent: str
    policy: str
    node: str = ""

    def __str__(self) -> str:
        return f"{self.agent}/{self.policy}" + (f" on {self.node}" if self.node else "")

    @property
    def key(self) -> str:
        """The key of the status."""
        return f"{SNAPSHOT_ROOT}{self.agent}/{self.policy}/" + (f"{_NODES}{self.node}" if self.node else _STATUS)


@dataclass(frozen=True)
class DestinationRecord:
    """What is known of one destination. ``damage`` is why its newest snapshot cannot be used, ``problem`` why it does not work."""

    place: str
    snapshots: int
    size: int
    newest: float | None
    waiting: int
    damage: str
    problem: str


@dataclass(frozen=True)
class RehearsalRecord:
    """The last rehearsal of a policy; ``at`` and ``is_ok`` are None before the first one, ``error`` is "" after a success."""

    at: float | None
    is_ok: bool | None
    took_s: float
    is_overdue: bool
    error: str


class NewestAge:
    """How old the newest verified snapshot of a policy is, for classes that have these two."""

    newest: float | None
    objective_s: float

    def age_s(self, now: float) -> float | None:
        """Return how old the newest verified snapshot is, None without one."""
        return None if self.newest is None else max(0.0, now - self.newest)

    def age_problem(self, now: float) -> str:
        """Return what is wrong with its age, "" if it is young enough."""
        age_s = self.age_s(now)
        if age_s is None:
            return "there is no verified snapshot"
        if age_s > self.objective_s:
            return f"the newest verified snapshot is {human_age(age_s)} old, and the objective is {human_age(self.objective_s)}"
        return ""

    def is_critical(self, now: float) -> bool:
        """Return whether the newest verified snapshot is older than the objective, or there is none."""
        return bool(self.age_problem(now))


@dataclass(frozen=True)
class SnapshotStatus(NewestAge):
    """What a snapshot agent says of one policy. Times in Unix seconds, to the second; sizes in bytes.

    ``newest`` is the newest verified snapshot of any destination. ``problem`` is why the last attempt failed, or what Consul left
    out, without the age of the newest snapshot, which grows by itself. ``rehearsal`` is None for a policy without rehearsals.
    """

    datacenter: str | None
    placement: str
    objective_s: float
    newest: float | None
    newest_size: int
    newest_index: int
    next_at: float
    missed: int
    doubled: int
    given_up: int
    problem: str
    destinations: t.Mapping[str, DestinationRecord]
    rehearsal: RehearsalRecord | None = None
    at: float = field(default=0.0, compare=False)

    def reasons(self) -> list[str]:
        """Return what somebody has to look at, besides the age of the newest snapshot."""
        failing = [f"{name}: {one.problem}" for name, one in self.destinations.items() if one.problem]
        return [self.problem, *failing] if self.problem else failing

    def operation(self, place: StatusPlace, now: float) -> Operation:
        """Return the operation that stores it, as published ``now`` (Unix seconds)."""
        document = {"at": timestamp(now), **self.as_json(now)}
        return Operation("set", place.key, json.dumps(document, sort_keys=True).encode())

    def as_json(self, now: float) -> dict[str, t.Any]:
        """Return everything as plain data, with the names of the agent's own status."""
        newest = {"bytes": self.newest_size, "index": self.newest_index, "age_s": round(self.age_s(now) or 0.0)}
        return {
            "datacenter": self.datacenter,
            "placement": self.placement,
            "objective_s": self.objective_s,
            "newest": None if self.newest is None else {"time": timestamp(self.newest), **newest},
            "critical": self.is_critical(now),
            "next_at": timestamp(self.next_at),
            "missed_slots": self.missed,
            "doubled_slots": self.doubled,
            "given_up": self.given_up,
            "problem": self.problem,
            "destinations": {name: _of_destination(one) for name, one in self.destinations.items()},
            "rehearsal": None if self.rehearsal is None else _of_rehearsal(self.rehearsal),
        }


def joined(reasons: t.Iterable[str]) -> str:
    """Return several reasons as sentences, the last one without its full stop."""
    return " ".join(one if one.endswith(("?", ".")) else f"{one}." for one in reasons if one).rstrip(".")


def place_of(key: str) -> StatusPlace | None:
    """Return whose status a key below SNAPSHOT_ROOT holds, None for another key."""
    agent, _slash, rest = key[len(SNAPSHOT_ROOT) :].partition("/")
    policy, _slash, name = rest.partition("/")
    node = name[len(_NODES) :] if name.startswith(_NODES) else ""
    place = StatusPlace(agent, policy, node)
    return place if agent and policy and place.key == key else None


def parse_status(value: bytes) -> SnapshotStatus:
    """Return the status that a key holds. Raises ValueError for anything else; fields of newer versions are ignored."""
    try:
        document = fields.typed(json.loads(value), dict)
        newest, rehearsal = document["newest"], document["rehearsal"]
        datacenter = document["datacenter"]
        return SnapshotStatus(
            datacenter=None if datacenter is None else fields.typed(datacenter, str),
            placement=fields.typed(document["placement"], str),
            objective_s=fields.seconds(document["objective_s"]),
            newest=None if newest is None else fields.time(newest["time"]),
            newest_size=0 if newest is None else fields.count(newest["bytes"]),
            newest_index=0 if newest is None else fields.count(newest["index"]),
            next_at=fields.time(document["next_at"]),
            missed=fields.count(document["missed_slots"]),
            doubled=fields.count(document["doubled_slots"]),
            given_up=fields.count(document["given_up"]),
            problem=fields.typed(document["problem"], str),
            destinations={
                name: _destination(fields.typed(one, dict))
                for name, one in fields.typed(document["destinations"], dict).items()
            },
            rehearsal=None if rehearsal is None else parse_rehearsal(fields.typed(rehearsal, dict)),
            at=fields.time(document["at"]),
        )
    except (LookupError, TypeError, ValueError, RecursionError, InvalidOption):
        raise ValueError from None


def parse_rehearsal(one: t.Mapping[str, t.Any]) -> RehearsalRecord:
    """Return what a status says of rehearsals. Raises LookupError, TypeError, ValueError or InvalidOption."""
    is_ok = one["ok"]
    return RehearsalRecord(
        at=fields.time_or_none(one["at"]),
        is_ok=None if is_ok is None else fields.typed(is_ok, bool),
        took_s=0.0 if one["seconds"] is None else fields.seconds(one["seconds"]),
        is_overdue=fields.typed(one["overdue"], bool),
        error=fields.typed(one["error"] or "", str),
    )


def _destination(one: t.Mapping[str, t.Any]) -> DestinationRecord:
    return DestinationRecord(
        place=fields.typed(one["place"], str),
        snapshots=fields.count(one["snapshots"]),
        size=fields.count(one["bytes"]),
        newest=fields.time_or_none(one["newest"]),
        waiting=fields.count(one["waiting"]),
        damage=fields.typed(one["damage"], str),
        problem=fields.typed(one["problem"], str),
    )


def _of_destination(one: DestinationRecord) -> dict[str, t.Any]:
    return {
        "place": one.place,
        "snapshots": one.snapshots,
        "bytes": one.size,
        "newest": None if one.newest is None else timestamp(one.newest),
        "waiting": one.waiting,
        "damage": one.damage,
        "problem": one.problem,
    }


def _of_rehearsal(one: RehearsalRecord) -> dict[str, t.Any]:
    return {
        "at": None if one.at is None else timestamp(one.at),
        "ok": one.is_ok,
        "seconds": round(one.took_s, 3),
        "overdue": one.is_overdue,
        "error": one.error,
    }

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots that wait on a host which does not hold the lease of their policy, as it shows and publishes them. No I/O."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from . import status_fields as fields
from .errors import InvalidOption
from .reserved_keys import SNAPSHOT_ROOT
from .snapshot_status import joined
from .txn import Operation
from .units import count_of, human_age, timestamp

_WAITING = "waiting/"


@dataclass(frozen=True)
class WaitingPlace:
    """Whose snapshots wait, and on which host."""

    agent: str
    policy: str
    node: str

    def __str__(self) -> str:
        return f"{self.agent}/{self.policy}"

    @property
    def key(self) -> str:
        """The key below which they are published."""
        return f"{SNAPSHOT_ROOT}{self.agent}/{self.policy}/{_WAITING}{self.node}"


@dataclass(frozen=True)
class WaitingFor:
    """How many snapshots wait for one destination, and why it does not work, "" if it does."""

    snapshots: int
    problem: str = ""


@dataclass(frozen=True)
class WaitingSnapshots:
    """What waits on a standby: ``since`` is when the oldest was taken (Unix seconds), None if nothing waits."""

    snapshots: int = 0
    size: int = 0
    since: float | None = None
    destinations: t.Mapping[str, WaitingFor] = field(default_factory=dict)
    at: float = field(default=0.0, compare=False)

    def sentence(self, now: float) -> str:
        """Return how many wait, for what, and since when."""
        if self.since is None:
            return "nothing waits"
        names = ", ".join(name for name, one in self.destinations.items() if one.snapshots)
        verb = "waits" if self.snapshots == 1 else "wait"
        age = human_age(max(0.0, now - self.since))
        return f"{count_of(self.snapshots, 'snapshot')} {verb} for {names}, the oldest taken {age} ago"

    def reasons(self) -> str:
        """Return why they are not delivered, "" if nothing is known against it."""
        return joined(f"{name}: {one.problem}" for name, one in self.destinations.items() if one.problem)

    def as_json(self) -> dict[str, t.Any]:
        """Return everything as plain data."""
        return {
            "snapshots": self.snapshots,
            "bytes": self.size,
            "since": None if self.since is None else timestamp(self.since),
            "destinations": {
                name: {"waiting": one.snapshots, "problem": one.problem} for name, one in self.destinations.items()
            },
        }

    def operation(self, place: WaitingPlace, now: float) -> Operation:
        """Return the operation that publishes it at ``now`` (Unix seconds): when nothing waits, the key goes."""
        if not self.snapshots:
            return Operation("delete", place.key)
        document = {"at": timestamp(now), **self.as_json()}
        return Operation("set", place.key, json.dumps(document, sort_keys=True).encode())


def waiting_place_of(key: str) -> WaitingPlace | None:
    """Return whose snapshots a key below SNAPSHOT_ROOT describes, None for another key."""
    agent, _slash, rest = key[len(SNAPSHOT_ROOT) :].partition("/")
    policy, _slash, name = rest.partition("/")
    node = name[len(_WAITING) :] if name.startswith(_WAITING) else ""
    return WaitingPlace(agent, policy, node) if agent and policy and node else None


def parse_waiting(value: bytes) -> WaitingSnapshots:
    """Return what a key holds. Raises ValueError for anything else; fields of newer versions are ignored."""
    try:
        document = fields.typed(json.loads(value), dict)
        return WaitingSnapshots(
            snapshots=fields.count(document["snapshots"]),
            size=fields.count(document["bytes"]),
            since=fields.time_or_none(document["since"]),
            destinations={
                name: WaitingFor(fields.count(one["waiting"]), fields.typed(one["problem"], str))
                for name, one in fields.typed(document["destinations"], dict).items()
            },
            at=fields.time(document["at"]),
        )
    except (LookupError, TypeError, ValueError, RecursionError, InvalidOption):
        raise ValueError from None

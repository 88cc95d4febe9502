# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status that a replication publishes at its destination, for rules and commands that cannot ask its agent. No I/O."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from .errors import InvalidOption
from .reserved_keys import REPLICATION_ROOT
from .txn import Operation
from .units import parse_timestamp, timestamp


@dataclass(frozen=True)
class ReplicationStatus:
    """What a replication says of itself. Times in Unix seconds, to the second.

    ``conflicts`` are those that are not meant to stay, ``plan`` is the digest of the paused deletions ("" for none). ``is_equal`` is
    None when the last verification could not say so: conflicts that are kept are not equal by intention. ``behind_since`` is when the
    oldest change was noticed that is not written yet, or when a side stopped answering; None while nothing waits for long.
    ``lag_source`` is ``heartbeat`` where ``lag_s`` begins with a write at the source, else ``index``: it begins with the notice.
    What grows all the time does not count when two are compared: it alone is no reason to publish.
    """

    conflicts: int
    unwritable: int
    unreadable: int
    paused_deletes: int
    plan: str
    verified_at: float
    is_equal: bool | None
    source_keys: int = field(default=0, compare=False)
    destination_keys: int = field(default=0, compare=False)
    problem: str = ""
    is_behind: bool = False
    behind_since: float | None = field(default=None, compare=False)
    lag_s: float = field(default=0.0, compare=False)
    lag_source: str = "index"
    pending: int = field(default=0, compare=False)
    at: float = field(default=0.0, compare=False)

    def operation(self, name: str, now: float) -> Operation:
        """Return the operation that stores it at the destination of a replication, as published ``now`` (Unix seconds)."""
        since = self.behind_since
        document = {
            "at": timestamp(now),
            "conflicts": self.conflicts,
            "unwritable": self.unwritable,
            "unreadable": self.unreadable,
            "paused_deletes": {"count": self.paused_deletes, "digest": self.plan},
            "verified_at": timestamp(self.verified_at),
            "equal": self.is_equal,
            "keys": {"source": self.source_keys, "destination": self.destination_keys},
            "problem": self.problem,
            "lag": {
                "seconds": round(self.lag_s, 3),
                "source": self.lag_source,
                "pending": self.pending,
                "behind_since": None if since is None else timestamp(since),
            },
        }
        return Operation("set", status_key(name), json.dumps(document, sort_keys=True).encode())


def status_key(name: str) -> str:
    """Return the key of the status of a replication."""
    return f"{REPLICATION_ROOT}{name}/status"


def parse_status(value: bytes) -> ReplicationStatus:
    """Return the status that a key holds. Raises ValueError for anything else; fields of newer versions are ignored."""
    try:
        document = _typed(json.loads(value), dict)
        paused, keys, lag = (_typed(document[name], dict) for name in ("paused_deletes", "keys", "lag"))
        is_equal, since = document["equal"], lag["behind_since"]
        behind_since = None if since is None else _time(since)
        return ReplicationStatus(
            conflicts=_count(document["conflicts"]),
            unwritable=_count(document["unwritable"]),
            unreadable=_count(document["unreadable"]),
            paused_deletes=_count(paused["count"]),
            plan=_typed(paused["digest"], str),
            verified_at=_time(document["verified_at"]),
            is_equal=None if is_equal is None else _typed(is_equal, bool),
            source_keys=_count(keys["source"]),
            destination_keys=_count(keys["destination"]),
            problem=_typed(document["problem"], str),
            is_behind=behind_since is not None,
            behind_since=behind_since,
            lag_s=_seconds(lag["seconds"]),
            lag_source=_typed(lag["source"], str),
            pending=_count(lag["pending"]),
            at=_time(document["at"]),
        )
    except (LookupError, TypeError, ValueError, RecursionError, InvalidOption):
        raise ValueError from None


Kind = t.TypeVar("Kind")


def _typed(value: t.Any, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _count(value: t.Any) -> int:
    if isinstance(value, bool) or _typed(value, int) < 0:
        raise ValueError
    return int(value)


def _seconds(value: t.Any) -> float:
    number = float(value if isinstance(value, float) else _count(value))
    if not 0 <= number < float("inf"):  # false for nan too
        raise ValueError
    return number


def _time(value: t.Any) -> float:
    return parse_timestamp(_typed(value, str), "time")

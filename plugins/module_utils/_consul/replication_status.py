# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status that a replication publishes at its destination, for rules and commands that cannot ask its agent. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from . import status_fields as fields
from .errors import InvalidOption
from .reserved_keys import REPLICATION_ROOT
from .txn import Operation
from .units import timestamp


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
        document = fields.typed(json.loads(value), dict)
        paused, keys, lag = (fields.typed(document[name], dict) for name in ("paused_deletes", "keys", "lag"))
        is_equal, since = document["equal"], lag["behind_since"]
        behind_since = fields.time_or_none(since)
        return ReplicationStatus(
            conflicts=fields.count(document["conflicts"]),
            unwritable=fields.count(document["unwritable"]),
            unreadable=fields.count(document["unreadable"]),
            paused_deletes=fields.count(paused["count"]),
            plan=fields.typed(paused["digest"], str),
            verified_at=fields.time(document["verified_at"]),
            is_equal=None if is_equal is None else fields.typed(is_equal, bool),
            source_keys=fields.count(keys["source"]),
            destination_keys=fields.count(keys["destination"]),
            problem=fields.typed(document["problem"], str),
            is_behind=behind_since is not None,
            behind_since=behind_since,
            lag_s=fields.seconds(lag["seconds"]),
            lag_source=fields.typed(lag["source"], str),
            pending=fields.count(lag["pending"]),
            at=fields.time(document["at"]),
        )
    except (LookupError, TypeError, ValueError, RecursionError, InvalidOption):
        raise ValueError from None

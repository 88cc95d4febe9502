# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status that an agent publishes beside the ledger, for rules that cannot ask the agent. No I/O.

It has what changes seldom: a replication with nothing new to say is not written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from .._consul.txn import Operation
from .._consul.units import timestamp
from .checkpoint import folder


@dataclass(frozen=True)
class PublishedStatus:
    """What is not as it should be at the destination, in numbers of keys. Times in Unix seconds.

    ``conflicts`` are those that are not meant to stay. ``plan`` is the digest of the paused deletions, "" for none.
    ``is_equal`` is None when the last verification could not say so: conflicts that are kept are not equal by intention.
    """

    conflicts: int
    unwritable: int
    unreadable: int
    paused_deletes: int
    plan: str
    verified_at: float
    is_equal: bool | None

    def operation(self, name: str, now: float) -> Operation:
        """Return the operation that stores it at the destination of a replication."""
        document = {
            "at": timestamp(now),
            "conflicts": self.conflicts,
            "unwritable": self.unwritable,
            "unreadable": self.unreadable,
            "paused_deletes": {"count": self.paused_deletes, "digest": self.plan},
            "verified_at": timestamp(self.verified_at),
            "equal": self.is_equal,
        }
        return Operation("set", status_key(name), json.dumps(document, sort_keys=True).encode())


def status_key(name: str) -> str:
    """Return the key of the status."""
    return f"{folder(name)}status"

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishes the status of one set at its destination, for rules and commands that cannot ask the agent."""

from __future__ import annotations

import time
import typing as t

from ..._consul.client import Client
from ..._consul.replication_status import ReplicationStatus
from ..._consul.txn import Operation
from ..._daemon.status_publisher import REFRESH_S, StatusPublisher
from .set_status import SetStatus

BEHIND_S = 10.0  # a change that waits for less is no news: there is always one where a lot is written


def published_status(status: SetStatus) -> ReplicationStatus | None:
    """Return what is published of a status, None before everything was compared once."""
    found = status.verification
    if found is None:
        return None
    keeps = status.keeps_conflicts and bool(status.conflicts)
    behind_s = status.behind_s
    is_behind = behind_s >= BEHIND_S
    return ReplicationStatus(
        conflicts=0 if status.keeps_conflicts else len(status.conflicts),
        unwritable=len(status.unwritable),
        unreadable=len(status.unreadable),
        paused_deletes=len(status.paused),
        plan=status.plan if status.paused else "",
        verified_at=found.at,
        is_equal=None if keeps and not found.is_equal else found.is_equal,
        source_keys=found.source_keys,
        destination_keys=found.destination_keys,
        problem=status.problem if is_behind else "",
        is_behind=is_behind,
        behind_since=time.time() - behind_s if is_behind else None,
        lag_s=status.current_lag_s,
        lag_source=status.lag_source,
        pending=status.pending + status.waiting,
    )


class SetPublisher:
    """Publishes the status of a set for one lease term. ``guard`` is the operation that checks the lease."""

    def __init__(self, destination: Client, name: str, guard: Operation) -> None:
        self._publisher: StatusPublisher[ReplicationStatus] = StatusPublisher(
            destination, name, lambda found, now: found.operation(name, now), guard
        )

    def due_in_s(self, status: SetStatus, now: float) -> float | None:
        """Return in how many seconds a status is to be published, None before there is one; ``now`` is monotonic."""
        found = published_status(status)
        if found is None:
            return None
        is_soon_behind = status.behind_s and not found.is_behind
        return self._publisher.due_in_s(found, now, BEHIND_S - status.behind_s if is_soon_behind else REFRESH_S)

    def publish(self, status: SetStatus) -> None:
        """Publish a status that is due. What fails is tried again: replication does not depend on it."""
        if self.due_in_s(status, time.monotonic()) == 0.0:
            self._publisher.publish(t.cast("ReplicationStatus", published_status(status)))

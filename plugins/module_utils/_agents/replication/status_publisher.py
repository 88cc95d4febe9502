# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishes the status of one set at its destination: when it changed, at most every ten seconds, and every minute in any case."""

from __future__ import annotations

import logging
import time
import typing as t

from ..._consul import errors
from ..._consul.client import Client
from ..._consul.replication_status import ReplicationStatus
from ..._consul.txn import Operation, Writer
from .set_status import SetStatus

log = logging.getLogger("consulops")

EVERY_S = 10.0
REFRESH_S = 60.0  # so that rules can tell a replication with nothing to say from one that is stuck
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


class StatusPublisher:
    """Knows what one lease term has published of a set. ``guard`` is the operation that checks the lease."""

    def __init__(self, destination: Client, name: str, guard: Operation) -> None:
        self._destination, self._name = destination, name
        self._writer = Writer(destination, fence=guard)
        self._written: ReplicationStatus | None = None
        self._next_at: float | None = None  # monotonic, None before the first attempt
        self._refresh_at = 0.0  # monotonic

    def due_in_s(self, status: SetStatus, now: float) -> float | None:
        """Return in how many seconds a status is to be published, None before there is one; ``now`` is monotonic."""
        found = published_status(status)
        if found is None:
            return None
        allowed_in_s = 0.0 if self._next_at is None else max(0.0, self._next_at - now)
        if found != self._written:
            return allowed_in_s
        due_in_s = self._refresh_at - now
        if status.behind_s and not found.is_behind:
            due_in_s = min(due_in_s, BEHIND_S - status.behind_s)
        return max(allowed_in_s, due_in_s)

    def publish(self, status: SetStatus) -> None:
        """Publish a status that is due. What fails is tried again: replication does not depend on it."""
        now = time.monotonic()
        if self.due_in_s(status, now) != 0.0:
            return
        found = t.cast("ReplicationStatus", published_status(status))
        self._next_at = now + EVERY_S
        try:
            self._writer.commit([found.operation(self._name, time.time())])
        except errors.ConsulError as error:
            log.debug("%s: the status could not be published: %s", self._name, error)
            return
        self._written = found
        self._refresh_at = now + REFRESH_S

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishes a status in Consul: when it changed, at most every ten seconds, and every minute in any case."""

from __future__ import annotations

import logging
import time
import typing as t

from .._consul import errors
from .._consul.client import Client
from .._consul.txn import Operation, Writer

log = logging.getLogger("consulops")

EVERY_S = 10.0
REFRESH_S = 60.0  # so that rules can tell an agent with nothing to say from one that is stuck

Status = t.TypeVar("Status")


class StatusPublisher(t.Generic[Status]):
    """Knows what was published of one subject, ``name`` in the log.

    ``operation`` makes the operation that stores a status as published at a time (Unix seconds). ``guard`` is the operation that
    checks a lease: what another instance published since is not overwritten. ``failure`` is why the last attempt failed, None
    after a success.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        operation: t.Callable[[Status, float], Operation],
        guard: Operation | None = None,
    ) -> None:
        self._name, self._operation = name, operation
        self._writer = Writer(client, fence=guard)
        self._written: Status | None = None
        self.failure: errors.ConsulError | None = None
        self._next_at: float | None = None  # monotonic, None before the first attempt
        self._refresh_at = 0.0  # monotonic

    def due_in_s(self, found: Status, now: float, news_in_s: float = REFRESH_S) -> float:
        """Return in how many seconds a status is to be published; ``now`` is monotonic, and ``news_in_s`` when it will have changed."""
        allowed_in_s = 0.0 if self._next_at is None else max(0.0, self._next_at - now)
        if found != self._written:
            return allowed_in_s
        return max(allowed_in_s, min(self._refresh_at - now, news_in_s))

    def publish(self, found: Status) -> None:
        """Publish a status. What fails is tried again: the agent's work does not depend on it."""
        now = time.monotonic()
        self._next_at = now + EVERY_S
        try:
            self._writer.commit([self._operation(found, time.time())])
        except errors.ConsulError as error:
            log.debug("%s: the status could not be published: %s", self._name, error)
            self.failure = error
            return
        self.failure = None
        self._written = found
        self._refresh_at = now + REFRESH_S

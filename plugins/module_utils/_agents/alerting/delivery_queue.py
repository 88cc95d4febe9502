# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which message of one receiver is sent next, and when. Pure: it is given the time, and does nothing itself.

Messages about the same alert are sent in order, so that a recovery never arrives before its alert. Otherwise the oldest that is due
goes first. After a failure the receiver pauses 1, 2, 4 … 60 s, and a message that failed pauses likewise, so that one message that
the receiver cannot take does not hold up the others.
"""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass, field

from ..._consul.retry import BackOff
from .notification import Notification

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

BackOffFactory = t.Callable[[], BackOff]


def default_back_off() -> BackOff:
    """Return the pauses after failures: 1, 2, 4 … 60 s, each shortened at random by up to half."""
    return BackOff(FIRST_PAUSE_S, LONGEST_PAUSE_S, random.Random())


@dataclass
class Waiting:
    """A message that waits, since ``at`` (Unix seconds).

    ``due`` is on the queue's own clock; ``problem`` is of the last attempt, ``tried_at`` (Unix seconds) when that ended; ``keys``
    identify the alerts that it is about. ``is_cancelled``: it is not to be sent again.
    """

    notification: Notification
    at: float
    back_off: BackOff
    due: float = 0.0
    attempts: int = 0
    problem: str = ""
    is_being_sent: bool = False
    is_cancelled: bool = False
    tried_at: float | None = None
    keys: frozenset[str] = field(default_factory=frozenset)


class DeliveryQueue:
    """The messages that wait for one receiver. Times are seconds of a clock that only goes forward.

    ``is_held`` says which of them are not to be sent now.
    """

    def __init__(self, back_off: BackOffFactory = default_back_off) -> None:
        self._new_back_off = back_off
        self._back_off = back_off()
        self._waiting: list[Waiting] = []
        self._paused_until = 0.0
        self._failed: set[str] = set()  # messages that failed since the last success
        self.is_held: t.Callable[[Notification], bool] = lambda notification: False
        self.failures_in_row = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, notification: Notification, at: float, tried_at: float | None = None) -> list[Notification]:
        """Add a message at the end. Return queued reminders that it makes pointless, which are removed."""
        keys = frozenset(alert.key for alert in notification.alerts)
        stale = [one for one in self._waiting if _is_waiting_reminder(one) and one.keys <= keys]
        for one in stale:
            self._remove(one)
        self._waiting.append(Waiting(notification, at, self._new_back_off(), keys=keys, tried_at=tried_at))
        return [one.notification for one in stale]

    def discard(self, notification: Notification) -> bool:
        """Remove a message; return whether it was there."""
        before = len(self._waiting)
        self._waiting = [one for one in self._waiting if one.notification.id != notification.id]
        return len(self._waiting) < before

    def cancel(self, notification: Notification) -> Waiting | None:
        """Remove a message and return it; None if it is not there. One that is being sent stays until that has ended."""
        found = next((one for one in self._waiting if one.notification.id == notification.id), None)
        if found is not None:
            found.is_cancelled = True
            if not found.is_being_sent:
                self._remove(found)
        return found

    def due(self, now: float) -> Waiting | None:
        """Return the message to send now, if there is one. While the receiver fails, those come first that were tried least."""
        if now < self._paused_until:
            return None
        dues = [one for one in self._sendable() if one.due <= now]
        if not self.failures_in_row:
            return dues[0] if dues else None
        return min(dues, key=lambda one: one.attempts, default=None)

    def next_due(self) -> float | None:
        """Return when a message will be due, or None without messages."""
        dues = [one.due for one in self._sendable()]
        return max(self._paused_until, min(dues)) if dues else None

    def succeeded(self, waiting: Waiting) -> None:
        """Remove a message that was delivered. A receiver that had refused several is back: all are due."""
        self._remove(waiting)
        if len(self._failed - {waiting.notification.id}) > 1:
            for one in self._waiting:
                one.due = 0.0
        self._reset()

    def rejected(self, waiting: Waiting, problem: str) -> None:
        """Remove a message that the receiver will never accept. The receiver itself is alive."""
        waiting.problem = problem
        self._remove(waiting)
        self._reset()

    def failed(self, waiting: Waiting, problem: str, now: float, at_least_s: float = 0.0) -> None:
        """Put off a message, and the receiver; ``at_least_s`` is a pause that the service asked for."""
        waiting.attempts += 1
        waiting.problem = problem
        waiting.due = now + max(waiting.back_off.next_s(), at_least_s)
        self.failures_in_row += 1
        self._failed.add(waiting.notification.id)
        self._paused_until = now + max(self._back_off.next_s(), at_least_s)

    def expired(self, before: float) -> list[Waiting]:
        """Remove and return the messages that have waited since before a time (Unix seconds); each gets one attempt at least."""
        old = [one for one in self._waiting if one.at < before and one.attempts and not one.is_being_sent]
        for one in old:
            self._remove(one)
        return old

    def __contains__(self, waiting: object) -> bool:
        return any(one is waiting for one in self._waiting)

    def oldest(self) -> float | None:
        """Return since when the oldest message waits (Unix seconds), or None without messages."""
        return min((one.at for one in self._waiting), default=None)

    def retry_now(self) -> None:
        """Make every message due, for a receiver whose configuration was corrected."""
        self._reset()
        for one in self._waiting:
            one.due, one.back_off = 0.0, self._new_back_off()

    def _remove(self, waiting: Waiting) -> None:
        self._waiting = [one for one in self._waiting if one is not waiting]

    def _reset(self) -> None:
        self._back_off.reset()
        self._paused_until = 0.0
        self._failed.clear()
        self.failures_in_row = 0

    def _sendable(self) -> t.Iterator[Waiting]:
        """The messages that no earlier one about the same alert holds back, and that are neither held nor being sent."""
        earlier: set[str] = set()
        for one in self._waiting:
            if not one.keys & earlier and not one.is_being_sent and not self.is_held(one.notification):
                yield one
            earlier |= one.keys


def _is_waiting_reminder(waiting: Waiting) -> bool:
    return waiting.notification.kind == "reminder" and not waiting.is_being_sent

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The thread that sends the messages of one receiver, and what outlives it when the receiver is configured anew."""

from __future__ import annotations

import enum
import logging
import threading
import time
import typing as t
from dataclasses import dataclass, field

from ..._consul.errors import Error
from ..._consul.units import human_age
from .delivery_queue import DeliveryQueue, Waiting
from .notification import Notification
from .receivers.receiver import DeliveryFailed, Receiver
from .spool import Spool

log = logging.getLogger("consulops")

SPOOL_RETRY_S = 30.0  # how often a disk that was full is tried again


class Clock:
    """The time, and waiting; tests have their own."""

    def time(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        """Wait until a condition, whose lock is held, is notified or the time is over."""
        condition.wait(timeout_s)


class Outcome(enum.Enum):
    """What became of a message: delivered here or by another instance; replaced by a newer one; refused for good; given up."""

    DELIVERED = "delivered"
    ELSEWHERE = "told by another instance"
    REPLACED = "replaced"
    REFUSED = "refused"
    GIVEN_UP = "given up"

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost."""
        return self in (Outcome.DELIVERED, Outcome.ELSEWHERE, Outcome.REPLACED)


@dataclass(frozen=True)
class Listener:
    """What delivery reports, from the thread where it happens and without a lock held.

    ``on_result(notification, outcome, problem)`` is called once for each message; of one that was delivered ``problem`` names what
    a part of it met, if anything. ``on_health(receiver, problem)`` is called when a
    receiver begins to fail, and with an empty problem when it works again. ``on_crash(receiver)`` is called when a mistake in a
    receiver has ended its thread: the process must end too, so that it is started anew.
    """

    on_result: t.Callable[[Notification, Outcome, str], None]
    on_health: t.Callable[[str, str], None] = lambda receiver, problem: None
    on_crash: t.Callable[[str], None] = lambda receiver: None


@dataclass
class Lane:
    """The queue of one receiver and how the receiver fares. It stays when the receiver is configured anew.

    ``condition`` guards all of it. ``is_closed`` after the receiver was removed. ``problem`` is empty while the receiver works; times
    are Unix seconds.
    """

    name: str
    queue: DeliveryQueue
    condition: threading.Condition = field(default_factory=threading.Condition)
    is_closed: bool = False
    problem: str = ""
    last_success: float | None = None
    sending_since: float | None = None
    delivered: int = 0
    given_up: int = 0


@dataclass(frozen=True)
class Shared:
    """What all workers share."""

    spool: Spool
    listener: Listener
    clock: Clock


class Worker:
    """Sends what its lane's queue holds, one message after the other, until it is told to stop."""

    def __init__(self, lane: Lane, receiver: Receiver, give_up_after_s: float, shared: Shared) -> None:
        self.receiver = receiver
        self._lane = lane
        self._give_up_after_s = give_up_after_s
        self._shared = shared
        self._stopping = False
        self._repeat_at = self._next_repeat()
        self._thread = threading.Thread(target=self._run, name=f"receiver {lane.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end after what it is sending now."""
        with self._lane.condition:
            self._stopping = True
            self._lane.condition.notify_all()

    def join(self, within_s: float) -> bool:
        """Wait for the end of the thread and return whether it has ended."""
        self._thread.join(max(0.0, within_s))
        return not self._thread.is_alive()

    # -----------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        ended_well = False
        try:
            while self._step():
                pass
            ended_well = True
        finally:
            self.receiver.close()
            if not ended_well:
                log.critical("receiver %s: its thread ended by a mistake in this program.", self._lane.name)
                self._shared.listener.on_crash(self._lane.name)

    def _step(self) -> bool:
        """Wait for something to do and do it. Return False when the worker must end."""
        lane, clock = self._lane, self._shared.clock
        self._shared.spool.retry()
        with lane.condition:
            if self._stopping:
                return False
            expired = lane.queue.expired(clock.time() - self._give_up_after_s)
            lane.given_up += len(expired)
            waiting = lane.queue.due(clock.monotonic())
            repeat = self._repeat_at is not None and clock.monotonic() >= self._repeat_at
            if waiting is None and not repeat and not expired:
                clock.wait(lane.condition, self._sleep_s())
                return True
            if waiting is not None:
                waiting.is_being_sent = True
                lane.sending_since = clock.time()
        for one in expired:
            self._give_up(one.notification, f"given up after {human_age(self._give_up_after_s)}: {one.problem}")
        if waiting is not None:
            self._send(waiting)
        if repeat:
            self._repeat()
        return True

    def _sleep_s(self) -> float | None:
        """Return how long there is nothing to do; None for without end."""
        clock, queue = self._shared.clock, self._lane.queue
        ends = [end - clock.monotonic() for end in (queue.next_due(), self._repeat_at) if end is not None]
        oldest = queue.oldest()
        if oldest is not None and queue.failures_in_row:
            ends.append(max(1.0, oldest + self._give_up_after_s - clock.time()))
        if self._shared.spool.is_behind:
            ends.append(SPOOL_RETRY_S)
        return max(0.0, min(ends)) if ends else None

    def _send(self, waiting: Waiting) -> None:
        notification, failure = waiting.notification, None
        log.debug("receiver %s: sending %s, attempt %d", self._lane.name, notification.id, waiting.attempts + 1)
        try:
            self.receiver.send(notification)
        except Error as error:
            failure = error
        with self._lane.condition:
            waiting.is_being_sent = False
            waiting.tried_at = self._shared.clock.time()
            self._lane.sending_since = None
            self._lane.condition.notify_all()  # a newer worker may wait for this message
            if waiting not in self._lane.queue:
                return  # removed meanwhile, and reported by who removed it
            if failure is not None and self._stopping:
                return  # cut short; it stays in the spool
            change = self._note_result(waiting, failure)
            # It may have arrived whatever the answer was, and another instance has told what came after it.
            is_cancelled = waiting.is_cancelled and waiting in self._lane.queue
            if is_cancelled:
                self._lane.queue.discard(notification)
        permanent = isinstance(failure, DeliveryFailed) and failure.permanent
        if failure is None or permanent or is_cancelled:
            delivered = failure is None or is_cancelled or (isinstance(failure, DeliveryFailed) and failure.partial)
            self._shared.spool.remove(notification, delivered, self._shared.clock.time())
            log.log(
                logging.WARNING if failure else logging.DEBUG, "receiver %s: %s", self._lane.name, failure or "sent"
            )
            outcome = Outcome.DELIVERED if delivered else Outcome.REFUSED
            self._shared.listener.on_result(notification, outcome, str(failure or ""))
        if change is not None:
            self._report_health(change)

    def _note_result(self, waiting: Waiting, failure: Error | None) -> str | None:
        """Update queue and lane, whose lock is held. Return the receiver's problem if that has come or gone."""
        lane, clock = self._lane, self._shared.clock
        if failure is None:
            lane.queue.succeeded(waiting)
            lane.last_success = clock.time()
            lane.delivered += 1
        elif isinstance(failure, DeliveryFailed) and failure.permanent:
            lane.queue.rejected(waiting, str(failure))
            lane.delivered += failure.partial
            lane.given_up += not failure.partial
        else:
            at_least_s = failure.retry_after_s if isinstance(failure, DeliveryFailed) else 0.0
            lane.queue.failed(waiting, str(failure), clock.monotonic(), at_least_s)
            return self._change_of(str(failure))
        return self._change_of("")

    def _change_of(self, problem: str) -> str | None:
        before, self._lane.problem = self._lane.problem, problem
        return problem if bool(before) != bool(problem) else None

    def _report_health(self, problem: str) -> None:
        if problem:
            log.warning("receiver %s fails: %s", self._lane.name, problem)
        else:
            log.info("receiver %s works again.", self._lane.name)
        self._shared.listener.on_health(self._lane.name, problem)

    def _give_up(self, notification: Notification, problem: str) -> None:
        log.warning("receiver %s: a message was %s", self._lane.name, problem)
        self._shared.spool.remove(notification, False, self._shared.clock.time())
        self._shared.listener.on_result(notification, Outcome.GIVEN_UP, problem)

    def _repeat(self) -> None:
        problem = ""
        try:
            self.receiver.repeat()
        except Error as error:
            problem = str(error)
        self._repeat_at = self._next_repeat()
        with self._lane.condition:
            if self._stopping or (not problem and self._lane.queue.failures_in_row):
                return
            change = self._change_of(problem)
        if change is not None:
            self._report_health(change)

    def _next_repeat(self) -> float | None:
        every_s = self.receiver.repeat_every_s
        return None if every_s is None else self._shared.clock.monotonic() + every_s

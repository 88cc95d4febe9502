# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Delivery: takes notifications, keeps them in the spool, and has one thread for each receiver that sends them.

Used by the alerting agent: ``submit`` returns as soon as a message is on the disk; the listener hears what became of it. A message is
delivered at least once. A receiver that hangs or fails delays no other one.
"""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass, field

from ..._consul.units import count_of
from .delivery_queue import BackOffFactory, DeliveryQueue, default_back_off
from .delivery_worker import Clock, Lane, Listener, Outcome, Shared, Worker
from .notification import Notification
from .receivers.receiver import Receiver
from .spool import Spool
from .spool_file import Fates

GIVE_UP_AFTER_S = 86400.0
FEW = 10  # a receiver that works and for which no more than these wait keeps up
ABORT_AFTER = 0.5  # of the time that a stop may take; until then what is being sent may end by itself

REPLACED = "a newer message replaced it"
BEFORE = "it was dealt with before"
GONE = "receiver {!r} is not configured any more."
ELSEWHERE = "another instance has told the receiver"
MAYBE_LATE = f"{ELSEWHERE}, and this message may have arrived after that"

IsHeld = t.Callable[[Notification], bool]


@dataclass(frozen=True)
class ReceiverSetup:
    """A receiver as it is configured.

    ``config`` is compared when the configuration is read again: a receiver whose ``config`` is equal goes on untouched, so it must
    contain everything that matters, templates included. ``build`` makes the receiver and raises InvalidOption.
    """

    config: t.Any
    build: t.Callable[[], Receiver] = field(compare=False)
    give_up_after_s: float = GIVE_UP_AFTER_S


@dataclass(frozen=True)
class ReceiverHealth:
    """How a receiver fares. Times are Unix seconds; ``problem`` is empty while it works.

    ``waiting`` is the number of messages, ``oldest`` since when the oldest of them waits. ``sending_since`` is None between messages.
    """

    problem: str
    waiting: int
    oldest: float | None
    last_success: float | None
    sending_since: float | None
    delivered: int
    given_up: int
    failures_in_row: int

    @property
    def is_ready(self) -> bool:
        """Whether it is told anew what was given up. Only a message shows whether a receiver that fails works again: one has to wait."""
        return not self.waiting or (not self.problem and self.waiting <= FEW)


class Delivery:
    """All receivers. ``configure`` starts them, and later changes what differs; ``stop`` ends them."""

    def __init__(
        self,
        spool: Spool,
        listener: Listener,
        clock: Clock | None = None,
        back_off: BackOffFactory = default_back_off,
    ) -> None:
        self._shared = Shared(spool, listener, clock or Clock())
        self._back_off = back_off
        self._lock = threading.Lock()  # guards the three below
        self._lanes: dict[str, Lane] = {}
        self._workers: dict[str, Worker] = {}
        self._setups: dict[str, ReceiverSetup] = {}
        self._is_held: IsHeld = _never
        self._ending: list[Worker] = []  # replaced or removed, and still sending their last message

    def configure(self, setups: t.Mapping[str, ReceiverSetup]) -> None:
        """Use these receivers from now on. Raises InvalidOption, and then everything stays as it was.

        A receiver whose setup is the same keeps its thread and its queue; one whose setup changed keeps its queue. Messages for a
        receiver that is not configured any more are given up and reported.
        """
        with self._lock:
            changed = {name: setup for name, setup in setups.items() if self._setups.get(name) != setup}
            built = _build_all(changed)
            orphans = self._remove_all_but(setups)
            for name, setup in changed.items():
                self._replace(name, setup, built[name])
            self._setups = dict(setups)
        for notification in orphans:
            self._finish(notification, Outcome.GIVEN_UP, GONE.format(notification.receiver))

    def submit(self, notification: Notification) -> None:
        """Store a message and let its receiver's thread send it. One that was submitted before, by its id, is not sent again;
        if it was dealt with already, that is reported again.
        """
        now = self._shared.clock.time()
        with self._lock:
            lane = self._lanes.get(notification.receiver)
        if lane is None:
            self._report(notification, Outcome.GIVEN_UP, f"receiver {notification.receiver!r} is not configured.")
            return
        added = self._shared.spool.add(notification, now)  # with no lock held: a disk may hang
        with lane.condition:
            stale = lane.queue.add(notification, now) if added.is_new and not lane.is_closed else []
            evicted = [old for old in added.removed if lane.queue.discard(old)]
            is_orphan = added.is_new and lane.is_closed
            lane.condition.notify_all()
        if added.fate is not None:
            self._report(notification, Outcome.DELIVERED if added.fate.ok else Outcome.GIVEN_UP, BEFORE)
        for old in evicted:
            self._report(
                old,
                Outcome.GIVEN_UP,
                f"too many messages wait for receiver {old.receiver!r}, so the oldest were given up.",
            )
        for old in stale:
            self._finish(old, Outcome.REPLACED, REPLACED)
        if is_orphan:
            self._finish(notification, Outcome.GIVEN_UP, GONE.format(notification.receiver))

    def hold(self, is_held: IsHeld | None) -> None:
        """Send none of the messages of which ``is_held`` is true, until this is called anew; None: send all.

        A receiver does not fail while its messages are held: nothing is sent to it.
        """
        with self._lock:
            if self._is_held is (is_held or _never):
                return
            self._is_held = is_held or _never
            for lane in self._lanes.values():
                with lane.condition:
                    lane.queue.is_held = self._is_held
                    lane.queue.retry_now()
                    lane.problem = ""
                    lane.condition.notify_all()

    def discard(self, notification: Notification, told_at: float) -> None:
        """Forget a message, because another instance has told its receiver at ``told_at`` (Unix seconds).

        One that was tried after that may have arrived, whatever the answer was: it counts as delivered. One that is being sent is
        reported when that has ended.
        """
        with self._lock:
            lane = self._lanes.get(notification.receiver)
        found = None
        if lane is not None:
            with lane.condition:
                found = lane.queue.cancel(notification)
        if found is not None and found.is_being_sent:
            return
        if found is not None and found.tried_at is not None and found.tried_at >= told_at:
            self._finish(notification, Outcome.DELIVERED, MAYBE_LATE)
        else:
            self._finish(notification, Outcome.ELSEWHERE, ELSEWHERE)

    def receivers(self) -> dict[str, Receiver]:
        """Return the receivers by name: for ``restore``, and for those that show something on the agent's endpoint."""
        with self._lock:
            return {name: worker.receiver for name, worker in self._workers.items()}

    @property
    def disk_problem(self) -> str:
        """Why messages are in memory only, "" if they are on the disk."""
        return self._shared.spool.failure

    @property
    def spool_problem(self) -> str:
        """Why messages are not on the disk, "" if they are."""
        return self._shared.spool.problem

    def health(self) -> dict[str, ReceiverHealth]:
        """Return how each receiver fares."""
        with self._lock:
            lanes = list(self._lanes.values())
        return {lane.name: _health(lane) for lane in lanes}

    def pending(self, receiver: str) -> list[Notification]:
        """Return the messages that wait for a receiver, oldest first; for a fall-back while it fails."""
        return [stored.notification for stored in self._shared.spool.pending(receiver)]

    def waiting(self) -> frozenset[str]:
        """Return the IDs of all messages that wait."""
        return self._shared.spool.waiting()

    def fates(self) -> Fates:
        """Return what is known of messages by receiver and ID: None for one that waits."""
        return self._shared.spool.fates()

    def stop(self, within_s: float) -> bool:
        """End all threads within that many seconds; return whether all have ended. What was not sent stays in the spool.

        What is being sent may end by itself for half of the time, then it is aborted. A thread that does not even end then is
        left behind; it does not keep the process from ending.
        """
        deadline = time.monotonic() + within_s
        with self._lock:
            workers = [*self._workers.values(), *self._ending]
            self._workers, self._lanes, self._setups, self._ending = {}, {}, {}, []
        for worker in workers:
            worker.stop()
        abort_at = deadline - within_s * ABORT_AFTER
        workers = [worker for worker in workers if not worker.join(abort_at - time.monotonic())]
        for worker in workers:
            worker.receiver.abort()
        workers = [worker for worker in workers if not worker.join(deadline - time.monotonic())]
        self._shared.spool.close()
        return not workers

    # -----------------------------------------------------------------------------------------------------------

    def _replace(self, name: str, setup: ReceiverSetup, receiver: Receiver) -> None:
        lane = self._lanes.get(name) or self._new_lane(name)
        self._end(name)
        with lane.condition:
            lane.queue.retry_now()
        worker = self._workers[name] = Worker(lane, receiver, setup.give_up_after_s, self._shared)
        worker.start()

    def _new_lane(self, name: str) -> Lane:
        lane = self._lanes[name] = Lane(name, DeliveryQueue(self._back_off))
        lane.queue.is_held = self._is_held
        for notification, at in self._shared.spool.pending(name):
            # The process before may have been sending it when it ended. Who asked for a reminder that is out of date is gone.
            for old in lane.queue.add(notification, at, tried_at=self._shared.clock.time()):
                self._shared.spool.remove(old, True, self._shared.clock.time())
        return lane

    def _end(self, name: str) -> None:
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.stop()
            self._ending = [one for one in [*self._ending, worker] if not one.join(0.0)]

    def _remove_all_but(self, setups: t.Mapping[str, ReceiverSetup]) -> list[Notification]:
        """End the receivers that are not configured any more and return their messages."""
        for name in set(self._lanes) - set(setups):
            lane = self._lanes.pop(name)
            self._end(name)
            with lane.condition:
                lane.is_closed = True
                for notification in self.pending(name):
                    lane.queue.discard(notification)
        gone = sorted(self._shared.spool.receivers() - set(setups))
        return [notification for name in gone for notification in self.pending(name)]

    def _finish(self, notification: Notification, outcome: Outcome, problem: str) -> None:
        """Remove a message that will not be sent, and report it unless another thread has done so."""
        if self._shared.spool.remove(notification, outcome.is_good, self._shared.clock.time()):
            self._report(notification, outcome, problem)

    def _report(self, notification: Notification, outcome: Outcome, problem: str) -> None:
        self._shared.listener.on_result(notification, outcome, problem)


def _never(_notification: Notification) -> bool:
    return False


def _build_all(setups: t.Mapping[str, ReceiverSetup]) -> dict[str, Receiver]:
    """Make the receivers; if one cannot be made, close the others."""
    built: dict[str, Receiver] = {}
    complete = False
    try:
        for name, setup in setups.items():
            built[name] = setup.build()
        complete = True
    finally:
        if not complete:
            for receiver in built.values():
                receiver.close()
    return built


def _health(lane: Lane) -> ReceiverHealth:
    with lane.condition:
        return ReceiverHealth(
            problem=lane.problem,
            waiting=len(lane.queue),
            oldest=lane.queue.oldest(),
            last_success=lane.last_success,
            sending_since=lane.sending_since,
            delivered=lane.delivered,
            given_up=lane.given_up,
            failures_in_row=lane.queue.failures_in_row,
        )


def summary_of(health: t.Mapping[str, ReceiverHealth]) -> str:
    """Return one line for people: how many receivers there are and which fail."""
    failing = sorted(name for name, one in health.items() if one.problem)
    text = count_of(len(health), "receiver")
    return f"{text}, failing: {', '.join(failing)}" if failing else text

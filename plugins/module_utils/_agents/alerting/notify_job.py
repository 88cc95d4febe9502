# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job that turns incidents into messages: applies timers, hands over to delivery what this instance is to send, saves the state."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ..._consul.units import count_of
from ..._daemon.job import Context
from ..._daemon.status import Standing
from .config import AlertingConfig
from .core import OWN_FINDINGS
from .delivery import ReceiverHealth, ReceiverSetup, summary_of
from .incidents import MOST_ENDED
from .memory import Memory
from .notification import Notification
from .own_findings import judge_receivers
from .queues import Queues
from .send_gate import SendGate, is_foreign
from .spool import LIMIT_MESSAGES

TICK_S = 1.0
IDLE_TICK_S = 10.0  # while nothing is wrong no timer runs, and what changes wakes the job
SAVE_EVERY_S = 1.0
TICK_FACTOR = 20.0  # at most a twentieth of one processor, however many incidents there are


@dataclass(frozen=True)
class NotifySettings:
    """What the job depends on. ``datacenter`` is named in findings about the agent itself, ``sources`` are what is watched."""

    config: AlertingConfig
    receivers: t.Mapping[str, ReceiverSetup]
    sources: frozenset[str]


def notify(context: Context, settings: NotifySettings) -> None:
    """Send what is due until the job must stop. Raises LocalFailure, and InvalidOption for a receiver."""
    memory: Memory = context.memory
    memory.configure(settings.config, settings.receivers, context.state)
    notifier = Notifier(context, memory, settings)
    try:
        pause_s = 0.0
        while context.wait_for(memory.changed, pause_s):
            memory.changed.clear()
            started = time.monotonic()
            notifier.run_once()
            pause_s = max(notifier.tick_s, TICK_FACTOR * (time.monotonic() - started))
    finally:
        memory.try_to_save(context.state)


class Notifier:
    """One cycle at a time; for one thread."""

    def __init__(self, context: Context, memory: Memory, settings: NotifySettings) -> None:
        self._context = context
        self._memory = memory
        self._sources = settings.sources
        self._gate = SendGate()
        self._saved_at = 0.0

    @property
    def tick_s(self) -> float:
        """The time after which timers must be looked at again, in seconds."""
        with self._memory.mutex:
            incidents = self._memory.core.incidents
            is_idle = not (incidents.by_key or incidents.ended or self._gate.is_unknown)
            return IDLE_TICK_S if is_idle else TICK_S

    def run_once(self) -> None:
        """Apply timers, send what is due and save."""
        memory = self._memory
        if memory.crashed_receiver:
            raise RuntimeError(f"the thread of receiver {memory.crashed_receiver} ended by a bug")
        health = memory.delivery.health()
        queues = Queues(frozenset(name for name, one in health.items() if one.is_ready), memory.delivery.waiting())
        standing, position = self._standing(), memory.position()
        self._hold(standing)
        for gone in set(memory.readings) - self._sources:
            del memory.readings[gone]
        with memory.mutex:
            now = memory.clock.time()
            core = memory.core
            self._forget_sources(now)
            core.update(OWN_FINDINGS, judge_receivers(health, self._datacenter, memory.config.instance), now)
            selected = self._gate.select(core.due(now, queues), standing, position, now)
            if len(core.incidents.ended) < MOST_ENDED:
                selected = _as_far_as_there_is_room(selected, health)
            memory.record(selected)
        # The notes are saved before anything can be sent: what a killed process has sent without a note would never be told to be over,
        # and a note of what was never in the spool is seen as such at the next start.
        if selected or time.monotonic() - self._saved_at > SAVE_EVERY_S:
            memory.try_to_save(self._context.state)
            self._saved_at = time.monotonic()
        for notification in selected:
            memory.submit(notification)
        if selected:
            memory.to_share.set()
        self._report(health, standing)

    def _forget_sources(self, now: float) -> None:
        """End what belongs to datacenters that are not watched any more, once it is known which are. The core's mutex is held."""
        incidents, sources = self._memory.core.incidents, {*self._sources, OWN_FINDINGS}
        answered = {
            source: reading for source, reading in self._memory.readings.items() if not reading.observation.unreachable
        }
        incidents.rename_sources({reading.datacenter: source for source, reading in answered.items()}, sources)
        if self._sources <= set(answered):
            incidents.forget_sources(sources, now)

    def _hold(self, standing: Standing) -> None:
        """Keep what was queued earlier from being sent on standby: the holder sends it, and may have told what came after it."""
        now = self._memory.clock.time()
        self._gate.note(standing, now)
        if standing != "unknown":
            self._memory.sends = standing == "holder"
        self._memory.delivery.hold(None if self._memory.sends or self._gate.is_settled(now) else is_foreign)

    def _standing(self) -> Standing:
        """Return the standing of this instance. A new holder knows what was sent only when it has read the notes of the one before."""
        lease = self._context.lease
        standing = lease.standing
        if standing == "holder" and self._memory.notes_fence != lease.fence:
            self._memory.to_share.set()  # the job that reads them may have been woken before the term began
            return "unknown"
        return standing

    @property
    def _datacenter(self) -> str:
        """The datacenter of this host, as far as it is known: the first that is watched."""
        readings = self._memory.readings
        return next((reading.datacenter for reading in readings.values()), "")

    def _report(self, health: t.Mapping[str, ReceiverHealth], standing: Standing) -> None:
        memory = self._memory
        with memory.mutex:
            firing = len(memory.core.incidents.firing())
        numbers = {
            "alerts_firing": firing,
            "messages_waiting": sum(one.waiting for one in health.values()),
            "messages_delivered": sum(one.delivered for one in health.values()),
            "messages_given_up": sum(one.given_up for one in health.values()),
            "receivers_failing": sum(bool(one.problem) for one in health.values()),
        }
        role = {"holder": "sends", "standby": "on standby", "unknown": "Consul cannot tell which instance sends"}
        unusable = (receiver.problem for receiver in memory.delivery.receivers().values())
        problem = " ".join(filter(None, (*memory.problems.values(), memory.delivery.spool_problem, *unusable)))
        summary = f"{count_of(firing, 'alert')} firing, {summary_of(health)}; {role[standing]}"
        self._context.report(summary, numbers, problem=problem)


def _as_far_as_there_is_room(
    due: t.Sequence[Notification], health: t.Mapping[str, ReceiverHealth]
) -> list[Notification]:
    """Return the messages that fit in the queues of their receivers. The others are due again: pushed out of a queue they would be lost."""
    room = {name: LIMIT_MESSAGES - one.waiting for name, one in health.items()}
    found = []
    for notification in due:
        left = room.get(notification.receiver, 1)
        if left > 0:
            found.append(notification)
            room[notification.receiver] = left - 1
    return found

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stream of findings: the rules of ``consul_alert_check``, debounced by the incidents of the alerting agent."""

from __future__ import annotations

import threading
import time
import typing as t

from ...._alerting.finding import Judgement
from ...._consul import errors
from ...._consul.client import Client
from ...._consul.failures import DENIED as DENIED_WORDS
from ...._consul.retry import BackOff
from ..clock import Clock
from ..incidents import Incidents, Place
from ..memory import Reading
from ..saved_state import decode_alert
from ..watch_job import LEAST_S, RETRY_S, WAIT_FAILED_S, Watched, Watcher
from . import changes
from .failures import DENIED, NO_LEADER, UNREACHABLE, Stopped
from .options import FindingOptions
from .streams import Stream

if t.TYPE_CHECKING:
    from .source import EventSource

TICK_S = 1.0  # so often the timers of incidents are looked at


class _Core:
    """What a watcher needs of the memory of the alerting agent, for one thread: incidents, and nothing of messages."""

    def __init__(self, clock: Clock, incidents: Incidents) -> None:
        self.clock = clock
        self.incidents = incidents
        self.mutex = threading.RLock()
        self.changed = threading.Event()
        self.readings: dict[str, Reading] = {}

    @property
    def core(self) -> _Core:
        return self

    def update(self, source: str, judgement: Judgement, now: float, gone: t.Collection[Place] = ()) -> None:
        """Take a judgement."""
        self.incidents.update(source, judgement, now, gone)


class FindingStream(Stream):
    """What is wrong with the datacenter. What was reported and still fires is remembered as it was reported."""

    what = "findings"

    def __init__(self, source: EventSource, client: Client) -> None:
        super().__init__(source, client)
        self._options = t.cast(FindingOptions, source.config.findings)
        self._memory = _Core(source.clock, Incidents(self._options.timing, self._options.flaps))
        options = self._options
        watched = Watched(
            "", "", options.rules, options.expected, options.snapshots, reconcile_every_s=options.reconcile_every_s
        )
        self._watcher = Watcher(self._memory, watched, client)

    def run(self) -> None:
        stored = self.source.positions.get(self.name)
        self._is_known, self.position = stored is not None, stored or {}
        for value in self.position.values():
            # It fires until a judgement shows that it is over, so that its end is an event.
            self._memory.incidents.adopt("", decode_alert(value), self.now)
        try:
            while not self.source.stopping.is_set():
                self._round()
        except errors.Aborted:
            return

    def follow(self, back_off: BackOff) -> None:
        raise NotImplementedError  # a judgement says itself what could not be read

    def _round(self) -> None:
        """Read everything once, and then wait for changes of checks until it is time to do it again."""
        watcher = self._watcher
        try:
            self.datacenter = watcher.read().datacenter
        except errors.LocalFailure as error:
            self.report(Stopped("other", str(error)))
            self.pause(self._options.reconcile_every_s)
            return
        self._send_changes()
        self.report(self._stopped())
        until = time.monotonic() + (RETRY_S if watcher.failed else self._options.reconcile_every_s)
        while (left_s := until - time.monotonic()) > 0:
            goes_on = True
            if watcher.can_wait:
                goes_on = watcher.wait(min(left_s, TICK_S))
                self.pause(WAIT_FAILED_S if watcher.wait_failed else LEAST_S)
            else:
                self.pause(min(left_s, TICK_S))
            self._memory.incidents.advance(self.now)
            self._send_changes()
            if not goes_on:
                return

    def _send_changes(self) -> None:
        incidents = self._memory.incidents
        firing = [incident.firing_alert() for incident in incidents.firing()]
        ended = [one.alert for one in incidents.ended_episodes()]
        self.send(changes.finding_changes(self.position, firing, ended, self.now))
        for alert in ended:
            incidents.release(alert.episode)

    def _stopped(self) -> Stopped | None:
        reading = self._memory.readings[""]
        if reading.observation.unreachable:
            return Stopped(UNREACHABLE, reading.observation.unreachable)
        if reading.observation.leader_problem is not None:
            return Stopped(NO_LEADER, reading.observation.leader_problem)
        for one in reading.judgement.unknown:
            if DENIED_WORDS in one.reason:
                return Stopped(DENIED, f"{one.what}: {one.reason}")
        return None

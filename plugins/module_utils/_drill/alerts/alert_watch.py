# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerts of a drill: makes its canary fail and pass at their times, and records what the alerting agent sends meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from dataclasses import dataclass

from ..._consul.errors import ConsulError
from ..drill_definition import CANARY, AlertStep
from ..drill_part import DrillSignals
from ..drill_space import DrillSpace
from ..history import (
    ALERT_FIRING,
    ALERT_RESOLVED,
    ALERTS_ENDED,
    ALERTS_STARTED,
    CANARY_ASKED,
    CANARY_SET,
    CRITICAL,
    FAULT_ENDED,
    FAULT_STARTED,
    NS,
    PASSING,
)
from ..history_writer import HistoryWriter
from .alert_message import FIRING, RESOLVED, ReceivedAlert, parse_message
from .canary import CHECK, Canary
from .message_receiver import MessageReceiver

EVERY_S = 0.1
OLD_S = 60.0  # an alert that is so much older than the drill is not of it; the clocks of hosts differ by less
LATE_S = 10.0  # so much later than planned a fault may end; the alerts that follow are waited for as long
ALERT_REPEATED = "alert_repeated"  # an event: a message that came twice, as one may after a failure


@dataclass(frozen=True)
class AlertLimits:
    """How long the alert, and its end, are waited for at least, in seconds after the cause of each."""

    firing_s: float
    resolved_s: float


class AlertWatch:
    """The part of a drill that is about alerts. ``listen`` are address and port of the receiver, ``step`` says which alert is meant."""

    def __init__(
        self,
        step: AlertStep,
        limits: AlertLimits,
        listen: tuple[str, int],
        made: Canary,
        datacenter: str,
        history: HistoryWriter,
    ) -> None:
        self._step, self._limits, self._datacenter, self._history = step, limits, datacenter, history
        self._canary = made if step.about == CANARY else None
        self.receiver = MessageReceiver(*listen, self._take)
        self._mutex = threading.Lock()
        self._began = time.time()
        self._heard: dict[tuple[str, str], set[str]] = {}  # the episodes of each key, by what happened to them
        self._others = 0

    def __enter__(self) -> AlertWatch:
        """Listen, and register the canary. Raises GuardRefused, LocalFailure or a ConsulError."""
        if self._canary is not None:
            self._canary.check_alone()
        with contextlib.ExitStack() as stack:
            self.receiver.open()
            stack.callback(self.receiver.close)
            self._history.event(ALERTS_STARTED, {"about": self._step.about})
            if self._canary is not None:
                self._canary.register()
            stack.pop_all()
        return self

    def __exit__(self, *_args: object) -> None:
        self.receiver.close()
        if self._canary is not None:
            self._canary.remove()

    def run(self, began_ns: int, _space: DrillSpace, signals: DrillSignals, /) -> None:
        """Make the canary fail and pass, and listen until all that is expected has arrived, or its time is over. Raises LocalFailure."""
        if self._canary is not None:
            fails_ns, passes_ns = (began_ns + int(at_s * NS) for at_s in (self._step.at_s, self._step.end_s))
            if self._wait(fails_ns, FAULT_STARTED, min(1, self._step.faults), signals):
                self._set_status(CRITICAL, passes_ns, signals)
            if self._wait(passes_ns, FAULT_ENDED, self._step.faults, signals):
                self._set_status(PASSING, passes_ns + int(self._limits.resolved_s * NS), signals)
        late_s = LATE_S if self._step.faults else 0.0
        most_s = max(self._step.at_s + self._limits.firing_s, self._step.end_s + self._limits.resolved_s) + late_s
        deadline_ns = began_ns + int(most_s * NS)
        while not signals.stop.wait(EVERY_S):
            if self.receiver.failure is not None:
                raise self.receiver.failure
            if signals.load_ended.is_set() and (self._is_complete() or self._history.now_ns() > deadline_ns):
                self._history.event(ALERTS_ENDED, {"others": self._others})
                return

    # -----------------------------------------------------------------------------------------------------------

    def _wait(self, at_ns: int, event_name: str, count: int, signals: DrillSignals) -> bool:
        """Wait for a time, or, with a ``count``, for so many events of faults; return whether the drill goes on."""
        if not count:
            return not signals.stop.wait(max(0.0, (at_ns - self._history.now_ns()) / NS))
        while not signals.stop.wait(EVERY_S):
            if self._history.events[event_name] >= count:
                return True
        return False

    def _set_status(self, status: str, until_ns: int, signals: DrillSignals) -> None:
        """Set the status of the canary, and try again until Consul takes it or its time is over."""
        made = t.cast(Canary, self._canary)
        fields = {"node": made.node, "status": status}
        self._history.event(CANARY_ASKED, fields)
        while not signals.stop.is_set():
            try:
                made.set_status(status)
            except ConsulError:
                if self._history.now_ns() > until_ns:
                    return
                signals.stop.wait(EVERY_S)
            else:
                self._history.event(CANARY_SET, fields)
                return

    def _take(self, body: bytes) -> None:
        """Record a message. Raises ValueError for one that is none, and LocalFailure."""
        message = parse_message(body)
        with self._mutex:
            for alert in message.alerts:
                if not self._is_meant(alert):
                    self._others += 1
                elif message.kind in (FIRING, RESOLVED):
                    self._record(message.kind, alert)

    def _is_meant(self, alert: ReceivedAlert) -> bool:
        if alert.datacenter != self._datacenter:
            return False
        if self._canary is not None:
            return alert.node == self._canary.node and alert.check == CHECK
        if alert.check == CHECK:
            return False  # the canary of an earlier drill
        return alert.rule == self._step.about and alert.since >= self._began - OLD_S

    def _record(self, kind: str, alert: ReceivedAlert) -> None:
        if kind == RESOLVED and alert.episode not in self._heard.get((FIRING, alert.key), ()):
            self._others += 1  # the end of what fired before the drill
            return
        episodes = self._heard.setdefault((kind, alert.key), set())
        name = ALERT_REPEATED if alert.episode in episodes else ALERT_FIRING if kind == FIRING else ALERT_RESOLVED
        fields = {"alert": alert.key, "rule": alert.rule, "severity": alert.severity, "episode": alert.episode}
        self._history.event(name, fields)
        episodes.add(alert.episode)

    def _is_complete(self) -> bool:
        with self._mutex:
            firing = {key for kind, key in self._heard if kind == FIRING}
            return bool(firing) and firing == {key for kind, key in self._heard if kind == RESOLVED}

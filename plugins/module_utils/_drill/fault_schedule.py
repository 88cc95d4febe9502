# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the faults of a drill at their times, heals them, and watches until the datacenter is well again.

Whatever ends the drill, each fault that was put is healed from here; if that fails, by the timer on its host.
"""

from __future__ import annotations

import threading
import typing as t
from dataclasses import dataclass, replace

from .._consul.autopilot import read_autopilot
from .._consul.client import Client
from .._consul.errors import ConsulError, Error, GuardRefused, NotConverged
from .at_once import at_once, results
from .drill_definition import DrillDefinition, FaultStep
from .drill_host import DrillHost, HostMoment
from .fault_targets import Target, TargetChoice
from .history import FAULT_ENDED, FAULT_STARTED, HEALTHY, NS
from .history_writer import HistoryWriter
from .host_channel import HostLost
from .open_loop import Node
from .raft_address import address_of
from .raft_state import first_answer
from .running_load import RunningLoad

HEALED_BY_TIMER_S = 20  # after a fault was to end, its host heals it without us
HEALTH_EVERY_S = 0.25
HEALTH_TIMEOUT_S = 1.0
HEAL_ATTEMPTS = 3
FAULT_REFUSED, HEAL_FAILED, STOPPED = "fault_refused", "heal_failed", "stopped"  # events


@dataclass
class FaultSchedule:
    """The faults of one drill. ``now`` is the fault of this moment, for the progress."""

    run_name: str
    definition: DrillDefinition
    hosts: t.Sequence[DrillHost]
    nodes: t.Sequence[Node]
    history: HistoryWriter
    choice: TargetChoice
    now: str = ""

    def run(self, began_ns: int, stop: threading.Event, load: RunningLoad) -> None:
        """Make all faults, or end early when ``stop`` is set. Raises GuardRefused, HostLost, LocalFailure and NotConverged."""
        for step in self.definition.faults:
            if self._pause(began_ns + int(step.at_s * NS), stop):
                return
            self._make(step, began_ns + int(step.end_s * NS), stop, load)
        if self.definition.faults and not stop.is_set():
            self._watch_health(stop)

    # -----------------------------------------------------------------------------------------------------------

    def _make(self, step: FaultStep, end_ns: int, stop: threading.Event, load: RunningLoad) -> None:
        try:
            targets = self.choice.choose(step, None if load.leader is None else address_of(load.leader))
        except GuardRefused as refused:
            self.history.event(FAULT_REFUSED, {"fault": str(step), "sentence": str(refused)})
            raise
        names = ", ".join(target.server.host for target in targets)
        self.now = f"{step.fault} {names}"
        try:
            moments = self._put(step, targets)
            self._record(FAULT_STARTED, step, targets, moments, min)
            self._hold(end_ns, stop, load)
        finally:
            self._heal(step, targets)
            self.now = ""

    def _put(self, step: FaultStep, targets: t.Sequence[Target]) -> list[HostMoment | None]:
        def put(target: Target) -> HostMoment:
            return self._host(target).put(self.run_name, step, target, heal_after_s(step))

        return results(at_once(put, targets))

    def _heal(self, step: FaultStep, targets: t.Sequence[Target]) -> None:
        def heal(target: Target) -> HostMoment | None:
            for attempt in range(1, HEAL_ATTEMPTS + 1):
                try:
                    return self._host(target).heal(self.run_name)
                except HostLost:
                    if attempt == HEAL_ATTEMPTS:
                        raise
            return None

        futures = at_once(heal, targets)
        failures = [error for error in (future.exception() for future in futures) if error is not None]
        for failure in failures:
            if not isinstance(failure, Error):
                raise failure
        if failures:
            sentence = (
                f"{'; '.join(map(str, failures))} Its timer heals the fault at most {heal_after_s(step)} s after it began; "
                "consul_drill_fault with state absent proves that nothing is left."
            )
            self.history.event(HEAL_FAILED, {"fault": step.fault, "sentence": sentence})
            raise NotConverged(f"A fault of the drill could not be healed from here. {sentence}")
        self._record(FAULT_ENDED, step, targets, results(futures), max)

    def _record(
        self,
        name: str,
        step: FaultStep,
        targets: t.Sequence[Target],
        moments: t.Sequence[HostMoment | None],
        choose: t.Callable[[t.Iterable[int]], int],
    ) -> None:
        times = [moment.time_ns for moment in moments if moment is not None]
        now_ns = self.history.now_ns()
        hosts = [
            {
                "host": target.server.host,
                "node": target.server.node,
                "peers": list(target.peers),
                **({} if moment is None else {"at": moment.time_ns, "error": moment.error_ns}),
            }
            for target, moment in zip(targets, moments)
        ]
        at_ns = min(max(choose(times), 0), now_ns) if times else now_ns
        self.history.event(name, {"fault": step.fault, "shape": step.shape, "hosts": hosts, "at": at_ns})

    def _host(self, target: Target) -> DrillHost:
        return next(host for host in self.hosts if host.server == target.server)

    # -----------------------------------------------------------------------------------------------------------

    def _pause(self, until_ns: int, stop: threading.Event) -> bool:
        """Wait, and return whether the drill was ended meanwhile."""
        return stop.wait(max(0.0, (until_ns - self.history.now_ns()) / NS))

    def _hold(self, end_ns: int, stop: threading.Event, load: RunningLoad) -> None:
        """Wait until a fault is to end, or until nothing was acknowledged for longer than is allowed."""
        most_s = self.choice.limits.most_outage_s
        while (left_s := (end_ns - self.history.now_ns()) / NS) > 0:
            if most_s is not None:
                outage_s = (self.history.now_ns() - load.last_change_ns) / NS
                if outage_s > most_s:
                    self.history.event(STOPPED, {"outage_s": round(outage_s, 3), "most_s": most_s})
                    stop.set()
                left_s = min(left_s, max(0.05, most_s - outage_s))
            if stop.wait(left_s):
                return

    def _watch_health(self, stop: threading.Event) -> None:
        """Ask autopilot until all servers are healthy, and record when that was."""
        clients = [Client(replace(node.client.endpoint, timeout_s=HEALTH_TIMEOUT_S)) for node in self.nodes]
        try:
            while not stop.is_set():
                try:
                    found = first_answer(clients, read_autopilot)
                except ConsulError:
                    found = None
                if found is not None and found.healthy:
                    self.history.event(HEALTHY, {"tolerance": found.tolerance})
                    return
                stop.wait(HEALTH_EVERY_S)
        finally:
            for client in clients:
                client.close()


def heal_after_s(step: FaultStep) -> int:
    """Return the seconds after which a host heals a fault by itself."""
    return int(step.for_s) + HEALED_BY_TIMER_S

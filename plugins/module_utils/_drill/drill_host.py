# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server of a drill as a host: puts faults there and heals them, and says when by the clock of the drill.

The clock of a host is that since its boot, which nobody sets. Its offset is measured over the open connection, as NTP does it: the quickest
of several questions is at most half of its time wrong.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul.errors import GuardRefused
from .drill_definition import FaultStep
from .fault_targets import Server, Target
from .host_channel import HostChannel

CLOCK_QUESTIONS = 8
CLOCK_WITHIN_S = 5.0
FAULT_WITHIN_S = 180.0  # systemd waits 90 seconds for a unit that does not stop


@dataclass(frozen=True)
class ClockOffset:
    """What must be added to the time of a host, in nanoseconds, and how much that may be wrong."""

    offset_ns: int
    error_ns: int


@dataclass(frozen=True)
class HostMoment:
    """A moment on a host by the clock of the drill, in nanoseconds, and how much it may be wrong."""

    time_ns: int
    error_ns: int


def best_offset(samples: t.Iterable[tuple[int, int, int]]) -> ClockOffset:
    """Return the offset of samples: when it was asked, what the host said, and when the answer was there."""
    asked_ns, host_ns, answered_ns = min(samples, key=_duration)
    return ClockOffset((asked_ns + answered_ns) // 2 - host_ns, -(-(answered_ns - asked_ns) // 2))


def _duration(sample: tuple[int, int, int]) -> int:
    return sample[2] - sample[0]


@dataclass(frozen=True)
class DrillHost:
    """A server, the connection to its host, and the clock of the drill."""

    server: Server
    channel: HostChannel
    now_ns: t.Callable[[], int]

    def offset(self) -> ClockOffset:
        """Measure the offset of the host's clock. Raises HostLost."""
        samples = []
        for _question in range(CLOCK_QUESTIONS):
            asked_ns = self.now_ns()
            host_ns = self.channel.ask({"do": "clock"}, CLOCK_WITHIN_S)
            samples.append((asked_ns, int(host_ns), self.now_ns()))
        return best_offset(samples)

    def plan(self, drill: str, step: FaultStep, target: Target, heal_after_s: int) -> dict[str, t.Any]:
        """Return what would be done. Raises GuardRefused and HostLost."""
        return self._fault(_options(drill, step, target, heal_after_s), check_mode=True)

    def put(self, drill: str, step: FaultStep, target: Target, heal_after_s: int) -> HostMoment:
        """Put a fault there and return when it began. Raises GuardRefused and HostLost."""
        return self._moment(self._fault(_options(drill, step, target, heal_after_s))["started"])

    def heal(self, drill: str) -> HostMoment | None:
        """Heal the fault and prove that nothing is left; return when that was, None if unknown. Raises GuardRefused and HostLost."""
        ended = self._fault({"drill": drill, "state": "absent"}).get("ended")
        return None if ended is None else self._moment(ended)

    def check_clean(self, drill: str) -> None:
        """Raise GuardRefused if there is anything of an earlier fault on the host, HostLost if it does not answer."""
        if self._fault({"drill": drill, "state": "absent"}, check_mode=True)["changed"]:
            raise GuardRefused(f"{self.server.host}: there is a fault of this drill already: heal it first.")

    def _fault(self, options: t.Mapping[str, t.Any], *, check_mode: bool = False) -> dict[str, t.Any]:
        request = {"do": "fault", "options": options, "check_mode": check_mode}
        return t.cast("dict[str, t.Any]", self.channel.ask(request, FAULT_WITHIN_S))

    def _moment(self, found: t.Mapping[str, t.Any]) -> HostMoment:
        offset = self.offset()
        return HostMoment(found["uptime_ns"] + offset.offset_ns, offset.error_ns)


def _options(drill: str, step: FaultStep, target: Target, heal_after_s: int) -> dict[str, t.Any]:
    found = {"drill": drill, "fault": step.fault, "heal_after": heal_after_s, **step.options}
    if target.peers:
        found["peers"] = list(target.peers)
    return found

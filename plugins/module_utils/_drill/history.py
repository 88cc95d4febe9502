# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The history of a drill: the operations of its clients with their times and outcomes, and events.

Times are nanoseconds of one monotonic clock since the start of the drill.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

OK, FAIL, INFO = "ok", "fail", "info"  # it happened, it certainly did not happen, unknown
READS = ("read",)
# The functions of each workload.
WORKLOADS = {"register": ("read", "write", "cas"), "set": ("add", "read"), "lock": ("acquire", "release")}
NS = 1_000_000_000
# Events that more than one file knows.
LOAD_ENDED, FAULT_STARTED, FAULT_ENDED = "load_ended", "fault_started", "fault_ended"
LEADER, HEALTHY, PLANNED = "leader", "healthy", "drill_plan"
ALERTS_STARTED, ALERTS_ENDED = "alerts_started", "alerts_ended"  # while the drill listens for alerts
ALERT_FIRING, ALERT_RESOLVED = "alert_firing", "alert_resolved"
CANARY_ASKED, CANARY_SET = "canary_asked", "canary_set"  # to change its status, and that Consul acknowledged it
BEAT, BEAT_SEEN = "beat", "beat_seen"  # a heartbeat at the source, and that the replica has it
REPLICA_STARTED, REPLICA_ENDED = "replica_started", "replica_ended"  # while the replica is watched
REPLICA_SILENT, REPLICA_DELETED = "replica_silent", "replica_deleted"
REPLICA_READ, REPLICA_COMPARED = "replica_read", "replica_compared"
SNAPSHOT_REHEARSED = "snapshot_rehearsed"
QUERY_STARTED, QUERY_ENDED = "query_started", "query_ended"  # while a prepared query is looked up
QUERY_ANSWERED, QUERY_UNANSWERED = "query_answered", "query_unanswered"  # each where that changed
PASSING, CRITICAL = "passing", "critical"  # statuses of the canary


class Operation(t.NamedTuple):
    """One operation. ``value`` is what a read saw, what was written or added, ``(old, new)`` of a cas, the holder of a lock.

    ``line`` is that of its invocation. ``end_ns`` is None while the outcome is unknown. ``state_index`` is a ModifyIndex, or the
    LockIndex of a lock; None where it is unknown. ``until_ns``: so long a lock is held at least, by the TTL of its session.
    """

    line: int
    process: int
    workload: str
    f: str
    key: str
    value: t.Any
    outcome: str
    start_ns: int
    end_ns: int | None
    intended_ns: int
    state_index: int | None = None
    node: str = ""
    is_final: bool = False
    until_ns: int | None = None
    error: str = ""

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self.f in READS

    def __str__(self) -> str:
        what = f"{self.f} {self.key}".rstrip()
        if self.f == "cas":
            what += f" {_shown(self.value[0])} to {_shown(self.value[1])}"
        elif self.is_read and self.outcome == OK:
            what += f" saw {_shown(self.value)}"
        elif not self.is_read:
            what += f" {_shown(self.value)}"
        end = "unknown" if self.end_ns is None else f"{self.end_ns / NS:.3f} s"
        by = f"client {self.process}" + (f" at {self.node}" if self.node else "")
        index = "" if self.state_index is None else f", index {self.state_index}"
        return f"line {self.line}: {what}, {self.outcome}{index}, {self.start_ns / NS:.3f} s to {end}, {by}"


def _shown(value: t.Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value):,} values"
    return "nothing" if value is None else str(value)


class Event(t.NamedTuple):
    """Something beside the operations: a fault that began or ended, another leader."""

    line: int
    name: str
    time_ns: int
    fields: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Header:
    """The first line: what was run, and on what. ``fields`` are all that it has, also those that this version does not know."""

    drill: str
    workloads: tuple[str, ...]
    consistency: str
    nodes: tuple[str, ...] = ()
    datacenter: str = ""
    started: str = ""
    fields: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """A history. ``cut_line`` is the number of a last line that is cut in its middle and was ignored.

    Operations are in the order of their invocations. ``unfinished`` of them have no end, so their outcome is unknown.
    """

    header: Header
    operations: t.Sequence[Operation]
    events: t.Sequence[Event] = field(default_factory=tuple)
    unfinished: int = 0
    cut_line: int | None = None

    def of(self, workload: str) -> list[Operation]:
        """Return the operations of a workload."""
        return [operation for operation in self.operations if operation.workload == workload]

    @property
    def end_ns(self) -> int:
        """The last time that the history knows."""
        times = [event.time_ns for event in self.events]
        times += [one.start_ns if one.end_ns is None else one.end_ns for one in self.operations]
        return max(times, default=0)


def by_key(operations: t.Iterable[Operation]) -> dict[str, list[Operation]]:
    """Return the operations of each key, in their order."""
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        found.setdefault(operation.key, []).append(operation)
    return found

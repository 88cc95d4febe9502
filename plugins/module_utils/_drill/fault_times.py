# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the faults of a history began and ended. Pure."""

from __future__ import annotations

import typing as t

from .history import FAULT_ENDED, FAULT_STARTED, Event


class FaultTime(t.NamedTuple):
    """One fault: the event of its beginning, and its end in nanoseconds. Without an end of its own it lasted until that of the history."""

    started: Event
    end_ns: int
    has_ended: bool

    @property
    def start_ns(self) -> int:
        """When it began, in nanoseconds."""
        return self.started.time_ns


def fault_times(events: t.Iterable[Event], end_ns: int) -> t.Iterator[FaultTime]:
    """Give the faults in their order; a drill has one at a time. ``end_ns`` is the end of what is looked at."""
    started: Event | None = None
    for event in events:
        if event.name == FAULT_STARTED:
            started = event
        elif event.name == FAULT_ENDED and started is not None:
            yield FaultTime(started, event.time_ns, has_ended=True)
            started = None
    if started is not None:
        yield FaultTime(started, max(end_ns, started.time_ns), has_ended=False)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What could not be watched, and what can be again, as events: one for each cause, however many streams it stops. Pure."""

from __future__ import annotations

import typing as t

from ...._consul import errors
from ...._consul.retry import is_transient
from .changes import Event, make_event

SOURCE = "source"  # the value of ``watch`` in these events
FAILED, WORKS = "failed", "works"
UNREACHABLE, NO_LEADER, DENIED, OTHER = "unreachable", "no_leader", "denied", "other"
_OF_DATACENTER = {UNREACHABLE, NO_LEADER}  # the others concern one stream


class Stopped(t.NamedTuple):
    """Why a stream cannot be watched, or not completely."""

    error: str
    reason: str


def stopped_by(error: errors.ConsulError) -> Stopped:
    """Return what an error means for a stream."""
    if isinstance(error, errors.NoLeader):
        return Stopped(NO_LEADER, str(error))
    if isinstance(error, errors.PermissionDenied):
        return Stopped(DENIED, str(error))
    is_away = is_transient(error) or isinstance(error, (errors.Unreachable, errors.UnknownDatacenter))
    return Stopped(UNREACHABLE if is_away else OTHER, str(error))


class Failures:
    """Which streams are stopped, by cause. Not for several threads at a time."""

    def __init__(self) -> None:
        self._causes: dict[tuple[str, str], set[str]] = {}
        self._since: dict[tuple[str, str], float] = {}

    def update(self, stream: str, what: str, datacenter: str, stopped: Stopped | None, now: float) -> list[Event]:
        """Take how a stream fares, None if it works. ``what`` names it in events. Return the events of causes that came or went."""
        cause = None
        if stopped is not None:
            cause = (datacenter if stopped.error in _OF_DATACENTER else stream, stopped.error)
        events = []
        for other in [one for one, streams in self._causes.items() if stream in streams and one != cause]:
            self._causes[other].discard(stream)
            if not self._causes[other]:
                del self._causes[other]
                events.append(self._event(WORKS, other, what, datacenter, "", now))
        if cause is not None and stopped is not None:
            is_new = cause not in self._causes
            self._causes.setdefault(cause, set()).add(stream)
            if is_new:
                self._since[cause] = now
                events.append(self._event(FAILED, cause, what, datacenter, stopped.reason, now))
        return events

    def _event(self, state: str, cause: tuple[str, str], what: str, datacenter: str, reason: str, now: float) -> Event:
        error = cause[1]
        shown = datacenter if error in _OF_DATACENTER else f"{what} of {datacenter}"
        since = self._since.pop(cause, now) if state == WORKS else now
        fields = {"before": FAILED, "before_since": make_event("", "", "", since)["at"]} if state == WORKS else {}
        return make_event(
            SOURCE,
            state,
            datacenter,
            now,
            summary=f"{shown} cannot be watched: {reason}" if state == FAILED else f"{shown} is watched again",
            what="" if error in _OF_DATACENTER else what,
            error=error,
            reason=reason,
            **fields,
        )

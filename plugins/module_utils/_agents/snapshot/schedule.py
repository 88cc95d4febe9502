# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a policy takes snapshots: every so many seconds, or by the words of cron in a time zone. Pure; the time is an argument.

A slot is a planned time, in Unix seconds. All instances of an agent have the same slots, whatever they did before, because a slot
depends on the schedule alone: after a hand-over the new holder knows which one is due.
"""

from __future__ import annotations

import datetime
import hashlib
import typing as t
from dataclasses import dataclass

from ..._config.durations import duration
from ..._config.time_zones import time_zone
from ..._config.validation import Spec
from ..._consul.errors import InvalidOption
from ._libraries import CronSim, CronSimError, require_cronsim

UTC = datetime.timezone.utc
LEAST_INTERVAL_S, MOST_INTERVAL_S = 1.0, 366 * 86400.0
MINUTE_S = 60
MOST_COUNTED = 1000  # missed slots
# As in crontab(5), without @reboot.
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PROBE = datetime.datetime(2027, 1, 1, tzinfo=UTC)  # the slots after it show how close to each other they can be

SCHEDULE_SPEC: Spec = {
    "interval": {"type": "str"},
    "cron": {"type": "str"},
    "timezone": {"type": "str", "default": "UTC"},
    "jitter": {"type": "str", "default": "0s"},
}


class Slots(t.Protocol):
    """The planned times of a schedule."""

    def at_or_before(self, now: float) -> int:
        """Return the last slot that is not after ``now``."""

    def after(self, now: float) -> int:
        """Return the first slot after ``now``."""


@dataclass(frozen=True)
class Interval:
    """Slots at all multiples of an interval since 1970, in UTC."""

    seconds: int

    def at_or_before(self, now: float) -> int:
        """Return the last slot that is not after ``now``."""
        return int(now // self.seconds) * self.seconds

    def after(self, now: float) -> int:
        """Return the first slot after ``now``."""
        return self.at_or_before(now) + self.seconds


@dataclass(frozen=True)
class Calendar:
    """Slots by the five fields of cron, in a time zone. A time that does not exist is the next one that does, as in Debian's cron;
    one that exists twice is the first of both, unless minute or hour begins with ``*``.
    """

    words: str
    zone: datetime.tzinfo

    def at_or_before(self, now: float) -> int:
        """Return the last slot that is not after ``now``."""
        moment = datetime.datetime.fromtimestamp(now, self.zone)
        backwards = CronSim(self.words, moment + datetime.timedelta(minutes=1), reverse=True)
        found = next(slot for one in backwards if (slot := int(one.timestamp())) <= now)
        # In an hour that exists twice the way back can miss a slot that the way forward has.
        while (following := self._next(found)) <= now:
            found = following
        return found

    def after(self, now: float) -> int:
        """Return the first slot after ``now``."""
        found = self.at_or_before(now)
        while found <= now:
            found = self._next(found)
        return found

    def _next(self, slot: int) -> int:
        forwards = CronSim(self.words, datetime.datetime.fromtimestamp(slot, self.zone))
        return next(following for one in forwards if (following := int(one.timestamp())) > slot)


@dataclass(frozen=True)
class Schedule:
    """The slots of a policy, and how much later than planned a snapshot may be taken.

    ``seed`` spreads policies over the jitter: the same seed gives the same delay of a slot on every instance.
    """

    slots: Slots
    jitter_s: float = 0.0
    seed: str = ""

    def due_at(self, slot: int) -> float:
        """Return when a slot is due, Unix seconds."""
        if not self.jitter_s:
            return float(slot)
        digest = hashlib.sha256(f"{self.seed} {slot}".encode()).digest()
        return slot + self.jitter_s * int.from_bytes(digest[:8], "big") / 2**64

    def latest_due(self, now: float) -> int:
        """Return the last slot that is due."""
        slot = self.slots.at_or_before(now)
        while self.due_at(slot) > now:
            slot = self.slots.at_or_before(slot - 1)
        return slot


@dataclass(frozen=True)
class Due:
    """What a schedule asks for now. ``slot`` is None when nothing is due; then ``next_slot`` is, at ``next_at`` (Unix seconds).

    ``missed`` slots before this one have no snapshot: nobody was there, or it failed. There is no way to take them later.
    """

    slot: int | None
    missed: int
    next_slot: int
    next_at: float


def decide(schedule: Schedule, taken: t.Iterable[int], now: float) -> Due:
    """Return what is due, given the slots of which there is a snapshot.

    One that lies ahead was taken by a clock that was wrong, and counts for nothing.
    """
    newest = max((slot for slot in taken if slot <= now), default=None)
    due = schedule.latest_due(now)
    following = schedule.slots.after(due)
    if newest is not None and newest >= due:
        following = schedule.slots.after(newest)
        return Due(None, 0, following, schedule.due_at(following))
    missed = 0
    if newest is not None:
        slot = schedule.slots.after(newest)
        while slot < due and missed < MOST_COUNTED:
            missed += 1
            slot = schedule.slots.after(slot)
    return Due(due, missed, following, schedule.due_at(following))


def make_schedule(options: t.Mapping[str, t.Any], seed: str, path: str) -> Schedule:
    """Return the schedule of validated options. Raises InvalidOption that begins with ``path``, and MissingLibrary."""
    if (options["interval"] is None) == (options["cron"] is None):
        raise InvalidOption(f"{path}: write either interval, for example 1h, or cron, for example 0 * * * *.")
    slots: Slots
    if options["cron"] is None:
        seconds = duration(options["interval"], f"{path}.interval", LEAST_INTERVAL_S, MOST_INTERVAL_S)
        if seconds != int(seconds):
            raise InvalidOption(f"{path}.interval: {options['interval']} is not a whole number of seconds.")
        slots, closest_s = Interval(int(seconds)), seconds
    else:
        slots = _calendar(options["cron"], time_zone(options["timezone"], f"{path}.timezone"), f"{path}.cron")
        closest_s = min(_distances(slots))
    jitter_s = duration(options["jitter"], f"{path}.jitter", 0.0, MOST_INTERVAL_S)
    if jitter_s >= closest_s:
        raise InvalidOption(
            f"{path}.jitter: {options['jitter']} is not less than the {closest_s:g} s from one snapshot to the next."
        )
    return Schedule(slots, jitter_s, seed)


def _calendar(words: str, zone: datetime.tzinfo, path: str) -> Calendar:
    require_cronsim()
    fields = _NICKNAMES.get(words.strip().lower(), words)
    try:
        next(CronSim(fields, _PROBE))
    except CronSimError as error:
        raise InvalidOption(
            f"{path}: {words!r} is not understood ({str(error).lower()}): write minute, hour, day of month, month and day of week, "
            "for example 30 2 * * *."
        ) from None
    except StopIteration:
        raise InvalidOption(f"{path}: {words!r} is never: no day is like that.") from None
    return Calendar(fields, zone)


def longest_s(slots: Slots) -> float:
    """Return the longest time between two slots, as far as the next few show."""
    return max(_distances(slots))


def _distances(slots: Slots) -> list[float]:
    """Return the seconds between slots, as far as the next few show."""
    found, distances = slots.after(_PROBE.timestamp()), []
    for _number in range(2 * MINUTE_S):
        following = slots.after(found)
        distances.append(float(following - found))
        found = following
    return distances

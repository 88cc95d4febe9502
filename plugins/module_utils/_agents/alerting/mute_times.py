# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times of day, days, months and years in which nothing is sent, in the words of Alertmanager's ``time_intervals``. Pure.

Source: https://prometheus.io/docs/alerting/latest/configuration/#time_interval-0
"""

from __future__ import annotations

import calendar
import datetime
import re
import typing as t
from dataclasses import dataclass

from ..._config.time_zones import time_zone
from ..._config.validation import Spec, validated
from ..._consul.errors import InvalidOption

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = tuple(
    name.lower()
    for name in (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    )
)  # fmt: skip  the names are Alertmanager's, whatever the locale
DAY_MINUTES = 24 * 60
_TEXTS = {"type": "list", "elements": "str"}
_INTERVAL: Spec = {
    "times": {
        "type": "list",
        "elements": "dict",
        "options": {"start_time": {"type": "str", "required": True}, "end_time": {"type": "str", "required": True}},
    },
    "weekdays": _TEXTS,
    "days_of_month": _TEXTS,
    "months": _TEXTS,
    "years": _TEXTS,
    "location": {"type": "str"},
}
SPEC: Spec = {
    "name": {"type": "str", "required": True},
    "time_intervals": {"type": "list", "elements": "dict", "options": _INTERVAL, "required": True},
}
Range = tuple[int, int]  # both ends included


@dataclass(frozen=True)
class TimeInterval:
    """One interval: all that is given must apply. ``times`` are in minutes of the day, the end not included."""

    zone: datetime.tzinfo
    times: tuple[Range, ...] = ()
    weekdays: tuple[Range, ...] = ()  # Monday is 0
    days_of_month: tuple[Range, ...] = ()  # negative: from the end of the month
    months: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()

    def contains(self, now: float) -> bool:
        """Return whether a time in Unix seconds is in the interval."""
        moment = datetime.datetime.fromtimestamp(now, self.zone)
        minute = 60 * moment.hour + moment.minute
        last_day = calendar.monthrange(moment.year, moment.month)[1]
        return (
            (not self.times or any(start <= minute < end for start, end in self.times))
            and _in_ranges(moment.weekday(), self.weekdays)
            and _in_ranges(moment.day, tuple(_days(one, last_day) for one in self.days_of_month))
            and _in_ranges(moment.month, self.months)
            and _in_ranges(moment.year, self.years)
        )


@dataclass(frozen=True)
class MuteTime:
    """Named intervals."""

    name: str
    intervals: tuple[TimeInterval, ...]

    def contains(self, now: float) -> bool:
        """Return whether a time in Unix seconds is in one of the intervals."""
        return any(interval.contains(now) for interval in self.intervals)


def is_muted(names: t.Sequence[str], active: t.Sequence[str], known: t.Mapping[str, MuteTime], now: float) -> bool:
    """Return whether nothing is to be sent: in one of ``names``, or in none of ``active`` if there are any."""
    if any(known[name].contains(now) for name in names):
        return True
    return bool(active) and not any(known[name].contains(now) for name in active)


def make_mute_times(options: t.Sequence[t.Any], path: str = "time_intervals") -> dict[str, MuteTime]:
    """Return the time intervals of the configuration by name. Raises InvalidOption."""
    found: dict[str, MuteTime] = {}
    for number, given in enumerate(options):
        place = f"{path}[{number}]"
        values = validated(SPEC, given, place)
        if values["name"] in found:
            raise InvalidOption(f"{place}.name: there are two time intervals {values['name']!r}.")
        intervals = tuple(
            _interval(one, f"{place}.time_intervals[{index}]") for index, one in enumerate(values["time_intervals"])
        )
        if not intervals:
            raise InvalidOption(f"{place}.time_intervals: the list is empty, and so would contain no time.")
        found[values["name"]] = MuteTime(values["name"], intervals)
    return found


def _interval(given: t.Mapping[str, t.Any], path: str) -> TimeInterval:
    if not any(given[name] for name in _INTERVAL if name != "location"):
        raise InvalidOption(f"{path}: the interval is empty, and so would contain every time.")
    return TimeInterval(
        zone=time_zone(given["location"] or "UTC", f"{path}.location"),
        times=tuple(_times(one, f"{path}.times[{number}]") for number, one in enumerate(given["times"] or ())),
        weekdays=_ranges(given, "weekdays", path, WEEKDAYS.index, 0, 6),
        days_of_month=_ranges(given, "days_of_month", path, int, -31, 31),
        months=_ranges(given, "months", path, _month, 1, 12),
        years=_ranges(given, "years", path, int, 1, 9999),
    )


def _times(given: t.Mapping[str, str], path: str) -> Range:
    start, end = (_minutes(given[name], f"{path}.{name}") for name in ("start_time", "end_time"))
    if start >= end:
        raise InvalidOption(
            f"{path}: {given['start_time']} is not before {given['end_time']}: write a time over midnight as two."
        )
    return start, end


def _minutes(text: str, path: str) -> int:
    match = re.fullmatch("([0-9]{2}):([0-9]{2})", text)
    minutes = 60 * int(match[1]) + int(match[2]) if match and int(match[2]) < 60 else DAY_MINUTES + 1
    if minutes > DAY_MINUTES:
        raise InvalidOption(f"{path}: {text!r} is not a time between 00:00 and 24:00.")
    return minutes


def _month(word: str) -> int:
    return MONTHS.index(word) + 1 if word in MONTHS else int(word)


def _ranges(
    given: t.Mapping[str, t.Any], name: str, path: str, convert: t.Callable[[str], int], least: int, most: int
) -> tuple[Range, ...]:
    return tuple(
        _range(text, f"{path}.{name}[{number}]", convert, least, most) for number, text in enumerate(given[name] or ())
    )


def _range(text: str, path: str, convert: t.Callable[[str], int], least: int, most: int) -> Range:
    first, colon, last = text.strip().lower().partition(":")
    try:
        start = convert(first.strip())
        end = convert(last.strip()) if colon else start
    except ValueError:
        raise InvalidOption(f"{path}: {text!r} is neither one value nor a range such as {_example(path)}.") from None
    is_day = least == -31
    if not (least <= start <= most and least <= end <= most) or (is_day and 0 in (start, end)):
        raise InvalidOption(f"{path}: {text!r} is not between {least} and {most}.")
    # A range from the 10th to the last but one (10:-2) is possible; one from the end to the beginning is not.
    if (start > end and (start < 0) == (end < 0)) or start < 0 < end:
        raise InvalidOption(f"{path}: {text!r} ends before it begins.")
    return start, end


def _example(path: str) -> str:
    examples = {"weekdays": "monday:friday", "months": "may:august", "years": "2026:2028"}
    return next((example for name, example in examples.items() if f".{name}[" in path), "1:5")


def _days(days: Range, last_day: int) -> Range:
    """Return days of the month as positive numbers."""
    start, end = (day if day > 0 else last_day + 1 + day for day in days)
    return start, end


def _in_ranges(value: int, ranges: t.Sequence[Range]) -> bool:
    return not ranges or any(start <= value <= end for start, end in ranges)

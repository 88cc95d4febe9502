# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options ``events`` and ``event_programs``: which programs run for which Consul events, and how many at a time. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ..._config.durations import duration
from ..._config.validation import Spec, validated
from ..._consul.errors import InvalidOption

AT_A_TIME, MOST_AT_A_TIME = 4, 64

SPEC: Spec = {
    "name": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str", "required": True},
    "timeout": {"type": "str", "default": "30s"},
    "ordered": {"type": "bool", "default": False},
}


@dataclass(frozen=True)
class EventHandler:
    """What runs for events with this name. ``ordered``: for one event after the other, in the order of Consul's list."""

    name: str
    command: tuple[str, ...]
    timeout_s: float
    ordered: bool = False


@dataclass(frozen=True)
class EventPrograms:
    """All handlers, and how many of their programs may run at a time."""

    handlers: tuple[EventHandler, ...] = ()
    at_a_time: int = AT_A_TIME


def make_event_programs(given: t.Sequence[t.Any], at_a_time: int, path: str) -> EventPrograms:
    """Return what the options ``events`` and ``event_programs`` say; ``path`` is that of all options. Raises InvalidOption."""
    if not 1 <= at_a_time <= MOST_AT_A_TIME:
        raise InvalidOption(f"{path}.event_programs: {at_a_time} is not between 1 and {MOST_AT_A_TIME}.")
    return EventPrograms(_handlers(given, f"{path}.events"), at_a_time)


def _handlers(given: t.Sequence[t.Any], path: str) -> tuple[EventHandler, ...]:
    found = []
    for number, options in enumerate(given):
        place = f"{path}[{number}]"
        values = validated(SPEC, options, place)
        if not re.fullmatch(r"[^\x00-\x1f/]{1,128}", values["name"]):
            raise InvalidOption(f"{place}.name: {values['name']!r} is not the name of an event.")
        timeout_s = duration(values["timeout"], f"{place}.timeout", 0.1, 3600)
        found.append(EventHandler(values["name"], tuple(values["command"]), timeout_s, values["ordered"]))
    return tuple(found)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``events``: which programs run for which Consul events. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ..._config.validation import Spec, validated
from ..._consul.errors import InvalidOption
from .durations import duration

SPEC: Spec = {
    "name": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str", "required": True},
    "timeout": {"type": "str", "default": "30s"},
}


@dataclass(frozen=True)
class EventHandler:
    """What runs for events with this name."""

    name: str
    command: tuple[str, ...]
    timeout_s: float


def make_handlers(given: t.Sequence[t.Any], path: str) -> tuple[EventHandler, ...]:
    """Return the handlers of the option ``events``. Raises InvalidOption."""
    found = []
    for number, options in enumerate(given):
        place = f"{path}[{number}]"
        values = validated(SPEC, options, place)
        if not re.fullmatch(r"[^\x00-\x1f/]{1,128}", values["name"]):
            raise InvalidOption(f"{place}.name: {values['name']!r} is not the name of an event.")
        timeout_s = duration(values["timeout"], f"{place}.timeout", 0.1, 3600)
        found.append(EventHandler(values["name"], tuple(values["command"]), timeout_s))
    return tuple(found)

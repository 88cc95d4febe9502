# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Durations of the agents' options, within limits. Pure."""

from __future__ import annotations

import typing as t

from .._consul.errors import InvalidOption
from .._consul.units import parse_duration

MAX_S = 366 * 86400.0


def duration(given: t.Any, path: str, least_s: float = 0.0, most_s: float = MAX_S) -> float:
    """Return the seconds of a duration such as ``30s``. Raises InvalidOption that begins with ``path``."""
    if not isinstance(given, str):
        raise InvalidOption(f"{path}: expected a duration such as '30s', not {given!r}.")
    try:
        seconds = parse_duration(given, path)
    except InvalidOption:
        raise InvalidOption(f"{path}: {given!r} is not a duration: write for example 30s, 15m, 1h30m or 2d.") from None
    if not least_s <= seconds <= most_s:
        raise InvalidOption(f"{path}: {given} is not between {least_s:g} and {most_s:g} seconds.")
    return seconds


def seconds_text(seconds: int) -> str:
    """Return a duration for the configuration, within its limits."""
    return f"{min(max(seconds, 0), int(MAX_S))}s"

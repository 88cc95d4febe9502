# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the fields of a status document that an agent published: each has the expected type, or TypeError or ValueError is raised."""

from __future__ import annotations

import typing as t

from .units import parse_timestamp

Expected = t.TypeVar("Expected")


def typed(value: t.Any, kind: type[Expected]) -> Expected:
    """Return a value of a type. Raises TypeError for any other."""
    if not isinstance(value, kind):
        raise TypeError
    return value


def count(value: t.Any) -> int:
    """Return a number of things, 0 or more. Raises TypeError or ValueError."""
    if isinstance(value, bool) or typed(value, int) < 0:
        raise ValueError
    return int(value)


def seconds(value: t.Any) -> float:
    """Return a finite number of seconds, 0 or more. Raises TypeError or ValueError."""
    number = float(value if isinstance(value, float) else count(value))
    if not 0 <= number < float("inf"):  # false for nan too
        raise ValueError
    return number


def time(value: t.Any) -> float:
    """Return the Unix seconds of a time as RFC 3339. Raises TypeError or InvalidOption."""
    return parse_timestamp(typed(value, str), "time")


def time_or_none(value: t.Any) -> float | None:
    """Return the same, None for None."""
    return None if value is None else time(value)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converts fields of Consul's answers, strictly: for ``Response.parse``, which turns their errors into InvalidResponse.

A body of another shape must not pass for an empty list: without failing checks the verdict would be ok.
Each function raises TypeError or ValueError for what it does not understand.
"""

from __future__ import annotations

import datetime
import re
import typing as t

Row = dict[str, t.Any]


def to_rows(value: t.Any) -> list[Row]:
    """Return a list of objects. ``null`` is not one."""
    if not isinstance(value, list):
        raise TypeError
    return [to_object(row) for row in value]


def to_object(value: t.Any) -> Row:
    """Return an object."""
    if not isinstance(value, dict):
        raise TypeError
    return value


def to_text(value: t.Any) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise TypeError
    return value


def to_texts(value: t.Any) -> tuple[str, ...]:
    """Return a list of strings. ``null`` is an empty list, as Go writes it."""
    if value is not None and not isinstance(value, list):
        raise TypeError
    return tuple(to_text(item) for item in value or ())


def to_metadata(value: t.Any) -> dict[str, str]:
    """Return an object of strings. ``null`` is an empty one, as Go writes it."""
    return {} if value is None else {name: to_text(text) for name, text in to_object(value).items()}


def sorted_pairs(metadata: t.Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return metadata in a form that can be compared and hashed."""
    return tuple(sorted(metadata.items()))


def to_flag(value: t.Any) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise TypeError
    return value


def to_number(value: t.Any) -> int:
    """Return a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|µs|us|ns|s)")


def to_seconds(value: t.Any) -> float:
    """Return the seconds of a Go duration such as ``1m2.5s``; autopilot writes ``-1ns`` for a contact that never was."""
    digits = to_text(value).lstrip("-")
    if not digits or _DURATION_PART.sub("", digits):
        raise ValueError
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(digits))
    return -seconds if digits != value else seconds


def to_unix_time(value: t.Any) -> float:
    """Return the Unix seconds of a time as Go writes it. Go's zero time is 0."""
    text = to_text(value)
    if text.startswith("0001-"):
        return 0.0
    # Python 3.9 knows neither Z nor nanoseconds.
    return datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00")).timestamp()

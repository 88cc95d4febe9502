# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parses and formats durations, sizes, times and lists for people."""

from __future__ import annotations

import datetime
import re
import typing as t

from .errors import InvalidOption

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def parse_duration(text: str, option: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``15m``, ``1h30m``, ``2d`` or ``1w``. Raises InvalidOption."""
    word = str(text).strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", word):
        return float(word)
    if word and _PART.sub("", word) == "":
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(word))
    raise InvalidOption(f"{option} {text!r} is not a duration: write seconds, or for example 15m, 1h30m or 2d.")


def positive_seconds(value: float, option: str) -> float:
    """Return a number of seconds above 0 and below 10 million. Raises InvalidOption."""
    if not 0 < value < 1e7:  # false for nan too
        raise InvalidOption(f"{option} is {value:g}: it must be a number of seconds above 0.")
    return value


def parse_bytes(text: str, option: str) -> int:
    """Return the bytes of ``1073741824``, ``512M`` or ``1.5G``; K, M and G are powers of 1024. Raises InvalidOption."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)([kmg]?)i?b?", str(text).strip().lower())
    if match is None:
        raise InvalidOption(f"{option} {text!r} is not a size: write bytes, or for example 512M or 2G.")
    return int(float(match[1]) * _BYTES[match[2]])


def human_bytes(count: int) -> str:
    """Return a size for people: ``512 B``, ``12.3 KB``, ``4.0 MB``."""
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def human_age(seconds: float) -> str:
    """Return an age for people, in its two largest units: ``45s``, ``12m``, ``3h 5m``, ``2d 4h``."""
    left = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2]) or "0s"


def timestamp(seconds: float) -> str:
    """Return a time as RFC 3339 in UTC, to the second: ``2026-11-22T03:00:00Z``."""
    moment = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)
    return moment.strftime(TIME_FORMAT)


def compact_timestamp(seconds: float) -> str:
    """Return the same time without its punctuation, for the names of files: ``20261122T030000Z``."""
    return re.sub("[-:]", "", timestamp(seconds))


def parse_timestamp(text: str, option: str) -> float:
    """Return the Unix seconds of a time as RFC 3339: ``2026-11-22T03:00:00Z``, ``2026-11-22 04:00+01:00``. Raises InvalidOption."""
    word = re.sub("[zZ]$", "+00:00", text.strip())  # Python 3.9 does not know Z
    try:
        moment = datetime.datetime.fromisoformat(word)
        if moment.tzinfo is not None:
            return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    raise InvalidOption(
        f"{option} {text!r} is not a time with its zone: write for example 2026-11-22T03:00:00Z or 2026-11-22T04:00:00+01:00."
    )


def count_of(count: int, thing: str) -> str:
    """Return a number of things: ``1 key``, ``2,000 keys``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def some_of(names: t.Sequence[str]) -> str:
    """Return the first three names, and an ellipsis when there are more."""
    return "; ".join(names[:3]) + ("; …" if len(names) > 3 else "")


def lines_of(lines: t.Iterable[str]) -> str:
    """Return lines as one text, as Ansible's diff takes it."""
    return "".join(f"{line}\n" for line in lines)


def columns(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns; the last column is not padded."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return ["  ".join([*(text.ljust(width) for text, width in zip(row, widths)), row[-1]]).rstrip() for row in rows]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of another program's configuration as they are imported: by type, which were used, and notes about the others. Pure.

A value that cannot be read is noted, and its default is used. Notes name keys, never values, which may be secrets.
"""

from __future__ import annotations

import json
import re
import typing as t

from .import_notes import PROBLEM, Notes

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")  # Go's ParseBool
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")  # no configuration may hold them
_WHITE_SPACE = " \t\r\n"


T = t.TypeVar("T")


class Value(t.NamedTuple):
    """A value and where it comes from: text of the key ``key``, or a value in the JSON of that key."""

    key: str
    value: t.Any
    is_json: bool = False


class Values:
    """Named values, those of one notifier for example. What is asked for counts as translated."""

    def __init__(self, place: str, values: t.Mapping[str, Value], notes: Notes) -> None:
        self.place = place
        self._values = dict(values)
        self._open = dict.fromkeys(values)
        self.notes = notes

    def __contains__(self, name: str) -> bool:
        return name in self._values

    @property
    def names(self) -> list[str]:
        """The names of all values."""
        return list(self._values)

    def keys(self, *names: str) -> list[str]:
        """Return the keys of these values, of all without a name."""
        return [self._values[name].key for name in names or self._values if name in self._values]

    def text(self, name: str, default: str = "") -> str:
        """Return a text without the white space around it."""
        found = self._take(name)
        if found is None:
            return default
        value = found.value if isinstance(found.value, str) else self._wrong(name, "a string", default)
        return value.strip(_WHITE_SPACE)

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value."""
        found = self._take(name)
        if found is None or isinstance(found.value, bool):
            return default if found is None else bool(found.value)
        text = found.value.strip(_WHITE_SPACE) if isinstance(found.value, str) else ""
        if text not in (*_TRUE, *_FALSE):
            return self._wrong(name, "true or false", default)
        return text in _TRUE

    def number(self, name: str, default: int) -> int:
        """Return a whole number."""
        found = self._take(name)
        if found is None:
            return default
        number = whole_number(found.value)
        return self._wrong(name, "a whole number", default) if number is None else number

    def texts(self, name: str) -> list[str]:
        """Return a list of texts, in JSON."""
        found = self._take(name)
        if found is None:
            return []
        value = found.value if found.is_json else parse_json(found.value)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            value = self._wrong(name, "a JSON list of strings", [])
        return [item.strip(_WHITE_SPACE) for item in value]

    def note(self, kind: str, names: t.Sequence[str], sentence: str) -> None:
        """Add a note about those of the names that there are; they count as dealt with."""
        self.notes.add(kind, self.keys(*names) if names else [], sentence)
        for name in names:
            self._open.pop(name, None)

    def close(self) -> None:
        """Note the values that nobody asked for."""
        unknown = self.keys(*self._open) if self._open else []
        self.notes.add(PROBLEM, unknown, f"{self.notes.program} has no such option, so it is not taken over.")

    def _take(self, name: str) -> Value | None:
        found = self._values.get(name)
        if found is not None:
            self._open.pop(name, None)
            self.notes.translated.add(found.key)
        return found

    def _wrong(self, name: str, expected: str, default: T) -> T:
        self.notes.add(PROBLEM, self.keys(name), f"it is not {expected}, so the default is used.")
        return default


def whole_number(value: t.Any) -> int | None:
    """Return a whole number as Go reads it, None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 10**15 else None
    if isinstance(value, str) and re.fullmatch("[+-]?[0-9]{1,15}", value.strip(_WHITE_SPACE)):
        return int(value.strip(_WHITE_SPACE))
    return None


def parse_json(text: t.Any) -> t.Any:
    """Return decoded JSON, None if it is none or holds characters that no configuration may have."""
    if not isinstance(text, str):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if is_clean(value) else None


def is_clean(value: t.Any) -> bool:
    """Return whether no text in a value holds a null character or half of a surrogate pair."""
    if isinstance(value, str):
        return _FORBIDDEN.search(value) is None
    if isinstance(value, dict):
        return all(is_clean(name) and is_clean(item) for name, item in value.items())
    return not isinstance(value, list) or all(map(is_clean, value))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notes about what an import of another program's configuration could not take over, or changed. They name keys, never values."""

from __future__ import annotations

import typing as t

NO_EQUAL, CHANGED, PROBLEM = "no equal", "changed", "problem"
SHOWN_KEYS = 10


class Note(t.NamedTuple):
    """What happens to one key or several: it has no equal, its meaning changes, or its value cannot be used."""

    kind: str
    keys: tuple[str, ...]
    sentence: str

    def __str__(self) -> str:
        more = len(self.keys) - SHOWN_KEYS
        names = ", ".join(self.keys[:SHOWN_KEYS]) + (f" and {more:,} more" if more > 0 else "")
        return f"{self.kind}: {names}: {self.sentence}"


class Notes:
    """The notes of one import from ``program``, each once, and the keys that were translated."""

    def __init__(self, program: str) -> None:
        self.program = program
        self._keys: dict[tuple[str, str], dict[str, None]] = {}
        self.translated: set[str] = set()

    def add(self, kind: str, keys: t.Iterable[str], sentence: str) -> None:
        """Add a note about keys; without keys nothing is added. What is said of several keys is one note."""
        names = dict.fromkeys(keys)
        if names:
            self._keys.setdefault((kind, sentence), {}).update(names)

    @property
    def all(self) -> tuple[Note, ...]:
        """The notes in the order of their kinds, and within a kind as they were added."""
        order = (PROBLEM, NO_EQUAL, CHANGED)
        found = [Note(kind, tuple(keys), sentence) for (kind, sentence), keys in self._keys.items()]
        return tuple(sorted(found, key=lambda note: order.index(note.kind)))

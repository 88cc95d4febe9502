# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was read of one datacenter at one moment. The rules judge it; it holds plain data only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .finding import Unknown

Part = t.TypeVar("Part")


class FilteredLists(t.NamedTuple):
    """The paths of the lists from which Consul left out what the token may not see; ``is_announced``: whether it would say so."""

    paths: frozenset[str] = frozenset()
    is_announced: bool = False


@dataclass
class Observation:
    """One datacenter at one moment (``time``, Unix seconds).

    ``unreachable`` is why no server of it answered, "" if one did. ``leader_problem`` is why it has no leader, None if it has
    one. ``has_name`` is False when the datacenter's name could not be read; ``datacenter`` is then the address that was tried.

    What the rules read is in ``parts``, one data class each (rules/*.py). A part that was not needed or not readable is missing.
    """

    datacenter: str
    time: float
    has_name: bool = True
    unreachable: str = ""
    leader_problem: str | None = None
    unknown: list[Unknown] = field(default_factory=list)
    parts: dict[type, t.Any] = field(default_factory=dict)

    def add(self, *parts: object) -> None:
        """Add parts. A part replaces an earlier one of the same class."""
        self.parts.update({type(part): part for part in parts})

    def get(self, part_class: type[Part]) -> Part | None:
        """Return the part of a class, None if it was not read."""
        return t.cast("Part | None", self.parts.get(part_class))

    def add_unknown(self, what: str, reason: object) -> None:
        """Record something that could not be read, and why."""
        self.unknown.append(Unknown(self.datacenter, what, str(reason)))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run did, mapping by mapping. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._consul.errors import NotConverged
from .mapping import PrefixMapping
from .plan import Problem
from .prepared import PreparedReplication


@dataclass
class MappingOutcome:
    """What was done for one mapping. ``deferred_deletes`` are deletions that were not made, and why."""

    mapping: PrefixMapping
    created: int = 0
    updated: int = 0
    deleted: int = 0
    verified: bool = False
    conflicts: list[Problem] = field(default_factory=list)
    unwritable: list[Problem] = field(default_factory=list)
    deferred_deletes: list[Problem] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def written(self) -> int:
        """How many keys were written or deleted."""
        return self.created + self.updated + self.deleted


class Interrupted(NotConverged):
    """A run that did not finish. ``outcomes`` say what was done until then."""

    def __init__(self, message: str, prepared: PreparedReplication, outcomes: list[MappingOutcome]) -> None:
        super().__init__(message)
        self.prepared = prepared
        self.outcomes = outcomes

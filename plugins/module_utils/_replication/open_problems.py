# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is not as it should be at the destination while a replication follows its source, key by key. No I/O."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._consul.shard_plan import ShardSpec
from .outcome import MappingOutcome
from .plan import Problem
from .shard_groups import ShardIndex


@dataclass
class OpenProblems:
    """Keys of the destination with the reason, by key.

    ``paused`` are the names of the plan of deletions that an operator has to acknowledge; ``deferred`` are deletions that are
    tried again. ``unreadable`` are shards, by their prefix at the destination. With ``keeps_conflicts`` that is how it should be.
    """

    conflicts: dict[str, str] = field(default_factory=dict)
    unwritable: dict[str, str] = field(default_factory=dict)
    deferred: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    keeps_conflicts: bool = False

    def not_written(self) -> set[str]:
        """Return the keys that could not be written, for which no later deletion waits."""
        return {*self.conflicts, *self.unwritable}

    def retried(self) -> set[str]:
        """Return the keys whose shards are compared again although nothing changed there."""
        conflicts = () if self.keeps_conflicts else self.conflicts
        return {*conflicts, *self.unwritable, *self.deferred, *self.unreadable}

    def replace_all(self, outcomes: t.Iterable[MappingOutcome], paused: set[str]) -> None:
        """Note the outcomes of a comparison of everything. ``paused`` is the plan of deletions that is paused."""
        for known in (self.conflicts, self.unwritable, self.deferred, self.unreadable):
            known.clear()
        self._add(outcomes, paused)

    def replace(self, touched: t.Sequence[ShardSpec], outcomes: t.Iterable[MappingOutcome], paused: set[str]) -> None:
        """Note the outcomes of a comparison of some shards of the destination."""
        shards = ShardIndex(touched)
        for known in (self.conflicts, self.unwritable, self.deferred, self.unreadable):
            for key in [key for key in known if shards.find(key) is not None]:
                del known[key]
        self._add(outcomes, paused)

    def paused_outside(self, shards: t.Sequence[ShardSpec]) -> set[str]:
        """Return the paused deletions that are in none of these shards of the destination."""
        touched = ShardIndex(shards)
        return {key for key in self.paused if touched.find(key) is None}

    def _add(self, outcomes: t.Iterable[MappingOutcome], paused: set[str]) -> None:
        self.paused = paused
        for outcome in outcomes:
            self.conflicts.update(_by_key(outcome.conflicts))
            self.unwritable.update(_by_key(outcome.unwritable))
            self.deferred.update(_by_key(one for one in outcome.deferred_deletes if one.key not in paused))


def _by_key(problems: t.Iterable[Problem]) -> dict[str, str]:
    return {problem.key: problem.reason for problem in problems}

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a replication that follows its source knows of its progress. No I/O."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul.shard_plan import ShardSpec
from .outcome import MappingOutcome
from .watched_mapping import WatchedMapping


class ChangedShard(t.NamedTuple):
    """A shard whose index is not that of its last comparison. ``at_index`` is the one that it has now.

    ``within`` are the parts of a group that it is in, with their indexes.
    """

    watched: WatchedMapping
    spec: ShardSpec
    at_index: int
    within: tuple[tuple[ShardSpec, int], ...] = ()


@dataclass(frozen=True)
class Verification:
    """The outcome of a comparison of everything: when it ended (Unix seconds), the digest of the source's keys, whether all is equal."""

    at: float
    took_s: float
    digest: str
    is_equal: bool
    source_keys: int
    destination_keys: int


@dataclass
class Totals:
    """How many keys were written since the term began."""

    created: int = 0
    updated: int = 0
    deleted: int = 0

    def add(self, outcomes: t.Iterable[MappingOutcome]) -> None:
        """Add what was done."""
        for outcome in outcomes:
            self.created += outcome.created
            self.updated += outcome.updated
            self.deleted += outcome.deleted

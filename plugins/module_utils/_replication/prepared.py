# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run would do: the plans of all mappings, as prepare.py decides and apply.py carries out. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._consul.digest import SetDigest
from .checkpoint import Checkpoint
from .mapping import PrefixMapping
from .plan import Change, Counts, DiffLine, Problem, ShardPlan
from .shard_reader import ShardRef
from .state import Upstream


@dataclass
class ShardWork:
    """One shard with keys to write. ``changes`` is None when they are not in memory: the shard is planned when it is written.

    One that only the source has may be unread until then: its plan counts ``unread_keys`` names. With ``may_be_left_out`` it then is left
    out when it may not be read.
    """

    ref: ShardRef
    changes: list[Change] | None
    unread_keys: int = 0
    may_be_left_out: bool = False


@dataclass
class MappingPlan:
    """What one mapping needs.

    ``unconfirmed`` says why the source could not confirm that the keys to delete are gone ("" when it could).
    ``came_back`` counts keys that were to be deleted and exist at the source again. ``unreadable`` are shards that are no part of the
    plan, by their prefix at the destination, with the reason.
    """

    mapping: PrefixMapping
    counts: Counts = field(default_factory=Counts)
    work: list[ShardWork] = field(default_factory=list)
    to_delete: list[Change] = field(default_factory=list)
    conflicts: list[Problem] = field(default_factory=list)
    unwritable: list[Problem] = field(default_factory=list)
    adopted: list[bytes] = field(default_factory=list)
    equal_again: list[bytes] = field(default_factory=list)
    unconfirmed: str = ""
    came_back: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    digest: SetDigest = field(default_factory=SetDigest)
    source_index: int = 0
    seconds: float = 0.0

    def add(self, shard: ShardPlan, ref: ShardRef, *, keep_changes: bool) -> None:
        """Add the plan of one shard. Its changes are kept in memory, or planned again when they are written."""
        self.counts.add(shard.counts)
        if shard.changes:
            self.work.append(ShardWork(ref, shard.changes if keep_changes else None))
        self.to_delete += shard.to_delete
        self.conflicts += shard.conflicts
        self.unwritable += shard.unwritable
        self.adopted += shard.adopted
        self.equal_again += shard.equal_again
        self.digest.merge(shard.digest)

    def add_unread(self, ref: ShardRef, keys: int, *, may_be_left_out: bool) -> None:
        """Add a shard of so many keys that only the source has, and that is read when it is written."""
        self.counts.add(Counts(source_keys=keys, created=keys))
        self.work.append(ShardWork(ref, None, unread_keys=keys, may_be_left_out=may_be_left_out))

    def complete(self, work: ShardWork, shard: ShardPlan, source_index: int) -> None:
        """Replace what was counted for an unread shard by its plan, once it was read. Its changes are the caller's."""
        if work.unread_keys:
            self._forget_names(work)
            self.counts.add(shard.counts)
            self.digest.merge(shard.digest)
            self.source_index = max(self.source_index, source_index)

    def leave_out(self, work: ShardWork, reason: str) -> None:
        """Leave out an unread shard that may not be read."""
        self._forget_names(work)
        self.unreadable[self.mapping.to_destination(work.ref.spec.prefix)] = reason

    def _forget_names(self, work: ShardWork) -> None:
        self.counts.add(Counts(source_keys=-work.unread_keys, created=-work.unread_keys))
        work.unread_keys = 0

    def first_key(self) -> str | None:
        """Return a key that would be written or deleted, None when it is not known or there is none."""
        for work in self.work:
            return work.changes[0].key if work.changes else None
        return self.to_delete[0].key if self.to_delete else None


@dataclass
class PreparedReplication:
    """What a run would do. ``source`` and ``destination`` are names of datacenters, the latter None when it is not known.

    ``reversed_after`` is when the replication in the other direction, which this run ends, last wrote (Unix seconds, 0 for
    none). ``unchecked`` says what could not be checked. ``deferral`` says why all deletions are deferred, "" for not.
    ``warnings`` name the prefixes of which the source's token may not see a part. ``upstream`` says from where the source has what is
    copied, None if that is not known anew.
    """

    name: str
    source: str
    destination: str | None
    checkpoint: Checkpoint
    plans: list[MappingPlan]
    lines: list[DiffLine]
    reversed_after: float
    unchecked: list[str]
    deferral: str = ""
    warnings: list[str] = field(default_factory=list)
    upstream: Upstream | None = None

    @property
    def changed(self) -> bool:
        """Whether anything is to be written."""
        writes = bool(self.reversed_after) or any(plan.work or plan.adopted for plan in self.plans)
        return writes or any(plan.to_delete and not self.deferral_of(plan) for plan in self.plans)

    @property
    def ledger_outdated(self) -> bool:
        """Whether only the ledger is to be written, as after an interrupted run or edits by others. No key changes."""
        return bool(self.checkpoint.ledger.dirty) or any(plan.equal_again for plan in self.plans)

    def deferral_of(self, plan: MappingPlan) -> str:
        """Return why the deletions of a mapping are deferred, "" when they are not."""
        return self.deferral or plan.unconfirmed

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remembers at which index each shard of a mapping was compared, and tells which ones changed since. No I/O."""

from __future__ import annotations

import typing as t

from .._consul.shard_plan import ShardSpec
from .mapping import PrefixMapping
from .shard_groups import Group, ShardIndex, has_every_key


class WatchedMapping:
    """One mapping, its groups and shards. ``baseline`` is an index up to which every shard was compared that has no
    index of its own yet. Without ``has_every_key`` a key can be created that is in no shard.

    A shard has changed when its index is another one than at its last comparison, and not only when it is higher: it goes back when
    Consul forgets a deletion, and when the source was restored.
    """

    def __init__(self, mapping: PrefixMapping, groups: t.Sequence[Group], baseline: int) -> None:
        self.mapping = mapping
        self._set_groups(groups)
        self._baseline = baseline
        self._indexes: dict[ShardSpec, int] = {}
        self._unread: set[ShardSpec] = set()
        self._dropped: set[ShardSpec] = set()

    def _set_groups(self, groups: t.Sequence[Group]) -> None:
        self.groups = {group.watched: group for group in groups}
        self.has_every_key = has_every_key(groups, self.mapping.source)
        self._index = ShardIndex(shard for group in groups for shard in group.shards)

    def is_changed(self, shard: ShardSpec, index: int) -> bool:
        """Return whether a shard that now has this index must be compared."""
        if shard in self._unread:
            return True
        known = self._indexes.get(shard)
        return index > self._baseline if known is None else index != known

    def is_part_changed(self, part: Group, index: int) -> bool:
        """Return whether a shard of a part of a group may have changed, when the part now has this index."""
        return self.is_changed(part.watched, index) or not self._unread.isdisjoint(part.shards)

    def mark_compared(self, shard: ShardSpec, index: int) -> None:
        """Note that a shard, or every changed shard of a part, was compared when it had this index, or later."""
        self._dropped.discard(shard)
        self._indexes[shard] = index
        self._unread.discard(shard)

    def mark_unread(self, shard: ShardSpec) -> None:
        """Note that a shard must be compared, whatever its index is."""
        self._unread.add(shard)

    def split_again(self, groups: t.Sequence[Group]) -> None:
        """Replace the groups. Shards that were not there before must be compared, and once more those that are not there any more.

        The source may have lost their last key since they were compared.
        """
        before = {shard for group in self.groups.values() for shard in group.shards}
        self._set_groups(groups)
        now = {shard for group in groups for shard in group.shards}
        self._indexes = {shard: index for shard, index in self._indexes.items() if shard in now}
        self._unread = (self._unread & now) | (now - before)
        self._dropped = (self._dropped | before) - now

    @property
    def dropped(self) -> list[ShardSpec]:
        """The shards that are not there any more, and must be compared once more."""
        return sorted(self._dropped)

    def shard_of(self, source_key: str) -> ShardSpec | None:
        """Return the shard that a key of the source belongs to, None for a key in no shard."""
        return self._index.find(source_key)

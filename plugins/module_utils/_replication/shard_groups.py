# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Splits the keys of a prefix into shards, which are read, and into groups of shards, which are watched. Pure."""

from __future__ import annotations

import bisect
import heapq
import typing as t

from .._consul.shard_plan import ShardSpec, plan_shards, range_of

SHARD_KEYS = 250  # so many are read and compared when one of them changes


FEW_SHARDS = 12  # of a group that has no parts: their indexes are asked for one by one
MORE_PARTS = 8  # a group with more shards has about so many parts


class Group(t.NamedTuple):
    """What one blocking query watches: everything below ``watched``, or only that key. ``shards`` are its parts.

    A group of many shards has ``parts``, which have all of them: only in those that changed the shards are asked for their indexes.
    """

    watched: ShardSpec
    shards: tuple[ShardSpec, ...]
    parts: tuple[Group, ...] = ()


def plan_groups(names: t.Sequence[str], prefix: str, most: int) -> list[Group]:
    """Return at most ``most`` disjoint groups that have all of the sorted names below a prefix.

    The largest groups are split as long as there are not too many. Without names the whole prefix is one group. Names that come later
    may be in none.
    """
    waiting = [_sized(names, ShardSpec(prefix))]
    found: list[ShardSpec] = []
    while waiting:
        size, spec = heapq.heappop(waiting)
        smaller = _split_once(names, spec) if -size > SHARD_KEYS else []
        if len(smaller) > 1 and len(found) + len(waiting) + len(smaller) <= most:
            for one in smaller:
                heapq.heappush(waiting, _sized(names, one))
        else:
            found.append(spec)
    return [_group(names, spec) for spec in sorted(found)]


def _sized(names: t.Sequence[str], spec: ShardSpec) -> tuple[int, ShardSpec]:
    """Return a shard with its number of keys, negative, so that the largest is the first in a heap."""
    first, last = range_of(names, spec)
    return first - last, spec


def _split_once(names: t.Sequence[str], spec: ShardSpec) -> list[ShardSpec]:
    first, last = range_of(names, spec)
    return [] if spec.exact else plan_shards(names[first:last], spec.prefix, last - first - 1)


def _group(names: t.Sequence[str], spec: ShardSpec) -> Group:
    if spec.exact:
        return Group(spec, (spec,))
    first, last = range_of(names, spec)
    shards = tuple(plan_shards(names[first:last], spec.prefix, SHARD_KEYS)) or (spec,)
    parts: list[ShardSpec] = []
    if len(shards) > FEW_SHARDS:
        parts = plan_shards(names[first:last], spec.prefix, max(SHARD_KEYS, (last - first) // MORE_PARTS))
    return Group(spec, shards, tuple(_group(names, part) for part in parts) if len(parts) > 1 else ())


def has_others(names: t.Sequence[str], groups: t.Iterable[Group]) -> bool:
    """Return whether any of the sorted names is in no shard of the groups, which are disjoint."""
    ranges = (range_of(names, shard) for group in groups for shard in group.shards)
    return sum(last - first for first, last in ranges) < len(names)


def has_every_key(groups: t.Iterable[Group], prefix: str) -> bool:
    """Return whether every key that can be created below a prefix is in a shard."""
    return any(ShardSpec(prefix) in group.shards for group in groups)


class ShardIndex:
    """Finds the shard of a key among disjoint shards."""

    def __init__(self, shards: t.Iterable[ShardSpec]) -> None:
        self._shards = sorted(set(shards))
        self._prefixes = [shard.prefix for shard in self._shards]

    def find(self, key: str) -> ShardSpec | None:
        """Return the shard that a key belongs to, None for a key in no shard."""
        # Of disjoint prefixes only the greatest that is not greater than the key can be one of it.
        place = bisect.bisect_right(self._prefixes, key) - 1
        return self._shards[place] if place >= 0 and is_in(self._shards[place], key) else None


def is_in(spec: ShardSpec, key: str) -> bool:
    """Return whether a key belongs to a shard."""
    return key == spec.prefix if spec.exact else key.startswith(spec.prefix)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Splits the keys of a prefix into shards, which are read, and into groups of shards, which are watched. Pure."""

from __future__ import annotations

import bisect
import typing as t

from .._consul.shard_plan import ShardSpec, plan_shards, range_of

SHARD_KEYS = 250  # so many are read and compared when one of them changes


class Group(t.NamedTuple):
    """What one blocking query watches: everything below ``watched``, or only that key. ``shards`` are its parts."""

    watched: ShardSpec
    shards: tuple[ShardSpec, ...]


def plan_groups(names: t.Sequence[str], prefix: str, most: int) -> list[Group]:
    """Return at most ``most`` disjoint groups, where names allow it, that have all of the sorted names below a prefix.

    Without names the whole prefix is one group. Names that come later may be in none.
    """
    size = max(SHARD_KEYS, -(-len(names) // most))
    watched = plan_shards(names, prefix, size)
    while len(watched) > most and size < len(names):
        size *= 2
        watched = plan_shards(names, prefix, size)
    if not watched:
        return [Group(ShardSpec(prefix), (ShardSpec(prefix),))]
    return [Group(spec, _shards_of(names, spec)) for spec in watched]


def _shards_of(names: t.Sequence[str], watched: ShardSpec) -> tuple[ShardSpec, ...]:
    if watched.exact:
        return (watched,)
    return tuple(plan_shards(names[slice(*range_of(names, watched))], watched.prefix, SHARD_KEYS))


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

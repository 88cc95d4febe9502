# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Splits the names of keys into shards: prefixes that can each be read with one request. Pure."""

from __future__ import annotations

import bisect
import os
import sys
import typing as t

from .key_path import is_addressable

SHARD_KEYS = 1000


class ShardSpec(t.NamedTuple):
    """One request of a sharded read: all keys below ``prefix``, or with ``exact`` the key of that name alone."""

    prefix: str
    exact: bool = False


def plan_shards(keys: t.Sequence[str], prefix: str, shard_keys: int) -> list[ShardSpec]:
    """Split sorted keys into disjoint prefixes of at most ``shard_keys`` keys each, where names allow it.

    A prefix only ends where an address can carry it: not inside a path element that a client or Consul would
    rewrite (``//``, ``/./``, ``/../``), nor at bytes that are not UTF-8.
    """
    if not keys:
        return []
    if len(keys) <= shard_keys:
        return [ShardSpec(prefix)]
    common = os.path.commonprefix([keys[0], keys[-1]])
    shards = []
    first = int(keys[0] == common)
    if first:
        if not is_addressable(common):
            return [ShardSpec(prefix)]
        shards.append(ShardSpec(common, exact=True))
    while first < len(keys):
        start = keys[first][: len(common) + 1]
        if not is_addressable(start):
            return [ShardSpec(prefix)]
        last = _end_of(keys, start, first)
        shards += plan_shards(keys[first:last], start, shard_keys)
        first = last
    return shards


def _end_of(keys: t.Sequence[str], start: str, first: int) -> int:
    """Return where the keys that begin with ``start`` end, among sorted keys, the first of which is known."""
    if start[-1] == chr(sys.maxunicode):
        return len(keys)
    return bisect.bisect_left(keys, start[:-1] + chr(ord(start[-1]) + 1), first)

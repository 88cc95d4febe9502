# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Splits the names of keys into shards: prefixes that can each be read with one request. Pure."""

from __future__ import annotations

import bisect
import sys
import typing as t

from .key_path import is_addressable

SHARD_KEYS = 1000


class ShardSpec(t.NamedTuple):
    """One request of a sharded read: all keys below ``prefix``, or with ``exact`` only the key of that name."""

    prefix: str
    exact: bool = False


class _Range(t.NamedTuple):
    """Keys first to last - 1 of a sorted list, which are all keys that begin with ``prefix``."""

    prefix: str
    first: int
    last: int


def plan_shards(keys: t.Sequence[str], prefix: str, shard_keys: int) -> list[ShardSpec]:
    """Split sorted keys, all below ``prefix``, into disjoint prefixes of at most ``shard_keys`` keys each, where names allow it.

    A prefix only ends where an address can carry it: not inside a path element that a client or Consul would
    rewrite (``//``, ``/./``, ``/../``), nor at bytes that are not UTF-8. The shards are in the order of the keys.
    """
    shards: list[ShardSpec] = []
    waiting = [_Range(prefix, 0, len(keys))] if keys else []
    while waiting:
        part = waiting.pop()
        common = _common_prefix(keys, part)
        smaller = [] if part.last - part.first <= shard_keys else _split(keys, part, common)
        if not smaller:
            shards.append(ShardSpec(part.prefix))
            continue
        if keys[part.first] == common:
            shards.append(ShardSpec(common, exact=True))
        waiting += reversed(smaller)
    return shards


def _split(keys: t.Sequence[str], part: _Range, common: str) -> list[_Range]:
    """Split a range by the character after the common prefix; return no ranges when an address could not carry them all.

    A key that is the common prefix itself is in none of them.
    """
    first = part.first
    if keys[first] == common:
        if not is_addressable(common):
            return []
        first += 1
    smaller = []
    while first < part.last:
        start = keys[first][: len(common) + 1]
        if not is_addressable(start):
            return []
        last = _end_of(keys, start, first, part.last)
        smaller.append(_Range(start, first, last))
        first = last
    return smaller


def _common_prefix(keys: t.Sequence[str], part: _Range) -> str:
    """Return what all keys of a range begin with: what its first and its last have in common, since keys are sorted."""
    lowest, highest = keys[part.first], keys[part.last - 1]
    length = len(part.prefix)
    for one, other in zip(lowest[length:], highest[length:]):
        if one != other:
            break
        length += 1
    return lowest[:length]


def _end_of(keys: t.Sequence[str], start: str, first: int, last: int) -> int:
    """Return where the keys that begin with ``start`` end within a range; the first of them is known."""
    if start[-1] == chr(sys.maxunicode):
        return last
    return bisect.bisect_left(keys, start[:-1] + chr(ord(start[-1]) + 1), first, last)


def range_of(names: t.Sequence[str], spec: ShardSpec) -> tuple[int, int]:
    """Return where the names of a shard begin and end in sorted names."""
    first = bisect.bisect_left(names, spec.prefix)
    if spec.exact:
        return first, first + (first < len(names) and names[first] == spec.prefix)
    last = first
    step = 1 << max(0, len(names).bit_length() - 1)
    while step:  # the names with this prefix are a run of the sorted names
        if last + step <= len(names) and names[last + step - 1].startswith(spec.prefix):
            last += step
        else:
            step >>= 1
    return first, last

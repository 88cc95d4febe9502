# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads both sides shard by shard, so that memory holds all names but only a few shards, however large the store is."""

from __future__ import annotations

import collections
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor

from .._consul import errors, kv, shard_plan
from .._consul.kv import Shard
from .mapping import RESERVED, PrefixMapping
from .sides import Sides

SHARD_BYTES = 2_000_000  # of JSON; a larger shard is split
FEW_KEYS = 10_000  # so few names take little memory, so shards may be larger, which saves requests
LARGE_SHARD_KEYS = 2 * shard_plan.SHARD_KEYS
SPLIT = 8  # a shard that is too large is split into about so many
MAX_READERS = 2  # decoding takes most of the time, and Python decodes in one thread at a time


class ShardRef(t.NamedTuple):
    """One shard of a mapping: its prefix at the source, and which sides have keys in it.

    ``source_keys`` is how many keys of the source in it took part when the names were listed, for one that only the source has.
    """

    spec: shard_plan.ShardSpec
    at_source: bool = True
    at_destination: bool = True
    source_keys: int | None = None


class ShardPair(t.NamedTuple):
    """One shard as the two sides hold it."""

    ref: ShardRef
    source: Shard
    destination: Shard


class Reader:
    """Reads the two sides. All methods raise a ConsulError when a side cannot be read."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides

    def shards(self, mapping: PrefixMapping) -> list[ShardRef]:
        """List the names of both sides and split them into shards that both sides can be requested by."""
        return self._split(mapping, mapping.source)

    def read(self, mapping: PrefixMapping, ref: ShardRef, max_bytes: int = SHARD_BYTES) -> t.Iterator[ShardPair]:
        """Read one shard of both sides, in several parts when it has more than ``max_bytes``."""
        try:
            yield self._read_pair(mapping, ref, max_bytes)
            return
        except errors.ResponseTooLarge:
            names = self._names(mapping, ref.spec.prefix)
        parts = self._split(mapping, ref.spec.prefix, max(1, max(len(side) for side in names) // SPLIT))
        if len(parts) == 1:
            yield self._read_pair(mapping, ref, None)
            return
        for part in parts:
            yield from self.read(mapping, part, max_bytes)

    def read_all(
        self,
        mapping: PrefixMapping,
        refs: t.Iterable[ShardRef],
        workers: int,
        denied: dict[str, str] | None = None,
    ) -> t.Iterator[list[ShardPair]]:
        """Read shards in order, a few of them ahead of the consumer. Yields the parts of each.

        With ``denied`` a shard that a token may not read is left out, and the reason noted there by its prefix at the destination.
        """

        def parts_of(ref: ShardRef) -> list[ShardPair]:
            try:
                return list(self.read(mapping, ref))
            except errors.PermissionDenied as error:
                if denied is None:
                    raise
                denied[mapping.to_destination(ref.spec.prefix)] = str(error)
                return []

        return _ahead(parts_of, refs, workers)

    def read_destination(self, mapping: PrefixMapping, refs: t.Sequence[ShardRef], workers: int) -> t.Iterator[Shard]:
        """Read shards of the destination only, in order, a few of them ahead of the consumer."""
        workers = min(workers, len(refs))
        return _ahead(lambda ref: self._sides.destination.read(_at_destination(mapping, ref)), refs, workers)

    def _read_pair(self, mapping: PrefixMapping, ref: ShardRef, max_bytes: int | None) -> ShardPair:
        source = destination = Shard(ref.spec.prefix, (), 0)
        decoded = kv.Decoded() if ref.at_source and ref.at_destination else None
        if ref.at_source:
            source = self._sides.source.read(ref.spec, max_bytes, decoded)
        if ref.at_destination:
            destination = self._sides.destination.read(_at_destination(mapping, ref), max_bytes, decoded)
        return ShardPair(ref, source, destination)

    def _names(self, mapping: PrefixMapping, prefix: str) -> tuple[list[str], list[str]]:
        """Return the sorted names of the two sides below a source prefix, both as they are called at the source."""
        at_source = self._sides.source.read_names(prefix)
        at_destination = self._sides.destination.read_names(mapping.to_destination(prefix), at_source)
        if at_destination.names is at_source.names:
            names = _without_reserved(at_source.names)
            return names, names
        there = at_destination.names
        if mapping.source != mapping.destination:
            there = [mapping.to_source(key) for key in there]
        return _without_reserved(at_source.names), _without_reserved(there)

    def _split(self, mapping: PrefixMapping, prefix: str, shard_keys: int | None = None) -> list[ShardRef]:
        at_source, at_destination = self._names(mapping, prefix)
        names = at_source if at_source == at_destination else sorted({*at_source, *at_destination})
        default = LARGE_SHARD_KEYS if len(names) <= FEW_KEYS else shard_plan.SHARD_KEYS
        specs = shard_plan.plan_shards(names, prefix, shard_keys or default)
        found = []
        for spec in specs:
            first, last = shard_plan.range_of(at_source, spec)
            there = shard_plan.range_of(at_destination, spec)
            count = None
            if there[0] == there[1]:  # only then it is of use
                count = (
                    last - first if mapping.includes_every_key else sum(map(mapping.includes, at_source[first:last]))
                )
            found.append(ShardRef(spec, first < last, there[0] < there[1], count))
        return found


def _at_destination(mapping: PrefixMapping, ref: ShardRef) -> shard_plan.ShardSpec:
    return shard_plan.ShardSpec(mapping.to_destination(ref.spec.prefix), ref.spec.exact)


def _without_reserved(names: t.Iterable[str]) -> list[str]:
    """Return the names sorted, without ``consulops/``, which is among them when the whole store is read."""
    return sorted(name for name in names if not name.startswith(RESERVED))


Item = t.TypeVar("Item")
Result = t.TypeVar("Result")


def _ahead(work: t.Callable[[Item], Result], items: t.Iterable[Item], workers: int) -> t.Iterator[Result]:
    """Yield the results of ``work`` in order, computed a few items ahead of the consumer."""
    workers = min(workers, MAX_READERS)
    if workers < 2:
        yield from map(work, items)
        return
    futures: collections.deque[Future[Result]] = collections.deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        try:
            for item in items:
                futures.append(pool.submit(work, item))
                if len(futures) > workers:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()

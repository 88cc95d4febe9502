# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads both sides shard by shard, so that memory holds a few shards and the names, however large the store."""

from __future__ import annotations

import bisect
import collections
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.kv import Shard
from .._consul.retry import RetryPolicy
from .mapping import RESERVED, PrefixMapping

SHARD_BYTES = 2_000_000  # of JSON; a shard that has more is cut further
FEW_KEYS = 10_000  # whose names take so little memory that shards may be larger, which saves requests
LARGE_SHARD_KEYS = 2 * kv.SHARD_KEYS
SPLIT = 8
MAX_READERS = 2  # decoding takes most of the time, and Python does one at a time


class ShardRef(t.NamedTuple):
    """One shard of a mapping: its prefix at the source, and which sides have keys there."""

    part: kv.ShardSpec
    at_source: bool = True
    at_destination: bool = True


class ShardPair(t.NamedTuple):
    """One shard as both sides hold it."""

    ref: ShardRef
    source: Shard
    destination: Shard


class Reader:
    """Reads a source and a destination; ``consistency`` and ``max_stale_s`` are for the source."""

    def __init__(
        self, source: Client, destination: Client, consistency: str, max_stale_s: float, retry: RetryPolicy
    ) -> None:
        self._source = source
        self._destination = destination
        self._consistency = consistency
        self._max_stale_s = max_stale_s
        self._retry = retry

    def shards(self, mapping: PrefixMapping) -> list[ShardRef]:
        """List the names of both sides and cut them into shards that both can be asked for."""
        return self._cut(mapping, mapping.source)

    def read(self, mapping: PrefixMapping, ref: ShardRef, most: int = SHARD_BYTES) -> t.Iterator[ShardPair]:
        """Read one shard of both sides, in several parts when it has more bytes than ``most``."""
        try:
            yield self._shard_pair(mapping, ref, most)
            return
        except errors.ResponseTooLarge:
            names = self._names(mapping, ref.part.prefix)
        parts = self._cut(mapping, ref.part.prefix, max(1, max(len(side) for side in names) // SPLIT))
        if len(parts) == 1:
            yield self._shard_pair(mapping, ref, None)
            return
        for part in parts:
            yield from self.read(mapping, part, most)

    def read_all(self, mapping: PrefixMapping, refs: t.Sequence[ShardRef], workers: int) -> t.Iterator[ShardPair]:
        """Read shards in order, some ahead of the one that is asked for."""
        for parts in _ahead(lambda ref: list(self.read(mapping, ref)), refs, workers):
            yield from parts

    def read_destination(self, mapping: PrefixMapping, refs: t.Sequence[ShardRef], workers: int) -> t.Iterator[Shard]:
        """Read shards of the destination alone."""

        def read(ref: ShardRef) -> Shard:
            part = kv.ShardSpec(mapping.to_destination(ref.part.prefix), ref.part.exact)
            return self._retry.run(lambda: _read(self._destination, part, "default", None, None))

        return _ahead(read, refs, workers)

    def _shard_pair(self, mapping: PrefixMapping, ref: ShardRef, most: int | None) -> ShardPair:
        there = kv.ShardSpec(mapping.to_destination(ref.part.prefix), ref.part.exact)
        none = Shard(ref.part.prefix, (), 0)
        source = destination = none
        decoded = kv.Decoded() if ref.at_source and ref.at_destination else None
        if ref.at_source:
            source = self._retry.run(
                lambda: _read(self._source, ref.part, self._consistency, self._max_stale_s, most, decoded)
            )
        if ref.at_destination:
            destination = self._retry.run(lambda: _read(self._destination, there, "default", None, most, decoded))
        return ShardPair(ref, source, destination)

    def _names(self, mapping: PrefixMapping, prefix: str) -> tuple[list[str], list[str]]:
        """Return the names of both sides below a source prefix, all as the source would call them."""
        there = mapping.to_destination(prefix)
        ours = self._retry.run(lambda: kv.list_keys(self._source, prefix, consistency=self._consistency))
        theirs = self._retry.run(lambda: kv.list_keys(self._destination, there))
        if mapping.source != mapping.destination:
            theirs = [mapping.to_source(key) for key in theirs]
        # ShardRef the whole store is read, our own keys are among them; they take no part.
        return sorted(key for key in ours if not key.startswith(RESERVED)), sorted(
            key for key in theirs if not key.startswith(RESERVED)
        )

    def _cut(self, mapping: PrefixMapping, prefix: str, shard_keys: int | None = None) -> list[ShardRef]:
        ours, theirs = self._names(mapping, prefix)
        names = ours if ours == theirs else sorted({*ours, *theirs})
        usual = LARGE_SHARD_KEYS if len(names) <= FEW_KEYS else kv.SHARD_KEYS
        parts = kv.plan_shards(names, prefix, shard_keys or usual)
        return [ShardRef(part, _any_of(ours, part), _any_of(theirs, part)) for part in parts]


Item = t.TypeVar("Item")
Result = t.TypeVar("Result")


def _ahead(work: t.Callable[[Item], Result], items: t.Sequence[Item], workers: int) -> t.Iterator[Result]:
    """Yield the results of some work in order, a few items ahead of the one that is asked for."""
    workers = min(workers, MAX_READERS, len(items))
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


def _read(
    client: Client,
    part: kv.ShardSpec,
    consistency: str,
    max_stale_s: float | None,
    most: int | None,
    decoded: kv.Decoded | None = None,
) -> Shard:
    if part.exact:
        return kv.read_key(client, part.prefix, consistency=consistency, max_stale_s=max_stale_s)
    limit = {} if most is None else {"max_bytes": most}
    return kv.read_shard(
        client, part.prefix, consistency=consistency, max_stale_s=max_stale_s, decoded=decoded, **limit
    )


def _any_of(names: t.Sequence[str], part: kv.ShardSpec) -> bool:
    """Tell whether sorted names have one in a shard."""
    place = bisect.bisect_left(names, part.prefix)
    return place < len(names) and (names[place] == part.prefix if part.exact else names[place].startswith(part.prefix))

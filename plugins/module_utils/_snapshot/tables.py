# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts and digests the records of a snapshot by table, and its keys by KV prefix; used by summary.py."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul.digest import RESERVED_PREFIX, SetDigest, kv_bytes
from . import records
from .record_checks import RecordChecks

MAX_PREFIXES = 20000  # a store without folders would otherwise be listed key by key
OTHER_KEYS = b"(other keys)"
EMPTY_DIGEST = SetDigest().hexdigest()


@dataclass(frozen=True)
class Table:
    """One table: how many records and bytes of state.bin, and the digest of its contents ("" when not computed).

    ``durable``: a restore must bring the table back.
    """

    name: str
    type: int
    count: int
    bytes: int
    durable: bool
    digest: str = ""


@dataclass(frozen=True)
class Prefix:
    """The keys below one KV prefix: how many, and the bytes of their records."""

    prefix: str
    keys: int
    bytes: int


class RecordSink(t.Protocol):
    """Receives every record that is part of a digest, with the BLAKE2b hash (64 bytes) of its canonical bytes."""

    def add(self, table: str, kind: int, record: t.Any, record_hash: bytes, content: bytes) -> None:
        """Take a record of any table but KVS, and its canonical bytes."""

    def add_key(self, key: bytes, record_hash: bytes, value: t.Any) -> object:
        """Take a KVS record as it was decoded (a list of pairs). What comes back is not used."""


class TableCounter:
    """Counts one table."""

    __slots__ = ("bytes", "count", "digest")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.digest = SetDigest()


class TableCounters:
    """Counts and digests by table. ACL tokens that have expired by ``as_of`` are counted and not digested."""

    def __init__(self, digests: bool, as_of: float, sink: RecordSink | None) -> None:
        self._digests = digests
        self._as_of = as_of
        self._sink = sink
        self._counters: dict[str, tuple[int, TableCounter]] = {}

    def add(self, table: str, kind: int, record: t.Any, size: int) -> None:
        """Count a record of ``size`` bytes."""
        counter = self._counters.setdefault(table, (kind, TableCounter()))[1]
        counter.count += 1
        counter.bytes += size
        if self._digests and counts_in_digest(kind, record, self._as_of):
            content = records.canonical(kind, record)
            record_hash = counter.digest.add(content)
            if self._sink is not None:
                self._sink.add(table, kind, record, record_hash, content)

    def put(self, kind: int, counter: TableCounter) -> None:
        """Add a table that was counted elsewhere."""
        if counter.count:
            self._counters[records.type_name(kind)] = (kind, counter)

    def listed(self) -> tuple[Table, ...]:
        """Return the tables, the largest first."""
        found = [
            Table(
                name=table,
                type=kind,
                count=counter.count,
                bytes=counter.bytes,
                durable=records.is_durable(table, kind),
                digest=counter.digest.hexdigest() if self._digests else "",
            )
            for table, (kind, counter) in self._counters.items()
        ]
        return tuple(sorted(found, key=lambda table: (-table.bytes, table.name)))


class KeyCounter(TableCounter):
    """Counts the KV table, and its keys by the first ``depth`` elements of their path below the prefix ``below``.

    KVS is the one table that may be huge, so one call a record does everything.
    """

    __slots__ = ("_add_to_sink", "_below", "_check", "_depth", "_digests", "_found")

    def __init__(
        self, digests: bool, depth: int | None, below: bytes, sink: RecordSink | None, checks: RecordChecks
    ) -> None:
        super().__init__()
        self._check = checks.add_key
        self._digests = digests
        self._depth = depth
        self._below = below
        self._add_to_sink = sink.add_key if sink is not None else None
        self._found: dict[bytes, list[int]] = {}

    def add(self, number: int, value: t.Any, size: int) -> bytes:
        """Count a record as it was decoded, the ``number``-th of the snapshot; return its key. Raises BadSnapshot."""
        key: bytes
        key, content, flags, session = records.key_fields(value)
        if session or not key:
            self._check(number, key, session)
        self.count += 1
        self.bytes += size
        if self._digests and not key.startswith(RESERVED_PREFIX):
            record_hash = self.digest.add(kv_bytes(key, content, flags))
            if self._add_to_sink is not None:
                self._add_to_sink(key, record_hash, value)
        if self._depth is not None and key.startswith(self._below):
            slash = -1
            for _element in range(self._depth):
                slash = key.find(b"/", slash + 1)
                if slash < 0:
                    break
            prefix = key[: slash + 1] if slash >= 0 else key  # a folder keeps its slash
            counter = self._found.get(prefix)
            if counter is not None:
                counter[0] += 1
                counter[1] += size
            else:
                self._count_new_prefix(prefix, size)
        return key

    def _count_new_prefix(self, prefix: bytes, size: int) -> None:
        if len(self._found) >= MAX_PREFIXES:
            prefix = OTHER_KEYS
        counter = self._found.setdefault(prefix, [0, 0])
        counter[0] += 1
        counter[1] += size

    def listed(self) -> tuple[Prefix, ...]:
        """Return the prefixes, the largest first."""
        return tuple(
            Prefix(records.text(prefix), keys, size)
            for prefix, (keys, size) in sorted(self._found.items(), key=lambda item: (-item[1][1], item[0]))
        )


def counts_in_digest(kind: int, record: t.Any, as_of: float) -> bool:
    """Return whether a record is part of its table's digest: not the collection's own objects, not expired tokens."""
    if kind == records.ACL_TOKEN:
        expires = records.expires_at(record)
        if expires is not None and expires <= as_of:
            return False
    return not records.is_reserved(kind, record)


def durable_digest(tables: t.Iterable[Table]) -> str:
    """Return one digest of all durable tables; an empty table counts like a missing one."""
    total = SetDigest()
    for table in tables:
        if table.durable and table.digest != EMPTY_DIGEST:
            total.add(f"{table.name} {table.digest}".encode())
    return total.hexdigest()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts what is in a snapshot while its records stream by: tables with sizes and digests, KV by prefix, servers.

Used by save.py (everything, in the same pass that writes the file) and by inspect.py.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._consul.digest import RESERVED_PREFIX, SetDigest, kv_bytes
from . import records
from .archive import Archive, Meta, Source
from .errors import BadSnapshot, DamagedArchive

SERVER_SERVICE = b"consul"
MAX_PREFIXES = 20000  # a flat store would otherwise be listed key by key
OTHER_KEYS = b"(other keys)"


OnRecord = t.Callable[[str, int, t.Any, int], None]


@dataclass(frozen=True)
class Table:
    """One table: how many records and bytes of state.bin, and the digest of its contents ("" when not asked for).

    ``durable`` tells whether a restore must bring it back.
    """

    name: str
    type: int
    count: int
    bytes: int
    durable: bool
    digest: str = ""


@dataclass(frozen=True)
class Prefix:
    """The keys below one KV prefix: how many, and their records' bytes."""

    prefix: str
    keys: int
    bytes: int


@dataclass(frozen=True)
class Summary:
    """What one snapshot holds. ``digest`` covers the durable tables ("" when not asked for)."""

    meta: Meta
    datacenter: str
    servers: tuple[str, ...]
    consul_versions: tuple[str, ...]
    tables: tuple[Table, ...]
    digest: str
    kv: tuple[Prefix, ...]
    config_kinds: t.Mapping[str, int] = field(default_factory=dict)
    services: int = 0
    nodes: int = 0

    def table(self, name: str) -> Table | None:
        """Return a table by name, None when the snapshot has no record of it."""
        return next((table for table in self.tables if table.name == name), None)

    def count(self, name: str) -> int:
        """Return how many records a table has."""
        table = self.table(name)
        return table.count if table else 0

    @property
    def records(self) -> int:
        """How many records there are in all."""
        return sum(table.count for table in self.tables)


def summarize(
    source: Source,
    name: str,
    *,
    as_of: float,
    digests: bool = True,
    kv_depth: int | None = None,
    kv_prefix: bytes = b"",
    on_record: OnRecord | None = None,
    on_keys: t.Callable[[bytes], bool] | None = None,
) -> Summary:
    """Read a whole snapshot, called ``name`` in errors, and return what it holds.

    ``as_of``: ACL tokens that have expired by then (seconds since 1970) are counted but not digested, because Consul
    may have dropped them meanwhile. ``kv_depth``: how many path elements a KV prefix has in ``kv`` (None: no list).
    ``on_record`` sees (table, type, record, size) of every record; of keys only those that ``on_keys`` wants.
    Raises BadSnapshot and what the source raises.
    """
    archive = Archive(source)
    try:
        return _summarize(archive, as_of, digests, kv_depth, kv_prefix, on_record, on_keys)
    except DamagedArchive as error:
        raise BadSnapshot(f"{name} is not a usable snapshot: {error}.") from None
    except BadSnapshot as error:
        found = str(error)
    except RecursionError:
        found = "a record is nested too deeply"
    damage = archive.damage()
    if damage:
        found = f"{damage}; noticed first: {found}"
    raise BadSnapshot(f"{name} is not a usable snapshot: {found}.")


def _summarize(
    archive: Archive,
    as_of: float,
    digests: bool,
    kv_depth: int | None,
    kv_prefix: bytes,
    on_record: OnRecord | None,
    on_keys: t.Callable[[bytes], bool] | None,
) -> Summary:
    tables = _TableCounters(digests, as_of)
    nodes = _Nodes()
    catalog = _Catalog()
    keys = _KeyCounter(digests, kv_depth, kv_prefix)
    kinds: dict[str, int] = {}

    def note(table: str, kind: int, record: t.Any, size: int) -> None:
        tables.add(table, kind, record, size)
        if on_record is not None:
            on_record(table, kind, record, size)

    for kind, value, size in archive.records():
        if kind == records.KVS:
            key = keys.add(value, size)
            if on_record is not None and (on_keys is None or on_keys(key)):
                on_record(records.type_name(kind), kind, records.shaped(kind, value), size)
            continue
        record = records.shaped(kind, value)
        if kind == records.REGISTER:
            catalog.add(record)
            for registration in nodes.add(record, size):
                note(*registration)
            continue
        if kind == records.CONFIG_ENTRY:
            entry_kind = records.text(records.config_entry(record)[0])
            kinds[entry_kind] = kinds.get(entry_kind, 0) + 1
        note(records.type_name(kind), kind, record, size)
    for registration in nodes.flush():
        note(*registration)
    tables.put(records.KVS, keys)
    listed = tables.listed()
    return Summary(
        meta=archive.meta,
        datacenter=catalog.datacenter,
        servers=tuple(sorted(catalog.servers)),
        consul_versions=tuple(sorted(catalog.versions)),
        tables=listed,
        digest=durable_digest(listed) if digests else "",
        kv=keys.listed(),
        config_kinds=kinds,
        services=len(catalog.services),
        nodes=catalog.nodes,
    )


def durable_digest(tables: t.Iterable[Table]) -> str:
    """Return one digest for all durable tables; an empty table counts like a missing one."""
    total = SetDigest()
    for table in tables:
        if table.durable and table.digest != EMPTY_DIGEST:
            total.add(f"{table.name} {table.digest}".encode())
    return total.hexdigest()


EMPTY_DIGEST = SetDigest().hexdigest()


class _TableCounter:
    __slots__ = ("bytes", "count", "digest")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.digest = SetDigest()


class _TableCounters:
    """Counts and digests by table."""

    def __init__(self, digests: bool, as_of: float) -> None:
        self._digests = digests
        self._as_of = as_of
        self._counters: dict[str, tuple[int, _TableCounter]] = {}

    def add(self, table: str, kind: int, record: t.Any, size: int) -> None:
        counter = self._counters.setdefault(table, (kind, _TableCounter()))[1]
        counter.count += 1
        counter.bytes += size
        if self._digests and counts_in_digest(kind, record, self._as_of):
            counter.digest.add(records.canonical(kind, record))

    def put(self, kind: int, counter: _TableCounter) -> None:
        """Take over a table that was counted elsewhere."""
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


class _Nodes:
    """Holds the registrations of one node back until it is known whether the node runs an agent.

    A node's own record, its services and its checks follow each other in every snapshot; serfHealth is among them
    when the node has an agent.
    """

    def __init__(self) -> None:
        self._node: tuple[t.Any, t.Any] | None = None
        self._held: list[tuple[t.Any, int]] = []
        self._has_agent = False

    def add(self, record: t.Any, size: int) -> list[tuple[str, int, t.Any, int]]:
        """Take one registration; when it begins another node, return those of the node before it."""
        node = (record[b"Node"], record.get(b"PeerName"))
        flushed = self.flush() if node != self._node else []
        self._node = node
        self._held.append((record, size))
        if records.fields(record.get(b"Check")).get(b"CheckID") == records.SERF_CHECK:
            self._has_agent = True
        return flushed

    def flush(self) -> list[tuple[str, int, t.Any, int]]:
        """Return (table, type, record, size) of the registrations that are held."""
        table = records.AGENT_TABLE if self._has_agent else records.type_name(records.REGISTER)
        flushed = [(table, records.REGISTER, record, size) for record, size in self._held]
        self._held, self._has_agent = [], False
        return flushed


def counts_in_digest(kind: int, record: t.Any, as_of: float) -> bool:
    """Tell whether a record is part of its table's digest: not our own keys, not tokens that have expired."""
    if kind == records.ACL_TOKEN:
        expires = records.expires_at(record)
        return expires is None or expires > as_of
    return not records.is_reserved(kind, record)


class _Catalog:
    """What the catalog's records tell about the datacenter itself."""

    def __init__(self) -> None:
        self.datacenter = ""
        self.servers: set[str] = set()
        self.versions: set[str] = set()
        self.services: set[bytes] = set()
        self.nodes = 0
        self._server_datacenter = False

    def add(self, record: t.Any) -> None:
        service = records.fields(record.get(b"Service"))
        if not service:
            if not record.get(b"Check"):
                self.nodes += 1
            self._note_datacenter(record, False)
            return
        label = service.get(b"Service")
        self.services.add(label if isinstance(label, bytes) else b"?")
        if label == SERVER_SERVICE and not record.get(b"PeerName"):
            self.servers.add(records.text(record[b"Node"]))
            self._note_datacenter(record, True)
            version = records.fields(service.get(b"Meta")).get(b"version")
            if version:
                self.versions.add(records.text(version))

    def _note_datacenter(self, record: t.Any, server: bool) -> None:
        # The servers know best: an external node can claim any datacenter.
        if not self._server_datacenter and (server or not self.datacenter):
            self.datacenter = records.text(record.get(b"Datacenter")) if record.get(b"Datacenter") else ""
            self._server_datacenter = server


class _KeyCounter(_TableCounter):
    """The KV table, and its keys by the first ``depth`` elements of their path below a prefix.

    The one table that may be huge, so one call a record does everything.
    """

    __slots__ = ("_below", "_depth", "_digests", "_found")

    def __init__(self, digests: bool, depth: int | None, below: bytes) -> None:
        super().__init__()
        self._digests = digests
        self._depth = depth
        self._below = below
        self._found: dict[bytes, list[int]] = {}

    def add(self, value: t.Any, size: int) -> bytes:
        key: bytes
        key, content, flags = records.key_fields(value)
        self.count += 1
        self.bytes += size
        if self._digests and not key.startswith(RESERVED_PREFIX):
            self.digest.add(kv_bytes(key, content, flags))
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
                self._note(prefix, size)
        return key

    def _note(self, prefix: bytes, size: int) -> None:
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

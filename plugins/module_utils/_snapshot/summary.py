# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads a whole snapshot once and summarizes it: tables with sizes and digests, KV by prefix, servers, versions.

Used wherever a snapshot is read: saving (in the pass that writes the file), inspecting, comparing, restoring.
"""

from __future__ import annotations

import logging
import time
import typing as t
from dataclasses import dataclass, field

from . import records
from .archive import Archive, Meta
from .catalog import CatalogFacts, NodeBuffer, ServerNode
from .connect_ca import ConnectCA, ConnectCAFacts
from .errors import BadSnapshot, DamagedArchive
from .gunzip import Source
from .record_checks import RecordChecks, RecordProblem
from .tables import KeyCounter, Prefix, RecordSink, Table, TableCounters, durable_digest

log = logging.getLogger("consulops")

OnRecord = t.Callable[[str, int, t.Any, int], None]


@dataclass(frozen=True)
class Summary:
    """What one snapshot holds. ``digest`` covers the durable tables ("" when not computed).

    ``problems``: records that some versions of Consul cannot load.
    """

    meta: Meta
    datacenter: str
    server_nodes: tuple[ServerNode, ...]
    consul_versions: tuple[str, ...]
    tables: tuple[Table, ...]
    digest: str
    kv: tuple[Prefix, ...]
    config_kinds: t.Mapping[str, int] = field(default_factory=dict)
    services: int = 0
    nodes: int = 0
    problems: tuple[RecordProblem, ...] = ()
    connect_ca: ConnectCA = field(default_factory=ConnectCA)

    def table(self, name: str) -> Table | None:
        """Return a table by name, None when the snapshot has no record of it."""
        return next((table for table in self.tables if table.name == name), None)

    def count(self, name: str) -> int:
        """Return how many records a table has."""
        table = self.table(name)
        return table.count if table else 0

    @property
    def servers(self) -> tuple[str, ...]:
        """The names of the servers."""
        return tuple(server.name for server in self.server_nodes)

    @property
    def records(self) -> int:
        """How many records there are in all."""
        return sum(table.count for table in self.tables)


@dataclass(frozen=True)
class _Options:
    """What summarize() computes, and who else receives the records."""

    as_of: float
    digests: bool
    kv_depth: int | None
    kv_prefix: bytes
    on_record: OnRecord | None
    on_keys: t.Callable[[bytes], bool] | None
    sink: RecordSink | None


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
    sink: RecordSink | None = None,
) -> Summary:
    """Read a whole snapshot, called ``name`` in errors, and return what it holds.

    ``as_of``: ACL tokens that have expired by then (seconds since 1970) are counted and not digested, because Consul
    may have removed them meanwhile. ``kv_depth``: how many path elements a KV prefix has in ``kv`` (None: no list).
    ``on_record`` is called with (table, type, record, size) of every record; of keys only of those for which ``on_keys``
    returns true. ``sink`` receives the digested records with their hashes; it needs ``digests``.
    Raises BadSnapshot and what the source raises.
    """
    started = time.monotonic()
    archive = Archive(source)
    options = _Options(as_of, digests, kv_depth, kv_prefix, on_record, on_keys, sink)
    try:
        summary = _summarize(archive, options)
    except DamagedArchive as error:
        raise BadSnapshot(f"{name} is not a usable snapshot: {error}.") from None
    except BadSnapshot as error:
        found = str(error)
    except RecursionError:
        found = "a record is nested too deeply"
    else:
        log.debug(
            "read %s: %d records in %d tables, index %d, in %.3f s",
            name,
            summary.records,
            len(summary.tables),
            summary.meta.index,
            time.monotonic() - started,
        )
        return summary
    damage = archive.damage()
    if damage:
        found = f"{damage}; noticed first: {found}"
    raise BadSnapshot(f"{name} is not a usable snapshot: {found}.")


def _summarize(archive: Archive, options: _Options) -> Summary:
    tables = TableCounters(options.digests, options.as_of, options.sink)
    checks = RecordChecks()
    keys = KeyCounter(options.digests, options.kv_depth, options.kv_prefix, options.sink, checks)
    nodes, catalog, connect_ca = NodeBuffer(), CatalogFacts(), ConnectCAFacts()
    config_kinds: dict[str, int] = {}
    on_record, on_keys = options.on_record, options.on_keys

    def count(table: str, kind: int, record: t.Any, size: int) -> None:
        tables.add(table, kind, record, size)
        if on_record is not None:
            on_record(table, kind, record, size)

    for number, (kind, value, size) in enumerate(archive.records(), 1):
        if kind == records.KVS:
            key = keys.add(number, value, size)
            if on_record is not None and (on_keys is None or on_keys(key)):
                on_record(records.type_name(kind), kind, records.shaped(kind, value), size)
            continue
        record = records.shaped(kind, value)
        checks.add(number, kind, record)
        connect_ca.add(kind, record)
        if kind == records.REGISTER:
            catalog.add(record)
            for registration in nodes.add(record, size):
                count(*registration)
            continue
        if kind == records.CONFIG_ENTRY:
            entry_kind = records.text(records.config_entry(record)[0])
            config_kinds[entry_kind] = config_kinds.get(entry_kind, 0) + 1
        count(records.type_name(kind), kind, record, size)
    for registration in nodes.flush():
        count(*registration)
    tables.put(records.KVS, keys)
    listed = tables.listed()
    return Summary(
        meta=archive.meta,
        datacenter=catalog.datacenter,
        server_nodes=tuple(server for _name, server in sorted(catalog.servers.items())),
        consul_versions=tuple(sorted(catalog.versions)),
        tables=listed,
        digest=durable_digest(listed) if options.digests else "",
        kv=keys.listed(),
        config_kinds=config_kinds,
        services=len(catalog.services),
        nodes=catalog.nodes,
        problems=checks.listed(),
        connect_ca=connect_ca.found(),
    )

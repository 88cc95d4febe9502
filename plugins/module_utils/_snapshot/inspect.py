# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inspects a snapshot file: what it holds, one key of it, how it differs from another file or the live state."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul.client import Client
from .._consul.digest import short_digest
from . import live_snapshot, records
from .compare import Comparison, compare_source
from .index import SnapshotIndex
from .raft_directory import RaftSnapshot, RaftSnapshotStream
from .sources import SnapshotFile
from .summary import Summary, summarize


@dataclass(frozen=True)
class Key:
    """One key as a snapshot holds it. ``value`` is shown only when the user requests it."""

    key: str
    value: bytes
    flags: int
    create_index: int
    modify_index: int
    lock_index: int
    session: str

    @property
    def digest(self) -> str:
        """A digest that stands for the value where the value must not be shown."""
        return short_digest(self.value)


@dataclass(frozen=True)
class Inspection:
    """What one reading of a file found: its summary, the requested key and, when requested, an index to compare with."""

    summary: Summary
    key: Key | None
    index: SnapshotIndex | None


def inspect_file(
    file: Path | RaftSnapshot,
    *,
    as_of: float,
    digests: bool = True,
    kv_depth: int | None = None,
    kv_prefix: str = "",
    key: str | None = None,
    with_index: bool = False,
) -> Inspection:
    """Read a whole file, or a Raft snapshot on a server's disk, once.

    ``key`` names a key to return, ``with_index`` requests the index (and needs ``digests``). The other parameters are
    those of summarize(). Raises BadSnapshot and LocalFailure.
    """
    wanted = None if key is None else key.encode()
    found: list[Key] = []
    index = SnapshotIndex() if with_index else None

    def keep_key(_table: str, kind: int, record: t.Any, _size: int) -> None:
        if kind == records.KVS:
            found.append(_key(record))

    with _opened(file) as source:
        summary = summarize(
            source,
            file.label if isinstance(file, RaftSnapshot) else str(file),
            as_of=as_of,
            digests=digests,
            kv_depth=kv_depth,
            kv_prefix=kv_prefix.encode(),
            on_record=None if wanted is None else keep_key,
            on_keys=lambda name: name == wanted,
            sink=index,
        )
    if index is not None:
        index.finish(summary)
    return Inspection(summary, found[0] if found else None, index)


def _opened(file: Path | RaftSnapshot) -> SnapshotFile | RaftSnapshotStream:
    return RaftSnapshotStream(file) if isinstance(file, RaftSnapshot) else SnapshotFile(file)


def compare_with_file(before: SnapshotIndex, after: Path, *, as_of: float) -> Comparison:
    """Compare an indexed snapshot with a file. Raises BadSnapshot and LocalFailure."""
    with SnapshotFile(after) as source:
        return compare_source(before, source, str(after), as_of=as_of)


def compare_with_live(
    before: SnapshotIndex, client: Client, *, as_of: float, stale: bool, timeout_s: float
) -> Comparison:
    """Compare an indexed snapshot with the state that the client's datacenter is in now.

    Raises BadSnapshot and a ConsulError.
    """
    with live_snapshot.open_stream(client, stale=stale, timeout_s=timeout_s) as source:
        return compare_source(before, source, live_snapshot.name_of(client), as_of=as_of)


def _key(record: t.Mapping[bytes, t.Any]) -> Key:
    def number(field: bytes) -> int:
        value = record.get(field)
        return value if isinstance(value, int) else 0

    return Key(
        key=records.text(record[b"Key"]),
        value=record.get(b"Value") or b"",
        flags=number(b"Flags"),
        create_index=number(b"CreateIndex"),
        modify_index=number(b"ModifyIndex"),
        lock_index=number(b"LockIndex"),
        session=records.text(record.get(b"Session") or b""),
    )

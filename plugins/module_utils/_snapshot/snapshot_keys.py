# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads from a snapshot file, or an undo file, the keys below some prefixes."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul._libraries import require
from .._consul.errors import GuardRefused
from . import records, undo_file
from .prefix_plan import Contents
from .sources import SnapshotFile
from .summary import summarize
from .undo_file import UNDO_KEY, Undoable


@dataclass(frozen=True)
class SnapshotKeys:
    """The keys of a file below some prefixes: {prefix: contents}. ``undo``: what an undo file says of itself, else None."""

    datacenter: str
    below: t.Mapping[str, Contents]
    undo: Undoable | None


def read_keys(path: Path, prefixes: t.Sequence[str], now: float) -> SnapshotKeys:
    """Read a whole snapshot, or an undo file, and return what it holds below each prefix.

    Raises BadSnapshot and LocalFailure, and GuardRefused for a prefix that the snapshot does not have.
    """
    require("msgpack")
    found: dict[str, dict[bytes, tuple[bytes, int]]] = {prefix: {} for prefix in prefixes}
    absent: dict[str, set[bytes]] = {prefix: set() for prefix in prefixes}
    prefix_bytes = [(prefix, prefix.encode()) for prefix in prefixes]
    starts = tuple(start for _prefix, start in prefix_bytes)
    description = b""

    def prefix_of(key: bytes) -> str | None:
        return next((prefix for prefix, start in prefix_bytes if key.startswith(start)), None)

    def keep_key(_table: str, kind: int, record: t.Any, _size: int) -> None:
        nonlocal description
        if kind == records.TOMBSTONE:
            key = records.name_bytes(kind, record)
            prefix = prefix_of(key)
            if prefix is not None:
                absent[prefix].add(key)
        elif kind == records.KVS and record[b"Key"] == UNDO_KEY:
            description = record.get(b"Value") or b""
        elif kind == records.KVS and not records.is_reserved(kind, record):
            prefix = prefix_of(record[b"Key"])
            if prefix is not None:
                found[prefix][record[b"Key"]] = (record.get(b"Value") or b"", record[b"Flags"])

    with SnapshotFile(path) as source:
        summary = summarize(
            source,
            str(path),
            as_of=now,
            digests=False,
            on_record=keep_key,
            on_keys=lambda key: key.startswith(starts) or key == UNDO_KEY,
        )
    about = undo_file.read_undoable(description) if undo_file.is_undo_file(summary.meta) else None
    # Elsewhere a tombstone is a deletion that Consul remembers for a while.
    below = {
        prefix: Contents(found[prefix], frozenset(absent[prefix]) if about else frozenset()) for prefix in prefixes
    }
    for prefix, contents in below.items():
        if not (contents.keys or contents.absent or (about and prefix in about.prefixes)):
            raise GuardRefused(
                f"The snapshot {path} holds no key below {prefix!r}: is it spelt right? Nothing was changed"
            )
    return SnapshotKeys(about.datacenter if about else summary.datacenter, below, about)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks into snapshot files: what they hold, one key of them, how two differ, how one differs from the live state."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul.client import Client
from .._consul.digest import short_digest
from . import records
from .compare import Comparison, compare
from .save import open_live
from .snapshot_file import SnapshotFile
from .summary import Summary, summarize


@dataclass(frozen=True)
class Key:
    """One key as a snapshot holds it. ``value`` is a secret until its owner asks for it."""

    key: str
    value: bytes
    flags: int
    create_index: int
    modify_index: int
    lock_index: int
    session: str

    @property
    def digest(self) -> str:
        """What stands for the value where it must not be shown."""
        return short_digest(self.value)


def inspect_file(
    path: Path,
    *,
    as_of: float,
    digests: bool = True,
    kv_depth: int | None = None,
    kv_prefix: str = "",
    key: str | None = None,
) -> tuple[Summary, Key | None]:
    """Read a whole file; return what it holds and, when asked for and there, one key.

    Raises BadSnapshot and LocalFailure.
    """
    wanted = None if key is None else key.encode()
    found: list[Key] = []

    def look(_table: str, kind: int, record: t.Any, _size: int) -> None:
        if kind == records.KVS:
            found.append(_key(record))

    with SnapshotFile(path) as source:
        summary = summarize(
            source,
            str(path),
            as_of=as_of,
            digests=digests,
            kv_depth=kv_depth,
            kv_prefix=kv_prefix.encode(),
            on_record=None if wanted is None else look,
            on_keys=lambda name: name == wanted,
        )
    return summary, found[0] if found else None


def compare_files(before: Path, after: Path, *, as_of: float) -> Comparison:
    """Compare two snapshot files. Raises BadSnapshot and LocalFailure."""
    with SnapshotFile(before) as old, SnapshotFile(after) as new:
        return compare((old, str(before)), (new, str(after)), as_of=as_of)


def compare_with_live(before: Path, client: Client, *, as_of: float, stale: bool, timeout_s: float) -> Comparison:
    """Compare a snapshot file with the state that the client's datacenter is in now. Raises ConsulError too."""
    with SnapshotFile(before) as old, open_live(client, stale=stale, timeout_s=timeout_s) as new:
        return compare((old, str(before)), (new, f"the answer of {client.endpoint}"), as_of=as_of)


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

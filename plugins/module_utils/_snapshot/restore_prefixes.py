# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restores only keys, only below some prefixes, by compare-and-set: the live keys become what the snapshot holds.

Everything else stays untouched, and a key that somebody writes meanwhile is never overwritten unseen.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .._consul import errors, key_path, kv, txn
from .._consul._libraries import require
from .._consul.client import Client
from .._consul.digest import RESERVED_PREFIX, short_digest
from .._consul.errors import GuardRefused
from .._consul.kv import Entry
from .._consul.txn import Operation
from . import records
from .sources import SnapshotFile
from .summary import summarize

ATTEMPTS = 3


@dataclass(frozen=True)
class Change:
    """One key that is not as the snapshot holds it. ``change``: created, updated or deleted; digests, no values."""

    key: str
    change: str
    before: str | None
    after: str | None
    operation: Operation = field(repr=False)


@dataclass(frozen=True)
class RawChange:
    """One key that is not UTF-8, as it should be; ``index`` is that of the live key, 0 when there is none."""

    key: bytes
    value: bytes = field(repr=False)
    flags: int
    index: int


@dataclass(frozen=True)
class PrefixPlan:
    """What it takes to bring one prefix back. ``kept``: live keys that the snapshot does not have and that stay.

    ``locked``: keys that differ and that a live session holds; they are left to their holders.

    ``raw``: keys that are not UTF-8, which a transaction cannot carry, to be written one by one.
    """

    prefix: str
    changes: tuple[Change, ...]
    unchanged: int
    kept: int
    locked: tuple[str, ...]
    raw: tuple[RawChange, ...]


@dataclass(frozen=True)
class PrefixResult:
    """How bringing one prefix back ended. ``conflicts`` were written to by others in every attempt."""

    prefix: str
    created: int
    updated: int
    deleted: int
    unchanged: int
    kept: int
    locked: tuple[str, ...]
    conflicts: tuple[str, ...]


Contents = dict[bytes, tuple[bytes, int]]


def check_prefixes(prefixes: t.Sequence[str]) -> None:
    """Raise InvalidOption for prefixes that overlap or are our own, or when there is none."""
    if not prefixes:
        raise errors.InvalidOption(
            "prefixes is an empty list: name the prefixes, or leave it out to restore everything."
        )
    for prefix in prefixes:
        if prefix.encode().startswith(RESERVED_PREFIX):
            raise errors.InvalidOption(f"prefixes: {prefix!r} is this collection's own and is never restored.")
        for other in prefixes:
            if other is not prefix and other.startswith(prefix):
                raise errors.InvalidOption(f"prefixes: {other!r} is part of {prefix!r}; name each key once.")


def wanted(path: Path, prefixes: t.Sequence[str], now: float) -> tuple[str, dict[str, Contents]]:
    """Read a whole file; return its datacenter and what it holds below each prefix: {prefix: {key: (value, flags)}}.

    Raises BadSnapshot and LocalFailure, and GuardRefused for a prefix that the snapshot does not have.
    """
    require("msgpack")
    found: dict[str, Contents] = {prefix: {} for prefix in prefixes}
    ends = [(prefix, prefix.encode()) for prefix in prefixes]

    def note(_table: str, kind: int, record: t.Any, _size: int) -> None:
        if kind == records.KVS and not records.is_reserved(kind, record):
            prefix = next(prefix for prefix, start in ends if record[b"Key"].startswith(start))
            found[prefix][record[b"Key"]] = (record.get(b"Value") or b"", record[b"Flags"])

    starts = tuple(start for _prefix, start in ends)
    with SnapshotFile(path) as source:
        on_keys = _starting(starts)
        summary = summarize(source, str(path), as_of=now, digests=False, on_record=note, on_keys=on_keys)
    for prefix, contents in found.items():
        if not contents:
            raise GuardRefused(
                f"The snapshot {path} holds no key below {prefix!r}: is it spelt right? Nothing was changed"
            )
    return summary.datacenter, found


def check_datacenter(client: Client, datacenter: str) -> None:
    """Refuse to write one datacenter's keys into another. Raises GuardRefused."""
    here = client.endpoint.datacenter or client.whoami().datacenter
    if here is not None and here != datacenter:
        raise GuardRefused(
            f"The snapshot is of datacenter {datacenter!r} and this is {here!r}. Nothing was changed. To write its keys here "
            "all the same, set accept: [other_datacenter]"
        )


def _starting(starts: tuple[bytes, ...]) -> t.Callable[[bytes], bool]:
    return lambda key: key.startswith(starts)


def plan(
    prefix: str,
    contents: Contents,
    live: t.Iterable[Entry],
    raw_live: t.Mapping[bytes, Entry],
    *,
    prune: bool,
    break_locks: bool = False,
) -> PrefixPlan:
    """Compare what a prefix should hold with what it holds. Pure.

    ``raw_live`` holds the keys of ``contents`` that are not UTF-8, as they are now.
    """
    changes: list[Change] = []
    locked: list[str] = []
    unchanged = kept = 0
    left = {key: content for key, content in contents.items() if _is_text(key)}
    for entry in live:
        if key_path.REPLACEMENT in entry.key and entry.key.encode() not in left:
            continue  # bytes that are not UTF-8: nobody can tell by this name which key it is
        content = left.pop(entry.key.encode(), None)
        before = short_digest(entry.value)
        if content == (entry.value, entry.flags):
            unchanged += 1
        elif entry.session and not break_locks and (content is not None or prune):
            locked.append(entry.key)
        elif content is not None:
            operation = Operation("cas", entry.key, content[0], content[1], index=entry.modify_index)
            changes.append(Change(entry.key, "updated", before, short_digest(content[0]), operation))
        elif prune and not entry.key.encode().startswith(RESERVED_PREFIX):
            operation = Operation("delete-cas", entry.key, index=entry.modify_index)
            changes.append(Change(entry.key, "deleted", before, None, operation))
        else:
            kept += 1
    for key, (value, flags) in sorted(left.items()):
        operation = Operation("cas", key.decode(), value, flags, index=0)
        changes.append(Change(key.decode(), "created", None, short_digest(value), operation))
    raw = []
    for key, (value, flags) in sorted(contents.items()):
        if _is_text(key):
            continue
        now = raw_live.get(key)
        if now is not None and (now.value, now.flags) == (value, flags):
            unchanged += 1
        else:
            raw.append(RawChange(key, value, flags, now.modify_index if now else 0))
    changes.sort(key=lambda change: change.change == "deleted")  # deletes last
    return PrefixPlan(prefix, tuple(changes), unchanged, kept, tuple(locked), tuple(raw))


def read_plan(client: Client, prefix: str, contents: Contents, *, prune: bool, break_locks: bool = False) -> PrefixPlan:
    """Read the live keys below a prefix and plan. Raises a ConsulError."""
    kv.check_readable(client, prefix)
    live = (entry for shard in kv.read_shards(client, prefix) for entry in shard.entries)
    raw_live = {key: entry for key in contents if not _is_text(key) for entry in kv.read_key(client, key).entries}
    return plan(prefix, contents, live, raw_live, prune=prune, break_locks=break_locks)


def apply(
    client: Client, first: PrefixPlan, contents: Contents, *, prune: bool, break_locks: bool = False
) -> PrefixResult:
    """Write a plan; what others wrote meanwhile is read and planned again, three times in all.

    Raises a ConsulError; what was written until then stays.
    """
    done = {"created": 0, "updated": 0, "deleted": 0}
    current = first
    conflicts: tuple[str, ...] = ()
    for attempt in range(ATTEMPTS):
        committed = txn.Writer(client).commit(change.operation for change in current.changes)
        refused = {refusal.operation.key: refusal.reason for refusal in committed.refused}
        for change in current.changes:
            if change.key not in refused:
                done[change.change] += 1
        for raw in current.raw:
            if txn.write_raw(client, raw.key, raw.value, raw.flags, raw.index):
                done["updated" if raw.index else "created"] += 1
            else:
                refused[records.text(raw.key)] = "written to by somebody else"
        conflicts = tuple(sorted(f"{key}: {reason}" for key, reason in refused.items()))
        if not conflicts or attempt == ATTEMPTS - 1:
            break
        current = read_plan(client, first.prefix, contents, prune=prune, break_locks=break_locks)
    return PrefixResult(
        prefix=first.prefix,
        unchanged=first.unchanged,
        kept=first.kept,
        locked=current.locked,
        conflicts=conflicts,
        **done,
    )


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True

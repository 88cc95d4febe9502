# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restores only keys below some prefixes, by compare-and-set; everything else stays untouched.

A key that another client writes meanwhile is never overwritten without being read again.
"""

from __future__ import annotations

import logging
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul import errors, kv, txn
from .._consul._libraries import require
from .._consul.client import Client
from .._consul.digest import RESERVED_PREFIX
from .._consul.errors import GuardRefused
from . import prefix_plan, records
from .prefix_plan import Contents, PrefixOptions, PrefixPlan
from .sources import SnapshotFile
from .summary import summarize

log = logging.getLogger("consulops")

ATTEMPTS = 3


@dataclass(frozen=True)
class PrefixResult:
    """How restoring one prefix ended. ``conflicts``: keys that other clients wrote to in every attempt."""

    prefix: str
    created: int
    updated: int
    deleted: int
    unchanged: int
    kept: int
    locked: tuple[str, ...]
    conflicts: tuple[str, ...]


def check_prefixes(prefixes: t.Sequence[str]) -> None:
    """Raise InvalidOption for prefixes that overlap or are reserved, or when there is none."""
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


def read_contents(path: Path, prefixes: t.Sequence[str], now: float) -> tuple[str, dict[str, Contents]]:
    """Read a whole file; return its datacenter and what it holds below each prefix: {prefix: {key: (value, flags)}}.

    Raises BadSnapshot and LocalFailure, and GuardRefused for a prefix that the snapshot does not have.
    """
    require("msgpack")
    found: dict[str, dict[bytes, tuple[bytes, int]]] = {prefix: {} for prefix in prefixes}
    prefix_bytes = [(prefix, prefix.encode()) for prefix in prefixes]
    starts = tuple(start for _prefix, start in prefix_bytes)

    def keep_key(_table: str, kind: int, record: t.Any, _size: int) -> None:
        if kind == records.KVS and not records.is_reserved(kind, record):
            prefix = next(prefix for prefix, start in prefix_bytes if record[b"Key"].startswith(start))
            found[prefix][record[b"Key"]] = (record.get(b"Value") or b"", record[b"Flags"])

    with SnapshotFile(path) as source:
        summary = summarize(
            source,
            str(path),
            as_of=now,
            digests=False,
            on_record=keep_key,
            on_keys=lambda key: key.startswith(starts),
        )
    for prefix, contents in found.items():
        if not contents:
            raise GuardRefused(
                f"The snapshot {path} holds no key below {prefix!r}: is it spelt right? Nothing was changed"
            )
    return summary.datacenter, dict(found)


def check_datacenter(client: Client, datacenter: str) -> None:
    """Refuse to write one datacenter's keys into another. Raises GuardRefused."""
    here = client.endpoint.datacenter or client.whoami().datacenter
    if here is not None and here != datacenter:
        raise GuardRefused(
            f"The snapshot is of datacenter {datacenter!r} and this is {here!r}. Nothing was changed. To write its keys here "
            "all the same, set accept: [other_datacenter]"
        )


def read_plan(client: Client, prefix: str, contents: Contents, options: PrefixOptions) -> PrefixPlan:
    """Read the live keys below a prefix and plan. Raises a ConsulError."""
    started = time.monotonic()
    kv.check_readable(client, prefix)
    live = (entry for shard in kv.read_shards(client, prefix) for entry in shard.entries)
    raw_keys = [key for key in contents if not prefix_plan.is_text(key)]
    raw_live = {key: entry for key in raw_keys for entry in kv.read_key(client, key).entries}
    planned = prefix_plan.plan(prefix, contents, live, raw_live, options)
    log.debug(
        "planned the restore of %r: %d keys to write, %d unchanged, %d kept, %d locked, in %.3f s",
        prefix,
        len(planned.changes) + len(planned.raw),
        planned.unchanged,
        planned.kept,
        len(planned.locked),
        time.monotonic() - started,
    )
    return planned


def apply(client: Client, first: PrefixPlan, contents: Contents, options: PrefixOptions) -> PrefixResult:
    """Write a plan; keys that others wrote to meanwhile are read and planned again, three times in all.

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
                refused[records.text(raw.key)] = "written to by another client"
        conflicts = tuple(sorted(f"{key}: {reason}" for key, reason in refused.items()))
        log.debug("wrote %r: %s, %d in conflict (attempt %d)", first.prefix, done, len(conflicts), attempt + 1)
        if not conflicts or attempt == ATTEMPTS - 1:
            break
        current = read_plan(client, first.prefix, contents, options)
    return PrefixResult(
        prefix=first.prefix,
        unchanged=first.unchanged,
        kept=first.kept,
        locked=current.locked,
        conflicts=conflicts,
        **done,
    )

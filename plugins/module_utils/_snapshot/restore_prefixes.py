# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restores only keys below some prefixes, by compare-and-set; everything else stays untouched.

A key that another client writes meanwhile is never overwritten without being read again. What is overwritten, deleted or
created is in an undo file (undo_file.py) before it is done.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul import errors, kv, txn
from .._consul.client import Client
from .._consul.digest import RESERVED_PREFIX, kv_bytes
from .._consul.errors import GuardRefused, NotConverged
from .._consul.private_file import os_errors_as
from .._consul.units import human_bytes
from . import prefix_plan, records, undo_file
from .prefix_plan import Contents, PrefixOptions, PrefixPlan
from .restore_plan import LOW_DISK
from .restore_prepare import ROOM_FACTOR
from .snapshot_keys import SnapshotKeys
from .undo_file import UndoFile

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


def datacenter_of(client: Client) -> str | None:
    """Return the name of the client's datacenter, None when the token may not read it. Raises a ConsulError."""
    return client.endpoint.datacenter or client.whoami().datacenter


def check_datacenter(here: str | None, datacenter: str) -> None:
    """Refuse to write one datacenter's keys into another. Raises GuardRefused."""
    if here is not None and here != datacenter:
        raise GuardRefused(
            f"The snapshot is of datacenter {datacenter!r} and this is {here!r}. Nothing was changed. To write its keys here "
            "all the same, set accept: [other_datacenter]"
        )


def check_directory(directory: Path) -> None:
    """Raise LocalFailure when there is no directory for the undo file."""
    if not directory.is_dir():
        raise errors.LocalFailure(f"The directory {directory} for the undo file does not exist: create it.")


def check_room(directory: Path, plans: t.Iterable[PrefixPlan]) -> None:
    """Refuse when the undo file of these plans may not fit. Raises GuardRefused."""
    with os_errors_as(f"reading the status of {directory}"):
        free_bytes = shutil.disk_usage(directory).free
    needed = ROOM_FACTOR * undo_file.needed_bytes(plans)
    if free_bytes < needed:
        raise GuardRefused(
            f"The undo file needs some {human_bytes(needed)} and there are {human_bytes(free_bytes)} free in {directory}. "
            f"Nothing was changed. To restore all the same, set accept: [{LOW_DISK}]"
        )


def plan_digest(datacenter: str | None, plans: t.Iterable[PrefixPlan]) -> str:
    """Return a digest of what plans write and delete; the same for the same keys, values and flags."""
    digest = hashlib.sha256(f"{datacenter}\n".encode())
    for plan in plans:
        for change in plan.changes:
            operation = change.operation
            digest.update(kv_bytes(change.key.encode(), operation.value, operation.flags))
            digest.update(b"-" if change.change == "deleted" else b"+")
        for raw in plan.raw:
            digest.update(kv_bytes(raw.key, raw.value or b"", raw.flags) + (b"-" if raw.value is None else b"+"))
    return digest.hexdigest()


def read_plan(client: Client, prefix: str, contents: Contents, options: PrefixOptions) -> PrefixPlan:
    """Read the live keys below a prefix and plan. Raises a ConsulError."""
    started = time.monotonic()
    kv.check_readable(client, prefix)
    live = (entry for shard in kv.read_shards(client, prefix) for entry in shard.entries)
    raw_keys = [key for key in (*contents.keys, *contents.absent) if not prefix_plan.is_text(key)]
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


def apply_all(
    client: Client, plans: t.Sequence[PrefixPlan], keys: SnapshotKeys, options: PrefixOptions, undo: UndoFile
) -> list[PrefixResult]:
    """Write the undo file, then the plans. Raises LocalFailure when nothing was written, else NotConverged."""
    undo.add(plans)
    written: set[bytes] = set()
    try:
        return [_apply(client, plan, keys.below[plan.prefix], options, undo, written) for plan in plans]
    except errors.Error as error:
        raise NotConverged(
            f"Restoring the keys stopped, and some of them may have been written: {error} Run it again to go on. "
            f"What was there before is in {undo.path}"
        ) from None
    except KeyboardInterrupt:
        raise NotConverged(
            f"Interrupted while keys were written. Run it again to go on. What was there before is in {undo.path}"
        ) from None


def _apply(
    client: Client,
    first: PrefixPlan,
    contents: Contents,
    options: PrefixOptions,
    undo: UndoFile,
    written: set[bytes],
) -> PrefixResult:
    """Write a plan; keys that others wrote to meanwhile are read and planned again, three times in all.

    ``written`` gets the keys that were written. Raises an Error; what was written until then stays.
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
                written.add(change.key.encode())
        for raw in current.raw:
            if _apply_raw(client, raw):
                done[raw.change] += 1
                written.add(raw.key)
            else:
                refused[records.text(raw.key)] = "written to by another client"
        conflicts = tuple(sorted(f"{key}: {reason}" for key, reason in refused.items()))
        log.debug("wrote %r: %s, %d in conflict (attempt %d)", first.prefix, done, len(conflicts), attempt + 1)
        if not conflicts or attempt == ATTEMPTS - 1:
            break
        current = read_plan(client, first.prefix, contents, options)
        undo.add([current], written)
    return PrefixResult(
        prefix=first.prefix,
        unchanged=first.unchanged,
        kept=first.kept,
        locked=current.locked,
        conflicts=conflicts,
        **done,
    )


def _apply_raw(client: Client, raw: prefix_plan.RawChange) -> bool:
    """Write or delete one key that is not UTF-8. Returns whether it was done. Raises a ConsulError."""
    if raw.value is None:
        return txn.delete_raw(client, raw.key, raw.index)
    return txn.write_raw(client, raw.key, raw.value, raw.flags, raw.index)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deletes the snapshots of a store that a retention does not keep. Deciding is in ``retention.py``."""

from __future__ import annotations

import typing as t

from . import retention, stored_snapshots
from .retention import Candidate, RetentionPlan, RetentionPolicy
from .stored_snapshots import StoredSnapshot
from .stores.store import Store

BATCH = 1000  # snapshots that are deleted together; S3 takes so many objects in one request


def plan(entries: t.Iterable[StoredSnapshot], policy: RetentionPolicy, now: float) -> RetentionPlan:
    """Return what stays of a store's snapshots, and why, and what goes. Raises InvalidOption."""
    return retention.plan(map(candidate, entries), policy, now)


def candidate(found: StoredSnapshot) -> Candidate:
    """Return what the retention has to know of a stored snapshot."""
    manifest = found.manifest
    if manifest is None:
        return Candidate(found.name, found.time, is_ours=False)
    return Candidate(
        found.name,
        found.time,
        series=(manifest.datacenter, manifest.policy),
        is_safety=manifest.safety,
        is_complete=not manifest.missing,
        problem=found.problem,
    )


def delete(store: Store, entries: t.Iterable[StoredSnapshot], to_delete: t.Iterable[Candidate]) -> t.Iterator[str]:
    """Delete snapshots from a store, the oldest first; give the name of each that is gone. Raises StoreError."""
    by_name = {found.name: found for found in entries}
    oldest_first = sorted(to_delete, key=lambda one: one.time)
    for start in range(0, len(oldest_first), BATCH):
        batch = [by_name[one.name] for one in oldest_first[start : start + BATCH]]
        stored_snapshots.delete(store, batch)
        yield from (one.name for one in batch)

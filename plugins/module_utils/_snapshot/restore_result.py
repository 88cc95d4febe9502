# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restores as plain data: what the module returns, its diffs, and the errors that carry them. Never a value of a key."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .._consul.errors import GuardRefused, NotConverged
from .._consul.units import lines_of, some_of
from .compare import Comparison, Difference
from .prefix_plan import PrefixPlan
from .restore import Restored
from .restore_plan import Decision
from .restore_prefixes import PrefixResult


def loss(found: Comparison, limit: int) -> dict[str, t.Any]:
    """Return what restoring the before side would undo in the after side: by table, KV prefix and name."""
    durable = {table.table for table in found.tables if table.durable}
    rows = [difference for difference in found.differences if difference.table in durable]
    return {
        "tables": [
            {"table": table.table, "lost": table.added, "rolled_back": table.changed, "brought_back": table.removed}
            for table in found.tables
            if table.durable and (table.added or table.changed or table.removed)
        ],
        "kv": [
            {"prefix": row.prefix, "lost": row.added, "rolled_back": row.changed, "brought_back": row.removed}
            for row in found.kv
        ],
        "records": [{"table": row.table, "name": row.name, "change": _UNDONE[row.change]} for row in rows[:limit]],
        "omitted": max(0, len(rows) - limit),
    }


def loss_diff(found: Comparison, limit: int) -> dict[str, str]:
    """Return what a restore changes as Ansible's diff: the live records before, the snapshot's after."""
    durable = {table.table for table in found.tables if table.durable}
    rows = [difference for difference in found.differences if difference.table in durable]
    before = [f"{row.table} {row.name} {row.after}" for row in rows[:limit] if row.after is not None]
    after = [f"{row.table} {row.name} {row.before}" for row in rows[:limit] if row.before is not None]
    if len(rows) > limit:
        after.append(f"(and {len(rows) - limit} more differences)")
    return {"before": lines_of(before), "after": lines_of(after)}


def differences(found: t.Sequence[Difference], limit: int) -> list[dict[str, t.Any]]:
    """Return records by table and name, at most ``limit`` of them."""
    return [{"table": row.table, "name": row.name, "change": row.change} for row in found[:limit]]


def prefix_diff(plans: t.Sequence[PrefixPlan], limit: int) -> dict[str, str]:
    """Return what restoring prefixes changes as Ansible's diff, with digests of the values."""
    changes = [change for plan in plans for change in plan.changes][:limit]
    return {
        "before": lines_of([f"{change.key} {change.before}" for change in changes if change.before]),
        "after": lines_of([f"{change.key} {change.after}" for change in changes if change.after]),
    }


def prefix_plan(plan: PrefixPlan) -> dict[str, t.Any]:
    """Return how many keys of a prefix would be written."""
    counts = {change: sum(found.change == change for found in plan.changes) for change in _PREFIX_CHANGES}
    for raw in plan.raw:
        counts[raw.change] += 1
    return {
        "prefix": plan.prefix,
        **counts,
        "unchanged": plan.unchanged,
        "kept": plan.kept,
        "locked": list(plan.locked),
        "conflicts": [],
    }


def prefix_result(result: PrefixResult) -> dict[str, t.Any]:
    """Return how many keys of a prefix were written."""
    return {**asdict(result), "locked": list(result.locked), "conflicts": list(result.conflicts)}


def restored(found: Restored, limit: int) -> dict[str, t.Any]:
    """Return how a restore ended."""
    return {
        "safety": str(found.safety),
        "loss": loss(found.lost, limit),
        "diff": loss_diff(found.lost, limit),
        "verified": not found.verification.wrong,
        "wrong": differences(found.verification.wrong, limit),
        "written_since": differences(found.verification.since, limit),
        "migrated": dict(found.verification.migrated),
        "destroyed_sessions": list(found.post.destroyed_sessions),
        "ghost_nodes": list(found.post.ghost_nodes),
        "ghost_commands": [
            f'curl -X PUT -H "X-Consul-Token: $CONSUL_HTTP_TOKEN" -d \'{{"Node": "{node}"}}\' '
            "$CONSUL_HTTP_ADDR/v1/catalog/deregister"
            for node in found.post.ghost_nodes
        ],
        "touched": list(found.post.touched),
        "seconds": {part: round(seconds, 3) for part, seconds in found.seconds.items()},
    }


def refused(decision: Decision, result: dict[str, t.Any]) -> GuardRefused:
    """Return the error of a refused restore: every reason, and how to accept it."""
    names = [refusal.override for refusal in decision.refusals]
    error = GuardRefused(
        f"The restore is refused: {decision.reason}. Nothing was changed. To restore all the same, set accept: "
        f"[{', '.join(names)}]"
    )
    error.details = {**result, "refusals": names}
    return error


def not_verified(found: Restored, result: dict[str, t.Any]) -> NotConverged:
    """Return the error of a restore after which the state is not the snapshot's, with the way back."""
    wrong = found.verification.wrong
    names = ", ".join(f"{row.table} {row.name}" for row in wrong[:3])
    error = NotConverged(
        f"The restore was accepted, but {len(wrong)} records are not as the snapshot holds them ({names}"
        f"{', …' if len(wrong) > 3 else ''}). The state before is in {found.safety}; to go back to it: "
        f"consul snapshot restore {found.safety}"
    )
    error.details = result
    return error


def conflicted(found: t.Sequence[PrefixResult], result: dict[str, t.Any]) -> NotConverged:
    """Return the error of keys that were not restored: other clients kept writing to them, or sessions hold them."""
    conflicts = [conflict for row in found for conflict in row.conflicts]
    locked = [key for row in found for key in row.locked]
    sentences = []
    if conflicts:
        sentences.append(
            f"{len(conflicts)} keys could not be written in any attempt ({some_of(conflicts)}): where the index is stale, "
            "stop their writers and run it again"
        )
    if locked:
        sentences.append(
            f"{len(locked)} keys are held by a session and were not written ({some_of(locked)}): to overwrite them, "
            "set accept: [locked_keys]"
        )
    error = NotConverged("; ".join(sentences) + ". Everything else below the prefixes is restored")
    error.details = result
    return error


_UNDONE = {"added": "lost", "changed": "rolled back", "removed": "brought back"}
_PREFIX_CHANGES = ("created", "updated", "deleted")

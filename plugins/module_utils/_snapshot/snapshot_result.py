# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots, comparisons and directories of snapshots as plain data: what modules return. Values only when requested."""

from __future__ import annotations

import base64
import typing as t
from dataclasses import asdict

from .._consul.units import lines_of, timestamp
from .compare import Comparison
from .inspect import Key
from .load_check import LoadCheck
from .manifest import Manifest
from .raft_directory import RaftSnapshot
from .snapshot_directory import SnapshotEntry
from .stored_snapshots import StoredSnapshot
from .summary import Summary
from .version_rules import shown


def snapshot(summary: Summary, entry: SnapshotEntry) -> dict[str, t.Any]:
    """Return what a snapshot file holds, and its manifest."""
    return {
        "path": str(entry.path),
        "datacenter": summary.datacenter,
        "consul_version": ", ".join(summary.consul_versions),
        "servers": list(summary.servers),
        "server_nodes": [asdict(server) for server in summary.server_nodes],
        "index": summary.meta.index,
        "term": summary.meta.term,
        "raft_id": summary.meta.id,
        "records": summary.records,
        "size": summary.meta.size,
        "digest": summary.digest,
        "tables": [asdict(table) for table in summary.tables],
        "connect_ca": {**asdict(summary.connect_ca), "roots": list(summary.connect_ca.roots)},
        "manifest": entry.manifest.as_dict() if entry.manifest else None,
        "problem": entry.problem,
    }


def raft_snapshot(found: RaftSnapshot) -> dict[str, t.Any]:
    """Return which Raft snapshot of a server was read, up to where it reaches, and why newer ones were not."""
    return {
        "path": str(found.directory),
        "index": found.meta.index,
        "term": found.meta.term,
        "time": timestamp(found.taken_s),
        "skipped": list(found.skipped),
    }


def prefixes(summary: Summary) -> list[dict[str, t.Any]]:
    """Return keys and bytes by prefix, the largest first."""
    return [asdict(prefix) for prefix in summary.kv]


def key(found: Key, *, show_value: bool) -> dict[str, t.Any]:
    """Return one key; its value only with ``show_value``."""
    result: dict[str, t.Any] = {
        "key": found.key,
        "digest": found.digest,
        "bytes": len(found.value),
        "flags": found.flags,
        "create_index": found.create_index,
        "modify_index": found.modify_index,
        "lock_index": found.lock_index,
        "session": found.session,
    }
    if show_value:
        result["value_base64"] = base64.b64encode(found.value).decode()
        try:
            result["value"] = found.value.decode()
        except UnicodeDecodeError:
            result["value"] = None
    return result


def load_check(check: LoadCheck, limit: int) -> dict[str, t.Any]:
    """Return whether a version loads a snapshot, and every reason why not with at most ``limit`` of its records."""
    return {
        "version": shown(check.version),
        "restorable": check.restorable,
        "reasons": [
            {
                "cause": problem.cause,
                "table": problem.table,
                "reason": problem.sentence,
                "count": problem.count,
                "records": [asdict(record) for record in problem.records[:limit]],
                "omitted": max(0, problem.count - min(limit, len(problem.records))),
            }
            for problem in check.problems
        ],
    }


def comparison(found: Comparison, limit: int) -> dict[str, t.Any]:
    """Return how two states differ, with at most ``limit`` differences by name."""
    return {
        "equal": found.equal,
        "digest": found.after.digest,
        "index": found.after.meta.index,
        "datacenter": found.after.datacenter,
        "tables": [asdict(table) for table in found.tables],
        "kv": [asdict(prefix) for prefix in found.kv],
        "differences": [asdict(difference) for difference in found.differences[:limit]],
        "omitted": max(0, len(found.differences) - limit),
    }


def comparison_diff(found: Comparison, limit: int) -> dict[str, str]:
    """Return the differences as Ansible's diff: a line for each record, at most ``limit`` of them."""
    before, after = [], []
    for difference in found.differences[:limit]:
        name = f"{difference.table} {difference.name}"
        if difference.before is not None:
            before.append(f"{name} {difference.before}")
        if difference.after is not None:
            after.append(f"{name} {difference.after}")
    if len(found.differences) > limit:
        after.append(f"(and {len(found.differences) - limit} more differences)")
    return {"before": lines_of(before), "after": lines_of(after)}


def entry(found: SnapshotEntry, now: float) -> dict[str, t.Any]:
    """Return one snapshot of a directory."""
    manifest = found.manifest
    return {
        "path": str(found.path),
        "time": timestamp(found.time),
        "age_seconds": int(now - found.time),
        "datacenter": found.datacenter,
        "consul_version": manifest.consul_version if manifest else None,
        "index": manifest.index if manifest else None,
        "size": found.size,
        "digest": manifest.digest if manifest else None,
        "intact": found.intact,
        "problem": found.problem,
    }


def stored(found: StoredSnapshot, intact: bool | None, place: str, now: float) -> dict[str, t.Any]:
    """Return one snapshot of a store; ``place`` is the store's path or URL."""
    manifest = found.manifest
    name = found.object.name if found.object else found.manifest_name
    return {
        "path": f"{place.rstrip('/')}/{name}",
        "time": timestamp(found.time),
        "age_seconds": int(now - found.time),
        "datacenter": found.datacenter,
        "consul_version": manifest.consul_version if manifest else None,
        "index": manifest.index if manifest else None,
        "size": found.object.size if found.object else 0,
        "digest": manifest.digest if manifest else None,
        "intact": intact,
        "problem": found.problem,
        "recipients": list(manifest.encryption.recipients) if manifest and manifest.encryption else None,
    }


def table_diff(before: Manifest | None, after: Manifest | None) -> dict[str, str]:
    """Return the counts and digests of two snapshots' tables as Ansible's diff; None where there is no snapshot."""
    return {"before": lines_of(_table_lines(before)), "after": lines_of(_table_lines(after))}


def _table_lines(manifest: Manifest | None) -> list[str]:
    if manifest is None:
        return []
    rows = sorted(manifest.tables, key=lambda table: table.name)
    return [f"{table.name}: {table.count} records, digest {table.digest[:16]}" for table in rows if table.durable]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inspects, compares and lists snapshots: the options and the work of ``consul_snapshot_info``."""

from __future__ import annotations

import time
from dataclasses import replace

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec
from .._consul.errors import InvalidOption
from .._consul.private_file import os_errors_as
from .._consul.units import positive_seconds
from .._snapshot import inspect, load_check, raft_directory, snapshot_directory, snapshot_result, stored_snapshots
from .._snapshot.raft_directory import RaftSnapshot
from .._snapshot.save_guards import readable_path
from .._snapshot.snapshot_directory import SnapshotEntry
from .._snapshot.stored_snapshots import StoredSnapshot
from .._snapshot.stores.errors import StoreError
from .._snapshot.stores.store import Store
from .._snapshot.version_rules import Version
from .snapshot_source import SOURCE_SPEC, SourceFile, is_in_store, names_no_snapshot, snapshot_file
from .store_options import store_of
from .task import Invocation, Result, Task

SPEC: Spec = dict(
    path={"type": "path", "required": True},
    kv_depth={"type": "int", "default": 2},
    kv_prefix={"type": "str", "default": "", "no_log": False},
    key={"type": "str", "no_log": False},
    show_value={"type": "bool", "default": False},
    compare_with={"type": "path"},
    compare_live={"type": "bool", "default": False},
    stale={"type": "bool", "default": False},
    limit={"type": "int", "default": 100},
    restorable_in={"type": "list", "elements": "str"},
    verify={"type": "bool", "default": False},
    stream_timeout={"type": "float", "default": 300.0},
    **SOURCE_SPEC,
    **connection_spec(),
)


def inspect_path(call: Invocation) -> Result:
    """Inspect a snapshot file or a Raft snapshot of a server, or list the snapshots of a directory."""
    options = call.params
    positive_seconds(options["stream_timeout"], "stream_timeout")
    for name in ("kv_depth", "limit"):
        if options[name] < 0:
            raise InvalidOption(f"{name} is {options[name]}: it cannot be negative.")
    if options["compare_with"] and options["compare_live"]:
        raise InvalidOption("compare_with and compare_live are both set: compare with one of them at a time.")
    versions = load_check.requested_versions(options["restorable_in"] or (), "restorable_in")
    now = time.time()
    if names_no_snapshot(call):
        _refuse_for_a_list(call, options["path"])
        store = store_of(options["path"], options["store"])
        listed = stored_snapshots.list_store(store)
        verified = [_verified(store, found) if options["verify"] else (found, None) for found in listed]
        return {
            "changed": False,
            "snapshots": [snapshot_result.stored(found, intact, store.shown, now) for found, intact in verified],
        }
    if is_in_store(call):
        with snapshot_file(call, None, lambda: options["datacenter"]) as source:
            return {"changed": False, **file_report(call, source, now, versions)}
    path = readable_path(options["path"], "path")
    with os_errors_as(f"reading {path}"):
        is_directory = path.is_dir()
    if is_directory and raft_directory.is_raft_directory(path):
        found = raft_directory.find(path)
        for sentence in found.skipped:
            call.warn(sentence)
        return {"changed": False, **file_report(call, found, now, versions)}
    if is_directory:
        _refuse_for_a_list(call, str(path))
        entries = snapshot_directory.list_directory(path, verify=options["verify"])
        return {"changed": False, "snapshots": [snapshot_result.entry(found, now) for found in entries]}
    with snapshot_file(call, None, lambda: None) as source:
        return {"changed": False, **file_report(call, source, now, versions)}


def _refuse_for_a_list(call: Invocation, path: str) -> None:
    for name in ("key", "compare_with", "compare_live", "restorable_in"):
        if call.params[name]:
            raise InvalidOption(f"{name} needs a snapshot file, and path {path} is a directory.")


def _verified(store: Store, found: StoredSnapshot) -> tuple[StoredSnapshot, bool | None]:
    """Read a stored snapshot again and compare it with its manifest; an error of the store becomes its problem."""
    if found.manifest is None or found.object is None or found.problem:
        return found, None if found.manifest is None else False
    try:
        is_intact = stored_snapshots.is_intact(store, found)
    except StoreError as error:
        return replace(found, problem=str(error)), None
    changed = "" if is_intact else "the object is not the one that its manifest describes (SHA-256 differs)"
    return replace(found, problem=changed), is_intact


def file_report(call: Invocation, file: SourceFile | RaftSnapshot, now: float, versions: tuple[Version, ...]) -> Result:
    """Return what a snapshot file or a Raft snapshot holds and, when requested, how it differs from another or the live state.

    ``versions``: the versions of Consul of which it is requested whether their servers would load it.
    """
    options = call.params
    inspection = inspect.inspect_file(
        file if isinstance(file, RaftSnapshot) else file.path,
        as_of=now,
        kv_depth=options["kv_depth"] or None,
        kv_prefix=options["kv_prefix"],
        key=options["key"],
        with_index=bool(options["compare_with"] or options["compare_live"]),
    )
    summary, key, index = inspection.summary, inspection.key, inspection.index
    if isinstance(file, RaftSnapshot):
        entry = SnapshotEntry(file.directory, file.taken_s, file.meta.size, None, True, "")
        result: Result = {"raft_snapshot": snapshot_result.raft_snapshot(file)}
    elif file.manifest is not None:  # it was compared with its manifest when it was fetched
        entry = SnapshotEntry(file.path, file.manifest.time, file.manifest.size, file.manifest, True, "")
        result = {}
    else:
        entry, result = snapshot_directory.entry(file.path, verify=file.shown == str(file.path)), {}
    result["snapshot"] = snapshot_result.snapshot(summary, entry)
    if isinstance(file, SourceFile):
        result["snapshot"]["path"] = file.shown
    if options["kv_depth"]:
        result["kv"] = snapshot_result.prefixes(summary)
    if options["key"] is not None:
        result["key"] = snapshot_result.key(key, show_value=options["show_value"]) if key else None
    if versions:
        checks = load_check.load_checks(summary.problems, versions)
        result["restorable_in"] = [snapshot_result.load_check(check, options["limit"]) for check in checks]
    comparison = None
    if index is not None and options["compare_with"]:
        other = readable_path(options["compare_with"], "compare_with")
        comparison = inspect.compare_with_file(index, other, as_of=now)
    elif index is not None:
        with call.client() as client:
            comparison = inspect.compare_with_live(
                index,
                client,
                as_of=now,
                stale=options["stale"],
                timeout_s=options["stream_timeout"],
            )
    if comparison is not None:
        result["comparison"] = snapshot_result.comparison(comparison, options["limit"])
        result["diff"] = snapshot_result.comparison_diff(comparison, options["limit"])
    return result


SNAPSHOT_INFO = Task(SPEC, inspect_path, (ONE_TOKEN,))

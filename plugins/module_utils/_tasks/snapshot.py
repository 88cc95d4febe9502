# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saves and restores snapshots: the options and the work of ``consul_snapshot``."""

from __future__ import annotations

import time
from pathlib import Path

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec
from .._consul.client import Client
from .._consul.errors import InvalidOption, NotConverged, PermissionDenied
from .._consul.units import parse_duration
from .._snapshot import (
    live_snapshot,
    restore_plan,
    restore_prefixes,
    restore_prepare,
    restore_result,
    snapshot_keys,
    snapshot_result,
)
from .._snapshot import restore as restoring
from .._snapshot import save as saving
from .._snapshot.encryption.age_format import EncryptionKeys
from .._snapshot.manifest import manifest_path
from .._snapshot.prefix_plan import PrefixOptions
from .._snapshot.save_guards import readable_path
from .._snapshot.stores.open_store import is_store_url
from .._snapshot.undo_file import Undoable, UndoFile
from .snapshot_source import SOURCE_SPEC, SourceFile, is_in_store, snapshot_file
from .snapshot_to_store import save_to_store
from .task import Invocation, Result, Task

SPEC: Spec = dict(
    path={"type": "path", "required": True},
    state={"type": "str", "choices": ["saved", "restored"], "default": "saved"},
    name={"type": "str", "default": "consul-{datacenter}-{time}-{index}.snap"},
    max_age={"type": "str"},
    stale={"type": "bool", "default": False},
    cross_check={"type": "str", "choices": ["fail", "warn", "ignore"], "default": "warn"},
    on_shrink={"type": "str", "choices": ["fail", "warn", "ignore"], "default": "fail"},
    max_shrink_percent={"type": "float", "default": 20.0},
    stream_timeout={"type": "float", "default": 300.0},
    force={"type": "bool", "default": False},
    accept={
        "type": "list",
        "elements": "str",
        "choices": [
            "unknown_types",
            "unknown_kinds",
            "incomplete_records",
            "other_datacenter",
            "lost_token",
            "low_disk",
            "attempted_before",
            "locked_keys",
        ],
        "default": [],
    },
    safety_path={"type": "path"},
    leader_timeout={"type": "float", "default": 60.0},
    destroy_gone_sessions={"type": "bool", "default": True},
    touch_replicated={"type": "bool", "default": True},
    prefixes={"type": "list", "elements": "str", "no_log": False},
    prune={"type": "bool", "default": False},
    plan_digest={"type": "str"},
    limit={"type": "int", "default": 100},
    recipients={"type": "list", "elements": "str", "default": []},
    **SOURCE_SPEC,
    **connection_spec(),
)


def perform(call: Invocation) -> Result:
    """Save, restore everything or restore prefixes, as the options say."""
    options = call.params
    if options["state"] == "saved":
        return save(call)
    safety_path = _safety_path(call)
    with call.client() as client, snapshot_file(call, safety_path, lambda: _datacenter(client)) as source:
        if options["prefixes"] is None:
            return restore(call, client, source, safety_path)
        return restore_keys(call, client, source, safety_path)


def _safety_path(call: Invocation) -> Path:
    """Return the directory for the safety snapshot or undo file. Raises InvalidOption."""
    options = call.params
    if options["safety_path"]:
        return Path(options["safety_path"])
    if is_store_url(options["path"]):
        raise InvalidOption(
            "A restore from an object store needs safety_path: the directory for the snapshot of the state that is replaced."
        )
    path = readable_path(options["path"], "path")
    return path if is_in_store(call) and path.is_dir() else path.parent


def _datacenter(client: Client) -> str | None:
    return client.endpoint.datacenter or client.whoami().datacenter


def save(call: Invocation) -> Result:
    """Take a snapshot, unless one that is young enough is there."""
    options = call.params
    request = saving.SaveRequest(
        path=options["path"],
        name=options["name"],
        stale=options["stale"],
        max_age_s=None if options["max_age"] is None else parse_duration(options["max_age"], "max_age"),
        cross_check=options["cross_check"],
        on_shrink=options["on_shrink"],
        max_shrink_percent=options["max_shrink_percent"],
        stream_timeout_s=options["stream_timeout"],
    )
    keys = EncryptionKeys(tuple(options["recipients"]), options["passphrase_file"])
    if keys or is_store_url(request.path):
        return save_to_store(call, request, keys)
    now = time.time()
    with call.client() as client:
        plan = saving.plan(client, request, now)
        before = plan.entry.manifest if plan.entry else None
        target = plan.target / request.name if plan.is_directory else plan.target
        result: Result = {"changed": plan.save, "reason": plan.reason}
        if plan.save and not call.check_mode:
            saved = saving.save(client, request, plan, now)
            target, after = saved.path, saved.manifest
            result["seconds"] = {part: round(seconds, 3) for part, seconds in saved.seconds.items()}
            for warning in saved.warnings:
                call.warn(warning)
            result["diff"] = snapshot_result.table_diff(before, after)
            result["snapshot"] = after.as_dict()
        elif before is not None:
            result["snapshot"] = before.as_dict()
        if plan.save and call.check_mode:
            result["may_save"] = saving.may_save(client)
            if result["may_save"] is False:
                raise PermissionDenied(f"{client.endpoint} would refuse. {live_snapshot.NEEDED_POLICY}.")
    result.update(path=str(target), manifest=str(manifest_path(target)))
    return result


def restore(call: Invocation, client: Client, source: SourceFile, safety_path: Path) -> Result:
    """Restore the whole datacenter, unless nothing differs or the restore was done before."""
    options = call.params
    request = restore_prepare.RestoreRequest(
        path=source.path,
        safety_path=safety_path,
        force=options["force"],
        accept=tuple(options["accept"]),
        leader_timeout_s=options["leader_timeout"],
        stream_timeout_s=options["stream_timeout"],
        destroy_gone_sessions=options["destroy_gone_sessions"],
        touch_replicated=options["touch_replicated"],
    )
    now = time.time()
    with restore_prepare.prepare(client, request, now, check=call.check_mode) as prepared:
        decision = prepared.decision
        result: Result = {
            "changed": False,
            "action": decision.action,
            "reason": decision.reason,
            "path": source.shown,
        }
        if prepared.comparison is not None:
            result["loss"] = restore_result.loss(prepared.comparison, options["limit"])
            result["diff"] = restore_result.loss_diff(prepared.comparison, options["limit"])
        result["datacenter"] = prepared.facts.datacenter
        result["plan_digest"] = restore_plan.plan_digest(prepared.facts)
        if decision.action == "drifted":
            call.warn(f"Nothing was restored: {decision.reason}.")
        if decision.action == "unchanged" and not call.check_mode:
            restoring.clear_attempt(request, prepared)
        if decision.action == "refused":
            raise restore_result.refused(decision, result)
        if decision.action == "restore":
            result["changed"] = True
            restore_plan.check_plan(result["plan_digest"], options["plan_digest"])
            for warning in restore_plan.downgrade_warnings(prepared.facts):
                call.warn(warning)
            if not call.check_mode:
                restored = restoring.perform(client, request, prepared, now)
                result.update(restore_result.restored(restored, options["limit"]), action="restored")
                for warning in restored.warnings:
                    call.warn(warning)
                if not result["verified"]:
                    raise restore_result.not_verified(restored, result)
    return result


def restore_keys(call: Invocation, client: Client, source: SourceFile, directory: Path) -> Result:
    """Restore only the keys below some prefixes."""
    options = call.params
    prefixes = options["prefixes"]
    now = time.time()
    restore_prefixes.check_prefixes(prefixes)
    keys = snapshot_keys.read_keys(source.path, prefixes, now)
    restore_prefixes.check_directory(directory)
    here = restore_prefixes.datacenter_of(client)
    if "other_datacenter" not in options["accept"]:
        restore_prefixes.check_datacenter(here, keys.datacenter)
    # An undo file names the keys that it deletes, and holds only some of those that it does not.
    how = PrefixOptions(prune=options["prune"] and keys.undo is None, break_locks="locked_keys" in options["accept"])
    plans = [restore_prefixes.read_plan(client, prefix, keys.below[prefix], how) for prefix in prefixes]
    changed = any(plan.changes or plan.raw for plan in plans)
    if "low_disk" not in options["accept"]:
        restore_prefixes.check_room(directory, plans)
    result: Result = {
        "changed": changed,
        "action": "restore" if changed else "unchanged",
        "reason": "keys differ from the snapshot" if changed else "the keys are what the snapshot holds",
        "path": source.shown,
        "diff": restore_result.prefix_diff(plans, options["limit"]),
        "plan_digest": restore_prefixes.plan_digest(here, plans),
        "prefixes": [restore_result.prefix_plan(plan) for plan in plans],
    }
    if changed:
        restore_plan.check_plan(result["plan_digest"], options["plan_digest"])
    if changed and not call.check_mode:
        undo = UndoFile(directory, Undoable(here or keys.datacenter, tuple(prefixes)), now)
        try:
            done = restore_prefixes.apply_all(client, plans, keys, how, undo)
        except NotConverged as error:
            error.details = {**result, "undo": str(undo.path)}
            raise
        found = [restore_result.prefix_result(row) for row in done]
        result.update(action="restored", undo=str(undo.path), prefixes=found)
        if any(row.conflicts or row.locked for row in done):
            raise restore_result.conflicted(done, result)
    return result


SNAPSHOT = Task(SPEC, perform, (ONE_TOKEN,))

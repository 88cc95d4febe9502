# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saves a snapshot into a store, or encrypted into a directory: what ``consul_snapshot`` does then."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from .._consul.errors import InvalidOption, PermissionDenied
from .._snapshot import fetched_file, live_snapshot, snapshot_result, store_save, stored_snapshots
from .._snapshot import save as saving
from .._snapshot.encryption.age_format import EncryptionKeys
from .._snapshot.save import SaveRequest
from .._snapshot.stored_snapshots import StoredSnapshot
from .._snapshot.stores.store import Store
from .store_options import store_of
from .task import Invocation, Result


def save_to_store(call: Invocation, request: SaveRequest, keys: EncryptionKeys) -> Result:
    """Take a snapshot into the store that ``request.path`` names, unless one that is young enough is there."""
    place, name = fetched_file.split_place(request.path)
    if name is not None:
        raise InvalidOption(f"path {request.path} names a snapshot: give the store or directory, and set name.")
    if keys.recipients and keys.passphrase_file:
        raise InvalidOption("recipients and passphrase_file are both set: age encrypts for one or the other.")
    store = store_of(place, call.params["store"])
    scratch = call.params["scratch_path"]
    now = time.time()
    with call.client() as client, store_save.scratch_directory(Path(scratch) if scratch else None) as directory:
        local = replace(request, path=f"{directory}/")
        decided = store_save.plan(client, local, store, keys, now)
        before = decided.plan.entry.manifest if decided.plan.entry else None
        result: Result = {"changed": decided.plan.save, "reason": decided.plan.reason}
        where = _where(store, decided.current)
        if decided.plan.save and not call.check_mode:
            saved, stored = store_save.save(client, local, decided, store, keys, now)
            where = _where(store, stored)
            result["seconds"] = {part: round(seconds, 3) for part, seconds in saved.seconds.items()}
            for warning in saved.warnings:
                call.warn(warning)
            result["diff"] = snapshot_result.table_diff(before, saved.manifest)
            result["snapshot"] = saved.manifest.as_dict()
        elif before is not None:
            result["snapshot"] = before.as_dict()
        if decided.plan.save and call.check_mode:
            where = {"path": f"{store.shown.rstrip('/')}/{request.name}"}
            where["manifest"] = where["path"] + stored_snapshots.manifests.SUFFIX
            result["may_save"] = saving.may_save(client)
            if result["may_save"] is False:
                raise PermissionDenied(f"{client.endpoint} would refuse. {live_snapshot.NEEDED_POLICY}.")
    result.update(where)
    return result


def _where(store: Store, found: StoredSnapshot | None) -> dict[str, str]:
    """Return the addresses of a snapshot and its manifest."""
    if found is None or found.object is None:
        return {"path": store.shown}
    place = store.shown.rstrip("/")
    return {"path": f"{place}/{found.object.name}", "manifest": f"{place}/{found.manifest_name}"}

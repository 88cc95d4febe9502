# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifies snapshots of a directory or store: the options and the work of ``consulops snapshot verify``. Consul is not asked."""

from __future__ import annotations

import tempfile
import time
import typing as t
from pathlib import Path

from .._config.connection_spec import Spec
from .._consul.errors import InvalidOption
from .._consul.units import parse_timestamp
from .._snapshot import snapshot_result
from .._snapshot.encryption.age_format import DecryptionKeys
from .._snapshot.fetched_file import split_place
from .._snapshot.stored_snapshots import StoredSnapshot, list_store, newest
from .._snapshot.stores.errors import NotStored
from .._snapshot.verify import BROKEN, verify
from .snapshot_source import LATEST, SOURCE_SPEC
from .store_options import store_of
from .task import Invocation, Result, Task

SPEC: Spec = {
    "path": {"type": "path", "required": True},
    "all": {"type": "bool", "default": False},
    "datacenter": {"type": "str"},
    **SOURCE_SPEC,
}


def perform(call: Invocation) -> Result:
    """Verify what the options name: one snapshot, all of a store, or the newest of each of its datacenters."""
    options = call.params
    directory = Path(options["scratch_path"] or tempfile.gettempdir())
    if not directory.is_dir():
        raise InvalidOption(f"The directory {directory} for the copies of snapshots does not exist: create it.")
    place, name = split_place(options["path"])
    if name is not None and (options["all"] or options["at"] is not None):
        raise InvalidOption(f"path {options['path']} names a snapshot: all and at are for a directory or store.")
    store = store_of(place, options["store"])
    keys = DecryptionKeys(options["identity_file"], options["passphrase_file"])
    wanted = _wanted(list_store(store), options, name)
    if not wanted:
        raise NotStored(f"{store.shown} has no snapshot that is wanted. List them with consulops snapshot list.")
    rows = []
    for found in wanted:
        one = verify(store, found, keys, directory)
        rows.append(
            {
                **snapshot_result.stored(found, one.state != BROKEN, store.shown, time.time()),
                "state": one.state,
                "problem": one.reason,
                "remarks": list(one.remarks),
                "seconds": round(one.took_s, 3),
            }
        )
    return {"changed": False, "snapshots": rows}


def _wanted(entries: list[StoredSnapshot], options: t.Mapping[str, t.Any], name: str | None) -> list[StoredSnapshot]:
    """Return the snapshots to verify, newest first. Raises InvalidOption."""
    datacenter = options["datacenter"]
    if name is not None:
        return [found for found in entries if found.name == name]
    of_datacenter = [found for found in entries if datacenter in (None, found.datacenter)]
    if options["all"]:
        return of_datacenter
    moment = None if options["at"] in (None, LATEST) else parse_timestamp(options["at"], "at")
    names = sorted({found.datacenter for found in of_datacenter if found.datacenter})
    chosen = [newest(of_datacenter, one, moment) for one in names]
    return [found for found in chosen if found is not None]


VERIFY = Task(SPEC, perform, (("all", "at"),))

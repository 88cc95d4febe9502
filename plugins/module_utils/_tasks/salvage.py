# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packs a dead server's Raft snapshot into a snapshot file: the options and the work of ``consulops snapshot salvage``."""

from __future__ import annotations

import time

from .._config.connection_spec import Spec
from .._snapshot import salvage, snapshot_result
from .._snapshot.manifest import manifest_path
from .._snapshot.save_guards import readable_path
from .task import Invocation, Result, Task

SPEC: Spec = {
    "path": {"type": "path", "required": True},
    "destination": {"type": "path", "required": True},
}


def perform(call: Invocation) -> Result:
    """Write the snapshot file; no request is sent to Consul."""
    found = salvage.salvage(readable_path(call.params["path"], "path"), call.params["destination"], time.time())
    for warning in found.warnings:
        call.warn(warning)
    return {
        "changed": True,
        "path": str(found.path),
        "manifest": str(manifest_path(found.path)),
        "snapshot": found.manifest.as_dict(),
        "raft_snapshot": snapshot_result.raft_snapshot(found.source),
    }


SALVAGE = Task(SPEC, perform)

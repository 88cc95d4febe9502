# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deletes snapshots that a retention does not keep: the options and the work of ``consulops snapshot prune``."""

from __future__ import annotations

import time
import typing as t

from .._config.connection_spec import Spec
from .._consul.errors import InvalidOption
from .._consul.units import timestamp
from .._snapshot import prune, retention
from .._snapshot.retention import Candidate
from .._snapshot.stored_snapshots import list_store
from .retention_options import RETENTION_SPEC, make_retention
from .store_options import STORE_SPEC, store_of
from .task import Invocation, Result, Task

SPEC: Spec = {
    "path": {"type": "str", "required": True},
    "timezone": {"type": "str", "default": "UTC"},
    **RETENTION_SPEC,
    **STORE_SPEC,
}


def perform(call: Invocation) -> Result:
    """Delete what the retention does not keep; in check mode say what would go."""
    options = call.params
    policy = make_retention(options, options["timezone"])
    if policy.is_empty:
        raise InvalidOption("Say what to keep, for example keep_daily: 7. Without it everything would go.")
    store = store_of(options["path"], options["store"])
    entries = list_store(store)
    found = prune.plan(entries, policy, time.time())
    by_name = {one.name: one for one in entries}

    def shown(one: Candidate) -> dict[str, t.Any]:
        datacenter, name = one.series
        size = by_name[one.name].object
        return {
            "name": one.name,
            "time": timestamp(one.time),
            "datacenter": datacenter or None,
            "policy": name or None,
            "size": size.size if size else 0,
        }

    result: Result = {
        "changed": bool(found.to_delete),
        "path": store.shown,
        "kept": [{**shown(one.candidate), "reasons": list(one.reasons)} for one in found.kept],
        "deleted": [shown(one) for one in found.to_delete],
    }
    if not call.check_mode:
        retention.check_deletes(found, options["max_deletes"], store.shown)
        for _name in prune.delete(store, entries, found.to_delete):
            pass
    return result


PRUNE = Task(SPEC, perform)

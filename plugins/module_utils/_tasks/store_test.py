# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests whether a store of snapshots can be used: the options and the work of ``consulops snapshot test-store``."""

from __future__ import annotations

from .._config.connection_spec import Spec
from .._consul.errors import Error
from .._snapshot.stores.errors import StoreDenied
from .._snapshot.stores.probe import Probed, probe
from .store_options import STORE_SPEC, store_of
from .task import Invocation, Result, Task

SPEC: Spec = {"path": {"type": "path", "required": True}, **STORE_SPEC}
_STATES = {True: "granted", False: "missing", None: "not tested"}


def perform(call: Invocation) -> Result:
    """Store, list, read and delete a probe. Raises StoreDenied when a right is missing, another StoreError when nothing works."""
    store = store_of(call.params["path"], call.params["store"])
    found = probe(store)
    result: Result = {
        "changed": False,
        "path": store.shown,
        "rights": {right: _STATES[granted] for right, granted in found.granted.items()},
        "refuses_to_overwrite": found.refuses_to_overwrite,
        "left": found.left,
        "seconds": {right: round(seconds, 3) for right, seconds in found.seconds.items()},
    }
    if found.refuses_to_overwrite is False:
        call.warn(
            f"{store.shown} ignores If-None-Match and would overwrite an object: names are looked up before anything is stored, "
            "which two writers at the same moment can get past. Give each writer a prefix of its own."
        )
    if found.problems:
        raise _missing(found, result)
    return result


def _missing(found: Probed, result: Result) -> Error:
    text = " ".join(found.problems)
    if found.left:
        text += f" The probe {found.left} was left there."
    error = StoreDenied(text)
    error.details = result
    return error


STORE_TEST = Task(SPEC, perform)

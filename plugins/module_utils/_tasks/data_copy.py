# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies a stopped server's data directory: the options and the work of ``consul_data_copy``."""

from __future__ import annotations

from pathlib import Path

from .._config.connection_spec import Spec
from .._drill.recovery import data_copy
from .task import Invocation, Result, Task

SPEC: Spec = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
}


def perform(call: Invocation) -> Result:
    """Copy, unless there is a copy of the directory as it is. Raises GuardRefused and LocalFailure."""
    source, copies = Path(call.params["src"]), Path(call.params["dest"])
    there = data_copy.copy_of(source, copies)
    if there is not None:
        return {"changed": False, "path": str(there)}
    data_copy.check_space(source, copies)
    if call.check_mode:
        return {"changed": True, "path": None}
    return {"changed": True, "path": str(data_copy.make_copy(source, copies))}


DATA_COPY = Task(SPEC, perform)

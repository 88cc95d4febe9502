# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishes the outcome of a rehearsed failover as that of a drill, where the rules ``drill_failed`` and ``drill_overdue`` read it."""

from __future__ import annotations

import time

from .._config.connection_spec import Spec
from .._consul import errors
from .._consul.client import Client
from .._consul.drill_status import DrillStatus
from .._consul.key_path import key_path
from .._consul.units import timestamp
from .task import Invocation, Result

DRILL = "datacenter-failover"  # its name among those of drills

REHEARSAL_SPEC: Spec = {
    "reasons": {"type": "list", "elements": "str", "default": []},
    "passed": {"type": "bool", "required": True},
}


def publish_rehearsal(call: Invocation, client: Client) -> Result:
    """Write the outcome that the option ``rehearsal`` has to a datacenter. Raises a ConsulError."""
    given, now = call.params["rehearsal"], time.time()
    status = DrillStatus(DRILL, f"{DRILL} {timestamp(now)}", now, given["passed"], tuple(given["reasons"]))
    if not call.check_mode:
        try:
            client.put(key_path(status.key), body=status.value())
        except errors.PermissionDenied as error:
            raise error.with_advice(
                after=f'The token needs key_prefix "{status.key}" {{ policy = "write" }}.'
            ) from None
    return {"changed": True}

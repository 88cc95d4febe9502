# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans how a datacenter without a majority comes back: the options and the work of ``consul_recovery_plan``."""

from __future__ import annotations

import typing as t

from .._config.connection_spec import Spec
from .._consul.errors import InvalidOption
from .._drill.recovery.recovery_plan import UNCHANGED, make_plan
from .task import Invocation, Result, Task

SPEC: Spec = {
    "hosts": {"type": "dict", "required": True},
    "addresses": {"type": "dict", "default": {}},
    "lost": {"type": "list", "elements": "str", "default": []},
    "confirm": {"type": "str"},
}


def perform(call: Invocation) -> Result:
    """Return the plan; in check mode without a confirmation. Raises InvalidOption and GuardRefused."""
    hosts: t.Mapping[str, t.Any] = call.params["hosts"]
    confirm = None if call.check_mode else call.params["confirm"] or ""
    try:
        plan = make_plan(
            {host: facts or None for host, facts in hosts.items()},
            call.params["addresses"],
            call.params["lost"],
            confirm,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidOption(
            f"The option hosts does not have the facts that consul_raft_info returns. {UNCHANGED}"
        ) from error
    return {
        "changed": False,
        "action": plan.action,
        "datacenter": plan.datacenter,
        "survivors": [one.host for one in plan.survivors],
        "fresh": list(plan.fresh),
        "indexes": {one.host: one.index for one in plan.survivors},
        "ids": {one.host: [one.id] for one in plan.survivors},
        "peers_json": plan.peers_json,
        "sentences": list(plan.sentences),
    }


RECOVERY_PLAN = Task(SPEC, perform)

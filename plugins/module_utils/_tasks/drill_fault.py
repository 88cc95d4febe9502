# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts a fault on a host for a drill, or heals it: the options and the work of ``consul_drill_fault``."""

from __future__ import annotations

import typing as t

from .._config.connection_spec import Spec
from .._consul.errors import GuardRefused, InvalidOption, LocalFailure
from .._consul.units import parse_bytes, timestamp
from .._drill.faults import fault_host, fault_plan
from .._drill.faults.fault_plan import Fault
from .task import Invocation, Result, Task

SPEC: Spec = {
    "drill": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "fault": {"type": "str", "choices": list(fault_plan.FAULTS)},
    "unit": {"type": "str", "default": "consul.service"},
    "peers": {"type": "list", "elements": "str"},
    "direction": {"type": "str", "choices": list(fault_plan.DIRECTIONS), "default": "both"},
    "path": {"type": "path"},
    "leave_free": {"type": "str", "default": "0"},
    "shared_disk": {"type": "bool", "default": False},
    "heal_after": {"type": "int"},
}


def perform(call: Invocation) -> Result:
    """Put the fault there or heal it. Raises InvalidOption, GuardRefused and LocalFailure."""
    there = fault_host.present_fault()
    drill = call.params["drill"]
    if there is not None and there.drill != drill:
        raise GuardRefused(
            f"There is a fault of the drill {there.drill} on this host ({there}): heal that first; nothing was changed."
        )
    if there is None:
        fault_host.check_nothing_is_left()
    return _heal(call, there) if call.params["state"] == "absent" else _put(call, there)


def _put(call: Invocation, there: Fault | None) -> Result:
    options = call.params
    if options["fault"] is None or options["heal_after"] is None:
        raise InvalidOption("state present needs the options fault and heal_after.")
    fault = fault_plan.make_fault(
        options["drill"],
        options["fault"],
        options["unit"],
        options["peers"] or (),
        options["direction"],
        options["path"],
        parse_bytes(options["leave_free"], "leave_free"),
    )
    if options["shared_disk"] and fault.fault != "disk_full":
        raise InvalidOption(f"shared_disk is of the fault disk_full, and the fault is {fault.fault}.")
    heal_after_s = options["heal_after"]
    fault_plan.check_heal_after(heal_after_s)
    if there is not None:
        _check_same(there, fault)
        return {"changed": False, "fault": str(fault), "commands": [], "diff": _diff(there, there)}
    controller = fault_host.find_controller()
    fault_host.check_possible(fault, controller, options["shared_disk"])
    ssh_port = controller.ssh_port if controller else fault_plan.SSH_PORT
    steps = fault_plan.put_steps(fault, ssh_port)
    commands = [" ".join(fault_plan.arm_command(heal_after_s)), *map(str, steps)]
    result: Result = {"changed": True, "fault": str(fault), "commands": commands, "diff": _diff(None, fault)}
    if not call.check_mode:
        result["started"] = _moment(*fault_host.put(fault, heal_after_s, ssh_port))
    return result


def _check_same(there: Fault, fault: Fault) -> None:
    if there != fault:
        raise GuardRefused(
            f"The drill {there.drill} has another fault on this host ({there}): heal it first; nothing was changed."
        )
    if not fault_host.is_armed() or not fault_host.is_in_effect(fault):
        raise LocalFailure(
            f"The fault of the drill {there.drill} ({there}) is there in part, or without the timer that heals it: "
            "heal it with state absent."
        )


def _heal(call: Invocation, there: Fault | None) -> Result:
    result: Result = {"changed": there is not None, "commands": [], "diff": _diff(there, None)}
    if there is not None:
        result.update(fault=str(there), commands=[f"/bin/sh {fault_plan.SCRIPT}"])
        if call.check_mode:
            return result
        fault_host.heal(there)
    ended = fault_host.healed_at(call.params["drill"])
    if ended is not None:
        result["ended"] = _moment(*ended)
    result["proof"] = fault_host.proof(there)
    return result


def _diff(before: Fault | None, after: Fault | None) -> dict[str, str]:
    return {"before": f"{before or 'no fault'}\n", "after": f"{after or 'no fault'}\n"}


def _moment(wall_ns: int, uptime_ns: int) -> dict[str, t.Any]:
    wall = wall_ns / 1e9
    return {
        "time": timestamp(wall),
        "unix_s": round(wall, 3),
        "uptime_s": round(uptime_ns / 1e9, 2),
        "uptime_ns": uptime_ns,
    }


DRILL_FAULT = Task(SPEC, perform)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a drill's definition, as its YAML file has them, and the definition that they mean."""

from __future__ import annotations

import typing as t

from .._alerting.rule_options import RULE_NAMES
from .._config.connection_spec import Spec
from .._config.validation import validated
from .._consul.errors import InvalidOption
from .._drill.drill_definition import (
    CANARY,
    CHANGES,
    OBJECTIVES,
    SHAPES,
    STAYS,
    DrillDefinition,
    Expectations,
    make_alert,
    make_step,
    parse_limit,
)
from .._drill.faults.fault_plan import DIRECTIONS, FAULTS

FAULT_SPEC: Spec = {
    "at": {"type": "str", "required": True},
    "for": {"type": "str", "required": True},
    "fault": {"type": "str", "required": True, "choices": list(FAULTS)},
    "targets": {"type": "str", "required": True},
    "shape": {"type": "str", "choices": list(SHAPES)},
    "unit": {"type": "str"},
    "direction": {"type": "str", "choices": list(DIRECTIONS)},
    "peers": {"type": "list", "elements": "str"},
    "path": {"type": "str"},
    "leave_free": {"type": "str"},
    "shared_disk": {"type": "bool"},
}
ALERT_SPEC: Spec = {
    "about": {"type": "str", "required": True, "choices": [CANARY, *RULE_NAMES]},
    "at": {"type": "str"},
    "for": {"type": "str"},
}
EXPECT_SPEC: Spec = {
    **{name: {"type": "str"} for name in OBJECTIVES},
    "leader": {"type": "str", "choices": [STAYS, CHANGES]},
    "changes_refused": {"type": "bool", "default": False},
    "history_valid": {"type": "bool", "default": True},
    "replica_lacks": {"type": "int"},
    "replica_keeps_keys": {"type": "bool", "default": False},
    "snapshot_restores": {"type": "bool", "default": False},
}
DEFINITION_SPEC: Spec = {
    "name": {"type": "str", "required": True},
    "title": {"type": "str", "required": True},
    "description": {"type": "str"},
    "loses_quorum": {"type": "bool", "default": False},
    "load": {"type": "dict"},
    "faults": {"type": "list", "elements": "dict", "options": FAULT_SPEC, "default": []},
    "alert": {"type": "dict", "options": ALERT_SPEC},
    "expect": {"type": "dict", "options": EXPECT_SPEC, "apply_defaults": True},
}
# What the definition of a drill may say about its load, unless the user does.
LOAD_OPTIONS = ("duration", "workload", "consistency", "clients", "rate", "gaps", "keys", "settle", "timeout")


def definition_of(
    given: t.Any, raft_multiplier: int, data_path: str | None = None
) -> tuple[DrillDefinition, dict[str, t.Any]]:
    """Return the definition that a file describes, and its options of the load. Raises InvalidOption with the path of the key."""
    options = validated(DEFINITION_SPEC, given, "drill")
    load = options["load"] or {}
    unknown = sorted(set(load) - set(LOAD_OPTIONS))
    if unknown:
        raise InvalidOption(f"drill.load.{unknown[0]}: unknown option. The options are {', '.join(LOAD_OPTIONS)}.")
    try:
        expect = options["expect"]
        objectives = {
            name: None if expect[name] is None else parse_limit(expect[name], f"expect.{name}") for name in OBJECTIVES
        }
        steps = tuple(
            make_step(number, step, raft_multiplier, data_path) for number, step in enumerate(options["faults"])
        )
        definition = DrillDefinition(
            options["name"],
            options["title"],
            steps,
            Expectations(
                **objectives,
                leader=expect["leader"],
                changes_refused=expect["changes_refused"],
                history_valid=expect["history_valid"],
                replica_lacks=expect["replica_lacks"],
                replica_keeps_keys=expect["replica_keeps_keys"],
                snapshot_restores=expect["snapshot_restores"],
            ),
            options["loses_quorum"],
            None if options["alert"] is None else make_alert(options["alert"], steps, raft_multiplier),
        )
    except InvalidOption as error:
        raise InvalidOption(f"drill.{error}") from None
    return definition, dict(load)

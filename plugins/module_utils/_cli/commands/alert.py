# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops alert``: check, run, check-config; what runs and is silenced, and receivers, are in files of their own."""

from __future__ import annotations

import argparse

from ..._config import json_file
from ..._tasks.alert_check import ALERT_CHECK
from .. import arguments, rendering
from ..agent_access import ALERTING
from . import agent, alert_receivers, alert_silences, alert_state, import_consul_alerts
from .base import Command, Outcome, add_config, make_invocation


def _alert_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "consul_alert_check", required=False)
    arguments.add_options(parser, ALERT_CHECK.spec)


def _alert(options: argparse.Namespace) -> Outcome:
    from_file = {} if options.config is None else json_file.read_json(options.config)
    params = {**from_file, **arguments.given_options(options, ALERT_CHECK.spec)}
    if options.datacenters:
        params["datacenters"] = [name for text in options.datacenters for name in text.split(",")]
    result = ALERT_CHECK.run(make_invocation(ALERT_CHECK, params, options.config or ""))
    return Outcome(result, rendering.checked(result))


COMMANDS = (
    Command(
        "check",
        "check datacenters, and fail if a finding is severe enough",
        _alert,
        _alert_arguments,
        rendering.checked,
    ),
    *agent.commands_of(ALERTING),
    *alert_state.COMMANDS,
    *alert_silences.COMMANDS,
    *alert_receivers.COMMANDS,
    Command(
        "import-consul-alerts",
        import_consul_alerts.HELP,
        import_consul_alerts.run,
        import_consul_alerts.add_arguments,
    ),
)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops replicate``: plan, once, run, check-config; what steers the agent, reconciling and the import are in files of their own."""

from __future__ import annotations

import argparse

from ..._tasks.replicate import REPLICATE
from .. import rendering
from . import agent, import_consul_replicate, replicate_control, replicate_options, replicate_reconcile
from .base import Command, Outcome, add_exit_code, make_invocation

AGENT = "replication"


def _replicate_arguments(parser: argparse.ArgumentParser) -> None:
    replicate_options.add_arguments(parser, "consul_kv_replicate", REPLICATE.spec, "copy")
    add_exit_code(parser)


def _replicate(options: argparse.Namespace, *, check: bool) -> Outcome:
    params = replicate_options.module_options(options, REPLICATE.spec, "replicate")
    result = REPLICATE.run(make_invocation(REPLICATE, params, options.config or "", check=check))
    return Outcome(result, rendering.replicated(result), different=bool(result["changed"]))


def _plan(options: argparse.Namespace) -> Outcome:
    return _replicate(options, check=True)


def _once(options: argparse.Namespace) -> Outcome:
    return _replicate(options, check=False)


COMMANDS = (
    Command("plan", "show what a run would change", _plan, _replicate_arguments, rendering.replicated),
    Command("once", "replicate once", _once, _replicate_arguments, rendering.replicated),
    *replicate_reconcile.COMMANDS,
    *agent.commands_of(AGENT),
    *replicate_control.COMMANDS,
    Command(
        "import-config",
        import_consul_replicate.HELP,
        import_consul_replicate.run,
        import_consul_replicate.add_arguments,
    ),
)

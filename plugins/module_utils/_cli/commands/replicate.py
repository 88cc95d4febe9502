# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops replicate``: plan, once and import-config."""

from __future__ import annotations

import argparse

from ..._config import json_file
from ..._tasks.replicate import REPLICATE
from .. import arguments, rendering
from . import import_consul_replicate
from .base import Command, Outcome, add_config, add_exit_code, make_invocation

_ONLY_IN_FILE = {"source", "destination", "prefixes", "name"}


def _replicate_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "consul_kv_replicate", required=True)
    add_exit_code(parser)
    arguments.add_options(parser, REPLICATE.spec, _ONLY_IN_FILE)


def _replicate(options: argparse.Namespace, *, check: bool) -> Outcome:
    params = {**json_file.read_json(options.config), **arguments.given_options(options, REPLICATE.spec)}
    result = REPLICATE.run(make_invocation(REPLICATE, params, options.config, check=check))
    return Outcome(result, rendering.replicated(result), different=bool(result["changed"]))


def _plan(options: argparse.Namespace) -> Outcome:
    return _replicate(options, check=True)


def _once(options: argparse.Namespace) -> Outcome:
    return _replicate(options, check=False)


COMMANDS = (
    Command("plan", "show what a run would change", _plan, _replicate_arguments, rendering.replicated),
    Command("once", "replicate once", _once, _replicate_arguments, rendering.replicated),
    Command(
        "import-config",
        import_consul_replicate.HELP,
        import_consul_replicate.run,
        import_consul_replicate.add_arguments,
    ),
)

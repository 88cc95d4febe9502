# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops replicate``: plan, once, run, check-config; what steers the agent, and the import, are in files of their own."""

from __future__ import annotations

import argparse
import typing as t

from ..._config import json_file
from ..._consul.errors import InvalidOption
from ..._tasks.replicate import REPLICATE, prefix_options
from .. import arguments, rendering
from . import agent, import_consul_replicate, replicate_control
from .base import Command, Outcome, add_config, add_exit_code, make_invocation

AGENT = "replication"
_ONLY_IN_FILE = {"source", "destination", "prefixes"}
_OF_ONE_SIDE = ("url", "token_file")


def _replicate_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "consul_kv_replicate", required=False)
    parser.add_argument(
        "--prefix",
        action="append",
        metavar="SOURCE[@DATACENTER][:DESTINATION]",
        help="copy this folder; may be repeated. Options of prefixes are in --config",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        metavar="SOURCE",
        help="with --prefix: leave out the keys of the source that begin with this; may be repeated",
    )
    for side in ("source", "destination"):
        for name in _OF_ONE_SIDE:
            flag = f"--{side}-{name.replace('_', '-')}"
            parser.add_argument(flag, metavar="VALUE", help=f"for the {side} only: {arguments.HELP[name]}")
    add_exit_code(parser)
    arguments.add_options(parser, REPLICATE.spec, _ONLY_IN_FILE)


def _replicate(options: argparse.Namespace, *, check: bool) -> Outcome:
    if options.config is None and not options.prefix:
        raise InvalidOption("name what to replicate: --prefix app/@dc1, or --config FILE with options of the module.")
    from_file = {} if options.config is None else json_file.read_json(options.config)
    params = {**from_file, **arguments.given_options(options, REPLICATE.spec)}
    if options.prefix:
        if from_file.get("prefixes"):
            raise InvalidOption("--prefix and the prefixes of --config cannot be combined: use one of them.")
        datacenter, params["prefixes"] = prefix_options(options.prefix, options.exclude or ())
        if datacenter:
            params["source"] = {**_side(params, "source"), "datacenter": datacenter}
    elif options.exclude:
        raise InvalidOption("--exclude belongs to --prefix: write exclude into the prefixes of --config.")
    for side in ("source", "destination"):
        given = {name: value for name in _OF_ONE_SIDE if (value := getattr(options, f"{side}_{name}")) is not None}
        if given:
            params[side] = {**_side(params, side), **given}
    result = REPLICATE.run(make_invocation(REPLICATE, params, options.config or "", check=check))
    return Outcome(result, rendering.replicated(result), different=bool(result["changed"]))


def _side(params: t.Mapping[str, t.Any], side: str) -> dict[str, t.Any]:
    found = params.get(side) or {}
    return dict(found) if isinstance(found, dict) else {}


def _plan(options: argparse.Namespace) -> Outcome:
    return _replicate(options, check=True)


def _once(options: argparse.Namespace) -> Outcome:
    return _replicate(options, check=False)


COMMANDS = (
    Command("plan", "show what a run would change", _plan, _replicate_arguments, rendering.replicated),
    Command("once", "replicate once", _once, _replicate_arguments, rendering.replicated),
    *agent.commands_of(AGENT),
    *replicate_control.COMMANDS,
    Command(
        "import-config",
        import_consul_replicate.HELP,
        import_consul_replicate.run,
        import_consul_replicate.add_arguments,
    ),
)

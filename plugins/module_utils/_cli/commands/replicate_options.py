# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arguments that name the two sides and the prefixes of a replication, and the options of a module that they make."""

from __future__ import annotations

import argparse
import typing as t

from ..._config import json_file
from ..._config.validation import Spec
from ..._consul.errors import InvalidOption
from ..._tasks.replicate import prefix_options
from .. import arguments
from .base import add_config

_ONLY_IN_FILE = {"source", "destination", "prefixes"}
_OF_ONE_SIDE = ("url", "token_file")


def add_arguments(
    parser: argparse.ArgumentParser, module: str, spec: Spec, verb: str, own_help: t.Mapping[str, str] | None = None
) -> None:
    """Add --config, --prefix, --exclude, the connections of both sides and the options of the spec. ``verb`` is for the help."""
    add_config(parser, module, required=False)
    parser.add_argument(
        "--prefix",
        action="append",
        metavar="SOURCE[@DATACENTER][:DESTINATION]",
        help=f"{verb} this folder; may be repeated. Options of prefixes are in --config",
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
    arguments.add_options(parser, spec, _ONLY_IN_FILE, own_help)


def module_options(options: argparse.Namespace, spec: Spec, verb: str) -> dict[str, t.Any]:
    """Return the options of the module. Raises InvalidOption."""
    if options.config is None and not options.prefix:
        raise InvalidOption(f"name what to {verb}: --prefix app/@dc1, or --config FILE with options of the module.")
    from_file = {} if options.config is None else json_file.read_json(options.config)
    params = {**from_file, **arguments.given_options(options, spec)}
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
    return params


def _side(params: t.Mapping[str, t.Any], side: str) -> dict[str, t.Any]:
    found = params.get(side) or {}
    return dict(found) if isinstance(found, dict) else {}

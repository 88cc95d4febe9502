# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops estate``: everything that is known of all datacenters, and what to do first."""

from __future__ import annotations

import argparse
import typing as t

from ..._config import json_file
from ..._tasks.estate_info import ESTATE_INFO
from .. import arguments
from .base import Command, Outcome, add_config, make_invocation

# For people and scripts that ask once: what must not go on is a failure, as of ``consulops alert check``.
DEFAULT_FAIL_ON = "critical"
_OWN_HELP = {
    "datacenters": "ask this datacenter, by default all that the agent knows; may be repeated",
    "fail_on": f"exit with 3 from this severity on, or when something is unknown; {DEFAULT_FAIL_ON} by default",
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "consul_estate_info", required=False)
    arguments.add_options(parser, ESTATE_INFO.spec, {"page"}, _OWN_HELP)


def _estate(options: argparse.Namespace) -> Outcome:
    from_file = {} if options.config is None else json_file.read_json(options.config)
    params = {"fail_on": DEFAULT_FAIL_ON, **from_file, **arguments.given_options(options, ESTATE_INFO.spec)}
    for name in ("datacenters", "upgrade_to"):
        if getattr(options, name):
            params[name] = [word for text in getattr(options, name) for word in text.split(",")]
    result = ESTATE_INFO.run(make_invocation(ESTATE_INFO, params, options.config or ""))
    return Outcome(result, _lines(result))


def _lines(result: t.Mapping[str, t.Any]) -> list[str]:
    return list(result["table"])


COMMANDS = (Command("estate", "show all datacenters on one page, and what to do first", _estate, _arguments, _lines),)

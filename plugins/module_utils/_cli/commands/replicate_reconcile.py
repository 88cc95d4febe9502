# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops replicate reconcile``: lists what a failed datacenter wrote alone, and carries out who wins."""

from __future__ import annotations

import argparse
import typing as t

from ..._consul.errors import InvalidOption
from ..._tasks.reconcile import RECONCILE
from .. import replication_rendering
from . import replicate_options
from .base import Command, Outcome, add_check, add_exit_code, make_invocation

_MODULE = "consul_kv_reconcile"
_HELP = {
    "name": "the replication, or the agent's set, that is active now",
    "export_path": "write the values of both sides to this new file before anything is changed",
    "fail_on_report": "fail when keys diverged and no side wins",
    "max_deletes": "maximum number of deletes on both sides",
    "max_delete_percent": "maximum number of deletes in percent of the keys of a side",
    "allow_empty_source": "allow deletes where the side that wins has no key",
    "limit": "maximum number of keys to list",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_check(parser)
    add_exit_code(parser)
    parser.add_argument(
        "--wins",
        action="append",
        metavar="PREFIX=SIDE",
        help="which side wins for a folder or a key: new (the source), old (the destination) or report; may be repeated",
    )
    replicate_options.add_arguments(parser, _MODULE, RECONCILE.spec, "reconcile", _HELP)


def _reconcile(options: argparse.Namespace) -> Outcome:
    params = replicate_options.module_options(options, RECONCILE.spec, "reconcile")
    if options.wins:
        if params.get("decisions"):
            raise InvalidOption("--wins and the decisions of --config cannot be combined: use one of them.")
        params["decisions"] = [_decision(text) for text in options.wins]
    result = RECONCILE.run(make_invocation(RECONCILE, params, options.config or "", check=options.check))
    return Outcome(result, replication_rendering.reconciled(result), different=bool(result["counts"]["diverged"]))


def _decision(text: str) -> dict[str, t.Any]:
    prefix, equals, wins = text.rpartition("=")
    if not equals:
        raise InvalidOption(f"--wins {text!r} is not PREFIX=SIDE, for example app/orders/=old.")
    return {"prefix": prefix, "wins": wins}


COMMANDS = (
    Command(
        "reconcile",
        "after a failover: list what the failed side wrote alone, and decide which side wins",
        _reconcile,
        _add_arguments,
        replication_rendering.reconciled,
    ),
)

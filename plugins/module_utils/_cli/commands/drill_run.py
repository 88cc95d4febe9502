# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops drill``: run."""

from __future__ import annotations

import argparse
import signal

from ..._config import json_file
from ..._daemon.waker import Waker
from ..._tasks.drill_run import DRILL_RUN, Progress, record_drill
from .. import arguments, drill_rendering, exit_codes
from .base import Command, Outcome, add_check, add_config, make_invocation, print_message

# Options that mean something else here.
_OWN_HELP = {
    "url": "addresses of agents of one datacenter, with commas between; every client uses all of them",
    "datacenter": "what the datacenter of these agents must be",
    "prefix": "folder of keys for drills only; each has a folder of its own below, and removes it",
    "consistency": "consistency mode of reads",
}


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "consul_drill", required=False)
    add_check(parser)
    arguments.add_options(parser, DRILL_RUN.spec, own_help=_OWN_HELP)


def _run(options: argparse.Namespace) -> Outcome:
    given = {} if options.config is None else json_file.read_json(options.config)
    given.update(arguments.given_options(options, DRILL_RUN.spec))
    invocation = make_invocation(DRILL_RUN, given, options.config or "", check=options.check)
    waker = Waker()
    waker.listen_to(signal.SIGINT, signal.SIGTERM)
    result = record_drill(invocation, waker, _print_progress)
    if options.check:
        return Outcome(result, drill_rendering.planned(result))
    return Outcome(
        result, drill_rendering.recorded(result), code=exit_codes.INTERRUPTED if result["interrupted"] else 0
    )


def _print_progress(progress: Progress) -> None:
    print_message(f"consulops: {drill_rendering.progress_line(progress)}")


COMMANDS = (
    Command(
        "run",
        "run clients on a datacenter, record each operation, remove what they wrote, and judge the history",
        _run,
        _run_arguments,
        drill_rendering.recorded,
    ),
)

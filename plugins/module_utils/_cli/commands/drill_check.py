# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops drill``: check."""

from __future__ import annotations

import argparse

from ..._tasks.drill_check import DRILL_CHECK
from .. import arguments, drill_check_rendering
from .base import Command, Outcome, make_invocation


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("history", type=arguments.file_name, help="the file with the history of a drill")
    arguments.add_options(parser, DRILL_CHECK.spec, {"history"})


def _check(options: argparse.Namespace) -> Outcome:
    params = arguments.given_options(options, DRILL_CHECK.spec)
    result = DRILL_CHECK.run(make_invocation(DRILL_CHECK, params))
    return Outcome(result, drill_check_rendering.judged(result))


COMMANDS = (
    Command(
        "check",
        "judge the history of a drill, and fail unless it is valid",
        _check,
        _check_arguments,
        drill_check_rendering.judged,
    ),
)

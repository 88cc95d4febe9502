# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops drill``: report."""

from __future__ import annotations

import argparse

from ..._consul.units import count_of
from ..._tasks.drill_report import DRILL_REPORT
from .. import arguments
from .base import Command, Outcome, make_invocation

# An option that means something else here.
_OWN_HELP = {"force": "overwrite the file"}


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "history",
        nargs="+",
        type=arguments.file_name,
        help="files with histories, or directories of *.jsonl: the report is about the newest one, with the trend of all",
    )
    parser.add_argument("--output", metavar="FILE", type=arguments.file_name, help="the HTML file to write")
    arguments.add_options(parser, DRILL_REPORT.spec, {"history", "output"}, _OWN_HELP)


def _report(options: argparse.Namespace) -> Outcome:
    result = DRILL_REPORT.run(make_invocation(DRILL_REPORT, arguments.given_options(options, DRILL_REPORT.spec)))
    of_runs = f", trend of {count_of(len(result['runs']), 'run')}" if len(result["runs"]) > 1 else ""
    return Outcome(result, [f"written: {result['report']}: {result['history']} is {result['verdict']}{of_runs}"])


COMMANDS = (
    Command("report", "write a report about the history of a drill, as one HTML file", _report, _report_arguments),
)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the report of a drill: the options and the work of ``consulops drill report``. Consul is not asked."""

from __future__ import annotations

import os
import typing as t
from dataclasses import asdict
from pathlib import Path

from .._config.connection_spec import Spec
from .._consul.errors import GuardRefused, InvalidOption, LocalFailure
from .._consul.private_file import PrivateFile, os_errors_as
from .._drill.history_reader import BrokenHistory
from .._drill.linearizability import MAX_STEPS
from .._drill.report.page import report_page
from .._drill.report.run_summary import RunSummary, run_summary
from .drill_check import Judged, check_max_steps, judge_file
from .task import Invocation, Result, Task

SUFFIX = ".jsonl"

SPEC: Spec = {
    "history": {"type": "list", "elements": "path", "required": True},
    "output": {"type": "path", "required": True},
    "force": {"type": "bool", "default": False},
    "max_steps": {"type": "int", "default": MAX_STEPS},
}


def perform(call: Invocation) -> Result:
    """Write the report of the newest of the histories, with the trend of all. Its verdict does not make this fail.

    Raises InvalidOption, GuardRefused when there is something at ``output``, BrokenHistory and LocalFailure; then nothing was written.
    """
    options = call.params
    check_max_steps(options["max_steps"])
    output = Path(options["output"])
    files = _files([Path(name) for name in options["history"]])
    check_output(output, files, overwrites=options["force"])
    newest, runs = write_report(output, lambda: _read(call, files, options["max_steps"]), overwrites=options["force"])
    return {
        "changed": True,
        "report": str(output),
        "history": str(newest.path),
        "verdict": newest.judgement.verdict,
        "runs": [asdict(one) for one in runs],
    }


def write_report(
    output: Path, read: t.Callable[[], tuple[Judged, list[RunSummary]]], *, overwrites: bool
) -> tuple[Judged, list[RunSummary]]:
    """Write the report of what ``read`` returns, and return that: a history and the numbers of all runs, itself among them.

    Raises GuardRefused when there is something at ``output``, and LocalFailure, before ``read`` where it can be known.
    """
    with PrivateFile(output.parent) as part:
        newest, runs = read()
        part.write(report_page(newest.history, newest.judgement, str(newest.path), runs))
        if overwrites:
            part.commit(output)
        elif not part.commit_new(output):
            raise _exists(output)
    return newest, runs


def run_of(judged: Judged) -> RunSummary:
    """Return the numbers of one run, for the trend."""
    return run_summary(judged.path.name, judged.history, judged.judgement)


def _files(given: t.Sequence[Path]) -> dict[Path, bool]:
    """Return the files of histories, and whether each was named itself and not found in a directory. Raises LocalFailure."""
    found: dict[Path, bool] = {}
    for path in given:
        with os_errors_as(f"reading {path}"):
            inside = sorted(one for one in path.iterdir() if one.suffix == SUFFIX) if path.is_dir() else None
        if inside == []:
            raise LocalFailure(
                f"The directory {path} has no file *{SUFFIX}: name the files of histories. Nothing was written."
            )
        for one in [path] if inside is None else inside:
            found[one] = found.get(one, False) or inside is None
    return found


def check_output(output: Path, files: t.Iterable[Path], *, overwrites: bool) -> None:
    """Raise GuardRefused when something is there and stays, and InvalidOption when it is one of the histories."""
    with os_errors_as(f"reading {output}"):
        is_there = os.path.lexists(output)
        if is_there and any(output.exists() and one.exists() and output.samefile(one) for one in files):
            raise InvalidOption(f"output {output} is one of the histories: name another file. Nothing was written.")
    if is_there and not overwrites:
        raise _exists(output)


def _exists(output: Path) -> GuardRefused:
    return GuardRefused(f"{output} exists: name another file, or overwrite it with --force. Nothing was written.")


def _read(call: Invocation, files: t.Mapping[Path, bool], max_steps: int) -> tuple[Judged, list[RunSummary]]:
    """Return the newest history and the numbers of all, one history in memory at a time. A broken one of a directory has its reason."""
    newest: Judged | None = None
    runs = []
    problem: BrokenHistory | None = None
    for path, is_named in files.items():
        try:
            judged = judge_file(call, path, max_steps)
        except BrokenHistory as error:
            if is_named:
                raise
            problem = problem or error
            call.warn(f"{error} It is left out of the trend.")
            runs.append(RunSummary(path.name, problem=str(error)))
            continue
        runs.append(run_of(judged))
        if newest is None or judged.history.header.started >= newest.history.header.started:
            newest = judged
    if newest is None:
        raise t.cast(BrokenHistory, problem)
    return newest, runs


DRILL_REPORT = Task(SPEC, perform)

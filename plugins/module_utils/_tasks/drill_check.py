# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges the history of a drill: the options and the work of ``consulops drill check``. Consul is not asked."""

from __future__ import annotations

import typing as t
from pathlib import Path

from .._config.connection_spec import Spec
from .._consul.errors import GateClosed, InvalidOption
from .._consul.private_file import PrivateFile, os_errors_as
from .._drill.check_result import VALID
from .._drill.expectations import HISTORY, MET
from .._drill.history import History
from .._drill.history_reader import BrokenHistory, read_history
from .._drill.judge import HistoryJudgement, judge_history
from .._drill.judgement_data import judgement_result, junit_xml
from .._drill.linearizability import MAX_STEPS
from .task import Invocation, Result, Task

SPEC: Spec = {
    "history": {"type": "path", "required": True},
    "max_steps": {"type": "int", "default": MAX_STEPS},
    "junit": {"type": "path"},
}


def perform(call: Invocation) -> Result:
    """Judge a history. Raises BrokenHistory, and GateClosed unless it is valid."""
    options = call.params
    check_max_steps(options["max_steps"])
    judged = judge_file(call, Path(options["history"]), options["max_steps"])
    return conclude(judged, options["junit"])


class Judged(t.NamedTuple):
    """The history in a file, and its judgement."""

    path: Path
    history: History
    judgement: HistoryJudgement


def judge_file(call: Invocation, path: Path, max_steps: int) -> Judged:
    """Read a history and judge it; a last line that is cut is a warning. Raises BrokenHistory and LocalFailure."""
    history = read_history_file(path)
    if history.cut_line is not None:
        call.warn(f"{path}: line {history.cut_line}, the last one, is cut in its middle and was ignored.")
    return Judged(path, history, judge_history(history, max_steps))


def conclude(judged: Judged, junit: str | None) -> Result:
    """Write JUnit XML if a file is named, and return the judgement as plain data. Raises GateClosed unless it is passed."""
    result = {
        "changed": False,
        "history": str(judged.path),
        **judgement_result(judged.history, judged.judgement),
    }
    if junit is not None:
        _write(Path(junit), junit_xml(result))
    if not result["passed"]:
        raise _closed(result)
    return result


def check_max_steps(max_steps: int) -> None:
    """Raise InvalidOption for a limit that lets the search do nothing."""
    if max_steps < 1:
        raise InvalidOption(f"max_steps is {max_steps}: the search needs at least 1 step.")


def read_history_file(path: Path) -> History:
    """Return the history in a file. Raises BrokenHistory and LocalFailure."""
    with os_errors_as(f"reading {path}"):
        with path.open("rb") as lines:
            try:
                return read_history(lines)
            except BrokenHistory as error:
                raise BrokenHistory(f"The history {path} cannot be judged: {error}") from None


def _write(path: Path, document: bytes) -> None:
    with PrivateFile(path.parent) as part:
        part.write(document)
        part.commit(path)


def _closed(result: Result) -> GateClosed:
    reasons = [
        reason
        for check in result["checks"]
        if check["verdict"] == result["verdict"] != VALID
        for reason in ([one["sentence"] for one in check["violations"]] or check["unknown"])[:1]
    ]
    expected = [one["sentence"] for one in result["expectations"] if one["verdict"] != MET and one["name"] != HISTORY]
    judged = "; ".join(reasons or ([] if expected else ["nothing was checked"]))
    sentences = [f"the history is {result['verdict']}: {judged}."] if judged else []
    error = GateClosed(" ".join([*sentences, *expected]))
    error.details = result
    return error


DRILL_CHECK = Task(SPEC, perform)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pytest plugin that writes the outcome and duration of every test to a file, and the reader of that file.

``pytest -p tests.workshop.results --results=PATH`` writes it; ``run.py`` reads it for its table and its second attempts.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

if t.TYPE_CHECKING:
    import pytest


@dataclass
class TestResult:
    """One test: its node id, whether it failed, passed or was skipped, and the seconds of set-up, call and teardown."""

    __test__ = False  # not a test class, whatever its name

    name: str
    outcome: str = "skipped"
    duration_s: float = 0.0


class Recorder:
    """Collects reports; with pytest-xdist the controlling process gets those of every worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, TestResult] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of a test: a failure in any of them is a failure of the test."""
        result = self._results.setdefault(report.nodeid, TestResult(report.nodeid))
        result.duration_s += report.duration
        if report.failed:
            result.outcome = "failed"
        elif report.passed and report.when == "call" and result.outcome != "failed":
            result.outcome = "passed"

    def pytest_sessionfinish(self) -> None:
        """Write what was collected."""
        write(self._path, list(self._results.values()))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take ``--results=PATH``."""
    parser.addoption("--results", type=Path, default=None, help="write the outcome of every test to this file (JSON)")


def pytest_configure(config: pytest.Config) -> None:
    """Record in the controlling process, not in pytest-xdist's workers."""
    path = config.getoption("--results")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(path), "consulops-results")


def write(path: Path, results: t.Sequence[TestResult]) -> None:
    """Write results as JSON."""
    path.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")


def read(path: Path) -> list[TestResult]:
    """Return the results that a run wrote; none if it ended before it could."""
    if not path.exists():
        return []
    return [TestResult(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stages of ``make test``, in the order in which they start as soon as there is room for them."""

from __future__ import annotations

import os
import sys
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .machine import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]

BIN = Path(sys.executable).parent
PYTEST = ("-m", "pytest", "-q")
# Tests against servers wait most of the time, so several processes share a processor.
WORKERS = str(max(7, os.cpu_count() or 1))
# Processors that a stage keeps busy: on two of them integration and hosts, which measure times, do not run beside each
# other; one stage of the others runs beside either, or two of those that mostly wait. The longest of those that measure
# nothing takes what the others leave, from the beginning.
TIMED, BUSY, WAITING, LEFTOVER = 1.2, 0.8, 0.4, 0.0


@dataclass(frozen=True)
class Stage:
    """One part of the run: a command with arguments, the processors that it keeps busy, and the stages that come before.

    For ``tests`` the command is pytest's, ``options`` say how all tests are spread over processes, ``selection`` which
    tests there are; a failed test is run again by its name without these two. A stage that is ``repeatable`` is run again
    as a whole. ``niceness`` is that of nice(1): what measures nothing gives way to tests that measure times.
    """

    name: str
    command: tuple[str, ...]
    cores: float = 1.0
    after: tuple[str, ...] = ()
    tests: bool = False
    options: tuple[str, ...] = ()
    selection: tuple[str, ...] = ()
    repeatable: bool = False
    niceness: int = 0
    environment: t.Mapping[str, str] = field(default_factory=dict)
    directory: Path = ROOT

    @property
    def is_preparation(self) -> bool:
        """Whether the stage tests nothing itself, and is only for those after it."""
        return self.name.startswith("prepare-")

    def first_attempt(self, results_path: Path) -> tuple[str, ...]:
        """Return the command line that runs the whole stage."""
        if not self.tests:
            return self._niced(self.command)
        return (*self._pytest(results_path), *self.options, *self.selection)

    def second_attempt(self, results_path: Path, test: str) -> tuple[str, ...]:
        """Return the command line that runs one test by itself, or the whole stage if it holds no single tests."""
        return (*self._pytest(results_path), test) if self.tests else self._niced(self.command)

    def _niced(self, command: tuple[str, ...]) -> tuple[str, ...]:
        return ("nice", "-n", str(self.niceness), *command) if self.niceness else command

    def _pytest(self, results_path: Path) -> tuple[str, ...]:
        return (*self.command, "-p", "tests.workshop.results", f"--results={results_path}")


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def _tool(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(BIN / name), *arguments)


def _molecule(scenario: str) -> Stage:
    # Molecule reads its own configuration; ANSIBLE_CONFIG would win over it. It looks for a scenario named default through
    # the glob as well, and reports as critical that there is none, unless the glob names one scenario.
    command = ("env", "-u", "ANSIBLE_CONFIG", *_tool("molecule", "test", "--scenario-name", scenario))
    glob = {"MOLECULE_GLOB": f"molecule/{scenario}/molecule.yml"}
    return Stage(
        f"molecule-{scenario}", command, WAITING, ("prepare-hosts", "prepare-wheels"), repeatable=True, environment=glob
    )


def files_with(mark: str) -> tuple[str, ...]:
    """Return the files of tests that use a mark. To import all others, too, takes longer than the tests with the mark do."""
    tests = [path for folder in ("unit", "integration") for path in (ROOT / "tests" / folder).rglob("test_*.py")]
    found = [path for path in tests if f"pytest.mark.{mark}" in path.read_text(encoding="utf-8")]
    return tuple(str(path.relative_to(ROOT)) for path in sorted(found))


def _other_library(name: str, requirements: str) -> list[Stage]:
    """Return the preparation and the tests of an environment with another client library than the usual one.

    ``requirements`` is the part that its file of requirements and its environment have in their names.
    """
    environment = ROOT / f".venv-{requirements}"
    return [
        Stage(f"prepare-{name}", ("make", "--no-print-directory", f"{environment.name}/.ready"), cores=WAITING),
        Stage(
            name,
            (str(environment / "bin" / "python"), *PYTEST),
            cores=WAITING,
            after=(f"prepare-{name}", "prepare-wheels"),
            tests=True,
            options=("-n", "3"),
            selection=("-m", "client_library", *files_with("client_library")),
        ),
    ]


_EDA = (
    Stage("prepare-eda", ("make", "--no-print-directory", ".venv-eda/.ready"), cores=WAITING),
    Stage(
        "eda",
        (str(ROOT / ".venv-eda" / "bin" / "python"), *PYTEST),
        cores=BUSY,
        after=("prepare-eda", "prepare-wheels"),
        tests=True,
        options=("-n", "2"),
        selection=("tests/eda",),
    ),
)


def _gate(name: str, command: tuple[str, ...], **more: t.Any) -> Stage:
    return Stage(name, command, **{"cores": BUSY, "niceness": 10, **more})


STAGES = [
    # Two seconds, alone: the longest stage comes next, before others take its room.
    Stage("prepare-wheels", _python("tests/workshop/wheels.py"), cores=TIMED + BUSY),
    Stage(
        "integration",
        _python(*PYTEST),
        cores=TIMED,
        after=("prepare-wheels",),
        tests=True,
        options=("-n", WORKERS),
        selection=("tests/integration",),
    ),
    _gate("sanity", _python("tests/workshop/sanity.py"), cores=LEFTOVER, niceness=15),
    Stage("prepare-hosts", _python("tests/workshop/rootfs.py"), cores=WAITING),
    Stage(
        "hosts",
        _python(*PYTEST),
        cores=TIMED,
        after=("prepare-hosts", "prepare-wheels"),
        tests=True,
        options=("-n", "3"),
        selection=("tests/hosts",),
    ),
    _gate("format", _tool("ruff", "format", "--check", ".")),
    _gate("ruff", _tool("ruff", "check", ".")),
    _gate("mypy", _tool("mypy")),
    Stage(
        "unit",
        _python(*PYTEST),
        cores=BUSY,
        after=("prepare-wheels",),
        tests=True,
        options=("-n", "2"),
        selection=("tests/unit",),
    ),
    _gate("ansible-lint", _tool("ansible-lint", "--offline", "--profile", "production")),
    _gate(
        "docs",
        _tool("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=all", "."),
    ),
    _gate("changelog", _tool("antsibull-changelog", "lint")),
    _gate("importer", _python("tests/workshop/importer.py")),
    *_EDA,
    *_other_library("py-consul", "pyconsul"),
    *_other_library("python-consul", "python-consul"),
    Stage(
        "pythons",
        _python("tests/workshop/pythons.py"),
        cores=BUSY,
        after=("prepare-wheels",),
        repeatable=True,
    ),
    *map(_molecule, SCENARIOS),
]

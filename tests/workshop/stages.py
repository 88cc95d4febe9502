# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stages of ``make test``, the longest first. ``cores`` are measured: processor seconds divided by seconds."""

from __future__ import annotations

import os
import sys
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BIN = Path(sys.executable).parent
PYTEST = ("-m", "pytest", "-q", "--durations=0", "--durations-min=2")
# Tests against servers wait most of the time, so several processes share a processor.
WORKERS = str(max(7, os.cpu_count() or 1))


@dataclass(frozen=True)
class Stage:
    """One part of the run: a command with arguments, the processors that it keeps busy, and the stages that come before.

    For ``tests`` the command is pytest's, ``options`` say how all tests are spread over processes, ``selection`` which
    tests there are; a failed test is run again by its name without these two. A stage that is ``repeatable`` is run again
    as a whole.
    """

    name: str
    command: tuple[str, ...]
    cores: float = 1.0
    after: tuple[str, ...] = ()
    tests: bool = False
    options: tuple[str, ...] = ()
    selection: tuple[str, ...] = ()
    repeatable: bool = False
    environment: t.Mapping[str, str] = field(default_factory=dict)
    directory: Path = ROOT

    @property
    def is_preparation(self) -> bool:
        """Whether the stage tests nothing itself, and is only for those after it."""
        return self.name.startswith("prepare-")

    def first_attempt(self, results_path: Path) -> tuple[str, ...]:
        """Return the command line that runs the whole stage."""
        if not self.tests:
            return self.command
        return (*self._pytest(results_path), *self.options, *self.selection)

    def second_attempt(self, results_path: Path, test: str) -> tuple[str, ...]:
        """Return the command line that runs one test by itself, or the whole stage if it holds no single tests."""
        return (*self._pytest(results_path), test) if self.tests else self.command

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
        f"molecule-{scenario}", command, 0.8, ("prepare-hosts", "prepare-wheels"), repeatable=True, environment=glob
    )


def _other_library(name: str, requirements: str) -> list[Stage]:
    """Return the preparation and the tests of an environment with another client library than the usual one.

    ``requirements`` is the part that its file of requirements and its environment have in their names.
    """
    environment = ROOT / f".venv-{requirements}"
    return [
        Stage(f"prepare-{name}", ("make", "--no-print-directory", f"{environment.name}/.ready")),
        Stage(
            name,
            (str(environment / "bin" / "python"), *PYTEST),
            cores=1.0,
            after=(f"prepare-{name}", "prepare-wheels"),
            tests=True,
            options=("-n", "3"),
            selection=("-m", "client_library", "tests/unit", "tests/integration"),
        ),
    ]


STAGES = [
    Stage("prepare-wheels", _python("tests/workshop/wheels.py")),
    Stage("prepare-hosts", _python("tests/workshop/rootfs.py")),
    Stage(
        "hosts",
        _python(*PYTEST),
        cores=1.2,
        after=("prepare-hosts", "prepare-wheels"),
        tests=True,
        options=("-n", "3", "--dist", "loadgroup"),
        selection=("tests/hosts",),
    ),
    Stage(
        "integration",
        _python(*PYTEST),
        cores=0.8,
        after=("prepare-wheels",),
        tests=True,
        options=("-n", WORKERS),
        selection=("tests/integration",),
    ),
    _molecule("restore"),
    _molecule("runtime"),
    Stage("sanity", _python("tests/workshop/sanity.py")),
    *_other_library("py-consul", "pyconsul"),
    *_other_library("python-consul", "python-consul"),
    Stage("unit", _python(*PYTEST), after=("prepare-wheels",), tests=True, selection=("tests/unit",)),
    Stage("importer", _python("tests/workshop/importer.py")),
    Stage("ansible-lint", _tool("ansible-lint", "--offline", "--profile", "production")),
    Stage("pythons", _python("tests/workshop/pythons.py"), after=("prepare-wheels",), repeatable=True),
    Stage("mypy", _tool("mypy")),
    Stage(
        "docs",
        _tool("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=all", "."),
    ),
    Stage("changelog", _tool("antsibull-changelog", "lint")),
    Stage("format", _tool("ruff", "format", "--check", ".")),
    Stage("ruff", _tool("ruff", "check", ".")),
]
if not (ROOT / "requirements-python-consul.txt").exists():
    STAGES = [stage for stage in STAGES if not stage.name.endswith("python-consul")]

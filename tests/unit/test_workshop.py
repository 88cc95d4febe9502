# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make test`` itself: the order of stages, second attempts, what fails a run, and what is said of a machine."""

from __future__ import annotations

import io
import sys
import typing as t
from pathlib import Path

import pytest

from tests.workshop import machine
from tests.workshop.run import Run, Scheduler, select, table
from tests.workshop.stages import ROOT, STAGES, Stage

# Fails until a file of the test's name is there, and makes it: the second attempt passes.
FLAKY = """
import pathlib
def once(name):
    mark = pathlib.Path(__file__).with_name(name)
    if not mark.exists():
        mark.touch()
        raise AssertionError("not yet")
"""


def script(name: str, code: str, **more: t.Any) -> Stage:
    return Stage(name, (sys.executable, "-c", code), **more)


def suite(directory: Path, content: str, *options: str, name: str = "suite", **more: t.Any) -> Stage:
    """Return a stage of tests that are in a file of their own."""
    file = directory / f"test_{name}.py"
    file.write_text(FLAKY + content, encoding="utf-8")
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--rootdir={directory}",
        "-c",
        "/dev/null",
    )
    # The node ids are relative to the root directory, which for the real stages is where the command runs.
    environment = {"PYTHONPATH": str(machine.ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # it starts sooner
    where = {"environment": environment, "directory": directory, **more}
    return Stage(name, command, tests=True, options=options, selection=(str(file),), **where)


def run(directory: Path, *stages: Stage, cores: float = 2.0) -> tuple[Run, str]:
    """Run stages and return what happened and everything that was printed, the table included."""
    shown = io.StringIO()
    # A second stage makes sure that output goes to logs, as in make test.
    done = Scheduler([script("first", ""), *stages], directory / "logs", cores, shown).run()
    return done, shown.getvalue() + table(done, 1.0)


def test_stages_that_pass_are_a_run_that_passes(tmp_path: Path) -> None:
    done, said = run(tmp_path, suite(tmp_path, "def test_a(): pass\ndef test_b(): pass\n"))
    assert done.passed and "2 tests" in said and "test_suite.py::test_a (suite)" in said and "passed in" in said


def test_a_stage_that_fails_is_shown_in_full_and_blocks_only_what_depends_on_it(tmp_path: Path) -> None:
    broken = script("broken", "print('the reason'); raise SystemExit(3)")
    done, said = run(tmp_path, broken, script("later", "", after=("broken",)), script("other", ""))
    problems = {outcome.stage.name: outcome.problem for outcome in done.outcomes}
    assert not done.passed and "  | the reason\n" in said
    assert problems == {
        "first": "",
        "broken": "exit status 3",
        "later": "not started, because broken failed",
        "other": "",
    }


def test_stages_run_beside_each_other_only_as_far_as_the_processors_go(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r}); (folder / sys.argv[1]).touch()\n"
        "time.sleep(0.3); print(len(list(folder.glob('busy-*')))); (folder / sys.argv[1]).unlink()\n"
    )
    stages = [Stage(f"s{number}", (sys.executable, "-c", code, f"busy-{number}")) for number in range(3)]
    run(tmp_path, *stages, cores=1.0)
    assert [(tmp_path / "logs" / f"{stage.name}.log").read_text() for stage in stages] == ["1\n"] * 3


def test_a_test_that_passes_by_itself_is_named_as_flaky_and_the_run_passes(tmp_path: Path) -> None:
    content = "def test_a(): once('a')\ndef test_b(): pass\n"
    done, said = run(tmp_path, suite(tmp_path, content))
    assert done.passed and done.flaky == ["test_suite.py::test_a (suite)"] and not done.failed_twice
    assert "docs/ROADMAP.md" in said and "1 of 2 tests failed" in said


def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path) -> None:
    done, said = run(tmp_path, suite(tmp_path, "def test_a(): raise ValueError('broken')\ndef test_b(): pass\n"))
    assert not done.passed and done.failed_twice == ["test_suite.py::test_a (suite)"] and not done.flaky
    assert said.count("ValueError: broken") >= 2 and "FAILED in" in said


def test_a_third_flaky_test_fails_the_run(tmp_path: Path) -> None:
    three = "".join(f"def test_{name}(): once('{name}')\n" for name in "abc")
    done, said = run(tmp_path, suite(tmp_path, three))
    assert not done.passed and len(done.flaky) == 3 and not done.failed_twice
    assert ": 3 flaky tests, and 2 are the most that is allowed" in said


def test_an_error_in_a_fixture_deserves_a_second_attempt_too(tmp_path: Path) -> None:
    content = "import pytest\n@pytest.fixture\ndef late():\n    yield\n    once('late')\ndef test_a(late): pass\n"
    done, _said = run(tmp_path, suite(tmp_path, content))
    assert done.passed and done.flaky == ["test_suite.py::test_a (suite)"]


def test_tests_that_are_spread_over_processes_are_found_again_by_their_names(tmp_path: Path) -> None:
    content = "import pytest\n@pytest.mark.parametrize('at', ['a b@c'])\ndef test_a(at): once('a')\n"
    done, _said = run(tmp_path, suite(tmp_path, content, "-p", "xdist", "-n", "1"))
    assert done.passed and done.flaky == ["test_suite.py::test_a[a b@c] (suite)"]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("", ()),
        ("import pytest\ndef test_a(): pytest.skip('nothing here')\n", ()),
        ("def test_a(): pass\n", ("-k", "nothing")),
        ("raise ValueError('a file that cannot be imported')\n", ()),
    ],
)
def test_a_run_without_a_test_that_was_executed_fails(tmp_path: Path, content: str, options: tuple[str, ...]) -> None:
    done, said = run(tmp_path, suite(tmp_path, content, *options))
    assert not done.passed and "no test was executed" in said


def test_a_scenario_is_repeated_as_a_whole(tmp_path: Path) -> None:
    code = f"import pathlib; p = pathlib.Path({str(tmp_path / 'mark')!r}); done = p.exists(); p.touch(); raise SystemExit(not done)"
    done, said = run(tmp_path, script("scenario", code, repeatable=True))
    assert done.passed and done.flaky == ["scenario"] and "  scenario\n" in said


def test_a_run_of_no_stages_fails() -> None:
    assert not Run().passed


def test_a_stage_is_chosen_with_those_before_it() -> None:
    stages = [script("a", ""), script("b", "", after=("a",)), script("c", "", after=("b",)), script("d", "")]
    assert [stage.name for stage in select(stages, ["c"])] == ["a", "b", "c"]
    assert select(stages, []) == stages


def test_every_stage_depends_on_stages_that_exist_and_needs_what_is_checked() -> None:
    names = [stage.name for stage in STAGES]
    assert len(set(names)) == len(names)
    assert all(set(stage.after) <= set(names) for stage in STAGES)
    assert set(machine.NEEDS) <= set(names)


def test_other_client_libraries_are_tested_by_every_file_that_has_their_mark() -> None:
    with_the_word = {
        str(path.relative_to(ROOT))
        for folder in ("unit", "integration")
        for path in (ROOT / "tests" / folder).rglob("*.py")
        if "client_library" in path.read_text(encoding="utf-8") and path != Path(__file__)
    }
    stages = [stage for stage in STAGES if "client_library" in stage.selection]
    assert len(stages) == 2
    assert all(set(stage.selection) - {"-m", "client_library"} == with_the_word for stage in stages)


def test_stages_that_cannot_run_are_named_with_the_command_that_runs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    root = machine.hosts_problem()
    assert root is not None
    lines = machine.not_run_lines({"hosts": root, "molecule-restore": root, "molecule-runtime": root})
    assert lines == [
        "not run here: hosts, molecule-restore, molecule-runtime. "
        "Booting test hosts needs root (network namespaces, mounts, systemd-nspawn). To run them: sudo make hosts molecule"
    ]


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (None, "ansible-rulebook needs Java 17: apt-get install openjdk-17-jre-headless."),
        ('openjdk version "11.0.2" 2019-01-15', "ansible-rulebook needs Java 17, and java on PATH is older"),
        ('openjdk version "17.0.15" 2025-04-15', None),
        ('openjdk version "21" 2023-09-19', None),
    ],
)
def test_rulebooks_need_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, problem: str | None
) -> None:
    if program is not None:
        (tmp_path / "java").write_text(f"#!/bin/sh\necho '{program}' >&2\n", encoding="utf-8")
        (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = machine.java_problem()
    assert said == problem or (problem is not None and said is not None and said.startswith(problem))
    # It is installed in the step that also installs what the hosts need.
    packages = machine.packages_for({"java", "hosts"})
    assert ("openjdk-17-jre-headless" in packages) == (program is None) and "systemd-container" in packages
    assert "openjdk-17-jre-headless" not in machine.packages_for({"hosts"})


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_what_cannot_run_fails_the_run_in_ci_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, status: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for name in ("_consul_problem", "_pythons_problem"):
        monkeypatch.setattr(machine, name, lambda: None)
    assert machine.main([]) == status
    assert "To run them: sudo make hosts molecule" in capsys.readouterr().out
    assert machine.main(["unit"]) == 0

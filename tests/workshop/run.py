# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the stages of ``make test`` side by side, gives a failed test a second attempt, and prints the closing table.

``python -m tests.workshop.run [STAGE...]`` runs the named stages of ``stages.py`` and what they depend on; all without a
name. A stage's output is kept in ``.cache/logs/STAGE.log`` and shown in full if it fails. With one stage it is shown live.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from . import machine, results
from .results import TestResult
from .stages import STAGES, Stage

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".cache" / "logs"
LIMIT_S = 3000.0  # a stage that has not ended by then never will; the longest take half an hour beside others on a slow machine
STOP_S = 90.0  # what hosts and servers need to be taken down in order
FLAKY_ALLOWED = 2
SECOND_ATTEMPTS = 10  # with more failures than that, the change is broken and not a test flaky
SLOWEST = 10


@dataclass
class Outcome:
    """How a stage ended. ``problem`` is empty if it passed; ``failed`` names the tests that deserve a second attempt.

    ``cpu_s`` is the processor time of its processes, without those that went on without it.
    """

    stage: Stage
    duration_s: float
    problem: str = ""
    tests: list[TestResult] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    cpu_s: float = 0.0


@dataclass
class Run:
    """Everything that happened: outcomes by stage in the order in which they ended, and what second attempts showed."""

    outcomes: list[Outcome] = field(default_factory=list)
    flaky: list[str] = field(default_factory=list)
    failed_twice: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the run as a whole is green."""
        broken = [outcome for outcome in self.outcomes if outcome.problem and not outcome.failed]
        return bool(self.outcomes) and not broken and not self.failed_twice and len(self.flaky) <= FLAKY_ALLOWED


@dataclass
class _Running:
    stage: Stage
    process: subprocess.Popen[bytes]
    started: float
    log: Path
    results: Path


def main(names: t.Sequence[str]) -> int:
    """Run the stages, print the table and return the exit status."""
    unknown = set(names) - {stage.name for stage in STAGES}
    if unknown:
        print(f"There is no stage {', '.join(sorted(unknown))}. The stages: {', '.join(s.name for s in STAGES)}")
        return 2
    wanted = select(STAGES, names)
    missing = machine.stages_that_cannot_run(stage.name for stage in wanted)
    runnable = [stage for stage in wanted if stage.name not in missing]
    needed = {*names, *(before for stage in runnable for before in stage.after)}
    chosen = [stage for stage in runnable if stage.name in needed or not stage.is_preparation]
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    run = Scheduler(chosen, LOGS, cores=float(os.cpu_count() or 1)).run()
    run.not_run = machine.not_run_lines(missing)
    print(table(run, time.monotonic() - started))
    return 0 if run.passed and not (missing and os.environ.get("CI")) else 1


def select(stages: t.Sequence[Stage], names: t.Sequence[str]) -> list[Stage]:
    """Return the named stages, or all, together with those that they depend on, in the order of ``stages``."""
    by_name = {stage.name: stage for stage in stages}
    wanted = set(names) or set(by_name)
    todo = list(wanted)
    while todo:
        for name in by_name[todo.pop()].after:
            if name not in wanted:
                wanted.add(name)
                todo.append(name)
    return [stage for stage in stages if stage.name in wanted]


class Scheduler:
    """Runs stages as soon as those before them have passed and their processors fit beside what runs already."""

    def __init__(self, stages: t.Sequence[Stage], logs: Path, cores: float, show: t.TextIO | None = None) -> None:
        self._stages = list(stages)
        self._logs = logs
        self._cores = cores
        self._show = show or sys.stdout
        self._live = sum(not stage.is_preparation for stage in stages) == 1
        self._began = time.monotonic()
        self._running: list[_Running] = []

    def run(self) -> Run:
        """Run everything, then the second attempts. Interrupted, it stops what it started and raises again."""
        self._logs.mkdir(parents=True, exist_ok=True)
        run = Run()
        waiting = list(self._stages)
        try:
            while waiting or self._running:
                self._drop_blocked(waiting, run)
                self._start_what_fits(waiting, run)
                self._collect(run)
            self._attempt_again(run)
        except BaseException:
            self._stop_all()
            raise
        return run

    def _drop_blocked(self, waiting: list[Stage], run: Run) -> None:
        broken = {outcome.stage.name for outcome in run.outcomes if outcome.problem}
        for stage in [stage for stage in waiting if broken & set(stage.after)]:
            waiting.remove(stage)
            before = ", ".join(sorted(broken & set(stage.after)))
            run.outcomes.append(Outcome(stage, 0.0, f"not started, because {before} failed"))

    def _start_what_fits(self, waiting: list[Stage], run: Run) -> None:
        done = {outcome.stage.name for outcome in run.outcomes}
        chosen = {stage.name for stage in self._stages}
        for stage in list(waiting):
            if set(stage.after) & chosen - done:
                continue
            busy = sum(one.stage.cores for one in self._running)
            if self._running and busy + stage.cores > self._cores:
                continue
            waiting.remove(stage)
            self._say(f"begin  {stage.name}")
            self._running.append(self._start(stage, stage.first_attempt(self._results_of(stage)), stage.name))

    def _start(self, stage: Stage, command: t.Sequence[str], name: str) -> _Running:
        log, results_path = self._logs / f"{name}.log", self._results_of(stage)
        results_path.unlink(missing_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=stage.directory,
                env={**os.environ, **stage.environment},
                stdin=subprocess.DEVNULL,
                stdout=None if self._live else output,
                stderr=None if self._live else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_let_interrupt,
            )
        return _Running(stage, process, time.monotonic(), log, results_path)

    def _results_of(self, stage: Stage) -> Path:
        return self._logs / f"{stage.name}.json"

    def _collect(self, run: Run) -> None:
        """Wait until at least one stage has ended, and take its outcome."""
        ended: list[_Running] = []
        cpu_s: dict[str, float] = {}
        while self._running and not ended:
            time.sleep(0.1)  # there is no call that waits for any of several processes and for a time limit
            for one in self._running:
                before_s = _cpu_of_ended_children()
                if one.process.poll() is None and time.monotonic() - one.started > LIMIT_S:
                    self._stop(one)
                if one.process.poll() is not None:
                    ended.append(one)
                    cpu_s[one.stage.name] = _cpu_of_ended_children() - before_s
        for one in ended:
            self._running.remove(one)
            outcome = self._judge(one)
            outcome.cpu_s = cpu_s[one.stage.name]
            run.outcomes.append(outcome)
            words = outcome.problem or "passed"
            self._say(
                f"{'FAILED' if outcome.problem else 'passed'} {one.stage.name} in {outcome.duration_s:.0f} s: {words}"
            )
            if outcome.problem and not self._live:
                self._show.write(_indented(one.log))
                self._show.flush()

    def _judge(self, one: _Running) -> Outcome:
        duration, status = time.monotonic() - one.started, one.process.returncode
        if duration > LIMIT_S:
            return Outcome(one.stage, duration, f"stopped after {LIMIT_S:.0f} s")
        if not one.stage.tests:
            problem = f"exit status {status}" if status else ""
            failed = [one.stage.name] if status and one.stage.repeatable else []
            return Outcome(one.stage, duration, problem, failed=failed)
        found = results.read(one.results)
        executed = [test for test in found if test.outcome != "skipped"]
        failed = [test.name for test in found if test.outcome == "failed"]
        if not executed:
            return Outcome(one.stage, duration, f"no test was executed (exit status {status})", found)
        # pytest's status is 1 if tests failed; with 2 and more the run itself is broken, and no second attempt mends that.
        if status not in (0, 1):
            return Outcome(one.stage, duration, f"pytest ended with status {status}", found)
        problem = f"{len(failed)} of {len(executed)} tests failed" if failed else ""
        if status == 1 and not failed:
            problem = "pytest ended with status 1, and no test says why"
        return Outcome(one.stage, duration, problem, found, failed)

    def _attempt_again(self, run: Run) -> None:
        """Run each failed test once more by itself, now that nothing else runs."""
        failures = [(outcome.stage, name) for outcome in run.outcomes for name in outcome.failed]
        if len(failures) > SECOND_ATTEMPTS:
            self._say(f"{len(failures)} failures are too many for a second attempt")
            run.failed_twice += [_title(stage, name) for stage, name in failures]
            return
        for number, (stage, name) in enumerate(failures, 1):
            title = _title(stage, name)
            self._say(f"again  {title}")
            one = self._start(stage, stage.second_attempt(self._results_of(stage), name), f"again-{number}")
            self._running.append(one)
            while one.process.poll() is None:
                time.sleep(0.1)
                if time.monotonic() - one.started > LIMIT_S:
                    self._stop(one)
            self._running.remove(one)
            outcome = self._judge(one)
            self._say(f"{'FAILED again' if outcome.problem else 'passed now'}: {title}")
            if outcome.problem and not self._live:
                self._show.write(_indented(one.log))
            (run.failed_twice if outcome.problem else run.flaky).append(title)

    def _stop_all(self) -> None:
        for one in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, signal.SIGINT)
        for one in self._running:
            self._stop(one)

    @staticmethod
    def _stop(one: _Running) -> None:
        """Interrupt a stage as Ctrl-C would, so that it takes down what it started; kill it if that takes too long."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGINT)
        try:
            one.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()

    def _say(self, words: str) -> None:
        print(f"[{time.monotonic() - self._began:5.0f} s] {words}", file=self._show, flush=True)


def table(run: Run, seconds: float) -> str:
    """Return what ``make test`` ends with: seconds a stage, the slowest tests, flaky and failed ones, the verdict."""
    lines = ["", "seconds    CPU  stage"]
    for outcome in sorted(run.outcomes, key=lambda outcome: -outcome.duration_s):
        executed = sum(test.outcome != "skipped" for test in outcome.tests)
        skipped = len(outcome.tests) - executed
        count = f"{executed} tests" + (f", {skipped} skipped" if skipped else "") if outcome.tests else ""
        said = "; ".join(filter(None, (count, outcome.problem)))
        lines.append(f"{outcome.duration_s:7.1f} {outcome.cpu_s:6.1f}  {outcome.stage.name:<18} {said}".rstrip())
    tests = [(test, outcome.stage.name) for outcome in run.outcomes for test in outcome.tests]
    if tests:
        lines += ["", "seconds  slowest tests"]
        slowest = sorted(tests, key=lambda one: -one[0].duration_s)[:SLOWEST]
        lines += [f"{test.duration_s:7.1f}  {_short(test.name)} ({stage})" for test, stage in slowest]
    if run.flaky:
        lines += ["", "flaky: failed, and passed when run again by itself. Add each to docs/ROADMAP.md, races to find:"]
        lines += [f"  {name}" for name in run.flaky]
    if run.failed_twice:
        lines += ["", "failed, and failed again:", *(f"  {name}" for name in run.failed_twice)]
    lines += ["", *run.not_run] if run.not_run else []
    verdict = "passed" if run.passed else "FAILED"
    minutes, rest = divmod(round(seconds), 60)
    verdict += f" in {minutes} min {rest} s"
    if len(run.flaky) > FLAKY_ALLOWED:
        verdict += f": {len(run.flaky)} flaky tests, and {FLAKY_ALLOWED} are the most that is allowed"
    return "\n".join([*lines, "", verdict])


def _cpu_of_ended_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _title(stage: Stage, name: str) -> str:
    return f"{name} ({stage.name})" if stage.tests else name


def _short(name: str) -> str:
    return name.removeprefix("tests/")


def _indented(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    return "".join(f"  | {line}\n" for line in text.splitlines())


def _let_interrupt() -> None:
    # A shell that runs this in the background has made SIGINT ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, _frame: object) -> t.NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("interrupted: everything that was started is stopped")
        sys.exit(130)

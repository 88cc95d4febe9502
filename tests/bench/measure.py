# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures whole processes side by side: in turn, several times, medians and ratios."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.lab.forked import COLLECTIONS, ROOT

RIVALS = ROOT / ".cache" / "rivals"  # collections that only benchmarks need


@dataclass(frozen=True)
class Run:
    """One finished process: wall seconds, peak memory in MB, CPU seconds of the watched server, and what it printed."""

    wall_s: float
    peak_mb: float
    server_s: float
    output: str


@dataclass(frozen=True)
class Contender:
    """A named command. ``own_time`` reads the time that it prints itself (None: the wall time counts).

    ``before`` prepares each run, untimed. A ``slow`` one runs once, without a warm-up. ``several``: it is more than one
    process, and its memory is not known.
    """

    name: str
    command: t.Sequence[str]
    own_time: t.Callable[[str], float] | None = None
    environment: t.Mapping[str, str] | None = None
    before: t.Callable[[], object] = lambda: None
    slow: bool = False
    several: bool = False


def run(contender: Contender, server: int | None = None) -> Run:
    """Run one process to its end; it must succeed. ``server`` is the pid of a server whose CPU time is counted."""
    contender.before()
    server_before = cpu_s(server)
    started = time.monotonic()
    process = subprocess.Popen(
        contender.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(contender.environment or {})},
        text=True,
    )
    peak = _Peak(process.pid)
    output, _errors = process.communicate()
    wall = time.monotonic() - started
    if process.returncode != 0:
        raise SystemExit(f"{contender.name} failed: {output[-2000:]}")
    megabytes = float("nan") if contender.several else peak.megabytes()
    return Run(wall, megabytes, cpu_s(server) - server_before, output)


def cpu_s(pid: int | None) -> float:
    """Return the CPU seconds that a process has used."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Peak(threading.Thread):
    """Polls the peak memory of a process; ru_maxrss would count its parent's memory too."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self._kilobytes = 0
        self.start()

    def run(self) -> None:
        while True:
            try:
                text = self._status.read_text(encoding="ascii", errors="replace")
            except OSError:
                return
            found = re.search(r"VmHWM:\s+(\d+) kB", text)
            if found is None:
                return  # it has ended and was not waited for yet
            self._kilobytes = int(found[1])
            time.sleep(0.005)

    def megabytes(self) -> float:
        self.join()
        return self._kilobytes / 1024


@dataclass(frozen=True)
class Result:
    """The medians of a contender's runs."""

    name: str
    seconds: float
    peak_mb: float
    server_s: float


def side_by_side(contenders: t.Sequence[Contender], runs: int, server: int | None = None) -> list[Result]:
    """Run the contenders in turn (A B C, A B C, …) after one warm-up each and return their medians."""
    found: dict[str, list[Result]] = {contender.name: [] for contender in contenders}
    for turn in range(runs + 1):
        for contender in contenders:
            if contender.slow and turn != 1:
                continue
            done = run(contender, server)
            if turn:
                own = contender.own_time
                own_s = own(done.output) if own else done.wall_s
                found[contender.name].append(Result(contender.name, own_s, done.peak_mb, done.server_s))
    return [
        Result(
            name,
            *(statistics.median(getattr(row, part) for row in rows) for part in ("seconds", "peak_mb", "server_s")),
        )
        for name, rows in found.items()
    ]


def show(title: str, results: t.Sequence[Result], rival: str) -> None:
    """Print medians and each one's ratio to the rival."""
    against = next(result for result in results if result.name == rival)
    print(f"\n{title}")
    watched = any(result.server_s for result in results)
    print(f"  {'':<44}{'seconds':>9}{'ratio':>8}{'peak MB':>9}" + (f"{'server s':>10}" if watched else ""))
    for result in results:
        ratio = result.seconds / against.seconds
        server = f"{result.server_s:>10.2f}" if watched else ""
        peak = f"{result.peak_mb:>9.1f}" if result.peak_mb == result.peak_mb else f"{'–':>9}"
        print(f"  {result.name:<44}{result.seconds:>9.3f}{ratio:>8.2f}{peak}{server}", flush=True)


def python(name: str, program: str, **options: t.Any) -> Contender:
    """Return a Python program with the collection on its path; the seconds that it prints are its time."""
    own_time = _printed_seconds if "seconds" in program else None
    return Contender(name, [sys.executable, "-c", program], own_time, {"PYTHONPATH": str(COLLECTIONS)}, **options)


def _printed_seconds(output: str) -> float:
    return sum(float(line.split()[1]) for line in output.splitlines() if line.startswith("seconds"))


def playbook(name: str, scratch: Path, tasks: t.Sequence[t.Mapping[str, t.Any]], **options: t.Any) -> Contender:
    """Return a whole ansible-playbook run of these tasks on this host."""
    path = scratch / f"{abs(hash(json.dumps(tasks)))}.json"
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-c", "local", str(path)]
    environment = {
        "ANSIBLE_CONFIG": str(ROOT / "tests" / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": f"{COLLECTIONS}{os.pathsep}{RIVALS}",
        "ANSIBLE_LOCAL_TEMP": str(scratch / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(scratch / "tmp"),
    }
    return Contender(name, command, None, environment, **options)

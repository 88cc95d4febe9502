# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures whole processes side by side: in turn, several times, medians and ratios."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One finished process: wall seconds, peak memory in MB, and what it printed."""

    wall_s: float
    peak_mb: float
    output: str


@dataclass(frozen=True)
class Contender:
    """A name, a command, and how to read a time of its own out of what it prints (None: the wall time counts)."""

    name: str
    command: t.Sequence[str]
    own_time: t.Callable[[str], float] | None = None
    environment: t.Mapping[str, str] | None = None


def run(contender: Contender) -> Run:
    """Run one process to its end; it must succeed."""
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
    return Run(wall, peak.megabytes(), output)


class _Peak(threading.Thread):
    """Follows a process's own high-water mark; the system's ru_maxrss would count its parent's memory too."""

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
                return  # it has ended and is not reaped yet
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


def side_by_side(contenders: t.Sequence[Contender], runs: int) -> list[Result]:
    """Run the contenders in turn (A B C, A B C, …) after one warm-up each and return their medians."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    peaks: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(runs + 1):
        for contender in contenders:
            done = run(contender)
            if turn:
                own = contender.own_time
                seconds[contender.name].append(own(done.output) if own else done.wall_s)
                peaks[contender.name].append(done.peak_mb)
    return [
        Result(contender.name, statistics.median(seconds[contender.name]), statistics.median(peaks[contender.name]))
        for contender in contenders
    ]


def show(title: str, results: t.Sequence[Result], rival: str) -> None:
    """Print medians and each one's ratio to the rival."""
    against = next(result for result in results if result.name == rival)
    print(f"\n{title}")
    print(f"  {'':<44}{'seconds':>9}{'ratio':>8}{'peak MB':>9}")
    for result in results:
        ratio = result.seconds / against.seconds
        print(f"  {result.name:<44}{result.seconds:>9.3f}{ratio:>8.2f}{result.peak_mb:>9.1f}", flush=True)

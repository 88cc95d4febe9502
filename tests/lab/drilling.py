# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drills in a thread of the test, which can be interrupted, and their results."""

from __future__ import annotations

import contextlib
import json
import threading
import typing as t
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GateClosed
from ansible_collections.consulops.failover.plugins.module_utils._drill.recorder import EventWaker
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_run import DRILL_RUN, record_drill
from ansible_collections.consulops.failover.plugins.module_utils._tasks.task import Invocation

Result = dict[str, t.Any]


class Interruptible(EventWaker):
    """A waker that a test gives a signal."""

    def __init__(self) -> None:
        super().__init__()
        self._signals: set[int] = set()

    def interrupt(self) -> None:
        """Interrupt the drill as SIGINT does."""
        self._signals = {2}
        self.wake()

    def wait(self, within_s: float) -> set[int]:
        """Wait as ``EventWaker`` does, and return the signal."""
        super().wait(within_s)
        found, self._signals = self._signals, set()
        return found


def run_drill(options: dict[str, t.Any], waker: EventWaker | None = None) -> Result:
    """Run a drill, and return its result, also when something expected was missed."""
    call = Invocation(validated(DRILL_RUN.spec, options))
    try:
        return record_drill(call, waker or EventWaker(), lambda _progress: None)
    except GateClosed as closed:
        return closed.details


@contextlib.contextmanager
def running_drill(options: dict[str, t.Any]) -> t.Iterator[list[Result]]:
    """Run a drill in a thread, interrupt it at the end of the context, and then have its result in the list."""
    waker, found = Interruptible(), list[Result]()
    thread = threading.Thread(target=lambda: found.append(run_drill(options, waker)))
    thread.start()
    try:
        yield found
    finally:
        waker.interrupt()
        thread.join(120)


def lines_so_far(file: Path) -> list[dict[str, t.Any]]:
    """Return the whole lines of a history, which may still be written, or may not be there yet."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def events(file: Path, *names: str) -> list[dict[str, t.Any]]:
    """Return the events of these names so far."""
    return [line for line in lines_so_far(file) if line.get("event") in names]


def verdicts(result: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return what became of each expectation."""
    return {one["name"]: one["verdict"] for one in result["judgement"]["expectations"]}

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs run side by side, as many as allowed, and in order where that is asked for."""

from __future__ import annotations

import threading
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.event_handlers import (
    make_event_programs,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.program_pool import ProgramPool, Task
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption

from tests.lab.consul import eventually

LONG_S = 20.0


class Gates:
    """Tasks that begin, and wait until the test lets them end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._open: dict[str, threading.Event] = {}

    def task(self, name: str, lane: t.Hashable = None) -> Task:
        gate = self._open[name] = threading.Event()

        def run() -> None:
            self.begun.append(name)
            assert gate.wait(LONG_S)

        return Task(run, lane)

    def open(self, *names: str) -> None:
        for name in names:
            self._open[name].set()


def test_no_more_than_allowed_run_at_a_time() -> None:
    pool, gates = ProgramPool(2), Gates()
    for name in "abc":
        pool.submit(gates.task(name))
    eventually(lambda: len(gates.begun) == 2)
    assert pool.load == (2, 1)
    gates.open("b")
    eventually(lambda: gates.begun == ["a", "b", "c"] or gates.begun == ["b", "a", "c"])
    gates.open("a", "c")
    eventually(lambda: pool.load == (0, 0))
    assert pool.close() == 0 and not pool.is_broken


def test_a_lane_keeps_its_order_and_holds_up_nothing_else() -> None:
    pool, gates = ProgramPool(3), Gates()
    for name, lane in (("first", "deploy"), ("second", "deploy"), ("other", "backup"), ("free", None)):
        pool.submit(gates.task(name, lane))
    eventually(lambda: len(gates.begun) == 3)
    assert "second" not in gates.begun
    gates.open("first")
    eventually(lambda: gates.begun[-1] == "second")
    gates.open("second", "other", "free")
    eventually(lambda: pool.load == (0, 0))


def test_what_has_not_begun_is_not_begun_after_the_end() -> None:
    pool, gates = ProgramPool(1), Gates()
    for name in "ab":
        pool.submit(gates.task(name))
    eventually(lambda: gates.begun == ["a"])
    assert pool.close() == 1
    gates.open("a")
    eventually(lambda: pool.load == (0, 1))
    assert gates.begun == ["a"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_a_task_is_not_hidden() -> None:
    threads: list[threading.Thread] = []

    def go_wrong() -> None:
        threads.append(threading.current_thread())
        raise KeyError("a bug")

    pool = ProgramPool(1)
    pool.submit(Task(go_wrong))
    eventually(lambda: pool.is_broken)
    threads[0].join(LONG_S)  # its exception is reported at its very end, and belongs to this test


@pytest.mark.parametrize("number", [0, 65])
def test_the_number_of_programs_at_a_time_has_limits(number: int) -> None:
    with pytest.raises(InvalidOption, match=f"options.event_programs: {number} is not between 1 and 64"):
        make_event_programs([], number, "options")

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One client of a drill: starts operations on schedule and records each before it is sent and after it has ended.

The schedule is an open loop: it does not wait for answers. While a client waits for one, its next operations become late, are then
sent one after the other, and their latency counts from when they were meant to start. So a stall of Consul shows in all of them.
"""

from __future__ import annotations

import itertools
import random
import threading
import typing as t
from dataclasses import dataclass

from .._consul.client import Client
from .._consul.errors import ConsulError
from .drill_plan import DrillPlan
from .history import INFO, NS, OK
from .history_writer import HistoryWriter
from .measurements import Measurements
from .outcome import outcome_of
from .workload import Call, Workload

AVOID_NS = 3 * NS  # how long a client does not use an address that kept it waiting


@dataclass(frozen=True)
class Node:
    """An address of the drill: the name of its node, and the client that all threads share."""

    name: str
    client: Client


@dataclass(frozen=True)
class Journal:
    """Where operations are recorded and counted, and the numbers of processes; one for all threads."""

    history: HistoryWriter
    measured: Measurements
    processes: t.Iterator[int]

    def perform(self, process: int, workload: str, call: Call, node: Node, intended_ns: int, **more: t.Any) -> str:
        """Send one operation and return its outcome; one with ``more`` fields is not of the load and is not counted.

        Raises LocalFailure and DrillDisturbed.
        """
        fields = {"process": process, "workload": workload, "f": call.f, "key": call.key, "value": call.value}
        started_ns = self.history.append("invoke", {**fields, "intended": intended_ns, "node": node.name, **more})
        try:
            answer = call.send(node.client)
        except ConsulError as error:
            outcome = outcome_of(error, is_read=call.is_read)
            ended = {"process": process, "value": call.value, "error": str(error)}
        else:
            outcome = OK
            index = {} if answer.index is None else {"index": answer.index}
            ended = {"process": process, "value": answer.value, **index, **answer.more}
        ended_ns = self.history.append(outcome, ended)
        if not more:
            if outcome == OK and not call.is_read:
                self.measured.last_change_ns = ended_ns
            self.measured.add(workload, outcome, intended_ns, started_ns, ended_ns)
        return outcome


def make_journal(history: HistoryWriter) -> Journal:
    """Return the journal of a drill that begins."""
    return Journal(history, Measurements(), itertools.count())


class OpenLoop:
    """The loop of one client. ``sent`` is how many operations of its schedule it has started.

    ``paused_ns`` is how long it has held locks on purpose; its schedule is later by that.
    """

    def __init__(
        self,
        number: int,
        plan: DrillPlan,
        workload: Workload,
        nodes: t.Sequence[Node],
        journal: Journal,
        stop: threading.Event,
    ) -> None:
        self.number = number
        self.sent = 0
        self.paused_ns = 0
        self._plan = plan
        self._workload = workload
        self._nodes = nodes
        self._journal = journal
        self._stop = stop
        self._process = next(journal.processes)
        self._chance = random.Random(f"{plan.seed}/{number}/operations")
        self._silent_until_ns: dict[str, int] = {}

    def run(self, began_ns: int) -> None:
        """Run until the plan's duration is over or ``stop`` is set. Raises LocalFailure and DrillDisturbed."""
        history = self._journal.history
        end_ns = began_ns + int(self._plan.duration_s * NS)
        for offset_ns in self._plan.intended_starts(self.number):
            intended_ns = began_ns + offset_ns + self.paused_ns
            if intended_ns >= end_ns:
                break
            wait_ns = intended_ns - history.now_ns()
            if wait_ns > 0:
                self._stop.wait(wait_ns / NS)
            if self._stop.is_set() or history.now_ns() >= end_ns:
                break
            self.sent += 1
            self._perform(self._workload.next_call(self._chance), intended_ns)

    def _next_node(self) -> Node:
        """Return any address, but none that was silent a moment ago: else all clients would soon wait for one that hangs."""
        now_ns = self._journal.history.now_ns()
        answering = [node for node in self._nodes if self._silent_until_ns.get(node.name, 0) <= now_ns]
        return self._chance.choice(answering or self._nodes)

    def _perform(self, call: Call | None, intended_ns: int) -> None:
        """Send an operation, and what must follow it."""
        while call is not None:
            node = self._next_node()
            name = self._plan.workload_of(self.number)
            sent_ns = self._journal.history.now_ns()
            outcome = self._journal.perform(self._process, name, call, node, intended_ns)
            if outcome != OK and self._journal.history.now_ns() - sent_ns > node.client.endpoint.timeout_s * NS / 2:
                self._silent_until_ns[node.name] = self._journal.history.now_ns() + AVOID_NS
            if outcome == INFO:
                self._process = next(self._journal.processes)  # the old one may still be writing
                self._workload.on_unknown()
            call = self._workload.follow_up()
            if call is not None:
                ended_ns = self._journal.history.now_ns()
                self._stop.wait(call.after_s)
                intended_ns = min(ended_ns + int(call.after_s * NS), self._journal.history.now_ns())
                self.paused_ns += int(call.after_s * NS)

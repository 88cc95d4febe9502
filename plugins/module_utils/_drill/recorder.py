# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records a drill: runs its clients and watchers, reads what is left at the end, and removes its keys."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from .._consul import errors
from .._consul.key_path import key_path
from . import set_workload
from .at_once import at_once, results
from .drill_part import DrillPart, RunningParts
from .drill_plan import DrillPlan
from .drill_space import DrillSpace, create_space
from .history import LOAD_ENDED, NS, OK
from .history_writer import HistoryWriter
from .leader_watch import LeaderWatch, agreed
from .lock_workload import LockWorkload
from .measurements import Counts, Measurements
from .open_loop import Journal, Node, OpenLoop, make_journal
from .register_workload import RegisterWorkload
from .running_load import RunningLoad
from .set_workload import SetWorkload
from .workload import Shared, Workload

PROGRESS_EVERY_S = 1.0


class Wakeable(t.Protocol):
    """What the main thread waits with: ``wait`` returns early for a signal, which it returns, or when another thread calls ``wake``."""

    def wait(self, within_s: float) -> set[int]:
        """Wait at most so long, and return the signals that have arrived."""

    def wake(self) -> None:
        """End the wait."""


class EventWaker:
    """Waits without signals."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, within_s: float) -> set[int]:
        """Wait until another thread calls ``wake``."""
        self._event.wait(within_s)
        self._event.clear()
        return set()

    def wake(self) -> None:
        """End the wait."""
        self._event.set()


class Faults(t.Protocol):
    """What breaks the datacenter while clients run. ``now`` is what is broken at this moment, in words."""

    now: str

    def run(self, began_ns: int, stop: threading.Event, load: RunningLoad) -> None:
        """Make all faults and heal them; end early when ``stop`` is set, and set it to end the drill."""


@dataclass(frozen=True)
class Progress:
    """How far a drill is: seconds of its duration, what has ended, the leader that the addresses name, and what is broken."""

    elapsed_s: float
    duration_s: float
    counts: Counts
    leader: str
    fault: str = ""


@dataclass(frozen=True)
class Recorded:
    """A drill that has ended. ``unsent`` operations were meant to start and were not; ``load_s`` is how long clients ran."""

    measured: Measurements
    unsent: int
    load_s: float
    is_interrupted: bool


@dataclass(frozen=True)
class Recorder:
    """One drill: its plan, its addresses, its history, and how long servers may take to catch up before the final reads."""

    plan: DrillPlan
    run_name: str
    nodes: t.Sequence[Node]
    history: HistoryWriter
    settle_s: float
    waker: Wakeable
    on_progress: t.Callable[[Progress], None]
    faults: Faults | None = None
    parts: t.Sequence[DrillPart] = ()

    def record(self) -> Recorded:
        """Run the drill to its end, or to a signal, and remove its keys.

        Raises LocalFailure when the history cannot be written, DrillDisturbed, NotConverged when the keys are still there, or the
        ConsulError of a drill that could not begin.
        """
        space = self._create_space()
        shared = Shared(space, self.plan.consistency, self.plan.keys, self.history.now_ns)
        try:
            journal = make_journal(self.history)
            with RunningParts(self.parts) as parts:
                recorded = self._load(shared, journal, parts)
                self._final_reads(shared, journal)
                is_interrupted = self._wait_for_parts(parts)
            recorded = replace(recorded, is_interrupted=recorded.is_interrupted or is_interrupted)
        finally:
            space.remove([node.client for node in self.nodes], shared.sessions)
        self.history.event("removed")
        return recorded

    def _create_space(self) -> DrillSpace:
        client = self.nodes[0].client
        try:
            return create_space(client, self.plan.prefix, self.run_name)
        except errors.ConsulError:
            # It may be there all the same, if the answer was lost.
            with contextlib.suppress(errors.ConsulError):
                client.delete(key_path(f"{self.plan.prefix}{self.run_name}/"), {"recurse": ""})
            raise

    # -----------------------------------------------------------------------------------------------------------
    # The load

    def _load(self, shared: Shared, journal: Journal, parts: RunningParts) -> Recorded:
        stop, stop_watching = threading.Event(), threading.Event()
        loops = [
            OpenLoop(number, self.plan, self._workload(number, shared), self.nodes, journal, stop)
            for number in range(self.plan.clients)
        ]
        watches = [LeaderWatch(node, self.history, stop_watching) for node in self.nodes]
        with ThreadPoolExecutor(len(loops) + len(watches) + 1, thread_name_prefix="drill") as pool:
            try:
                watching = [pool.submit(watch.run) for watch in watches]
                began_ns = self.history.event("load_started")
                if self.faults is not None:
                    watching.append(
                        pool.submit(self.faults.run, began_ns, stop, RunningLoad(watches, journal.measured))
                    )
                beside = [*watching, *parts.start(began_ns, shared.space)]
                running = [pool.submit(loop.run, began_ns) for loop in loops]
                for future in (*running, *beside):
                    future.add_done_callback(self._wake)
                is_interrupted = self._supervise(running, beside, began_ns, journal.measured, watches, stop)
                is_early = stop.is_set()
            finally:
                stop.set()
                stop_watching.set()
        for future in (*running, *watching):
            future.result()  # raises what ended it
        load_ns = self.history.event(LOAD_ENDED) - began_ns
        parts.load_ended(is_early=is_early)
        until_ns = min(load_ns, int(self.plan.duration_s * NS))
        unsent = sum(self.plan.unsent(loop.number, loop.sent, until_ns - loop.paused_ns) for loop in loops)
        return Recorded(journal.measured, unsent, load_ns / NS, is_interrupted)

    def _workload(self, number: int, shared: Shared) -> Workload:
        """Return the workload of a client. Raises the ConsulError of a session that could not be made."""
        name = self.plan.workload_of(number)
        if name == "register":
            return RegisterWorkload(shared)
        if name == "set":
            return SetWorkload(shared)
        locks = LockWorkload(shared, number)
        locks.prepare(self.nodes[number % len(self.nodes)].client)
        return locks

    def _wake(self, _future: Future[None]) -> None:
        self.waker.wake()

    def _supervise(
        self,
        running: t.Sequence[Future[None]],
        watching: t.Sequence[Future[None]],
        began_ns: int,
        measured: Measurements,
        watches: t.Sequence[LeaderWatch],
        stop: threading.Event,
    ) -> bool:
        """Report progress until all clients have ended; return whether a signal ended them."""
        is_interrupted = False
        next_report = time.monotonic() + PROGRESS_EVERY_S
        while not all(future.done() for future in running):
            if self.waker.wait(max(0.0, next_report - time.monotonic())):
                is_interrupted = True
                stop.set()
                self.history.event("interrupted")
            if any(future.done() and future.exception() for future in (*running, *watching)):
                stop.set()
            if time.monotonic() >= next_report:
                next_report += PROGRESS_EVERY_S
                elapsed_s = (self.history.now_ns() - began_ns) / NS
                fault = "" if self.faults is None else self.faults.now
                self._report(Progress(elapsed_s, self.plan.duration_s, measured.counts(), agreed(watches), fault))
        return is_interrupted

    def _wait_for_parts(self, parts: RunningParts) -> bool:
        """Wait until what goes on beside the clients has ended; return whether a signal ended it."""
        is_interrupted = False
        while not parts.are_done:
            if self.waker.wait(PROGRESS_EVERY_S):
                is_interrupted = True
                parts.signals.stop.set()
                self.history.event("interrupted")
        parts.check()
        return is_interrupted

    def _report(self, progress: Progress) -> None:
        counts = progress.counts
        fields = {"ok": counts.ok, "fail": counts.failed, "info": counts.unknown, "leader": progress.leader}
        fields.update({"fault": progress.fault} if progress.fault else {})
        self.history.event("progress", fields)
        self.on_progress(progress)

    # -----------------------------------------------------------------------------------------------------------
    # The final reads

    def _final_reads(self, shared: Shared, journal: Journal) -> None:
        """Read the set from every server's own copy, and each register once from the leader."""
        self.history.event("final_reads")
        if "set" in self.plan.workloads:
            results(at_once(functools.partial(self._read_set, shared, journal), self.nodes))
        if "register" in self.plan.workloads:
            self._read_registers(shared, journal)

    def _read_set(self, shared: Shared, journal: Journal, node: Node) -> None:
        call = set_workload.final_read(shared.space, shared.acknowledged[0], self.settle_s)
        journal.perform(next(journal.processes), "set", call, node, self.history.now_ns(), final=True)

    def _read_registers(self, shared: Shared, journal: Journal) -> None:
        registers, nodes = RegisterWorkload(shared), list(self.nodes)
        process = next(journal.processes)
        for number in range(self.plan.keys):
            while nodes:
                node = nodes[number % len(nodes)]
                call = registers.read(f"k{number}", "consistent")
                if journal.perform(process, "register", call, node, self.history.now_ns(), final=True) == OK:
                    break
                nodes.remove(node)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A job of an agent, and the context in which it runs."""

from __future__ import annotations

import logging
import threading
import time
import typing as t
from dataclasses import dataclass, field

from .._consul import endpoint, errors
from .._consul.client import Client
from .lease import Lease
from .state_directory import StateDirectory
from .status import RUNNING, JobStatus, Numbers, samples_of
from .status_board import Reporter, StatusBoard

log = logging.getLogger("consulops")

CONNECTION = "consul"  # the name of the connection that every agent has
HEARTBEAT_LIMIT_S = 600.0
HEARTBEAT_EVERY_S = 5.0


@dataclass(frozen=True)
class Job:
    """One job: a thread that runs ``run`` again and again until the agent stops.

    ``settings`` is everything that ``run`` depends on: while settings, connections and lease are the same, a reload leaves the job
    alone. ``lease`` names a lease of the plan, None for none. Without a sign of life for ``heartbeat_limit_s`` the process
    is restarted by the watchdog.

    ``run`` works until ``context.stopping`` is set and then returns. It raises an Error when it cannot go on; after a pause it is
    called again, with a new context. What must outlive that belongs into ``context.memory``, what must outlive the process into
    ``context.state``.
    """

    name: str
    run: t.Callable[[Context], None] = field(compare=False)
    settings: t.Any = None
    connections: tuple[str, ...] = (CONNECTION,)
    lease: str | None = None
    heartbeat_limit_s: float = HEARTBEAT_LIMIT_S


class StopSignal(threading.Event):
    """Set when a job must return. Whoever waits for another event is woken too."""

    def __init__(self) -> None:
        super().__init__()
        self._woken: list[threading.Event] = []

    def set(self) -> None:
        """Set it, and wake the job."""
        super().set()
        for event in tuple(self._woken):
            event.set()

    def wait_for(self, event: threading.Event, seconds: float) -> None:
        """Wait until ``event`` or this is set, at most some seconds."""
        self._woken.append(event)
        if not self.is_set():  # after the line above: one that is set from now on wakes
            event.wait(seconds)
        self._woken.remove(event)


class Signs:
    """The time of the last sign of life of a job, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def give(self) -> None:
        """Give a sign of life."""
        self.last = time.monotonic()


@dataclass(frozen=True)
class Surroundings:
    """What the jobs of an agent have in common. ``node`` is the name of the host, ``memory`` what AgentType.memory made."""

    agent: str
    name: str
    node: str
    state: StateDirectory
    board: StatusBoard
    connections: t.Mapping[str, endpoint.Endpoint]
    memory: t.Any = None


class Context:
    """What a job gets for one run. A job with a required lease gets a new one for every term.

    ``stopping`` is set when the job must return: the agent stops, the job's configuration changed, or its required lease is gone.
    ``memory`` is shared by all jobs and routes of the agent, and outlives reloads; ``state`` outlives the process.
    """

    def __init__(
        self,
        job: Job,
        surroundings: Surroundings,
        lease: Lease | None,
        status: Reporter[JobStatus],
        signs: Signs,
        on_success: t.Callable[[], None] = lambda: None,
    ) -> None:
        self.stopping = StopSignal()
        self.agent = surroundings.agent
        self.name = surroundings.name
        self.node = surroundings.node
        self.state = surroundings.state
        self.memory = surroundings.memory
        self._surroundings = surroundings
        self._job = job
        self._lease = lease
        self._status = status
        self._signs = signs
        self._on_success = on_success
        self._mutex = threading.Lock()
        self._clients: list[Client] = []
        self._on_cut: list[t.Callable[[], None]] = []
        self._is_cut = False
        self._problem = ""

    @property
    def lease(self) -> Lease:
        """The lease of the job. Its fence, session and guard are those of the current term."""
        if self._lease is None:
            raise ValueError(f"the job {self._job.name} has no lease")
        return self._lease

    def heartbeat(self) -> None:
        """Give a sign of life. ``pause``, ``report`` and ``client`` do so too."""
        self._signs.give()

    def pause(self, seconds: float) -> bool:
        """Wait for some seconds, less if the job must stop; return whether to go on. Waiting on schedule counts as alive."""
        deadline = time.monotonic() + seconds
        while True:
            self.heartbeat()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return not self.stopping.is_set()
            if self.stopping.wait(min(left_s, HEARTBEAT_EVERY_S)):
                return False

    def wait_for(self, event: threading.Event, seconds: float) -> bool:
        """Wait until ``event`` is set, at most some seconds, less if the job must stop; return whether to go on.

        The event may be set afterwards although nothing happened: check what it stands for.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.heartbeat()
            left_s = deadline - time.monotonic()
            if left_s > 0 and not self.stopping.is_set() and not event.is_set():
                self.stopping.wait_for(event, min(left_s, HEARTBEAT_EVERY_S))
                continue
            return not self.stopping.is_set()

    def report(
        self, summary: str, numbers: Numbers = (), *, took_s: float = 0.0, problem: str = "", is_critical: bool = False
    ) -> None:
        """Report a successful cycle: one sentence, numbers for the metrics, and the seconds that it took.

        It ends a problem, unless there is one with which the job goes on: after a failure a job counts as failing until its next
        success.
        """
        self.heartbeat()
        self._log_problem(problem)
        board, shown = self._surroundings.board, samples_of(numbers)
        self._status.count(
            "cycles",
            state=RUNNING,
            summary=summary,
            numbers=shown,
            problem=problem,
            is_critical=is_critical,
            failures_in_row=0,
            last_success=board.clock(),
            last_cycle_s=took_s,
        )
        self._on_success()

    def report_problem(self, problem: str, *, is_critical: bool = False) -> None:
        """Report a problem with which the job goes on, "" when it is over. Without a report of success it stays.

        A critical one makes the agent's check in Consul critical.
        """
        self.heartbeat()
        self._log_problem(problem)
        self._status.report(problem=problem, is_critical=is_critical)

    def show(self, section: t.Mapping[str, t.Any]) -> None:
        """Replace the agent's own section of the status: plain data for /status and the page."""
        self._surroundings.board.change(section=dict(section))

    def client(self, name: str = CONNECTION) -> Client:
        """Return a client for one of the job's connections. It is closed after the run, and cut when the job must stop at once."""
        self.heartbeat()
        if name not in self._job.connections:
            raise ValueError(f"the job {self._job.name} does not name the connection {name}")
        client = Client(self._surroundings.connections[name])
        with self._mutex:
            self._clients.append(client)
            if self._is_cut:
                client.abort()
        return client

    def on_cut(self, cut: t.Callable[[], None]) -> None:
        """Call ``cut``, from another thread, when the job must stop at once: for transfers that are none of a client."""
        with self._mutex:
            self._on_cut.append(cut)
            is_cut = self._is_cut
        if is_cut:
            cut()

    # For the runner.

    def cut(self) -> None:
        """Cut every request in flight."""
        with self._mutex:
            self._is_cut = True
            for client in self._clients:
                client.abort()
            registered = tuple(self._on_cut)
        for cut in registered:
            cut()

    def close(self) -> None:
        """Close the clients."""
        with self._mutex:
            for client in self._clients:
                client.close()

    def is_local(self, error: errors.Error) -> bool:
        """Return whether the cause of a failure lies in this host: its disk or its own Consul agent.

        A Consul that does not answer counts only if it is that of the lease and the job spoke to no other: any other may be as
        dead for every other instance.
        """
        if isinstance(error, errors.LocalFailure):
            return True
        if not isinstance(error, errors.Unreachable) or self._lease is None:
            return False
        return all(client.endpoint == self._lease.spec.endpoint for client in self._clients)

    def _log_problem(self, problem: str) -> None:
        # The process logs the problem of an agent that has one job only.
        if problem and problem != self._problem and len(self._surroundings.board.current.jobs) > 1:
            log.warning("%s: %s", self._job.name, problem)
        self._problem = problem

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of an agent, shared by its threads: read by the endpoint, Consul's checks, systemd and the log."""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass, field, replace

from .._consul.units import timestamp
from .._consul.version import VERSION
from .agent_type import CycleResult

STARTING, STANDBY, ACTIVE, FAILING, STOPPING = "starting", "standby", "active", "failing", "stopping"
STATES = (STARTING, STANDBY, ACTIVE, FAILING, STOPPING)
_NO_LEASE: dict[str, t.Any] = {"fence": 0, "session": "", "problem": "", "summary": "", "numbers": {}}


@dataclass(frozen=True)
class AgentStatus:
    """The status at one moment; times in seconds since 1970. ``problem`` is the last failure, "" after a success."""

    agent: str
    name: str
    node: str
    started: float
    state: str = STARTING
    since: float = 0.0
    lease_key: str = ""
    fence: int = 0
    session: str = ""
    lease_terms: int = 0
    cycles: int = 0
    failures: int = 0
    failures_in_row: int = 0
    reloads: int = 0
    reload_problem: str = ""
    last_success: float = 0.0
    last_cycle_s: float = 0.0
    summary: str = ""
    problem: str = ""
    numbers: t.Mapping[str, float] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether the agent works while it is active, or waits for the lease on standby, without a current problem."""
        return self.state in (STANDBY, ACTIVE) and not self.problem

    @property
    def sentence(self) -> str:
        """The state, followed by the current problem or by the summary of the last cycle."""
        if self.problem:
            return f"{self.state}: {self.problem}"
        return f"{self.state}: {self.summary}" if self.summary and self.state == ACTIVE else self.state


class StatusTracker:
    """Holds the current AgentStatus and replaces it as a whole, from any thread.

    ``on_change`` is called, in the thread that made the change, when the state or the problem has changed.
    """

    def __init__(
        self,
        agent: str,
        name: str,
        node: str,
        on_change: t.Callable[[AgentStatus], None],
        clock: t.Callable[[], float] = time.time,
    ) -> None:
        now = clock()
        self._current = AgentStatus(agent, name, node, started=now, since=now)
        self._lock = threading.Lock()
        self._on_change = on_change
        self._clock = clock
        self._reporter: StatusReporter | None = None

    @property
    def current(self) -> AgentStatus:
        """The current status."""
        return self._current

    def configured(self, agent: str, name: str, lease_key: str) -> StatusReporter:
        """Begin with a configuration, the first or a new one, and return the reporter for its run loop.

        Reporters that were returned before are ignored from now on.
        """
        reporter = StatusReporter(self)
        self._change(STARTING, reporter, agent=agent, name=name, lease_key=lease_key, **_NO_LEASE)
        return reporter

    def reloaded(self) -> None:
        """Count a reload that succeeded."""
        self._change(None, reloads=self._current.reloads + 1, reload_problem="")

    def not_reloaded(self, problem: str) -> None:
        """Record why a reload failed."""
        self._change(None, reload_problem=problem)

    def stopping(self) -> None:
        """Record that the process is stopping."""
        self._change(STOPPING)

    def report(self, reporter: StatusReporter, state: str, change: t.Callable[[AgentStatus], dict[str, t.Any]]) -> None:
        """Apply the report of a run loop, unless another run loop has replaced it."""
        with self._lock:
            if reporter is not self._reporter:
                return
            before, after = self._replaced(state, change(self._current))
        self._notify(before, after)

    def _change(self, state: str | None, reporter: StatusReporter | None = None, **changes: t.Any) -> None:
        with self._lock:
            self._reporter = reporter or self._reporter
            before, after = self._replaced(state or self._current.state, changes)
        self._notify(before, after)

    def _replaced(self, state: str, changes: t.Mapping[str, t.Any]) -> tuple[AgentStatus, AgentStatus]:
        before = self._current
        since = self._clock() if state != before.state else before.since
        self._current = replace(before, state=state, since=since, **changes)
        return before, self._current

    def _notify(self, before: AgentStatus, after: AgentStatus) -> None:
        if (before.state, before.problem) != (after.state, after.problem):
            self._on_change(after)


class StatusReporter:
    """Reports the status of one run loop.

    A run loop that hangs while it is replaced may return much later; the tracker ignores its reporter by then.
    """

    def __init__(self, tracker: StatusTracker) -> None:
        self._tracker = tracker

    def standby(self) -> None:
        """Report that another instance holds the lease."""
        self._tracker.report(self, STANDBY, lambda _current: {**_NO_LEASE, "failures_in_row": 0})

    def active(self, fence: int, session: str) -> None:
        """Report that the lease was acquired: a new lease term."""
        changes = {"fence": fence, "session": session, "problem": "", "failures_in_row": 0}
        self._tracker.report(self, ACTIVE, lambda current: {**changes, "lease_terms": current.lease_terms + 1})

    def cycle_succeeded(self, result: CycleResult, seconds: float, now: float) -> None:
        """Report a successful cycle, how many seconds it took and when it ended."""
        changes = {
            "last_success": now,
            "last_cycle_s": seconds,
            "summary": result.summary,
            "numbers": dict(result.numbers),
            "problem": "",
            "failures_in_row": 0,
        }
        self._tracker.report(self, ACTIVE, lambda current: {**changes, "cycles": current.cycles + 1})

    def failed(self, problem: str, *, holding: bool) -> None:
        """Report a failure; while the lease is held (``holding``) the agent stays active."""

        def changes(current: AgentStatus) -> dict[str, t.Any]:
            counts = {"failures": current.failures + 1, "failures_in_row": current.failures_in_row + 1}
            return {"problem": problem, **counts, **({} if holding else {"fence": 0, "session": ""})}

        self._tracker.report(self, ACTIVE if holding else FAILING, changes)


def as_json(status: AgentStatus) -> dict[str, t.Any]:
    """Return the status as ``/status`` shows it."""
    return {
        "agent": status.agent,
        "name": status.name,
        "node": status.node,
        "version": VERSION,
        "state": status.state,
        "healthy": status.healthy,
        "since": timestamp(status.since),
        "started": timestamp(status.started),
        "lease": {"key": status.lease_key, "held": status.state == ACTIVE, "fence": status.fence},
        "lease_terms": status.lease_terms,
        "cycles": status.cycles,
        "failures": status.failures,
        "failures_in_row": status.failures_in_row,
        "reloads": status.reloads,
        "reload_problem": status.reload_problem,
        "last_success": timestamp(status.last_success) if status.last_success else None,
        "last_cycle_seconds": round(status.last_cycle_s, 3),
        "summary": status.summary,
        "problem": status.problem,
        "numbers": dict(status.numbers),
    }

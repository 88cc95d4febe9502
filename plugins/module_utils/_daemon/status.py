# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent knows of itself, for the endpoint, for Consul's checks, for systemd and for the log. Safe from any thread."""

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
    """One moment of an agent; times in seconds since 1970. ``problem`` is the last failure while it lasts."""

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
        """Whether the agent does what it is there for: the active one works, a standby waits for the lease."""
        return self.state in (STANDBY, ACTIVE) and not self.problem

    @property
    def sentence(self) -> str:
        """What a person reads first."""
        if self.problem:
            return f"{self.state}: {self.problem}"
        return f"{self.state}: {self.summary}" if self.summary and self.state == ACTIVE else self.state


class Status:
    """The current status, replaced as a whole. ``on_change`` hears of every new state or problem."""

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
        """The status as they are now."""
        return self._current

    def configured(self, agent: str, name: str, lease_key: str) -> StatusReporter:
        """A configuration is in force, the first or a new one; return how the loop under it speaks. Others fall silent."""
        reporter = StatusReporter(self)
        self._change(STARTING, reporter, agent=agent, name=name, lease_key=lease_key, **_NO_LEASE)
        return reporter

    def reloaded(self) -> None:
        """Count a configuration that was taken over while running."""
        self._change(None, reloads=self._current.reloads + 1, reload_problem="")

    def not_reloaded(self, problem: str) -> None:
        """A new configuration could not be taken over."""
        self._change(None, reload_problem=problem)

    def stopping(self) -> None:
        """The end has begun."""
        self._change(STOPPING)

    def say(self, reporter: StatusReporter, state: str, change: t.Callable[[AgentStatus], dict[str, t.Any]]) -> None:
        """Take what a loop says, unless another one has taken its place."""
        with self._lock:
            if reporter is not self._reporter:
                return
            before, after = self._replaced(state, change(self._current))
        self._publish(before, after)

    def _change(self, state: str | None, reporter: StatusReporter | None = None, **changes: t.Any) -> None:
        with self._lock:
            self._reporter = reporter or self._reporter
            before, after = self._replaced(state or self._current.state, changes)
        self._publish(before, after)

    def _replaced(self, state: str, changes: t.Mapping[str, t.Any]) -> tuple[AgentStatus, AgentStatus]:
        before = self._current
        since = self._clock() if state != before.state else before.since
        self._current = replace(before, state=state, since=since, **changes)
        return before, self._current

    def _publish(self, before: AgentStatus, after: AgentStatus) -> None:
        if (before.state, before.problem) != (after.state, after.problem):
            self._on_change(after)


class StatusReporter:
    """What the loop of one configuration says of itself. A loop that hangs while it is replaced may come back much later."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def standby(self) -> None:
        """Waiting for the lease."""
        self._status.say(self, STANDBY, lambda _known: {**_NO_LEASE, "failures_in_row": 0})

    def active(self, fence: int, session: str) -> None:
        """The lease was taken."""
        news = {"fence": fence, "session": session, "problem": "", "failures_in_row": 0}
        self._status.say(self, ACTIVE, lambda known: {**news, "lease_terms": known.lease_terms + 1})

    def worked(self, done: CycleResult, seconds: float, now: float) -> None:
        """A round ended well."""
        news = {
            "last_success": now,
            "last_cycle_s": seconds,
            "summary": done.summary,
            "numbers": dict(done.numbers),
            "problem": "",
            "failures_in_row": 0,
        }
        self._status.say(self, ACTIVE, lambda known: {**news, "cycles": known.cycles + 1})

    def failed(self, problem: str, *, holding: bool) -> None:
        """Something failed; the active one stays active while it holds the lease."""

        def news(known: AgentStatus) -> dict[str, t.Any]:
            counts = {"failures": known.failures + 1, "failures_in_row": known.failures_in_row + 1}
            return {"problem": problem, **counts, **({} if holding else {"fence": 0, "session": ""})}

        self._status.say(self, ACTIVE if holding else FAILING, news)


def as_json(status: AgentStatus) -> dict[str, t.Any]:
    """Return the status as /status shows them."""
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

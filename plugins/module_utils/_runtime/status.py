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
from .work import Round

STARTING, STANDBY, ACTIVE, FAILING, STOPPING = "starting", "standby", "active", "failing", "stopping"
STATES = (STARTING, STANDBY, ACTIVE, FAILING, STOPPING)


@dataclass(frozen=True)
class Facts:
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
    terms: int = 0
    rounds: int = 0
    failures: int = 0
    failures_in_row: int = 0
    reloads: int = 0
    last_success: float = 0.0
    last_round_s: float = 0.0
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
    """The current facts, replaced as a whole. ``on_change`` hears of every new state or problem."""

    def __init__(
        self,
        agent: str,
        name: str,
        node: str,
        on_change: t.Callable[[Facts], None],
        clock: t.Callable[[], float] = time.time,
    ) -> None:
        now = clock()
        self._facts = Facts(agent, name, node, started=now, since=now)
        self._lock = threading.Lock()
        self._on_change = on_change
        self._clock = clock

    @property
    def facts(self) -> Facts:
        """The facts as they are now."""
        return self._facts

    def configured(self, agent: str, name: str, lease_key: str) -> None:
        """A configuration is in force, the first or a new one."""
        self._update(agent=agent, name=name, lease_key=lease_key)

    def reloaded(self) -> None:
        """Count a configuration that was taken over while running."""
        self._update(reloads=self._facts.reloads + 1)

    def standby(self) -> None:
        """Waiting for the lease."""
        self._enter(STANDBY, fence=0, session="", problem="", numbers={}, summary="", failures_in_row=0)

    def active(self, fence: int, session: str) -> None:
        """The lease was taken."""
        self._enter(ACTIVE, fence=fence, session=session, problem="", terms=self._facts.terms + 1, failures_in_row=0)

    def worked(self, done: Round, seconds: float) -> None:
        """A round ended well."""
        self._update(
            rounds=self._facts.rounds + 1,
            last_success=self._clock(),
            last_round_s=seconds,
            summary=done.summary,
            numbers=dict(done.numbers),
            problem="",
            failures_in_row=0,
        )

    def failed(self, problem: str, *, holding: bool) -> None:
        """Something failed; the active one stays active while it holds the lease."""
        known = self._facts
        self._enter(
            ACTIVE if holding else FAILING,
            problem=problem,
            failures=known.failures + 1,
            failures_in_row=known.failures_in_row + 1,
            **({} if holding else {"fence": 0, "session": ""}),
        )

    def stopping(self) -> None:
        """The end has begun."""
        self._enter(STOPPING)

    def _enter(self, state: str, **changes: t.Any) -> None:
        since = self._clock() if state != self._facts.state else self._facts.since
        self._update(state=state, since=since, **changes)

    def _update(self, **changes: t.Any) -> None:
        with self._lock:
            before, self._facts = self._facts, replace(self._facts, **changes)
            after = self._facts
        if (before.state, before.problem) != (after.state, after.problem):
            self._on_change(after)


def as_json(facts: Facts) -> dict[str, t.Any]:
    """Return the facts as /status shows them."""
    return {
        "agent": facts.agent,
        "name": facts.name,
        "node": facts.node,
        "version": VERSION,
        "state": facts.state,
        "healthy": facts.healthy,
        "since": timestamp(facts.since),
        "started": timestamp(facts.started),
        "lease": {"key": facts.lease_key, "held": facts.state == ACTIVE, "fence": facts.fence},
        "terms": facts.terms,
        "rounds": facts.rounds,
        "failures": facts.failures,
        "failures_in_row": facts.failures_in_row,
        "reloads": facts.reloads,
        "last_success": timestamp(facts.last_success) if facts.last_success else None,
        "last_round_seconds": round(facts.last_round_s, 3),
        "summary": facts.summary,
        "problem": facts.problem,
        "numbers": dict(facts.numbers),
    }

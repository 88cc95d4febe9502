# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of an agent as plain data: the process, its jobs, its leases, and what follows from them.

The page, /status, the metrics, Consul's checks and systemd's status line are views of one AgentStatus.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

# States of an agent.
STARTING, STANDBY, ACTIVE, FAILING, STOPPING = "starting", "standby", "active", "failing", "stopping"
STATES = (STARTING, STANDBY, ACTIVE, FAILING, STOPPING)

# States of a job, besides starting and failing: waiting for its lease, running.
WAITING, RUNNING = "waiting", "running"
JOB_STATES = (STARTING, WAITING, RUNNING, FAILING)

# What an instance knows of a lease: it holds it, another instance holds it, or Consul cannot tell.
Standing = t.Literal["holder", "standby", "unknown"]
REQUIRED, PREFERRED = "required", "preferred"


class Sample(t.NamedTuple):
    """One number that a job reports, for the metrics and the page. ``labels`` tell samples of one name apart."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


Numbers = t.Union[t.Mapping[str, float], t.Sequence[Sample]]


def samples_of(numbers: Numbers) -> tuple[Sample, ...]:
    """Return numbers as samples, sorted; a mapping gives samples without labels."""
    if isinstance(numbers, t.Mapping):
        return tuple(Sample(name, value) for name, value in sorted(numbers.items()))
    return tuple(sorted(numbers))


@dataclass(frozen=True)
class LeaseStatus:
    """One lease. ``fence``, ``session`` are those of the current term; times in seconds since 1970."""

    name: str
    key: str
    policy: str
    standing: Standing = "unknown"
    since: float = 0.0
    fence: int = 0
    session: str = ""
    terms: int = 0
    failures: int = 0
    failures_in_row: int = 0
    problem: str = ""

    @property
    def is_held(self) -> bool:
        """Whether this instance holds it."""
        return self.standing == "holder"


@dataclass(frozen=True)
class JobStatus:
    """One job. ``lease`` is the name of the lease that it requires, "" if it runs on every instance.

    ``problem`` is the last failure, "" after a success. ``is_critical``: what the job is for is not achieved any more.
    """

    name: str
    lease: str = ""
    state: str = STARTING
    since: float = 0.0
    cycles: int = 0
    failures: int = 0
    failures_in_row: int = 0
    last_success: float = 0.0
    last_cycle_s: float = 0.0
    summary: str = ""
    problem: str = ""
    is_critical: bool = False
    numbers: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class AgentStatus:
    """The status of an agent at one moment; times in seconds since 1970.

    ``stalled`` names the jobs that gave no sign of life for longer than their limit. ``section`` is what the agent itself shows.
    ``registration_problem`` is why Consul denies the entry in the catalog.
    """

    agent: str
    name: str
    node: str
    started: float
    since: float = 0.0
    jobs: t.Mapping[str, JobStatus] = field(default_factory=dict)
    leases: t.Mapping[str, LeaseStatus] = field(default_factory=dict)
    is_stopping: bool = False
    reloads: int = 0
    reload_problem: str = ""
    registration_problem: str = ""
    stalled: tuple[str, ...] = ()
    section: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """The state of the whole.

        With a required lease it follows that lease. With none, the agent works on every instance: it is active unless all its
        jobs fail, and standby only while another instance holds the preferred lease.
        """
        if self.is_stopping:
            return STOPPING
        required = [lease for lease in self.leases.values() if lease.policy == REQUIRED]
        if required:
            return _state_of_leases(required)
        states = {job.state for job in self.jobs.values()}
        if states == {FAILING}:
            return FAILING
        if STARTING in states or not states:
            return STARTING
        is_standby = any(lease.standing == "standby" for lease in self.leases.values())
        return STANDBY if is_standby and not self.holds_lease else ACTIVE

    @property
    def holds_lease(self) -> bool:
        """Whether this instance holds one of its leases."""
        return any(lease.is_held for lease in self.leases.values())

    @property
    def is_primary(self) -> bool:
        """Whether this is the instance of its name that holds the lease, or needs none."""
        return self.holds_lease or (not self.leases and self.state == ACTIVE)

    @property
    def problem(self) -> str:
        """The first current problem of a lease, a job or the registration, a critical one before others; of several jobs it names
        the one concerned.
        """
        problems = [lease.problem for lease in self.leases.values() if lease.problem]
        several = len(self.jobs) > 1
        failing = sorted((job for job in self.jobs.values() if job.problem), key=_critical_first)
        problems += [f"{job.name}: {job.problem}" if several else job.problem for job in failing]
        return problems[0] if problems else self.registration_problem

    @property
    def is_critical(self) -> bool:
        """Whether the agent fails as a whole, or a job does not achieve any more what it is for."""
        return self.state == FAILING or any(job.is_critical for job in self.jobs.values())

    @property
    def summary(self) -> str:
        """What the jobs report."""
        parts = [job.summary for job in self.jobs.values() if job.summary]
        return "; ".join(parts)

    @property
    def is_alive(self) -> bool:
        """Whether every job gives signs of life. Consul has no part in this."""
        return not self.stalled

    @property
    def healthy(self) -> bool:
        """Whether the agent works while it is active, or waits for the lease on standby, without a current problem."""
        return self.state in (STANDBY, ACTIVE) and not self.problem

    @property
    def sentence(self) -> str:
        """The state, followed by the current problem or by what the jobs report."""
        state = self.state
        if self.problem:
            return f"{state}: {self.problem}"
        return f"{state}: {self.summary}" if self.summary and state == ACTIVE else state

    @property
    def main_lease(self) -> LeaseStatus | None:
        """The first lease, None if there is none."""
        return next(iter(self.leases.values()), None)

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers of all jobs that have no labels, by name."""
        return {one.name: one.value for job in self.jobs.values() for one in job.numbers if not one.labels}

    @property
    def cycles(self) -> int:
        """Successful cycles of all jobs."""
        return sum(job.cycles for job in self.jobs.values())

    @property
    def failures(self) -> int:
        """Failures of all jobs and leases."""
        return sum(one.failures for one in self._entries)

    @property
    def failures_in_row(self) -> int:
        """The longest current row of failures of a job or lease."""
        return max((one.failures_in_row for one in self._entries), default=0)

    @property
    def _entries(self) -> list[JobStatus | LeaseStatus]:
        return [*self.jobs.values(), *self.leases.values()]

    @property
    def last_success(self) -> float:
        """End of the last successful cycle of any job, 0 before the first."""
        return max((job.last_success for job in self.jobs.values()), default=0.0)

    @property
    def last_cycle_s(self) -> float:
        """Duration of the last cycle of the job that finished last."""
        jobs = sorted(self.jobs.values(), key=lambda job: job.last_success)
        return jobs[-1].last_cycle_s if jobs else 0.0


def _critical_first(job: JobStatus) -> bool:
    return not job.is_critical


def _state_of_leases(leases: t.Sequence[LeaseStatus]) -> str:
    if any(lease.is_held for lease in leases):
        return ACTIVE
    if any(lease.problem for lease in leases):
        return FAILING
    return STANDBY if any(lease.standing == "standby" for lease in leases) else STARTING

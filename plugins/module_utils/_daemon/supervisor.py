# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts, watches and stops the leases and jobs of an agent; a new configuration touches only what it changes."""

from __future__ import annotations

import logging
import time
import typing as t
from dataclasses import dataclass

from .._consul import endpoint
from .agent_type import Plan
from .job import Job, Surroundings
from .job_runner import JobRunner
from .lease import Lease, LeaseSpec, Pace

log = logging.getLogger("consulops")


@dataclass(frozen=True)
class Limits:
    """How long stopping may take, in seconds.

    Jobs have ``grace_s`` to return, then their requests are cut and they have ``cut_s``. Then leases have ``release_s``.
    """

    grace_s: float
    cut_s: float
    release_s: float


class _Identity(t.NamedTuple):
    """All that a running job depends on. While it is the same, the job goes on."""

    agent: str
    name: str
    job: Job
    connections: tuple[endpoint.Endpoint, ...]
    lease: LeaseSpec | None


class Supervisor:
    """The leases and jobs that run now. ``on_end`` is called, from any thread, when a thread has ended."""

    def __init__(self, pace: Pace, on_end: t.Callable[[], None]) -> None:
        self._pace = pace
        self._on_end = on_end
        self._leases: dict[str, Lease] = {}
        self._runners: list[tuple[_Identity, JobRunner]] = []  # settings need not be hashable

    @property
    def is_broken(self) -> bool:
        """Whether a thread ended by a bug."""
        return any(one.is_broken for _identity, one in self._runners) or any(
            one.is_broken for one in self._leases.values()
        )

    def stalled(self) -> tuple[str, ...]:
        """Return the names of the jobs that give no sign of life."""
        return tuple(sorted(runner.job.name for _identity, runner in self._runners if runner.is_stalled))

    def apply(self, surroundings: Surroundings, plan: Plan, limits: Limits) -> None:
        """Make what runs equal to a plan: stop what it no longer has, leave alone what is the same, start the rest."""
        specs = {spec.name: spec for spec in plan.leases}
        wanted = [_identity(surroundings, job, specs) for job in plan.jobs]
        old_runners = [runner for identity, runner in self._runners if identity not in wanted]
        old_leases = [lease for key, lease in self._leases.items() if specs.get(key) != lease.spec]
        _stop(old_runners, old_leases, limits)
        self._runners = [(identity, runner) for identity, runner in self._runners if identity in wanted]
        self._leases = {key: lease for key, lease in self._leases.items() if lease not in old_leases}
        new_leases = []
        for spec in plan.leases:
            if spec.name not in self._leases:
                self._leases[spec.name] = Lease(spec, surroundings.board, self._pace, surroundings.state, self._on_end)
                new_leases.append(self._leases[spec.name])
        kept = [identity for identity, _runner in self._runners]
        new_runners = []
        for identity, job in zip(wanted, plan.jobs):
            if identity not in kept:
                lease = self._leases[job.lease] if job.lease else None
                new_runners.append(JobRunner(job, surroundings, lease, self._pace, self._on_end))
                self._runners.append((identity, new_runners[-1]))
        for new_lease in new_leases:
            new_lease.start()
        for new_runner in new_runners:
            new_runner.start()

    def stop(self, limits: Limits) -> bool:
        """Stop everything. Returns whether every lease was released; if not, Consul does not answer and the TTL ends it."""
        return _stop([runner for _identity, runner in self._runners], list(self._leases.values()), limits)


def _identity(surroundings: Surroundings, job: Job, leases: t.Mapping[str, LeaseSpec]) -> _Identity:
    connections = tuple(surroundings.connections[one] for one in job.connections)
    lease = leases[job.lease] if job.lease else None
    return _Identity(surroundings.agent, surroundings.name, job, connections, lease)


def _stop(runners: t.Sequence[JobRunner], leases: t.Sequence[Lease], limits: Limits) -> bool:
    """Stop jobs and then leases, within the limits. Returns whether every lease was released."""
    for runner in runners:
        runner.request_stop()
    until = time.monotonic() + limits.grace_s
    late = [runner for runner in runners if not runner.join(until)]
    for runner in late:
        log.debug("the requests of the job %s are cut", runner.job.name)
        runner.cut()
    until = time.monotonic() + limits.cut_s
    for runner in late:
        if not runner.join(until):
            log.warning("the job %s did not end in time", runner.job.name)
    for runner in runners:
        runner.forget()
    for lease in leases:
        lease.request_stop()
    until = time.monotonic() + limits.release_s
    released = [lease.join(until) for lease in leases]
    for lease in leases:
        lease.cut()
    return all(released)

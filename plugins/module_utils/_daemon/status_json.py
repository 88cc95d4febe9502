# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of an agent as ``/status`` shows it."""

from __future__ import annotations

import typing as t

from .._consul.units import timestamp
from .._consul.version import VERSION
from .status import AgentStatus, JobStatus, LeaseStatus


def as_json(status: AgentStatus) -> dict[str, t.Any]:
    """Return the status as plain data: the whole first, then every job and lease, then the agent's own section."""
    lease = status.main_lease
    return {
        "agent": status.agent,
        "name": status.name,
        "node": status.node,
        "version": VERSION,
        "state": status.state,
        "healthy": status.healthy,
        "alive": status.is_alive,
        "since": timestamp(status.since),
        "started": timestamp(status.started),
        "lease": {"key": lease.key, "held": lease.is_held, "fence": lease.fence} if lease else None,
        "lease_terms": lease.terms if lease else 0,
        "cycles": status.cycles,
        "failures": status.failures,
        "failures_in_row": status.failures_in_row,
        "reloads": status.reloads,
        "reload_problem": status.reload_problem,
        "registration_problem": status.registration_problem,
        "last_success": _time(status.last_success),
        "last_cycle_seconds": round(status.last_cycle_s, 3),
        "summary": status.summary,
        "problem": status.problem,
        "numbers": status.numbers,
        "jobs": {job.name: _job(job, stalled=job.name in status.stalled) for job in status.jobs.values()},
        "leases": {one.name: _lease(one) for one in status.leases.values()},
        "section": dict(status.section),
    }


def _job(job: JobStatus, *, stalled: bool) -> dict[str, t.Any]:
    return {
        "state": job.state,
        "since": timestamp(job.since),
        "lease": job.lease,
        "stalled": stalled,
        "cycles": job.cycles,
        "failures": job.failures,
        "failures_in_row": job.failures_in_row,
        "last_success": _time(job.last_success),
        "last_cycle_seconds": round(job.last_cycle_s, 3),
        "summary": job.summary,
        "problem": job.problem,
        "numbers": [{"name": one.name, "value": one.value, "labels": dict(one.labels)} for one in job.numbers],
    }


def _lease(lease: LeaseStatus) -> dict[str, t.Any]:
    return {
        "key": lease.key,
        "policy": lease.policy,
        "standing": lease.standing,
        "since": timestamp(lease.since),
        "fence": lease.fence,
        "terms": lease.terms,
        "failures": lease.failures,
        "problem": lease.problem,
    }


def _time(moment: float) -> str | None:
    return timestamp(moment) if moment else None

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job that publishes the status of one policy in its datacenter, also while the policy's own job is busy with a long upload."""

from __future__ import annotations

import time
import typing as t

from ..._consul.errors import PermissionDenied
from ..._consul.reserved_keys import SNAPSHOT_ROOT
from ..._consul.snapshot_status import DestinationRecord, RehearsalRecord, SnapshotStatus, StatusPlace
from ..._consul.txn import Operation
from ..._daemon.job import Context
from ..._daemon.status_publisher import REFRESH_S, StatusPublisher
from .config import ONE, PolicyConfig
from .memory import Memory
from .policy_job import connection_of
from .policy_status import DestinationStatus, PolicyStatus
from .rehearsal_status import RehearsalStatus

LONGEST_PROBLEM = 1000  # characters; a value of Consul's holds 512 KB


def published_status(status: PolicyStatus, now: float) -> SnapshotStatus:
    """Return what is published of a policy's status at ``now`` (Unix seconds)."""
    return SnapshotStatus(
        datacenter=status.datacenter,
        placement=status.placement,
        objective_s=status.objective_s,
        newest=None if status.newest is None else float(int(status.newest)),
        newest_size=status.newest_size,
        newest_index=status.newest_index,
        next_at=float(int(status.next_at)),
        missed=status.missed,
        doubled=status.doubled,
        given_up=status.given_up,
        problem=(status.attempt_problem or "; ".join(status.warnings))[:LONGEST_PROBLEM],
        destinations={one.name: _record(one) for one in status.destinations},
        rehearsal=None if status.rehearsal is None else _rehearsal(status.rehearsal, now),
    )


def run_publisher(context: Context, config: PolicyConfig) -> None:
    """Publish the status of a policy until ``context.stopping``. What fails is tried again, and reported if Consul denies it."""
    memory: Memory = context.memory
    is_one = config.placement == ONE
    place = StatusPlace(context.name, config.name, "" if is_one else context.node)
    publisher: StatusPublisher[SnapshotStatus] = StatusPublisher(
        context.client(connection_of(config.name)),
        str(place),
        lambda found, now: found.operation(place, now),
        _guard(context, config) if is_one else None,
    )
    changes = memory.changes(config.name)
    while not context.stopping.is_set():
        changes.clear()
        status = memory.policy(config.name)
        wait_s = REFRESH_S
        if status is not None:
            found = published_status(status, time.time())
            if publisher.due_in_s(found, time.monotonic()) <= 0.0:
                publisher.publish(found)
                report_denied(context, publisher)
            wait_s = publisher.due_in_s(found, time.monotonic())
        context.wait_for(changes, wait_s)


def _guard(context: Context, config: PolicyConfig) -> Operation | None:
    """Return the operation that checks the lease, None where the lease is in another datacenter than the status."""
    lease_at, status_at = context.lease.spec.endpoint, config.endpoint
    is_same = (lease_at.base_url, lease_at.datacenter) == (status_at.base_url, status_at.datacenter)
    return context.lease.guard if is_same else None


def report_denied(context: Context, publisher: StatusPublisher[t.Any]) -> None:
    """Report a denied right. Anything else passes, and is a problem of the policy's own job too."""
    failure = publisher.failure
    if isinstance(failure, PermissionDenied):
        advice = f'The token needs key_prefix "{SNAPSHOT_ROOT}{context.name}/" {{ policy = "write" }}.'
        context.report("", problem=f"The status cannot be published: {failure.with_advice(after=advice)}")
    elif failure is None:
        context.report("")


def _record(one: DestinationStatus) -> DestinationRecord:
    return DestinationRecord(
        place=one.place,
        snapshots=one.count,
        size=one.size,
        newest=None if one.newest is None else float(int(one.newest)),
        waiting=one.waiting,
        damage=one.damage[:LONGEST_PROBLEM],
        problem=one.problem[:LONGEST_PROBLEM],
    )


def _rehearsal(one: RehearsalStatus, now: float) -> RehearsalRecord:
    return RehearsalRecord(
        at=None if one.at is None else float(int(one.at)),
        is_ok=one.is_ok,
        took_s=round(one.took_s, 3),
        is_overdue=one.is_overdue(now),
        error=one.error,
    )

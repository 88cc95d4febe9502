# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job that publishes what waits on an instance without the lease of a policy, also while it is being delivered."""

from __future__ import annotations

import time
from dataclasses import replace

from ..._consul import errors, kv
from ..._consul.client import Client
from ..._consul.snapshot_waiting import WaitingPlace, WaitingSnapshots
from ..._daemon.job import Context
from ..._daemon.status_publisher import EVERY_S, REFRESH_S, StatusPublisher
from .config import PolicyConfig
from .memory import Memory
from .policy_job import connection_of
from .publish_job import LONGEST_PROBLEM, report_denied


def run_standby_publisher(context: Context, config: PolicyConfig) -> None:
    """Publish what waits until ``context.stopping``, and delete the key when nothing does. What fails is tried again."""
    memory: Memory = context.memory
    place = WaitingPlace(context.name, config.name, context.node)
    client = context.client(connection_of(config.name))
    publisher: StatusPublisher[WaitingSnapshots] = StatusPublisher(
        client, f"{place} on {place.node}", lambda found, now: found.operation(place, now)
    )
    changes = memory.waiting_changes(config.name)
    is_published: bool | None = None  # not known
    while not context.stopping.is_set():
        changes.clear()
        found = memory.waiting(config.name)
        wait_s = REFRESH_S
        if is_published is None:
            is_published = _is_there(client, place.key)
            wait_s = EVERY_S
        if found is not None and (found.snapshots or is_published):
            shown = _shortened(found)
            if publisher.due_in_s(shown, time.monotonic()) <= 0.0:
                publisher.publish(shown)
                report_denied(context, publisher)
                if publisher.failure is None:
                    is_published = bool(shown.snapshots)
            wait_s = publisher.due_in_s(shown, time.monotonic())
        context.wait_for(changes, wait_s)


def _is_there(client: Client, key: str) -> bool | None:
    """Return whether something was published before this process began, None if Consul does not say."""
    try:
        return bool(kv.read_key(client, key).entries)
    except errors.ConsulError:
        return None


def _shortened(found: WaitingSnapshots) -> WaitingSnapshots:
    return replace(
        found,
        destinations={
            name: replace(one, problem=one.problem[:LONGEST_PROBLEM]) for name, one in found.destinations.items()
        },
    )

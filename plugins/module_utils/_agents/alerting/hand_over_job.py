# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job of a holder that cannot work: it gives the lease to another instance that is alive, and stays away longer each time."""

from __future__ import annotations

import time

from ..._consul.answer_fields import to_rows, to_text
from ..._consul.client import Client
from ..._consul.retry import BackOff
from ..._consul.units import count_of
from ..._daemon.job import Context
from ..._daemon.lease import Lease
from .hand_over import LOCAL_TYPES, HandOver
from .memory import Memory, wait_until_configured

CHECK_EVERY_S = 2.0
FIRST_AWAY_S, LONGEST_AWAY_S = 60.0, 3600.0  # if all instances fail alike, the lease must not go round and round
WELL_AFTER_S = 3600.0  # without a hand-over, the next one counts as the first


def hand_over(context: Context) -> None:
    """Give the lease up when this host is the cause of failures. Raises a ConsulError."""
    memory: Memory = context.memory
    if not wait_until_configured(context):
        return
    client, lease = context.client(), context.lease
    judge = HandOver(lease.step_down_after_failures)
    away = BackOff(FIRST_AWAY_S, LONGEST_AWAY_S)
    last = float("-inf")
    while context.pause(CHECK_EVERY_S):
        receivers = memory.config.receivers.values()
        remote = {one.name for one in receivers if one.type not in LOCAL_TYPES}
        reason = judge.reason(memory.delivery.health(), remote, memory.disk_problem)
        if not reason or not lease.held:
            context.report("this host is no cause of failures" if not reason else "another instance may send")
            continue
        others = _others(client, lease)
        if not others:
            context.report("this host may be the cause of failures, and no other instance is alive")
            continue
        now = time.monotonic()
        if now - last > WELL_AFTER_S:
            away.reset()
        last = now
        context.report(f"the lease is given to one of {count_of(others, 'other instance')}")
        lease.give_up(reason, away.next_s())


def _others(client: Client, lease: Lease) -> int:
    """Return how many other instances contend for the lease: each has a session, which ends with it."""
    rows = client.get("/v1/session/list", partial_ok=True).parse(to_rows)
    return sum(row.get("Name") == lease.spec.session_name and to_text(row["ID"]) != lease.session for row in rows)

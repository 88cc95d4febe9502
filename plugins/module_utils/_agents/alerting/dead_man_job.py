# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job that sends the dead-man ping while this instance does its work."""

from __future__ import annotations

import typing as t

from ..._daemon.job import Context
from .dead_man import DeadMan
from .memory import Memory, Reading

FRESH_READINGS = 3.0  # times of reconcile_every that a reading may be old
FRESH_S = 30.0  # in addition: a Consul that hangs takes its time-outs


def send_pings(context: Context, make: t.Callable[[], DeadMan]) -> None:
    """Ping while this instance does its work, until the job must stop. Raises DeliveryFailed, and InvalidOption if it cannot be made."""
    memory: Memory = context.memory
    dead_man = make()
    while context.pause(dead_man.every_s if memory.pinged else 1.0):
        if context.lease.standing == "standby":
            context.report("on standby: the holder of the lease sends pings")
        elif memory.configured.is_set() and is_working(memory):
            dead_man.ping()
            memory.pinged = True
            context.report("pinged")
        else:
            context.report_problem("no ping is sent, because no datacenter could be read lately.")


def is_working(memory: Memory) -> bool:
    """Return whether every datacenter was judged lately, and one of them answered."""
    now, limit_s = memory.clock.time(), FRESH_READINGS * memory.config.reconcile_every_s + FRESH_S
    readings = list(memory.readings.values())
    return all(now - one.at < limit_s for one in readings) and any(map(_is_good, readings))


def _is_good(reading: Reading) -> bool:
    return not reading.observation.unreachable

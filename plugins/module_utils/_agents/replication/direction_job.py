# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job that ends the right of the opposite set to write at our source, as soon as an agent is configured so, and keeps it ended."""

from __future__ import annotations

import time

from ..._daemon.job import Context
from ..._replication.direction_taker import DirectionTaker, SetDirection
from .direction_term import LOOK_EVERY_S
from .set_job import source_connection


def run_direction(context: Context, config: SetDirection) -> None:
    """Record the direction at the source, and look at it from time to time, until ``context.stopping``. Raises an Error."""
    taker = DirectionTaker(config, context.client(source_connection(config.name)), None)
    while not context.stopping.is_set():
        outcome = taker.end_the_other(time.time())
        if outcome.lost_to is None:
            context.report(f"{config.reverses} is reversed by {config.name}, generation {config.generation}")
        else:
            context.report(
                f"{config.name} is not active",
                problem=f"{config.name} is frozen by {config.lost_text(outcome.lost_to)}",
            )
        context.pause(LOOK_EVERY_S)

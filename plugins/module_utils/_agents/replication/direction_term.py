# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a set may write by its direction, looked at from time to time and when something suggests that it changed."""

from __future__ import annotations

import time

from ..._consul.client import Client
from ..._consul.txn import Operation
from ..._replication.direction_taker import DirectionTaker, SetDirection

LOOK_EVERY_S = 30.0  # a restore of the source can take the record away that ends the other direction


class DirectionTerm:
    """The direction of one set in one lease term. ``lost`` says who has it, None while this set may write.

    ``guard`` is the operation that checks the lease.
    """

    def __init__(self, config: SetDirection, source: Client, destination: Client, guard: Operation) -> None:
        self._config = config
        self._taker = DirectionTaker(config, source, destination, guard)
        self._look_at = 0.0  # monotonic
        self.lost: str | None = None

    def look_again(self) -> None:
        """Look at it the next time, however long ago the last look was."""
        self._look_at = 0.0

    def due_in_s(self, now: float) -> float:
        """Return in how many seconds it is time to look; ``now`` is monotonic."""
        return max(0.0, self._look_at - now)

    def take(self) -> Operation | None:
        """Take the direction if it is time to look, and return what each batch checks from now on, None if it is not time.

        Raises a ConsulError; nothing may be written then.
        """
        if self.due_in_s(time.monotonic()):
            return None
        outcome = self._taker.take(time.time())
        self.lost = None if outcome.lost_to is None else self._config.lost_text(outcome.lost_to)
        self._look_at = time.monotonic() + LOOK_EVERY_S
        return self._config.in_effect(outcome.at_index)

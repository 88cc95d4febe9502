# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Patience with a Consul that is electing a leader or being restarted: what is worth trying again, and when."""

from __future__ import annotations

import random
import time
import typing as t

from . import errors

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0

Result = t.TypeVar("Result")


def is_passing(error: errors.ConsulError) -> bool:
    """Tell whether a failure can pass by itself: no leader, no answer, a server error, a rate limit."""
    if isinstance(error, errors.TLSFailed):
        return False
    return isinstance(error, (errors.NoLeader, errors.Unreachable, errors.ServerFailed, errors.TooManyRequests))


class Patience:
    """Tries again for at most ``within_s`` seconds after each first failure, with growing pauses and jitter."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s

    def persist(self, work: t.Callable[[], Result]) -> Result:
        """Return what the work gives. It must be safe to repeat. Raises its error when time is up or it will not pass."""
        deadline, pause_s = 0.0, FIRST_PAUSE_S
        while True:
            try:
                return work()
            except errors.ConsulError as error:
                now = time.monotonic()
                deadline = deadline or now + self._within_s
                if not is_passing(error) or now + pause_s > deadline:
                    raise
                time.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

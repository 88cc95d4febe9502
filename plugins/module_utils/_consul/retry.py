# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Retries while Consul elects a leader or restarts: which failures are worth another try, and when."""

from __future__ import annotations

import logging
import random
import time
import typing as t

from . import errors

log = logging.getLogger("consulops")

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0

Result = t.TypeVar("Result")


def is_transient(error: errors.ConsulError) -> bool:
    """Return whether a failure can pass by itself: no leader, no response, a server error, a rate limit."""
    if isinstance(error, errors.TLSFailed):
        return False
    return isinstance(error, (errors.NoLeader, errors.Unreachable, errors.ServerFailed, errors.TooManyRequests))


class BackOff:
    """Pauses that double from ``first_s`` to ``longest_s``; jitter of up to half of each keeps many clients from returning at once."""

    def __init__(
        self, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S, chance: random.Random | None = None
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s
        self._chance = chance or random.Random()

    def next_s(self) -> float:
        """Return the next pause in seconds."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return pause_s * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again with the first pause, after a success."""
        self._next_s = self._first_s


class RetryPolicy:
    """Repeats work that failed for at most ``within_s`` seconds after its first failure, with growing pauses and jitter.

    No pause is longer than ``longest_pause_s``. ``can_pass`` says which failures are worth another try.
    """

    def __init__(
        self,
        within_s: float,
        longest_pause_s: float = LONGEST_PAUSE_S,
        can_pass: t.Callable[[errors.ConsulError], bool] = is_transient,
    ) -> None:
        self._within_s = within_s
        self._longest_pause_s = longest_pause_s
        self._can_pass = can_pass

    def run(self, work: t.Callable[[], Result]) -> Result:
        """Return the result of ``work``, which must be safe to repeat. Raises its error when time is up or it is not transient."""
        deadline, back_off = 0.0, BackOff(longest_s=self._longest_pause_s)
        while True:
            try:
                return work()
            except errors.ConsulError as error:
                now = time.monotonic()
                deadline = deadline or now + self._within_s
                pause_s = back_off.next_s()
                if not self._can_pass(error) or now + pause_s > deadline:
                    raise
                log.debug("trying again in %.2f s: %s", pause_s, error)
                time.sleep(pause_s)

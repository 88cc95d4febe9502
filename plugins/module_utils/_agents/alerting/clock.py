# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clock of the agent: Unix seconds that never go back, whatever happens to the clock of the host."""

from __future__ import annotations

import time


class Clock:
    """Tells the time of the host at the start, plus the time since then, which includes that in which the host slept.

    A clock that is set back would let an incident end before it began; one that is set forward would end every waiting time at once.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def time(self) -> float:
        """Return Unix seconds."""
        return self._offset_s + time.clock_gettime(time.CLOCK_BOOTTIME)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A window of the day in which drills may run. Pure."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from .._consul.errors import InvalidOption

_WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9]) *- *([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True)
class TimeWindow:
    """From one minute of the day to another, in UTC; the end is not in it. It may go over midnight."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> TimeWindow:
        """Return the window that a text like ``22:00-05:30`` says. Raises InvalidOption."""
        found = _WINDOW.fullmatch(text.strip())
        if found is None:
            raise InvalidOption(f"window {text!r} is not one: write for example 22:00-05:30, in UTC.")
        start_hour, start_minute, end_hour, end_minute = map(int, found.groups())
        return cls(60 * start_hour + start_minute, 60 * end_hour + end_minute)

    def __str__(self) -> str:
        return f"{self.start // 60:02d}:{self.start % 60:02d}-{self.end // 60:02d}:{self.end % 60:02d} UTC"

    def contains(self, now_s: float) -> bool:
        """Return whether a Unix time is in the window; one that ends when it begins is the whole day."""
        now = time.gmtime(now_s)
        minute = 60 * now.tm_hour + now.tm_min
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

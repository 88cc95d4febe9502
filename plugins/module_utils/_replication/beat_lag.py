# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long it takes until a write at the source is noticed, by the beats that were written and seen. Pure."""

from __future__ import annotations

import threading


class BeatLag:
    """All times are monotonic seconds. All methods may be called from any thread.

    ``lag_s`` is None until a beat was seen.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._lag_s: float | None = None
        self._unseen: dict[int, float] = {}  # beats that were written and not seen, with the time before each was sent
        self._unanswered_since: float | None = None
        self._seen = (0, 0.0)  # the highest index that was seen, and when

    def written(self, index: int, sent: float) -> None:
        """Note a beat that was written with this index, after it was ``sent``."""
        with self._mutex:
            self._unanswered_since = None
            self._unseen[index] = sent
            self._judge()

    def not_answered(self, sent: float) -> None:
        """Note that the source did not answer a beat that was ``sent``: nothing is known of it since then."""
        with self._mutex:
            if self._unanswered_since is None:
                self._unanswered_since = sent

    def seen(self, index: int, now: float) -> None:
        """Note that the watch answered with this index."""
        with self._mutex:
            if index < self._seen[0]:  # the source was restored or rebuilt: what was written is gone
                self._unseen.clear()
            if index != self._seen[0]:
                self._seen = (index, now)
            self._judge()

    def forget(self) -> None:
        """Measure nothing until the next beat: beats cannot be written."""
        with self._mutex:
            self._lag_s = self._unanswered_since = None
            self._unseen.clear()

    def lag_s(self, now: float) -> float | None:
        """Return how long the last beat took, or how long the oldest unseen one waits if that is longer."""
        with self._mutex:
            since = self._waiting_since()
            waiting_s = 0.0 if since is None else max(0.0, now - since)
            return None if self._lag_s is None and since is None else max(self._lag_s or 0.0, waiting_s)

    def waiting_since(self) -> float | None:
        """Return when the oldest beat was sent that is not seen or not answered, None if there is none."""
        with self._mutex:
            return self._waiting_since()

    def _waiting_since(self) -> float | None:
        times = list(self._unseen.values())
        if self._unanswered_since is not None:
            times.append(self._unanswered_since)
        return min(times, default=None)

    def _judge(self) -> None:
        index, at = self._seen
        for beat in [beat for beat in self._unseen if beat <= index]:
            # A beat that was seen before its index was known arrived then.
            self._lag_s = max(0.0, at - self._unseen.pop(beat))

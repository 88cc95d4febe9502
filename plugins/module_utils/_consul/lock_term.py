# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a contender for a lock knows about one of its sessions: the pure part of lock.py, without threads or requests."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """A term goes from contending to held to lost or ended, or from contending directly to one of the last two."""

    CONTENDING = "contending"
    HELD = "held"
    LOST = "lost"  # Consul took the session or the key away
    ENDED = "ended"  # this contender gave it back


class Term:
    """One session, and whether it holds the key. All times are given, in seconds of one monotonic clock.

    Consul ends a session no earlier than a TTL after it was created or last renewed, so it is good until a TTL after the
    last successful renewal was *sent*: also right after this process was frozen.
    """

    def __init__(self, session: str, ttl_s: float, created_at: float) -> None:
        self.session = session
        self.fence = 0
        self.state = State.CONTENDING
        self.good_until = created_at + ttl_s
        self._ttl_s = ttl_s

    @property
    def is_over(self) -> bool:
        """Whether this session will never hold the key again."""
        return self.state in (State.LOST, State.ENDED)

    def is_held(self, now: float) -> bool:
        """Return whether the session holds the key, as far as it is known."""
        return self.state is State.HELD and not self.is_expired(now)

    def is_expired(self, now: float) -> bool:
        """Return whether Consul may have ended the session because it was not renewed."""
        return now >= self.good_until

    def mark_renewed(self, sent_at: float) -> None:
        """Note a successful renewal that was sent at that time."""
        if not self.is_over:
            self.good_until = max(self.good_until, sent_at + self._ttl_s)

    def mark_acquired(self, fence: int, now: float) -> bool:
        """Note that the session took the key at the index ``fence``; return whether it is held now.

        It is not when the session was lost or ended meanwhile, or may have expired: then nothing is noted.
        """
        if self.state is State.CONTENDING and not self.is_expired(now):
            self.state, self.fence = State.HELD, fence
        return self.is_held(now)

    def mark_lost(self) -> bool:
        """Note that the session or the key is gone; return whether a lock that was held is lost by that."""
        was_held = self.state is State.HELD
        if not self.is_over:
            self.state = State.LOST
        return was_held

    def end(self) -> None:
        """Note that it is given back: what is heard of it later is not a loss."""
        self.state = State.ENDED

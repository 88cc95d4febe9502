# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of the messages that are due this instance sends: all as the holder of the lease, none on standby. Pure.

While Consul cannot tell who the holder is, each instance sends what concerns the cluster itself, after a time that depends on its
position among the instances: a monitor that is silent when quorum is lost is useless. The messages have the same keys on all of them.
"""

from __future__ import annotations

import typing as t

from ..._alerting.registry import RULE_GROUPS
from ..._daemon.status import Standing
from .notification import Notification
from .own_findings import DELIVERY_FAILED

STEP_S = 5.0  # between one position and the next
SETTLE_S = 3.0  # after a start or a takeover the standing is unknown for a moment, and nothing is wrong

# These are judged without a leader too.
CLUSTER_RULES = frozenset(rule.name for group in RULE_GROUPS if not group.needs_leader for rule in group.rules)


class SendGate:
    """Remembers since when the standing is unknown, and since when each message waits."""

    def __init__(self) -> None:
        self._unknown_since: float | None = None
        self._waiting: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def note(self, standing: Standing, now: float) -> None:
        """Note the standing at ``now``, so that ``is_unknown`` and ``is_settled`` answer."""
        if standing != "unknown":
            self._unknown_since, self._waiting = None, {}
        elif self._unknown_since is None:
            self._unknown_since = now

    @property
    def is_unknown(self) -> bool:
        """Whether the standing was unknown when it was noted last."""
        return self._unknown_since is not None

    def is_settled(self, now: float) -> bool:
        """Return whether the standing has been unknown for longer than a start or a takeover takes."""
        return self._unknown_since is not None and now - self._unknown_since >= SETTLE_S

    def select(
        self, due: t.Sequence[Notification], standing: Standing, position: int, now: float
    ) -> list[Notification]:
        """Return the messages to send at ``now`` (Unix seconds). ``position`` is that of this instance, from 0."""
        self.note(standing, now)
        if standing != "unknown":
            return list(due) if standing == "holder" else [one for one in due if is_own(one)]
        since = {_place(one): self._waiting.get(_place(one), now) for one in due}
        self._waiting = since
        return [one for one in due if is_own(one) or (_concerns_cluster(one) and now >= self._due(one, position))]

    def _due(self, notification: Notification, position: int) -> float:
        settled = t.cast("float", self._unknown_since) + SETTLE_S
        return max(settled, self._waiting[_place(notification)]) + position * STEP_S


def _place(notification: Notification) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return what stays the same when more alerts join a message."""
    return notification.receiver, tuple(sorted(notification.group.items()))


def is_foreign(notification: Notification) -> bool:
    """Return whether another instance can send a message too."""
    return not is_own(notification)


def is_own(notification: Notification) -> bool:
    """Return whether a message is about this instance, which no other one can send."""
    return all(alert.rule == DELIVERY_FAILED for alert in notification.alerts)


def _concerns_cluster(notification: Notification) -> bool:
    return any(alert.rule in CLUSTER_RULES for alert in notification.alerts)

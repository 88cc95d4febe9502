# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerts that fire, for receivers that show a state to others instead of sending messages: Alertmanager and Prometheus."""

from __future__ import annotations

import threading
import typing as t

from ..notification import FIRING, Alert, Notification


class FiringAlerts:
    """What fires, by the alerts' keys. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alerts: dict[str, Alert] = {}

    def note(self, notification: Notification) -> list[tuple[Alert, Alert | None]]:
        """Take over a notification. Return its alerts, each with what was known of it before."""
        with self._lock:
            result = []
            for alert in (*notification.alerts, *notification.still_firing):
                result.append((alert, self._alerts.get(alert.key)))
                if alert.status == FIRING:
                    self._alerts[alert.key] = alert
                else:
                    self._alerts.pop(alert.key, None)
            return result

    def restore(self, firing: t.Iterable[Alert]) -> None:
        """Take over alerts that fire; what is known already stays."""
        with self._lock:
            for alert in firing:
                self._alerts.setdefault(alert.key, alert)

    def all(self) -> list[Alert]:
        """Return the alerts, in the order of their keys."""
        with self._lock:
            return [self._alerts[key] for key in sorted(self._alerts)]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A notification as Alertmanager sends it to webhooks, version 4, for services that know that form.

Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from ..notification import FIRING, RESOLVED, Alert, Notification
from .message_fields import ZERO_TIME, annotations_of, label_name, labels_of, rfc3339


def content(notification: Notification) -> dict[str, t.Any]:
    """Return the body of the request. As in Alertmanager, the alerts of the group that fire besides are among them."""
    alerts = [*notification.alerts, *notification.still_firing]
    group = {label_name(name): value for name, value in notification.group.items()}
    pairs = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(group.items()))
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{pairs}}}",
        "truncatedAlerts": 0,
        "status": FIRING if any(alert.status == FIRING for alert in alerts) else RESOLVED,
        "receiver": notification.receiver,
        "groupLabels": group,
        "commonLabels": _common([labels_of(alert) for alert in alerts]),
        "commonAnnotations": _common([annotations_of(alert) for alert in alerts]),
        "externalURL": f"http://{notification.instance or 'localhost'}",
        "alerts": [_alert(alert) for alert in alerts],
    }


def _alert(alert: Alert) -> dict[str, t.Any]:
    labels = labels_of(alert)
    fingerprint = hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]
    return {
        "status": alert.status,
        "labels": labels,
        "annotations": annotations_of(alert),
        "startsAt": rfc3339(alert.since),
        "endsAt": ZERO_TIME if alert.ended is None else rfc3339(alert.ended),
        "generatorURL": "",
        "fingerprint": fingerprint,
    }


def _common(mappings: list[dict[str, str]]) -> dict[str, str]:
    if not mappings:
        return {}
    first, *others = mappings
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}

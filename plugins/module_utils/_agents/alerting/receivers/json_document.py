# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A notification as the JSON document that webhooks, programs and files get."""

from __future__ import annotations

import typing as t

from ..notification import Notification
from ..notification_json import notification_to_json
from .message_fields import incident_key
from .receiver import Rendered

VERSION = 1


def content(notification: Notification, words: Rendered) -> dict[str, t.Any]:
    """Return the document: ``version``, the fields of the notification, its ``severity``, ``subject`` and ``text``.

    Each alert also has ``incident``, the key that other services of this collection use for it. Times are Unix seconds.
    """
    data = notification_to_json(notification)
    for name, alerts in (("alerts", notification.alerts), ("still_firing", notification.still_firing)):
        for entry, alert in zip(data[name], alerts):
            entry["incident"] = incident_key(alert)
    return {
        "version": VERSION,
        **data,
        "severity": notification.severity,
        "subject": words.subject,
        "text": words.text,
    }

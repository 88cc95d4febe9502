# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ilert: one alert there for each alert here, by the events API.

Options: ``integration_key_file`` or ``integration_key_credential`` (of an alert source); ``url``; ``timeout``, ``proxy`` and TLS
options.
Source: https://docs.ilert.com/developer-docs/rest-api/api-reference/events
"""

from __future__ import annotations

import typing as t

from ..notification import FIRING, Alert, Notification
from .http_client import Request, checked_url, json_request
from .http_receiver import IncidentReceiver
from .message_fields import description_of, details_of, incident_key, shortened
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext

SUMMARY_LIMIT = 255

SPEC = spec(HTTP, secret_spec("integration_key"), url={"type": "str", "default": "https://api.ilert.com/api/events"})


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Ilert(Options(name, options, context), context)


class Ilert(IncidentReceiver):
    """Opens and resolves alerts; a warning has low priority and is an alert all the same."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context, options.secret("integration_key"))
        self._url = checked_url(options["url"], options.path("url"))

    def request_for(self, alert: Alert, notification: Notification, key: str) -> Request:
        """Return the event of an alert."""
        event: dict[str, t.Any] = {
            "integrationKey": key,
            "eventType": "ALERT" if alert.status == FIRING else "RESOLVE",
            "alertKey": incident_key(alert),
            "summary": shortened(alert.summary, SUMMARY_LIMIT),
        }
        if alert.status == FIRING:
            event["details"] = description_of(alert)
            event["priority"] = "HIGH" if alert.severity == "critical" else "LOW"
            event["customDetails"] = details_of(alert)
        return json_request(self._url, event, secrets=(key,))

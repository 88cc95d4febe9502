# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PagerDuty: one incident for each alert by the Events API v2.

Options: ``routing_key_file`` or ``routing_key_credential`` (the integration key); ``url``
(``https://events.eu.pagerduty.com/v2/enqueue`` in the EU); ``client_url`` (a page that the incident links to); ``timeout``,
``proxy`` and TLS options.
Source: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
"""

from __future__ import annotations

import typing as t

from ..notification import FIRING, Alert, Notification
from .http_client import Request, checked_url, json_request
from .http_receiver import IncidentReceiver
from .message_fields import details_of, incident_key, rfc3339, shortened
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext

SUMMARY_LIMIT = 1024  # characters
SEVERITIES = {"critical": "critical", "warning": "warning"}

SPEC = spec(
    HTTP,
    secret_spec("routing_key"),
    url={"type": "str", "default": "https://events.pagerduty.com/v2/enqueue"},
    client_url={"type": "str"},
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return PagerDuty(Options(name, options, context), context)


class PagerDuty(IncidentReceiver):
    """Triggers and resolves incidents."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context, options.secret("routing_key"))
        self._url = checked_url(options["url"], options.path("url"))
        self._client_url = options["client_url"]

    def request_for(self, alert: Alert, notification: Notification, key: str) -> Request:
        """Return the event of an alert."""
        event: dict[str, t.Any] = {"routing_key": key, "dedup_key": incident_key(alert), "event_action": "resolve"}
        if alert.status == FIRING:
            payload = {
                "summary": shortened(alert.summary, SUMMARY_LIMIT),
                "source": alert.node or alert.datacenter,
                "severity": SEVERITIES.get(alert.severity, "error"),
                "timestamp": rfc3339(alert.since),
                "component": alert.service or alert.check,
                "group": alert.datacenter,
                "class": alert.rule,
                "custom_details": details_of(alert),
            }
            event["event_action"] = "trigger"
            event["payload"] = {name: value for name, value in payload.items() if value}
            event["client"] = f"consulops on {self.instance}"
            if self._client_url:
                event["client_url"] = self._client_url
        return json_request(self._url, event, secrets=(key,))

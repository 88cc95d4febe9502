# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Splunk On-Call (VictorOps): one incident for each alert by the REST endpoint integration.

Options: ``url_file`` or ``url_credential`` (the address that the integration shows, a secret, without the routing key at its
end); ``routing_key``; ``timeout``, ``proxy`` and TLS options.
Source:
https://help.splunk.com/en/splunk-enterprise/alert-and-respond/splunk-on-call/integrations-with-splunk-on-call/rest-endpoint-integration-for-splunk-on-call
"""

from __future__ import annotations

import typing as t
from urllib.parse import quote

from ..notification import FIRING, Alert, Notification
from .http_client import Request, checked_url, json_request
from .http_receiver import IncidentReceiver
from .message_fields import description_of, details_of, incident_key, shortened_bytes
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext

MESSAGE_LIMIT_BYTES = 20_480
MESSAGE_TYPES = {"critical": "CRITICAL", "warning": "WARNING"}

SPEC = spec(HTTP, secret_spec("url"), routing_key={"type": "str", "required": True})


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return VictorOps(Options(name, options, context), context)


class VictorOps(IncidentReceiver):
    """Opens and recovers incidents."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context, options.secret("url"))
        self._where = options.path("url_file")
        checked_url(self.key.read(), self._where)
        self._routing_key = options["routing_key"]

    def request_for(self, alert: Alert, notification: Notification, key: str) -> Request:
        """Return the message of an alert; its address is the secret."""
        fires = alert.status == FIRING
        content = {
            **{name: value for name, value in details_of(alert).items() if name not in ("summary", "description")},
            "message_type": MESSAGE_TYPES.get(alert.severity, "CRITICAL") if fires else "RECOVERY",
            "entity_id": incident_key(alert),
            "entity_display_name": f"{alert.place}: {alert.summary}",
            "state_message": shortened_bytes(description_of(alert), MESSAGE_LIMIT_BYTES),
            "state_start_time": int(alert.since if fires or alert.ended is None else alert.ended),
            "monitoring_tool": f"consulops on {self.instance}",
            "hostname": alert.node,
        }
        url = f"{checked_url(key, self._where).rstrip('/')}/{quote(self._routing_key, safe='')}"
        return json_request(url, content, url_is_secret=True)

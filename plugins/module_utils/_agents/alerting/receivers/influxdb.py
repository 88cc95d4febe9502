# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""InfluxDB 2: one point for each alert, when it begins and when it ends, by the write API.

Options: ``url``; ``org``, ``bucket``, ``token_file`` or ``token_credential``; ``measurement``; ``timeout``, ``proxy`` and TLS
options.
Tags: rule, severity, datacenter, node, service, check. Fields: firing (1 or 0), summary, output, since (seconds).
Source: https://docs.influxdata.com/influxdb/v2/api/#operation/PostWrite and …/reference/syntax/line-protocol/
"""

from __future__ import annotations

import typing as t
from urllib.parse import urlencode

from ..notification import FIRING, Alert, Notification
from .http_client import Request, checked_url
from .http_receiver import HttpReceiver
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext

SPEC = spec(
    HTTP,
    secret_spec("token"),
    url={"type": "str", "required": True},
    org={"type": "str", "required": True},
    bucket={"type": "str", "required": True},
    measurement={"type": "str", "default": "consul_alerts"},
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return InfluxDB(Options(name, options, context), context)


class InfluxDB(HttpReceiver):
    """Writes points."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context)
        self._token = options.secret("token")
        base = checked_url(options["url"], options.path("url")).rstrip("/")
        query = urlencode({"org": options["org"], "bucket": options["bucket"], "precision": "ns"})
        self._url = f"{base}/api/v2/write?{query}"
        self._measurement = options["measurement"]
        if not self._measurement or self._measurement.startswith("_"):
            raise options.invalid("measurement", "a name is needed that does not begin with an underscore.")

    def send(self, notification: Notification) -> None:
        """Write one point for each alert of the notification. Written twice, a point is the same."""
        token = self._token.read()
        body = "\n".join(self._point(alert, notification) for alert in notification.alerts)
        headers = {"Authorization": f"Token {token}", "Content-Type": "text/plain; charset=utf-8"}
        self.http.send(Request(self._url, body.encode("utf-8", "replace"), headers, secrets=(token,)))

    def _point(self, alert: Alert, notification: Notification) -> str:
        tags = {
            "rule": alert.rule,
            "severity": alert.severity,
            "datacenter": alert.datacenter,
            "node": alert.node,
            "service": alert.service,
            "check": alert.check,
        }
        fires = alert.status == FIRING
        fields = {
            "firing": "1i" if fires else "0i",
            "since": f"{int(alert.since)}i",
            "summary": _quoted(alert.summary),
            "output": _quoted(alert.output),
        }
        time = notification.time if fires or alert.ended is None else alert.ended
        head = ",".join(
            [
                _escaped(self._measurement, ", "),
                # A tag without a value makes InfluxDB refuse the point.
                *(f"{name}={text}" for name, value in tags.items() if (text := _escaped(value, ",= "))),
            ]
        )
        return f"{head} {','.join(f'{name}={value}' for name, value in fields.items())} {int(time * 1000)}000000"


def _escaped(text: str, special: str) -> str:
    """Return a measurement or tag value; line breaks cannot be escaped, and a backslash at the end would escape what follows."""
    text = " ".join(text.split())
    for character in special:
        text = text.replace(character, f"\\{character}")
    return f"{text}_" if text.endswith("\\") else text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

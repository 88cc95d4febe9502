# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What receivers that speak HTTP have in common: one client, a secret or address that is read for every message, a stop that cuts."""

from __future__ import annotations

import typing as t

from ..notification import Alert, Notification
from .http_client import HttpClient, Request, checked_url, json_request
from .options import Options, Secret
from .parts import Parts
from .receiver import Receiver, ReceiverContext


class HttpReceiver(Receiver):
    """A receiver with an HTTP client and the words of its notifications."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        self.http = HttpClient(options)
        self.render = context.render
        self.instance = context.instance

    @property
    def answer(self) -> str:
        """The status and the text of the last answer."""
        return self.http.last_answer

    def abort(self) -> None:
        """Cut the request that is being sent."""
        self.http.abort()


class SecretUrl:
    """An address that is a secret, as the incoming webhooks of chat services are: ``url_file`` or ``url_credential``."""

    def __init__(self, options: Options) -> None:
        self._secret = options.secret("url")
        self._where = options.path("url_file")
        self.read()

    def read(self) -> str:
        """Return the address. Raises InvalidOption."""
        return checked_url(self._secret.read(), self._where)

    def json_request(self, content: t.Any) -> Request:
        """Return a POST of JSON to the address."""
        return json_request(self.read(), content, url_is_secret=True)


class IncidentReceiver(HttpReceiver):
    """A service that has one incident for each alert, opened and closed by its key.

    An alert that the service refuses for ever does not keep the others from it.
    """

    def __init__(self, options: Options, context: ReceiverContext, key: Secret) -> None:
        super().__init__(options, context)
        self.key = key
        self._parts = Parts()

    def send(self, notification: Notification) -> None:
        """Send one request for each alert."""
        key = self.key.read()
        parts: dict[str, t.Callable[[], object]] = {
            alert.episode: lambda alert=alert: self.http.send(self.request_for(alert, notification, key))  # type: ignore[misc]
            for alert in notification.alerts
        }
        self._parts.send_each(notification, parts)

    def request_for(self, alert: Alert, notification: Notification, key: str) -> Request:
        """Return the request that opens, updates or closes the incident of an alert."""
        raise NotImplementedError

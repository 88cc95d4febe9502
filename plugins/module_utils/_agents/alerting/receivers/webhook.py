# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Webhook: one HTTP request for each notification.

Options: ``url``, or ``url_file`` or ``url_credential`` if the address is a secret; ``method`` (POST, PUT or PATCH); ``format``:
``json`` (the notification as this collection describes it), ``alertmanager-v4`` (what Alertmanager sends to its webhooks), or
``text`` (the text of the receiver's template as it is, of type ``content_type``); ``headers``, ``username`` with
``password_file`` or ``password_credential``, ``bearer_token_file`` or ``bearer_token_credential``; ``timeout``, ``proxy`` and TLS
options.
Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..notification import Notification
from . import alertmanager_webhook, json_document
from .authentication import AUTHENTICATION, Authentication
from .http_client import Request, checked_url, json_request
from .http_receiver import HttpReceiver, SecretUrl
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext

SPEC = spec(
    HTTP,
    secret_spec("url"),
    AUTHENTICATION,
    url={"type": "str"},
    method={"type": "str", "default": "POST", "choices": ["POST", "PUT", "PATCH"]},
    format={"type": "str", "default": "json", "choices": ["json", "alertmanager-v4", "text"]},
    content_type={"type": "str", "default": "text/plain; charset=utf-8"},
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Webhook(Options(name, options, context), context)


class Webhook(HttpReceiver):
    """Sends notifications as JSON or text."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context)
        self._secret_url = None if options["url"] else SecretUrl(options)
        if options["url"] and options.optional_secret("url"):
            raise options.invalid("url", "url_file or url_credential is given too: give one of them.")
        self._url = checked_url(options["url"], options.path("url")) if options["url"] else ""
        self._authentication = Authentication(options)
        self._authentication.headers()
        self._method = options["method"]
        self._format = options["format"]
        self._content_type = options["content_type"]
        if not self._content_type.isprintable() or not self._content_type.isascii():
            raise options.invalid("content_type", "this is not a media type.")

    def send(self, notification: Notification) -> None:
        """Send one request."""
        headers, secrets = self._authentication.headers()
        request = self._request(notification, self._secret_url.read() if self._secret_url else self._url)
        self.http.send(
            dataclasses.replace(
                request,
                method=self._method,
                headers={**request.headers, **headers},
                secrets=secrets,
                url_is_secret=self._secret_url is not None,
            )
        )

    def _request(self, notification: Notification, url: str) -> Request:
        if self._format == "alertmanager-v4":
            return json_request(url, alertmanager_webhook.content(notification))
        words = self.render(notification)
        if self._format == "text":
            return Request(url, words.text.encode("utf-8", "replace"), {"Content-Type": self._content_type})
        return json_request(url, json_document.content(notification, words))

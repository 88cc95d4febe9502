# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dead-man ping: a request that a service outside expects regularly, and raises an alarm without.

Source: https://healthchecks.io/docs/http_api/
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..._config.validation import Spec
from ..._consul.errors import InvalidOption
from .receivers.http_client import HttpClient, Request, checked_url
from .receivers.http_receiver import SecretUrl
from .receivers.options import HTTP, Options, secret_spec
from .receivers.receiver import ReceiverContext

SPEC: Spec = {
    **HTTP,
    **secret_spec("url"),
    "url": {"type": "str"},
    "method": {"type": "str", "default": "GET", "choices": ["GET", "POST", "HEAD"]},
    "every": {"type": "str", "default": "60s"},
    "timeout": {"type": "str", "default": "10s"},
}


class DeadMan:
    """Sends the ping. Construction raises InvalidOption that begins with ``place``."""

    def __init__(self, values: t.Mapping[str, t.Any], environ: t.Mapping[str, str], place: str) -> None:
        options = Options("", values, ReceiverContext(_no_words, environ=environ), place)
        self.every_s = options.duration_s("every")
        if self.every_s < 1:
            raise options.invalid("every", "it is less than one second.")
        self._method = values["method"]
        self._secret_url = None if options["url"] else SecretUrl(options)
        if options["url"] and options.optional_secret("url"):
            raise options.invalid("url", "url_file or url_credential is given too: give one of them.")
        self._url = checked_url(options["url"], options.path("url")) if options["url"] else ""
        self._http = HttpClient(options)

    def ping(self) -> None:
        """Send one request. Raises DeliveryFailed."""
        secret = self._secret_url
        request = Request(secret.read() if secret else self._url, b"", method=self._method)
        self._http.send(dataclasses.replace(request, url_is_secret=secret is not None))

    def abort(self) -> None:
        """Cut the request that is being sent."""
        self._http.abort()


def _no_words(_notification: object) -> t.Any:
    raise InvalidOption("a ping has no words")

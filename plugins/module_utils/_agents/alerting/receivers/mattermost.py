# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mattermost: one message by an incoming webhook.

Options: ``url_file`` or ``url_credential`` (the webhook's address, a secret); ``channel``, ``username``, ``icon_url``,
``icon_emoji`` if the server allows to override them; ``timeout``, ``proxy`` and TLS options.
Source: https://developers.mattermost.com/integrate/webhooks/incoming/ and …/reference/message-attachments/
"""

from __future__ import annotations

import re
import typing as t

from ..notification import Notification
from .http_receiver import HttpReceiver, SecretUrl
from .message_fields import colour, shortened
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext

TEXT_LIMIT = 7000  # characters; an attachment may have 7,600 and is cut there
OVERRIDES = ("channel", "username", "icon_emoji", "icon_url")

SPEC = spec(HTTP, secret_spec("url"), **{name: {"type": "str"} for name in OVERRIDES})


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Mattermost(Options(name, options, context), context)


class Mattermost(HttpReceiver):
    """Posts an attachment with a coloured edge."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context)
        self._url = SecretUrl(options)
        self._overrides = {option: options[option] for option in OVERRIDES if options[option]}

    def send(self, notification: Notification) -> None:
        """Post one message."""
        words = self.render(notification)
        attachment = {
            "color": colour(notification),
            "fallback": words.subject,
            "title": words.subject,
            "text": without_mentions(shortened(words.text, TEXT_LIMIT)),
        }
        self.http.send(self._url.json_request({**self._overrides, "attachments": [attachment]}))


def without_mentions(text: str) -> str:
    """Return a text that mentions nobody: ``@channel`` in a check's output must not call everybody."""
    return re.sub(r"@(?=\w)", "@\N{ZERO WIDTH SPACE}", text)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Microsoft Teams: an adaptive card by a webhook of the Workflows app ("Post to a channel when a webhook request is received").

Options: ``url_file`` or ``url_credential`` (the workflow's address, a secret); ``timeout``, ``proxy`` and TLS options.
Source: https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
"""

from __future__ import annotations

import typing as t

from ..notification import Notification
from .http_receiver import HttpReceiver, SecretUrl
from .message_fields import AMBER, GREEN, RED, colour, shortened, shortened_bytes
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext

TEXT_LIMIT_BYTES = 12_000  # a message may have 28 KB, and JSON may make a text twice as long
SUBJECT_LIMIT = 250
STYLES = {RED: "attention", AMBER: "warning", GREEN: "good"}

SPEC = spec(HTTP, secret_spec("url"))


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Teams(Options(name, options, context), context)


class Teams(HttpReceiver):
    """Posts a card with a coloured title."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context)
        self._url = SecretUrl(options)

    def send(self, notification: Notification) -> None:
        """Post one card."""
        words = self.render(notification)
        title = {
            "type": "Container",
            "style": STYLES[colour(notification)],
            "bleed": True,
            "items": [_text(shortened(words.subject, SUBJECT_LIMIT), weight="Bolder", size="Medium")],
        }
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [title, _text(shortened_bytes(words.text, TEXT_LIMIT_BYTES), fontType="Monospace")],
            "msteams": {"width": "Full"},
        }
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        self.http.send(self._url.json_request({"type": "message", "attachments": [attachment]}))


def _text(text: str, **more: str) -> dict[str, t.Any]:
    # In the Markdown of cards one line break is a space.
    return {"type": "TextBlock", "text": text.replace("\n", "\n\n"), "wrap": True, **more}

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slack: one message by an incoming webhook.

Options: ``url_file`` or ``url_credential`` (the webhook's address, a secret); ``channel``, ``username``, ``icon_emoji`` and
``icon_url``, which only webhooks of custom integrations obey; ``timeout``, ``proxy`` and TLS options.
Source: https://api.slack.com/messaging/webhooks and https://api.slack.com/reference/messaging/attachments
"""

from __future__ import annotations

import typing as t

from ..notification import Notification
from .attachment import OVERRIDES, AttachmentReceiver
from .message_fields import colour, shortened
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext, Rendered

TEXT_LIMIT = 8000  # characters; Slack cuts longer texts of an attachment without saying so

SPEC = spec(HTTP, secret_spec("url"), OVERRIDES)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Slack(Options(name, options, context), context)


class Slack(AttachmentReceiver):
    """Posts attachments to Slack."""

    def attachment(self, notification: Notification, words: Rendered) -> dict[str, t.Any]:
        """Return the attachment."""
        return {
            "color": colour(notification),
            "fallback": escaped(words.subject),
            "title": escaped(words.subject),
            "text": escaped(shortened(words.text, TEXT_LIMIT)),
            "ts": int(notification.time),
        }


def escaped(text: str) -> str:
    """Return a text in which nothing is a link or a mention: a check's output must not call everybody in a channel.

    Source: https://api.slack.com/reference/surfaces/formatting#escaping
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

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
from .attachment import OVERRIDES, AttachmentReceiver
from .message_fields import colour, shortened
from .options import HTTP, Options, secret_spec, spec
from .receiver import Receiver, ReceiverContext, Rendered

TEXT_LIMIT = 7000  # characters; an attachment may have 7,600 and is cut there

SPEC = spec(HTTP, secret_spec("url"), OVERRIDES)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Mattermost(Options(name, options, context), context)


class Mattermost(AttachmentReceiver):
    """Posts attachments to Mattermost."""

    def attachment(self, notification: Notification, words: Rendered) -> dict[str, t.Any]:
        """Return the attachment."""
        return {
            "color": colour(notification),
            "fallback": words.subject,
            "title": words.subject,
            "text": without_mentions(shortened(words.text, TEXT_LIMIT)),
        }


def without_mentions(text: str) -> str:
    """Return a text that mentions nobody: ``@channel`` in a check's output must not call everybody."""
    return re.sub(r"@(?=\w)", "@\N{ZERO WIDTH SPACE}", text)

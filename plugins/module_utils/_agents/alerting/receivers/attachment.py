# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Slack and Mattermost have in common: one message by an incoming webhook, with an attachment that has a coloured edge."""

from __future__ import annotations

import typing as t

from ..notification import Notification
from .http_receiver import HttpReceiver, SecretUrl
from .options import Options
from .receiver import ReceiverContext, Rendered

OVERRIDES: dict[str, dict[str, t.Any]] = {
    name: {"type": "str"} for name in ("channel", "username", "icon_emoji", "icon_url")
}


class AttachmentReceiver(HttpReceiver):
    """Posts one attachment a notification."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context)
        self._url = SecretUrl(options)
        self._overrides = {option: options[option] for option in OVERRIDES if options[option]}

    def send(self, notification: Notification) -> None:
        """Post one message."""
        attachment = self.attachment(notification, self.render(notification))
        self.http.send(self._url.json_request({**self._overrides, "attachments": [attachment]}))

    def attachment(self, notification: Notification, words: Rendered) -> dict[str, t.Any]:
        """Return the attachment, with words in the form that the service wants."""
        raise NotImplementedError

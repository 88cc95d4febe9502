# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Apprise: any service that the library Apprise knows (over a hundred). Needs that library on the host.

Options: ``urls_file`` or ``urls_credential``: the addresses in Apprise's form, one a line; they hold secrets.
Apprise says only whether a service took the message, not why it did not; and it cannot be interrupted, so its own time-outs apply.
Source: https://github.com/caronc/apprise/wiki
"""

from __future__ import annotations

import hashlib
import typing as t

from ..notification import FIRING, Notification
from .optional_library import optional_library
from .options import Options, secret_spec, spec
from .parts import Parts
from .receiver import DeliveryFailed, Receiver, ReceiverContext

TYPES = {"critical": "failure", "warning": "warning"}

SPEC = spec(secret_spec("urls"))


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Apprise(Options(name, options, context), context)


class Apprise(Receiver):
    """Sends to each address by itself, so that one that fails is tried again without the others."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        self._library = optional_library("apprise", "apprise", options.path("type"))
        self._urls = options.secret("urls")
        self._render = context.render
        self._parts = Parts()
        for number, url in enumerate(self._urls.read_lines(), 1):
            if not self._library.Apprise().add(url):
                raise options.invalid("urls_file", f"Apprise does not understand the address in line {number}.")

    def send(self, notification: Notification) -> None:
        """Send to all addresses."""
        urls = self._urls.read_lines()
        parts = {
            hashlib.sha256(url.encode()).hexdigest(): self._sender(url, number, notification)
            for number, url in enumerate(urls, 1)
        }
        self._parts.send_each(notification, parts)

    def _sender(self, url: str, number: int, notification: Notification) -> t.Callable[[], None]:
        def send() -> None:
            words = self._render(notification)
            fires = any(alert.status == FIRING for alert in notification.alerts)
            service = self._library.Apprise()
            kind = TYPES.get(notification.severity, "failure") if fires else "success"
            if not service.add(url) or not service.notify(
                title=words.subject, body=words.text, notify_type=kind, body_format="text"
            ):
                raise DeliveryFailed(f"Apprise could not send to the address in line {number}.")

        return send

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every receiver is: a way to send one notification, the error that says why it failed, and what it is made with."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass, field

from ...._consul.errors import Error
from ..notification import Alert, Notification

LONGEST_RETRY_AFTER_S = 300.0  # a service that asks for a longer pause is asked again after this one


class DeliveryFailed(Error):
    """A notification was not delivered. One sentence: to whom, what the service said, what the reader can do.

    ``permanent`` means that the service will never accept this message, so that repeating it is of no use. A wrong key or
    address of the service is not permanent: somebody corrects it, and then the message is delivered. ``retry_after_s`` is the
    pause that the service asked for, 0 if it did not. ``partial`` goes with ``permanent``: the rest of the message was delivered, for
    example to the other addresses of a mail.
    """

    def __init__(
        self, message: str, permanent: bool = False, retry_after_s: float = 0.0, partial: bool = False
    ) -> None:
        super().__init__(message)
        self.partial = partial
        self.permanent = permanent
        self.retry_after_s = min(retry_after_s, LONGEST_RETRY_AFTER_S)


class Rendered(t.Protocol):
    """The words of a notification: a line, plain text, and HTML if its template has any."""

    @property
    def subject(self) -> str:
        """One line."""

    @property
    def text(self) -> str:
        """Plain text of several lines."""

    @property
    def html(self) -> str | None:
        """The same as HTML, or None."""


Renderer = t.Callable[[Notification], Rendered]


@dataclass(frozen=True)
class ReceiverContext:
    """What a receiver is made with, besides its options.

    ``render`` gives the words of a notification; ``instance`` is the name of this host; ``clock`` gives Unix seconds;
    ``environ`` has systemd's directory of credentials.
    """

    render: Renderer
    instance: str = ""
    clock: t.Callable[[], float] = time.time
    environ: t.Mapping[str, str] = field(default_factory=lambda: os.environ)


class Receiver:
    """A receiver with nothing to repeat and nothing to interrupt; each kind overrides what differs.

    ``send`` and ``repeat`` are called by one thread, ``abort`` and ``close`` by any.
    """

    repeat_every_s: float | None = None

    @property
    def answer(self) -> str:
        """What the service answered to the last message that it took, for people; "" if it says nothing."""
        return ""

    @property
    def problem(self) -> str:
        """Why nothing can be sent before somebody corrects it, for example a secret that is missing; "" if nothing is known."""
        return ""

    def send(self, notification: Notification) -> None:
        """Deliver one notification. Raises DeliveryFailed, or another Error, which counts as not permanent."""
        raise NotImplementedError

    def repeat(self) -> None:
        """Called every ``repeat_every_s`` seconds, for services that forget alerts that are not repeated. Raises an Error."""

    def restore(self, firing: t.Iterable[Alert]) -> None:
        """Take over the alerts that fire, after a start; for receivers that show a state instead of sending messages."""

    def abort(self) -> None:
        """Interrupt what is being sent, so that ``send`` fails at once. What is sent later is not affected."""

    def close(self) -> None:
        """Release what the receiver holds."""

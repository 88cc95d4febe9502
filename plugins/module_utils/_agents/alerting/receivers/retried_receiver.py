# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A receiver that could not be made, because a secret or a library is missing: it is made anew for each attempt to send."""

from __future__ import annotations

import threading
import typing as t

from ...._consul.errors import InvalidOption
from ..notification import Alert, Notification
from .receiver import Receiver


class RetriedReceiver(Receiver):
    """Stands for the receiver that ``make`` returns as soon as it can; until then sending raises its InvalidOption."""

    def __init__(self, make: t.Callable[[], Receiver]) -> None:
        self._make = make
        self._made: Receiver | None = None
        self._firing: tuple[Alert, ...] = ()
        self._mutex = threading.Lock()  # two threads may want to make it

    def send(self, notification: Notification) -> None:
        """Make the receiver if that is possible by now, and deliver. Raises an Error."""
        self._ready().send(notification)

    @property
    def problem(self) -> str:
        """Why it cannot be made now, "" once it is made."""
        try:
            self._ready()
        except InvalidOption as error:
            return str(error)
        return ""

    def _ready(self) -> Receiver:
        with self._mutex:
            if self._made is None:
                made = self._make()
                made.restore(self._firing)
                self.repeat_every_s = made.repeat_every_s
                self._made = made
            return self._made

    def repeat(self) -> None:
        """Repeat what the receiver repeats. Raises an Error."""
        if self._made is not None:
            self._made.repeat()

    def restore(self, firing: t.Iterable[Alert]) -> None:
        """Take over the alerts that fire."""
        self._firing = tuple(firing)
        if self._made is not None:
            self._made.restore(self._firing)

    def abort(self) -> None:
        """Interrupt what is being sent."""
        if self._made is not None:
            self._made.abort()

    def close(self) -> None:
        """Release what the receiver holds."""
        if self._made is not None:
            self._made.close()

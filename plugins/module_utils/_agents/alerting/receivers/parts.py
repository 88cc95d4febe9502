# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages that a service takes in several parts, one for each alert or address: what was taken is not sent again."""

from __future__ import annotations

import collections
import typing as t

from ..notification import Notification
from .receiver import DeliveryFailed

REMEMBERED = 100  # messages; after a restart a part may be sent twice


class Parts:
    """Remembers which parts of a message the service has dealt with, for the next attempt at the rest."""

    def __init__(self) -> None:
        self._dealt_with: collections.OrderedDict[str, dict[str, str]] = collections.OrderedDict()

    def of(self, notification: Notification) -> dict[str, str]:
        """Return the parts of a message that were dealt with: taken (empty), or refused for ever and why. Add to it."""
        found = self._dealt_with.setdefault(notification.id, {})
        self._dealt_with.move_to_end(notification.id)
        while len(self._dealt_with) > REMEMBERED:
            self._dealt_with.popitem(last=False)
        return found

    def send_each(self, notification: Notification, parts: t.Mapping[str, t.Callable[[], object]]) -> None:
        """Call what sends each part, unless it was dealt with in an earlier attempt.

        A part that the service will never accept does not keep the others from being sent. Raises DeliveryFailed: the first one
        that is not permanent at once, a permanent one at the end.
        """
        dealt_with = self.of(notification)
        for name, send in parts.items():
            if name in dealt_with:
                continue
            try:
                send()
                dealt_with[name] = ""
            except DeliveryFailed as error:
                if not error.permanent:
                    raise
                dealt_with[name] = str(error)
        refused = [problem for problem in dealt_with.values() if problem]
        if refused:
            more = f" ({len(refused)} of {len(parts)} parts were refused)" if len(parts) > 1 else ""
            raise DeliveryFailed(f"{refused[0].rstrip('.')}{more}.", permanent=True, partial=len(refused) < len(parts))

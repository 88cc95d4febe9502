# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads what the alerting agent sends to a webhook: the notification as JSON, of which a drill needs little. Pure."""

from __future__ import annotations

import json
import typing as t

FIRING, RESOLVED, REMINDER = "firing", "resolved", "reminder"
KINDS = (FIRING, RESOLVED, REMINDER)


class ReceivedAlert(t.NamedTuple):
    """An alert of a message. ``key`` is what is wrong, ``episode`` is one time that it was wrong; ``since`` is in Unix seconds."""

    key: str
    episode: str
    rule: str
    severity: str
    datacenter: str
    node: str
    check: str
    since: float


class AlertMessage(t.NamedTuple):
    """One message: whether its alerts fire, have ended, or fire still."""

    kind: str
    alerts: tuple[ReceivedAlert, ...]


def parse_message(body: bytes) -> AlertMessage:
    """Return the message. Raises ValueError for anything but a notification in the webhook's format ``json``."""
    try:
        document = json.loads(body)
        kind = document["kind"]
        alerts = tuple(_alert(one) for one in document["alerts"])
    except (LookupError, TypeError, ValueError, RecursionError):
        raise ValueError("this is not a notification in the webhook's format json") from None
    if kind not in KINDS:
        raise ValueError("kind is not one of " + ", ".join(KINDS))
    return AlertMessage(kind, alerts)


def _alert(given: t.Mapping[str, t.Any]) -> ReceivedAlert:
    def text(name: str, default: str | None = None) -> str:
        found = given[name] if default is None else given.get(name, default)
        if not isinstance(found, str):
            raise ValueError
        return found

    return ReceivedAlert(
        text("key"),
        text("episode"),
        text("rule"),
        text("severity", ""),
        text("datacenter", ""),
        text("node", ""),
        text("check", ""),
        float(given.get("since", 0)),
    )

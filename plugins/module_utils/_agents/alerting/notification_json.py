# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notifications as plain JSON data and back: what the spool keeps, and what programs and webhooks are given."""

from __future__ import annotations

import dataclasses
import typing as t

from .notification import Alert, Notification

_KINDS = ("firing", "resolved", "reminder")


class UnreadableNotification(ValueError):
    """Data that is not a notification; the message says which field is wrong."""


def alert_to_json(alert: Alert) -> dict[str, t.Any]:
    """Return an alert as JSON data."""
    result = {field.name: getattr(alert, field.name) for field in dataclasses.fields(alert)}
    return {
        **result,
        "tags": list(alert.tags),
        "node_meta": dict(alert.node_meta),
        "service_meta": dict(alert.service_meta),
    }


def notification_to_json(notification: Notification) -> dict[str, t.Any]:
    """Return a notification as JSON data."""
    result = {field.name: getattr(notification, field.name) for field in dataclasses.fields(notification)}
    return {
        **result,
        "alerts": [alert_to_json(alert) for alert in notification.alerts],
        "still_firing": [alert_to_json(alert) for alert in notification.still_firing],
        "group": dict(notification.group),
    }


def alert_from_json(data: t.Any) -> Alert:
    """Return the alert. Fields that are unknown here are ignored. Raises UnreadableNotification."""
    return Alert(
        **_fields(Alert, data, {"since": _number, "ended": _number_or_none, "tags": _texts, "flapping": _flag, **_META})
    )


def notification_from_json(data: t.Any) -> Notification:
    """Return the notification. Fields that are unknown here are ignored. Raises UnreadableNotification."""
    readers = {"alerts": _alerts, "still_firing": _alerts, "time": _number, "group": _mapping, "kind": _kind}
    return Notification(**_fields(Notification, data, readers))


def _fields(kind: type, data: t.Any, readers: t.Mapping[str, t.Callable[[t.Any], t.Any]]) -> dict[str, t.Any]:
    if not isinstance(data, dict):
        raise UnreadableNotification(f"{kind.__name__} is not an object")
    result = {}
    for field in dataclasses.fields(kind):
        if field.name in data:
            try:
                result[field.name] = readers.get(field.name, _text)(data[field.name])
            except TypeError:
                raise UnreadableNotification(f"{field.name} is of another type") from None
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UnreadableNotification(f"{field.name} is missing")
    return result


def _text(value: t.Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _kind(value: t.Any) -> str:
    if value not in _KINDS:
        raise TypeError
    return str(value)


def _flag(value: t.Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: t.Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return value


def _number_or_none(value: t.Any) -> float | None:
    return None if value is None else _number(value)


def _texts(value: t.Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(item) for item in value)


def _mapping(value: t.Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError
    return {name: _text(item) for name, item in value.items()}


def _alerts(value: t.Any) -> tuple[Alert, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(alert_from_json(item) for item in value)


_META: dict[str, t.Callable[[t.Any], t.Any]] = {"node_meta": _mapping, "service_meta": _mapping}

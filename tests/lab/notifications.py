# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notifications to send in tests, and a plain rendering of them."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import (
    Alert,
    Notification,
)

NOON = 1_790_000_000.0


@dataclasses.dataclass(frozen=True)
class Words:
    """A rendered notification."""

    subject: str
    text: str
    html: str | None = None


def render(notification: Notification) -> Words:
    """Name the alerts in one line, and describe each in a line of text."""
    states = ", ".join(f"{alert.status} {alert.place}" for alert in notification.alerts)
    lines = [f"{alert.severity}: {alert.summary} {alert.output}".strip() for alert in notification.alerts]
    return Words(f"[{notification.kind}] {states}", "\n".join(lines), "<p>" + "<br>".join(lines) + "</p>")


def alert(node: str = "web1", status: str = "firing", **fields: t.Any) -> Alert:
    """Return an alert of a service's check on a node."""
    ended = {"ended": NOON + 90, "reason": "recovered"} if status == "resolved" else {}
    given: dict[str, t.Any] = {
        "key": f"dc1/check_status/{node}/shop/http",
        "episode": f"dc1/check_status/{node}/shop/http@1790000000",
        "status": status,
        "severity": "critical",
        "rule": "check_status",
        "datacenter": "dc1",
        "summary": f"check http of shop on {node} is critical",
        "since": NOON,
        "node": node,
        "service": "shop",
        "check": "http",
        "output": "connection refused",
        "tags": ("blue", "v2"),
        "node_meta": {"team": "dba"},
        "service_meta": {"tier": "1"},
        **ended,
        **fields,
    }
    return Alert(**given)


def notification(*alerts: Alert, receiver: str = "ops", kind: t.Any = "firing", **fields: t.Any) -> Notification:
    """Return a notification of these alerts, or of one."""
    chosen = alerts or (alert(status="resolved" if kind == "resolved" else "firing"),)
    identity = fields.pop("id", f"{receiver}/{kind}/" + "+".join(one.node for one in chosen))
    group = {"datacenter": "dc1", "rule": "check_status"}
    return Notification(
        **{
            "id": identity,
            "receiver": receiver,
            "kind": kind,
            "alerts": chosen,
            "time": NOON + 5,
            "group": group,
            "instance": "monitor1",
            **fields,
        }
    )

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the alerting agent tells a receiver: a notification with its alerts. Plain data, the same on every instance."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

FIRING, RESOLVED = "firing", "resolved"
NotificationKind = t.Literal["firing", "resolved", "reminder"]


@dataclass(frozen=True)
class Alert:
    """One alert as receivers and templates see it. Times are Unix seconds.

    ``key`` identifies what is wrong (datacenter, rule, node, service, check); ``episode`` identifies one time that it was wrong, and
    is the key by which receivers recognise a repeated message. ``status`` is ``firing`` or ``resolved``; ``ended`` is None while it
    fires. ``reason`` says why it ended: ``recovered``, ``deregistered``, ``maintenance``. ``service`` is the ID of the service and
    ``check`` that of the check; their names are beside them. ``flapping``: it changes too often for each change to be reported.
    """

    key: str
    episode: str
    status: str
    severity: str
    rule: str
    datacenter: str
    summary: str
    since: float
    node: str = ""
    service: str = ""
    check: str = ""
    output: str = ""
    detail: str = ""
    advice: str = ""
    ended: float | None = None
    reason: str = ""
    tags: tuple[str, ...] = ()
    node_meta: t.Mapping[str, str] = field(default_factory=dict)
    service_meta: t.Mapping[str, str] = field(default_factory=dict)
    service_name: str = ""
    check_name: str = ""
    flapping: bool = False

    @property
    def place(self) -> str:
        """Where it is, for a reader: node, service and check as far as they are known, else the datacenter."""
        return "/".join(part for part in (self.node, self.service, self.check) if part) or self.datacenter


@dataclass(frozen=True)
class Notification:
    """One message for one receiver.

    ``id`` is the same on every instance that would send this message, so that whoever receives it twice can tell. ``alerts`` are
    those that the message is about; ``still_firing`` are the others of the same group that fire. ``group`` has the labels that the
    alerts of the group share. ``instance`` is the host that made it.
    """

    id: str
    receiver: str
    kind: NotificationKind
    alerts: tuple[Alert, ...]
    time: float
    group: t.Mapping[str, str] = field(default_factory=dict)
    still_firing: tuple[Alert, ...] = ()
    instance: str = ""

    @property
    def severity(self) -> str:
        """The worst severity of its alerts."""
        return "critical" if any(alert.severity == "critical" for alert in self.alerts) else "warning"

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Alerts as the fields of other services: labels, annotations, times, keys, texts within a limit. Pure."""

from __future__ import annotations

import datetime
import hashlib
import re
import typing as t

from ..notification import FIRING, Alert, Notification

RED, AMBER, GREEN = "#d63232", "#e8a317", "#2e9e4f"
ZERO_TIME = "0001-01-01T00:00:00Z"  # how Go, and so Alertmanager, writes a time that is not set


def incident_key(alert: Alert) -> str:
    """Return the key by which services recognise a time that something was wrong: letters and digits, the same on every instance."""
    return hashlib.sha256(alert.episode.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def rfc3339(seconds: float) -> str:
    """Return a time in UTC with milliseconds: ``2026-11-22T03:00:00.000Z``."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def shortened(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters; an ellipsis shows that something is missing."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shortened_bytes(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` bytes in UTF-8; an ellipsis shows that something is missing."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode("utf-8")
    return data[: limit - 3].decode("utf-8", "ignore") + "…"


def colour(notification: Notification) -> str:
    """Return the colour of a message: green when nothing of it fires, else by severity."""
    firing = [alert for alert in notification.alerts if alert.status == FIRING]
    if not firing:
        return GREEN
    return RED if any(alert.severity == "critical" for alert in firing) else AMBER


def label_name(name: str) -> str:
    """Return a name as Prometheus allows it for labels: letters, digits and underscores, not beginning with a digit."""
    clean = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"_{clean}" if clean[:1].isdigit() or not clean else clean


def labels_of(alert: Alert, extra: t.Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what identifies an alert, for Alertmanager and Prometheus; empty values are left out.

    Metadata of node and service becomes ``node_meta_NAME`` and ``service_meta_NAME``.
    """
    labels = {
        **{label_name(f"node_meta_{name}"): value for name, value in alert.node_meta.items()},
        **{label_name(f"service_meta_{name}"): value for name, value in alert.service_meta.items()},
        **(extra or {}),
        "alertname": alert.rule,
        "datacenter": alert.datacenter,
        "severity": alert.severity,
        "node": alert.node,
        "service": alert.service,
        "check": alert.check,
    }
    return {name: value for name, value in labels.items() if value}


def annotations_of(alert: Alert) -> dict[str, str]:
    """Return what describes an alert, for Alertmanager; empty values are left out."""
    annotations = {
        "summary": alert.summary,
        "output": alert.output,
        "description": alert.detail,
        "advice": alert.advice,
        "reason": alert.reason,
        "tags": ",".join(alert.tags),
    }
    return {name: value for name, value in annotations.items() if value}


def details_of(alert: Alert) -> dict[str, str]:
    """Return everything about an alert as names and texts, for services that show such a list; empty values are left out."""
    return {
        **{name: value for name, value in labels_of(alert).items() if name != "alertname"},
        "rule": alert.rule,
        "since": rfc3339(alert.since),
        **annotations_of(alert),
    }


def description_of(alert: Alert) -> str:
    """Return what is known about an alert in lines of text: summary, output, detail, advice."""
    lines = [alert.summary, alert.output and f"Output: {alert.output}", alert.detail, alert.advice]
    return "\n".join(line for line in lines if line)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prometheus: the alerts that fire as metrics on the agent's endpoint. Nothing is sent.

The receiver is a collector: the endpoint registers it in its registry of prometheus_client. The metrics are
``consulops_alert_firing``, with the value 1, and ``consulops_alert_since_seconds``, the time at which it began.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import typing as t

from ..notification import Alert, Notification
from .firing_alerts import FiringAlerts
from .message_fields import labels_of
from .optional_library import optional_library
from .options import Options, spec
from .receiver import Receiver, ReceiverContext

LABELS = ("alertname", "severity", "datacenter", "node", "service", "check")

SPEC = spec()


class Sample(t.NamedTuple):
    """One alert that fires: the values of LABELS, and since when, in Unix seconds."""

    labels: tuple[str, ...]
    since: float


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Prometheus(Options(name, options, context))


class Prometheus(Receiver):
    """Remembers what fires. After a start it is told by ``restore``."""

    def __init__(self, options: Options) -> None:
        self._firing = FiringAlerts()

    def send(self, notification: Notification) -> None:
        """Take over a notification."""
        self._firing.note(notification)

    def restore(self, firing: t.Iterable[Alert]) -> None:
        """Show these alerts too."""
        self._firing.restore(firing)

    def collect(self) -> list[t.Any]:
        """Return the metrics, as prometheus_client asks its collectors for them."""
        families = optional_library("prometheus_client.core", "prometheus_client", "metrics").GaugeMetricFamily
        firing = families("consulops_alert_firing", "1 for an alert that fires.", labels=LABELS)
        since = families("consulops_alert_since_seconds", "When the alert began, as Unix time.", labels=LABELS)
        for sample in self.samples():
            firing.add_metric(sample.labels, 1)
            since.add_metric(sample.labels, sample.since)
        return [firing, since]

    def samples(self) -> list[Sample]:
        """Return what fires now, each combination of labels once, with the earliest time."""
        since: dict[tuple[str, ...], float] = {}
        for alert in self._firing.all():
            found = labels_of(alert)
            labels = tuple(found.get(name, "") for name in LABELS)
            since[labels] = min(alert.since, since.get(labels, alert.since))
        return [Sample(labels, since[labels]) for labels in sorted(since)]

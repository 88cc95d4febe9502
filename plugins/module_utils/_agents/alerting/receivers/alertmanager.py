# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Alertmanager: alerts by its API, version 2, to every peer of its cluster, and again and again while they fire.

Options: ``urls`` (every peer: peers do not pass alerts on to each other); ``resend`` (how often alerts are repeated; Alertmanager
considers an alert resolved when it has not been repeated for four times as long); ``labels`` (added to every alert);
``generator_url``; ``headers``, ``username`` with ``password_file`` or ``password_credential``, ``bearer_token_file`` or
``bearer_token_credential``; ``timeout``, ``proxy``, TLS options.

A message is delivered when one peer has taken it; the others get it with the next repetition, and until then the receiver is
reported as failing. Resolved alerts are repeated for 15 minutes, as Prometheus does.
Source: https://prometheus.io/docs/alerting/latest/alerts_api/ and api/v2/openapi.yaml in Alertmanager's sources
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..notification import FIRING, RESOLVED, Alert, Notification
from .authentication import AUTHENTICATION, Authentication
from .firing_alerts import FiringAlerts
from .http_client import Request, checked_url, json_request
from .http_receiver import HttpReceiver
from .message_fields import annotations_of, label_name, labels_of, rfc3339
from .options import HTTP, Options, spec
from .receiver import DeliveryFailed, Receiver, ReceiverContext

RESOLVED_KEPT_S = 900.0  # resolvedRetention in Prometheus' rules/alerting.go
EXPIRES_AFTER_RESENDS = 4
ALERTS_IN_A_REQUEST = 256

SPEC = spec(
    HTTP,
    AUTHENTICATION,
    urls={"type": "list", "elements": "str", "required": True},
    resend={"type": "str", "default": "60s"},
    labels={"type": "dict", "default": {}},
    generator_url={"type": "str"},
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Alertmanager(Options(name, options, context), context)


class Alertmanager(HttpReceiver):
    """Posts what fires and what was resolved to every peer."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        super().__init__(options, context)
        if not options["urls"]:
            raise options.invalid("urls", "name one address at least.")
        self._urls = [
            checked_url(url, options.path(f"urls[{number}]")).rstrip("/") for number, url in enumerate(options["urls"])
        ]
        self._labels = {label_name(name): str(value) for name, value in options["labels"].items()}
        self._generator_url = (
            checked_url(options["generator_url"], options.path("generator_url")) if options["generator_url"] else ""
        )
        self._authentication = Authentication(options)
        self._authentication.headers()
        self.repeat_every_s = self._resend_s = options.duration_s("resend")
        self._clock = context.clock
        self._firing = FiringAlerts()
        self._resolved: dict[tuple[tuple[str, str], ...], Alert] = {}

    def send(self, notification: Notification) -> None:
        """Post the alerts of a notification, and as resolved what they were before if their labels have changed."""
        alerts: list[Alert] = []
        for alert, before in self._firing.note(notification):
            alerts.append(alert)
            if before is not None and self._identity(before) != self._identity(alert):
                alerts.append(dataclasses.replace(before, status=RESOLVED, ended=self._clock()))
        for alert in alerts:
            self._resolved.pop(self._identity(alert), None)
            if alert.status != FIRING:
                self._resolved[self._identity(alert)] = alert
        failures = self._post(alerts)
        if len(failures) == len(self._urls):
            raise DeliveryFailed(
                _sentence(failures, len(self._urls)),
                permanent=all(failure.permanent for failure in failures),
                retry_after_s=max(failure.retry_after_s for failure in failures),
            )

    def repeat(self) -> None:
        """Post everything that fires, and what was resolved lately. Raises DeliveryFailed if any peer did not take it."""
        since = self._clock() - RESOLVED_KEPT_S
        self._resolved = {name: alert for name, alert in self._resolved.items() if (alert.ended or 0.0) > since}
        alerts = [*self._firing.all(), *self._resolved.values()]
        failures: list[DeliveryFailed] = []
        for start in range(0, len(alerts), ALERTS_IN_A_REQUEST):
            failures = self._post(alerts[start : start + ALERTS_IN_A_REQUEST]) or failures
        if failures:
            raise DeliveryFailed(_sentence(failures, len(self._urls)))

    def restore(self, firing: t.Iterable[Alert]) -> None:
        """Repeat these alerts from now on, as if they had been sent before."""
        self._firing.restore(firing)

    # -----------------------------------------------------------------------------------------------------------

    def _identity(self, alert: Alert) -> tuple[tuple[str, str], ...]:
        """Return what Alertmanager recognises an alert by: its labels."""
        return tuple(sorted(labels_of(alert, self._labels).items()))

    def _post(self, alerts: t.Sequence[Alert]) -> list[DeliveryFailed]:
        """Post alerts to every peer and return the failures."""
        headers, secrets = self._authentication.headers()
        content = [self._postable(alert) for alert in alerts]
        failures = []
        for url in self._urls:
            request: Request = json_request(f"{url}/api/v2/alerts", content, headers, secrets=secrets)
            try:
                self.http.send(request)
            except DeliveryFailed as failure:
                failures.append(failure)
        return failures

    def _postable(self, alert: Alert) -> dict[str, t.Any]:
        ends = alert.ended
        if alert.status == FIRING or ends is None:
            ends = self._clock() + EXPIRES_AFTER_RESENDS * self._resend_s
        return {
            "labels": labels_of(alert, self._labels),
            "annotations": annotations_of(alert),
            "startsAt": rfc3339(min(alert.since, ends)),
            "endsAt": rfc3339(ends),
            **({"generatorURL": self._generator_url} if self._generator_url else {}),
        }


def _sentence(failures: t.Sequence[DeliveryFailed], peers: int) -> str:
    return f"{len(failures)} of {peers} peers failed: {failures[0]}" if peers > 1 else str(failures[0])

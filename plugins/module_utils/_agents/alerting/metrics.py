# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the alerting agent adds to the metrics: what fires, how the receivers fare, and the readings."""

from __future__ import annotations

import typing as t

from ..._daemon.metrics import counter, gauge
from .memory import Memory, Reading
from .receivers.prometheus import LABELS, Prometheus, Sample

Rows = list[tuple[dict[str, str], float]]


def metrics(memory: Memory) -> list[t.Any]:
    """Return the metrics. Alerts are those that receivers of the type prometheus were told of."""
    if not memory.configured.is_set():
        return []
    receivers = [one for one in memory.delivery.receivers().values() if isinstance(one, Prometheus)]
    found = [*_receivers(memory), *_readings(list(memory.readings.values()))]
    if receivers:
        found += alert_metrics([sample for one in receivers for sample in one.samples()])
    return found


def alert_metrics(samples: t.Iterable[Sample]) -> list[t.Any]:
    """Return the metrics of the alerts that fire. Of two samples with the same labels the earlier one counts."""
    since: dict[tuple[str, ...], float] = {}
    for sample in samples:
        since[sample.labels] = min(sample.since, since.get(sample.labels, sample.since))
    rows = [(dict(zip(LABELS, labels)), started) for labels, started in sorted(since.items())]
    return [
        gauge("alert_firing", "1 for an alert that fires.", [(labels, 1) for labels, _started in rows]),
        gauge("alert_since_seconds", "When the alert began, as Unix time.", rows),
    ]


def _receivers(memory: Memory) -> t.Iterator[t.Any]:
    health = [({"receiver": name}, one) for name, one in sorted(memory.delivery.health().items())]
    yield gauge("receiver_waiting", "Messages that wait.", [(k, one.waiting) for k, one in health])
    yield gauge("receiver_failing", "1 if the last attempt failed.", [(k, bool(one.problem)) for k, one in health])
    yield gauge(
        "receiver_oldest_timestamp_seconds",
        "Since when the oldest message waits, as Unix time; 0 if none does.",
        [(k, one.oldest or 0) for k, one in health],
    )
    yield gauge(
        "receiver_last_success_timestamp_seconds",
        "When a message was delivered last, as Unix time; 0 if none was.",
        [(k, one.last_success or 0) for k, one in health],
    )
    yield counter("receiver_delivered", "Messages that were delivered.", [(k, one.delivered) for k, one in health])
    yield counter("receiver_given_up", "Messages that were given up.", [(k, one.given_up) for k, one in health])


def _readings(readings: t.Sequence[Reading]) -> t.Iterator[t.Any]:
    labelled = [({"datacenter": one.datacenter}, one) for one in readings]
    yield gauge(
        "reading_timestamp_seconds",
        "When the datacenter was read in full last, as Unix time.",
        [(k, one.at) for k, one in labelled],
    )
    yield gauge("reading_seconds", "How long that took.", [(k, one.took_s) for k, one in labelled])
    rows: Rows = [
        ({**k, "severity": severity}, count) for k, one in labelled for severity, count in one.judgement.counts.items()
    ]
    yield gauge("findings", "What is wrong or unknown at the moment.", rows)

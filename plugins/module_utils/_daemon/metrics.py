# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of an agent as metrics for Prometheus.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
import typing as t

from .._consul.version import VERSION
from ._libraries import prometheus_client, prometheus_core
from .status import JOB_STATES, STATES, AgentStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Rows = t.Iterable[tuple[t.Mapping[str, str], float]]


def exposition(status: AgentStatus, more: t.Iterable[t.Any] = ()) -> str:
    """Return every metric with its help text and type. ``more`` are metrics that the agent adds (``gauge``)."""
    registry = prometheus_client.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(status, more))
    text: bytes = prometheus_client.generate_latest(registry)
    return text.decode()


def gauge(name: str, text: str, rows: Rows) -> t.Any:
    """Return a gauge of an agent: rows of labels and value. ``consulops_`` is put before the name."""
    return _metric("gauge", f"consulops_{name}", text, "", rows)


def counter(name: str, text: str, rows: Rows) -> t.Any:
    """Return a counter, as ``gauge``. ``_total`` is put after the name."""
    return _metric("counter", f"consulops_{name}", text, "_total", rows)


def _metric(metric_type: str, name: str, text: str, suffix: str, rows: Rows) -> t.Any:
    metric = prometheus_core.Metric(name, text, metric_type)
    for labels, value in rows:
        metric.add_sample(name + suffix, dict(labels), float(value))
    return metric


class _Collector:
    def __init__(self, status: AgentStatus, more: t.Iterable[t.Any]) -> None:
        self._status = status
        self._more = more
        self._labels = {"agent": status.agent, "name": status.name}

    def collect(self) -> t.Iterator[t.Any]:
        status = self._status
        yield self._gauge("build_info", "Version and node.", [({"version": VERSION, "node": status.node}, 1)])
        yield self._gauge("state", "1 for the current state.", [({"state": s}, s == status.state) for s in STATES])
        yield self._gauge(
            "healthy", "1 if the agent is active or on standby without a problem.", [({}, status.healthy)]
        )
        yield self._gauge("alive", "1 if every job gives signs of life.", [({}, status.is_alive)])
        yield self._counter("reloads", "Successful reloads of the configuration.", [({}, status.reloads)])
        yield self._gauge("reload_failed", "1 if the last reload failed.", [({}, bool(status.reload_problem))])
        yield self._gauge("start_timestamp_seconds", "Start of the process.", [({}, status.started)])
        yield from self._leases()
        yield from self._jobs()
        yield from self._numbers()
        yield from self._more

    def _leases(self) -> t.Iterator[t.Any]:
        leases = [({"lease": lease.name}, lease) for lease in self._status.leases.values()]
        yield self._gauge("lease_held", "1 if this instance holds the lease.", [(k, one.is_held) for k, one in leases])
        yield self._gauge(
            "lease_unknown", "1 while Consul cannot tell.", [(k, one.standing == "unknown") for k, one in leases]
        )
        yield self._gauge(
            "lease_fence",
            "Index at which the lease was acquired, 0 if it is not held.",
            [(k, one.fence) for k, one in leases],
        )
        yield self._counter(
            "lease_terms", "Number of times the lease was acquired.", [(k, one.terms) for k, one in leases]
        )
        yield self._counter(
            "lease_failures", "Failed attempts to contend for the lease.", [(k, one.failures) for k, one in leases]
        )

    def _jobs(self) -> t.Iterator[t.Any]:
        jobs = [({"job": job.name}, job) for job in self._status.jobs.values()]
        yield self._gauge(
            "job_state",
            "1 for the current state of the job.",
            [({**k, "state": s}, s == job.state) for k, job in jobs for s in JOB_STATES],
        )
        yield self._counter("cycles", "Successful cycles.", [(k, job.cycles) for k, job in jobs])
        yield self._counter("failures", "Failed attempts.", [(k, job.failures) for k, job in jobs])
        yield self._gauge(
            "failures_in_row", "Failures since the last success.", [(k, job.failures_in_row) for k, job in jobs]
        )
        yield self._gauge(
            "last_cycle_seconds", "Duration of the last cycle.", [(k, job.last_cycle_s) for k, job in jobs]
        )
        yield self._gauge(
            "last_success_timestamp_seconds",
            "End of the last successful cycle.",
            [(k, job.last_success) for k, job in jobs],
        )

    def _numbers(self) -> t.Iterator[t.Any]:
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for job in self._status.jobs.values():
            for one in job.numbers:
                labels = {"job": job.name, **dict(one.labels)}
                found.setdefault(_metric_name(one.name), []).append((labels, one.value))
        for name, rows in sorted(found.items()):
            yield self._gauge(name, "Reported by the last cycle.", rows)

    def _gauge(self, name: str, text: str, rows: Rows) -> t.Any:
        return gauge(name, text, self._labelled(rows))

    def _counter(self, name: str, text: str, rows: Rows) -> t.Any:
        return counter(name, text, self._labelled(rows))

    def _labelled(self, rows: Rows) -> Rows:
        return [({**self._labels, **labels}, value) for labels, value in rows]


def _metric_name(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name.lower())

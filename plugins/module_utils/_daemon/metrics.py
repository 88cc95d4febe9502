# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of an agent in the text format of Prometheus.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
import typing as t

from .._consul.version import VERSION
from .status import ACTIVE, STATES, AgentStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(status: AgentStatus) -> str:
    """Return every metric with its help text and type."""
    labels = {"agent": status.agent, "name": status.name}
    rows: list[tuple[str, str, str, t.Sequence[tuple[t.Mapping[str, str], float]]]] = [
        ("build_info", "gauge", "Version and node.", [({"version": VERSION, "node": status.node}, 1)]),
        ("state", "gauge", "1 for the current state.", [({"state": s}, s == status.state) for s in STATES]),
        ("healthy", "gauge", "1 if the agent is active or on standby without a problem.", [({}, status.healthy)]),
        ("lease_held", "gauge", "1 if this instance holds the lease.", [({}, status.state == ACTIVE)]),
        ("lease_fence", "gauge", "Index at which the lease was acquired, 0 if it is not held.", [({}, status.fence)]),
        ("lease_terms_total", "counter", "Number of times the lease was acquired.", [({}, status.lease_terms)]),
        ("cycles_total", "counter", "Successful cycles.", [({}, status.cycles)]),
        ("failures_total", "counter", "Failed attempts.", [({}, status.failures)]),
        ("failures_in_row", "gauge", "Failures since the last success.", [({}, status.failures_in_row)]),
        ("reloads_total", "counter", "Successful reloads of the configuration.", [({}, status.reloads)]),
        ("reload_failed", "gauge", "1 if the last reload failed.", [({}, bool(status.reload_problem))]),
        ("last_cycle_seconds", "gauge", "Duration of the last cycle.", [({}, status.last_cycle_s)]),
        ("last_success_timestamp_seconds", "gauge", "End of the last successful cycle.", [({}, status.last_success)]),
        ("start_timestamp_seconds", "gauge", "Start of the process.", [({}, status.started)]),
    ]
    for name, value in sorted(status.numbers.items()):
        rows.append((_metric_name(name), "gauge", "Reported by the last cycle.", [({}, value)]))
    lines = []
    for name, metric_type, text, samples in rows:
        lines += [f"# HELP consulops_{name} {text}", f"# TYPE consulops_{name} {metric_type}"]
        lines += [f"consulops_{name}{_labels({**labels, **more})} {_number(value)}" for more, value in samples]
    return "\n".join(lines) + "\n"


def _metric_name(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name.lower())


def _labels(labels: t.Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m tests.bench.alert_rounds``: CPU seconds of the alerting core for one round with very many firing alerts.

A round asks which messages are due. The first one reports everything, in the next ones nothing has changed. Without Consul and disk.
"""

from __future__ import annotations

import os
import sys
import time
import typing as t

from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.config import make_alerting_config
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.core import Core
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.registry import RECEIVERS
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.silences import make_silence
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Finding, Judgement

ALERTS = int(os.environ.get("BENCH_ALERTS", "10000"))
NOW = 1_800_000_000.0
TIMES = {"start": "2026-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z", "author": "bench", "reason": "bench"}


def core_with(silences: int, routes: int) -> Core:
    """Return a core with so many silences and routes, none of which covers anything."""
    below = [{"match": {"service": f"other-{number}"}, "receiver": "ops"} for number in range(routes)]
    options: dict[str, t.Any] = {
        "for": "0s",
        "receivers": {"ops": {"type": "file", "path": "/var/log/alerts"}},
        "route": {"receiver": "ops", "group_wait": "0s", "group_interval": "1s", "routes": below},
    }
    made = make_alerting_config(options, RECEIVERS, instance="bench")
    core = Core(made.core, made.make_silences())
    for number in range(silences):
        match = {"service": f"other{number}*", "node": f"re:^other-{number}$"}
        core.silences.add(make_silence({"match": match, **TIMES}, NOW))
    return core


def judgement(nodes_down: int) -> Judgement:
    """Return failing checks, ten on each node, and nodes that are down, which inhibit the checks on them: on half of them."""
    checks = [
        Finding(
            "check_status",
            "critical",
            "dc1",
            f"check {number} is critical",
            f"node-{number // 10}",
            "web-1",
            f"c{number}",
        )
        for number in range(ALERTS - nodes_down)
    ]
    down = [Finding("node_down", "critical", "dc1", f"node {n} is down", f"node-{2 * n}") for n in range(nodes_down)]
    return Judgement([*checks, *down])


def main() -> int:
    """Measure and print."""
    print(f"{ALERTS:,} firing alerts, CPU seconds of a round\n  {'':<44}{'first':>8}{'unchanged':>11}")
    for silences, routes, nodes_down in ((0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 500), (200, 200, 500)):
        core = core_with(silences, routes)
        core.update("dc1", judgement(nodes_down), NOW)
        took_s = []
        for number in range(4):
            started = time.process_time()
            due = core.due(NOW + number)
            took_s.append(time.process_time() - started)
            for one in due:
                core.record(one)
        title = f"{silences} silences, {routes} routes, {nodes_down} nodes down"
        print(f"  {title:<44}{took_s[0]:>8.2f}{min(took_s[2:]):>11.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m tests.bench.drill_client``: the clients of a drill beside a closed loop with requests, on the same Consul server.

How many operations a second of CPU time each makes, how late the open loop starts its operations, and what each shows of a server
that was stopped for a second.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._drill.measurements import percentiles
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_run import DRILL_RUN
from ansible_collections.consulops.failover.plugins.module_utils._tasks.task import Invocation

from tests.lab.consul import Lab, Server

SECONDS = float(os.environ.get("BENCH_DRILL_S", "8"))
CLIENTS = 12
STOPPED_S = 1.0


@dataclass(frozen=True)
class Measured:
    """Operations that ended, the seconds of CPU time that they took here, and percentiles in milliseconds."""

    operations: int
    cpu_s: float
    latency: t.Mapping[str, float]
    lateness: t.Mapping[str, float] | None = None


def open_loop(server: Server, rate: float, scratch: Path) -> Measured:
    """Run a drill of registers and sets."""
    given = {
        "url": server.url,
        "confirm": server.datacenter,
        "history": str(scratch / f"{time.monotonic_ns()}.jsonl"),
        "duration": f"{SECONDS:g}s",
        "workload": "register,set",
        "clients": CLIENTS,
        "rate": rate,
        "seed": 1,
    }
    before = time.process_time()
    result = DRILL_RUN.run(Invocation(validated(DRILL_RUN.spec, given, ""), environ={}))
    cpu_s = time.process_time() - before
    operations = sum(sum(row.values()) for row in result["operations"].values())
    return Measured(operations, cpu_s, result["latency_ms"], result["lateness_ms"])


def closed_loop(server: Server, rate: float | None) -> Measured:
    """Do the same as a script would: each thread waits for its answer and then for a while, and keeps no record."""
    times_ns: list[int] = []
    numbers = itertools.count()
    end = time.monotonic() + SECONDS

    def client(number: int) -> None:
        chance = random.Random(number)
        session = requests.Session()
        while time.monotonic() < end:
            key = f"bench/{chance.randrange(20)}"
            began_ns = time.monotonic_ns()
            if chance.random() < 0.25:
                session.get(f"{server.url}/v1/kv/{key}", timeout=10)
            else:
                value = base64.b64encode(str(next(numbers)).encode()).decode()
                body = json.dumps([{"KV": {"Verb": "set", "Key": key, "Value": value}}])
                session.put(f"{server.url}/v1/txn", data=body, timeout=10)
            times_ns.append(time.monotonic_ns() - began_ns)
            if rate is not None:
                time.sleep(chance.expovariate(rate / CLIENTS))

    before = time.process_time()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu_s = time.process_time() - before
    return Measured(len(times_ns), cpu_s, asdict(percentiles(times_ns)))


def while_stopped(server: Server, measure: t.Callable[[], Measured]) -> Measured:
    """Measure while the server is stopped for STOPPED_S in the middle."""

    def stop_for_a_while() -> None:
        server.pause()
        time.sleep(STOPPED_S)
        server.resume()

    timer = threading.Timer(SECONDS / 2, stop_for_a_while)
    timer.start()
    found = measure()
    timer.join()
    return found


def show(name: str, found: Measured) -> None:
    """Print one row."""
    late = "" if found.lateness is None else f"{found.lateness['p50']:>10.2f}{found.lateness['p99']:>10.2f}"
    latency = "".join(f"{found.latency[name]:>10.2f}" for name in ("p50", "p90", "p99", "max"))
    per_s, per_cpu_s = found.operations / SECONDS, found.operations / found.cpu_s
    print(f"  {name:<40}{per_s:>9.0f}{per_cpu_s:>10.0f}{latency}{late}", flush=True)


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, Lab(Path(directory) / "lab") as lab:
        (server,) = lab.datacenter("dc1").servers
        scratch = Path(directory)
        print(f"{CLIENTS} clients for {SECONDS:g} s each; latencies and lateness in ms")
        columns = ("ops/s", "ops/cpu s", "p50", "p90", "p99", "max", "late p50", "late p99")
        print(f"  {'':<40}{columns[0]:>9}" + "".join(f"{name:>10}" for name in columns[1:]))
        show("closed loop, as fast as it can", closed_loop(server, None))
        show("drill, at 2,000 operations a second", open_loop(server, 2000, scratch))
        for rate in (120, 300):
            show(f"closed loop, {rate} a second", closed_loop(server, rate))
            show(f"drill, {rate} a second", open_loop(server, rate, scratch))
        print(f"  with the server stopped for {STOPPED_S:g} s in the middle:")
        show("closed loop, 120 a second", while_stopped(server, lambda: closed_loop(server, 120)))
        show("drill, 120 a second", while_stopped(server, lambda: open_loop(server, 120, scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

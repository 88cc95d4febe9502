# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One changed key among many: from the write at the source until it can be read at the destination.

Beside the replication agent runs a follower that does what consul-replicate does: it reads the whole prefix again after every change
and writes what is newer key by key. ``python -m tests.bench.replication_agent``; BENCH_FOLLOWED_KEYS sets the sizes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.bench.measure import cpu_s
from tests.lab.agents import AgentProcess, make_bundle
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.fill import fill_kv
from tests.lab.replicating import Replicators, a_set, wait_for_following

SIZES = [int(size) for size in os.environ.get("BENCH_FOLLOWED_KEYS", "10000 50000 200000").split()]
CHANGES = int(os.environ.get("BENCH_CHANGES", "40"))
IDLE_S = 5.0

RIVAL = """
import base64, http.client, json, sys, urllib.parse

source, destination = (http.client.HTTPConnection(url.split("//")[1]) for url in sys.argv[1:3])
index, replicated = 0, 0
while True:
    source.request("GET", f"/v1/kv/app/?recurse&index={index}&wait=60s")
    answer = source.getresponse()
    items = json.loads(answer.read())
    index = int(answer.headers["X-Consul-Index"])
    for item in items:
        if item["ModifyIndex"] > replicated:
            name = urllib.parse.quote("rival/" + item["Key"][4:])
            destination.request("PUT", f"/v1/kv/{name}?flags={item['Flags']}", base64.b64decode(item["Value"] or ""))
            destination.getresponse().read()
    destination.request("GET", "/v1/kv/rival/?keys")
    destination.getresponse().read()
    replicated = index
"""


@dataclass(frozen=True)
class Found:
    """Milliseconds of single changes, MB of peak memory, and CPU seconds for each change and for each idle second."""

    name: str
    changes_ms: t.Sequence[float]
    peak_mb: float
    own_cpu_s: float
    source_cpu_s: float
    idle_cpu: float

    def show(self) -> None:
        """Print one line."""
        ordered = sorted(self.changes_ms)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        print(
            f"  {self.name:<28}{statistics.median(ordered):>9.1f}{p99:>9.1f}{self.peak_mb:>9.1f}{self.own_cpu_s * 1000:>10.1f}"
            f"{self.source_cpu_s * 1000:>10.1f}{self.idle_cpu * 100:>9.2f}",
            flush=True,
        )


def peak_mb(pid: int) -> float:
    """Return the peak memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def measure(
    name: str, pid: int, source: Datacenter, destination: Datacenter, keys: t.Sequence[str], prefix: str
) -> Found:
    """Change keys one by one, and wait for each at the destination."""
    assert source.servers[0].process is not None
    server = source.servers[0].process.pid
    session = requests.Session()
    session.trust_env = False
    idle_before = cpu_s(pid)
    time.sleep(IDLE_S)
    idle = (cpu_s(pid) - idle_before) / IDLE_S
    own, of_source = cpu_s(pid), cpu_s(server)
    changes = []
    for number in range(CHANGES):
        key, value = keys[number * 37 % len(keys)], f"{name} {number}"
        started = time.monotonic()
        session.put(f"{source.url}/v1/kv/app/{key}", value, timeout=30)
        while session.get(f"{destination.url}/v1/kv/{prefix}{key}?raw", timeout=30).text != value:
            time.sleep(0.001)
        changes.append((time.monotonic() - started) * 1000)
    own, of_source = (cpu_s(pid) - own) / CHANGES, (cpu_s(server) - of_source) / CHANGES
    return Found(name, changes, peak_mb(pid), own, of_source, idle)


def run_agent(replicators: Replicators, source: Datacenter, destination: Datacenter, prefix: str) -> AgentProcess:
    """Start an agent and wait until it follows."""
    agent = replicators.start({"bench": a_set(source, destination, prefix)})
    wait_for_following(agent, "bench", 300)
    return agent


def measure_size(lab: Lab, bundle: Path, directory: Path, size: int) -> None:
    """Measure both with so many keys."""
    source, destination = lab.datacenter(f"source{size}"), lab.datacenter(f"destination{size}")
    fill_kv(source, size)
    keys = [key[4:] for key in source.get("/v1/kv/app/?keys")]
    with Replicators(lab, bundle, directory) as replicators:
        nothing = run_agent(replicators, source, destination, "nothing/")
        imports_mb = peak_mb(nothing.process.pid)
        nothing.stop()
        started = time.monotonic()
        agent = run_agent(replicators, source, destination, "app/")
        first_s = time.monotonic() - started
        print(f"\n{size:,} keys; first copy {first_s:.1f} s, agent without keys {imports_mb:.1f} MB")
        print(f"  {'':<28}{'p50 ms':>9}{'p99 ms':>9}{'peak MB':>9}{'own ms':>10}{'source ms':>10}{'idle %':>9}")
        measure("agent", agent.process.pid, source, destination, keys, "app/").show()
        agent.stop()
    rival = subprocess.Popen([sys.executable, "-I", "-c", RIVAL, source.url, destination.url])
    try:
        eventually(lambda: len(destination.get("/v1/kv/rival/?keys")) == size, 600, "the follower has copied", 1.0)
        measure("whole prefix, PUT per key", rival.pid, source, destination, keys, "rival/").show()
    finally:
        rival.kill()
        rival.wait()
    for datacenter in (source, destination):
        for server in datacenter.servers:
            server.stop()


def main() -> None:
    """Measure all sizes."""
    with tempfile.TemporaryDirectory() as name, Lab(Path(name) / "lab") as lab:
        bundle = make_bundle(Path(name))
        for size in SIZES:
            measure_size(lab, bundle, Path(name) / str(size), size)


if __name__ == "__main__":
    main()

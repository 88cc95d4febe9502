# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One changed key among many: from the write at the source until it can be read at the destination.

Beside the replication agent runs a follower that does what consul-replicate does: it reads the whole prefix again after every change
and writes what is newer key by key. Of the agent alone: ten writes a second for ten seconds, a thousand deletions, the first copy, and
what it takes while nothing changes. ``python -m tests.bench.replication_agent``; BENCH_FOLLOWED_KEYS sets the sizes, BENCH_CHANGES the
number of changes. Above BENCH_RIVAL_KEYS the agent is measured alone, since the follower takes minutes for its first copy.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.bench.measure import cpu_s
from tests.lab import keys as lab_keys
from tests.lab.agents import AgentProcess, make_bundle
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import fill_kv
from tests.lab.replicating import Replicators, a_set, wait_for_following

SIZES = [int(size) for size in os.environ.get("BENCH_FOLLOWED_KEYS", "10000 50000 200000").split()]
RIVAL_KEYS = int(os.environ.get("BENCH_RIVAL_KEYS", "50000"))
CHANGES = int(os.environ.get("BENCH_CHANGES", "40"))
DELETIONS = 1000
STEADY_PER_S, STEADY_S = 10, 10
IDLE_S = 5.0
IDLE_REQUESTS_S = 20.0  # longer than what follows the last change

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
    """Milliseconds of single changes, MB of peak memory, CPU seconds of each process for each change, and for each idle second."""

    name: str
    changes_ms: t.Sequence[float]
    peak_mb: float
    own_cpu_s: float
    source_cpu_s: float
    destination_cpu_s: float
    idle_cpu: float

    def show(self) -> None:
        """Print one line."""
        cpu = "".join(f"{one * 1000:>10.1f}" for one in (self.own_cpu_s, self.source_cpu_s, self.destination_cpu_s))
        p50, p99 = percentiles(self.changes_ms)
        print(
            f"  {self.name:<28}{p50:>9.1f}{p99:>9.1f}{self.peak_mb:>9.1f}{cpu}{self.idle_cpu * 100:>9.2f}", flush=True
        )


def percentiles(values: t.Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def peak_mb(pid: int) -> float:
    """Return the peak memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def pid_of(datacenter: Datacenter) -> int:
    """Return the process of a datacenter's only server."""
    process = datacenter.servers[0].process
    assert process is not None
    return process.pid


class Pair:
    """A source and a destination, with the names of keys below ``app/``, and where they are at the destination."""

    def __init__(self, source: Datacenter, destination: Datacenter, keys: t.Sequence[str], prefix: str) -> None:
        self.source, self.destination, self.keys, self.prefix = source, destination, keys, prefix
        self._session = requests.Session()
        self._session.trust_env = False

    def write(self, key: str, value: str) -> float:
        """Write a key of the source; return when that began (monotonic)."""
        started = time.monotonic()
        self._session.put(f"{self.source.url}/v1/kv/app/{key}", value, timeout=30)
        return started

    def wait_for(self, key: str, value: str) -> float:
        """Wait until a key can be read at the destination; return when it could be (monotonic)."""
        while self._session.get(f"{self.destination.url}/v1/kv/{self.prefix}{key}?raw", timeout=30).text != value:
            time.sleep(0.001)
        return time.monotonic()


def measure(name: str, pid: int, pair: Pair) -> Found:
    """Change keys one by one, and wait for each at the destination."""
    pids = pid, pid_of(pair.source), pid_of(pair.destination)
    idle_before = cpu_s(pid)
    time.sleep(IDLE_S)
    idle = (cpu_s(pid) - idle_before) / IDLE_S
    before = [cpu_s(one) for one in pids]
    changes = []
    for number in range(CHANGES):
        key, value = pair.keys[number * 37 % len(pair.keys)], f"{name} {number}"
        started = pair.write(key, value)
        changes.append((pair.wait_for(key, value) - started) * 1000)
    own, of_source, of_destination = ((cpu_s(one) - earlier) / CHANGES for one, earlier in zip(pids, before))
    return Found(name, changes, peak_mb(pid), own, of_source, of_destination, idle)


def measure_steady(pid: int, pair: Pair) -> None:
    """Write so many keys a second, and wait for each at the destination."""
    count = STEADY_PER_S * STEADY_S
    written: list[float] = []
    keys = [pair.keys[number * 61 % len(pair.keys)] for number in range(count)]
    writer = Pair(pair.source, pair.destination, pair.keys, pair.prefix)
    begin, own = time.monotonic(), cpu_s(pid)

    def write() -> None:
        for number, key in enumerate(keys):
            time.sleep(max(0.0, begin + number / STEADY_PER_S - time.monotonic()))
            written.append(writer.write(key, f"steady {number}"))

    thread = threading.Thread(target=write)
    thread.start()
    arrived = [pair.wait_for(key, f"steady {number}") for number, key in enumerate(keys)]
    thread.join()
    p50, p99 = percentiles([(there - here) * 1000 for here, there in zip(written, arrived)])
    took_s = time.monotonic() - begin
    print(
        f"  {STEADY_PER_S} writes a second for {STEADY_S} s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, the last one after {took_s:.2f} s, "
        f"{(cpu_s(pid) - own) / count * 1000:.1f} ms CPU for each",
        flush=True,
    )


def measure_deletions(pair: Pair) -> None:
    """Delete keys at the source, and wait until they are gone at the destination."""
    names = [f"app/{key}" for key in pair.keys[-DELETIONS:]]
    last = Pair(pair.source, pair.destination, pair.keys, pair.prefix)
    started = time.monotonic()
    for some in itertools.zip_longest(*[iter(names)] * 64):
        pair.source.put("/v1/txn", [{"KV": {"Verb": "delete", "Key": name}} for name in some if name])
    sent = time.monotonic()
    eventually(lambda: len(pair.destination.get(f"/v1/kv/{pair.prefix}?keys")) == len(pair.keys) - DELETIONS, 60)
    done = time.monotonic()
    last.wait_for(pair.keys[-1], "")
    print(
        f"  {DELETIONS:,} deletions: gone {done - sent:.2f} s after the last was sent, {done - started:.2f} s after the first",
        flush=True,
    )


def measure_requests(lab: Lab, replicators: Replicators, pair: Pair) -> None:
    """Count the requests of an agent while nothing changes."""
    proxies = [Proxy(one.url, lab.address()) for one in (pair.source, pair.destination)]
    counts = {"source": 0, "destination": 0}

    def counting(side: str) -> t.Callable[[str, str], None]:
        def hook(_method: str, _path: str) -> None:
            counts[side] += 1

        return hook

    for proxy, side in zip(proxies, counts):
        proxy.before_forward = counting(side)
    try:
        urls = {side: {"url": proxy.url} for side, proxy in zip(counts, proxies)}
        agent = run_agent(replicators, pair.source, pair.destination, "app/", **urls)
        time.sleep(5)
        before, own = dict(counts), cpu_s(agent.process.pid)
        time.sleep(IDLE_REQUESTS_S)
        each = {side: (counts[side] - before[side]) * 60 / IDLE_REQUESTS_S for side in counts}
        idle = (cpu_s(agent.process.pid) - own) / IDLE_REQUESTS_S
        print(
            f"  idle: {each['source']:.0f} requests a minute to the source, {each['destination']:.0f} to the destination, "
            f"{idle * 100:.2f} % CPU",
            flush=True,
        )
        agent.stop()
    finally:
        for proxy in proxies:
            proxy.close()


def run_agent(
    replicators: Replicators, here: Datacenter, there: Datacenter, prefix: str, **more: t.Any
) -> AgentProcess:
    """Start an agent and wait until it follows."""
    limits = {"max_deletes": 2 * DELETIONS, "max_delete_percent": 100}
    agent = replicators.start({"bench": a_set(here, there, prefix, **limits, **more)})
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
        pair = Pair(source, destination, keys, "app/")
        print(f"\n{size:,} keys; first copy {first_s:.1f} s, agent without keys {imports_mb:.1f} MB")
        print(
            f"  {'':<28}{'p50 ms':>9}{'p99 ms':>9}{'peak MB':>9}{'own ms':>10}{'source ms':>10}{'dest. ms':>10}{'idle %':>9}"
        )
        measure("agent", agent.process.pid, pair).show()
        measure_steady(agent.process.pid, pair)
        measure_deletions(pair)
        agent.stop()
        measure_requests(lab, replicators, pair)
    if size <= RIVAL_KEYS:
        measure_rival(source, destination, keys[:-DELETIONS])
    for datacenter in (source, destination):
        for server in datacenter.servers:
            server.stop()


def measure_rival(source: Datacenter, destination: Datacenter, keys: t.Sequence[str]) -> None:
    """Measure the other follower with so many keys."""
    lab_keys.delete(destination, "app/")
    rival = subprocess.Popen([sys.executable, "-I", "-c", RIVAL, source.url, destination.url])
    try:
        eventually(lambda: len(destination.get("/v1/kv/rival/?keys")) == len(keys), 600, "the follower has copied", 1.0)
        measure("whole prefix, PUT per key", rival.pid, Pair(source, destination, keys, "rival/")).show()
    finally:
        rival.kill()
        rival.wait()


def main() -> None:
    """Measure all sizes."""
    with tempfile.TemporaryDirectory() as name, Lab(Path(name) / "lab") as lab:
        bundle = make_bundle(Path(name))
        for size in SIZES:
            measure_size(lab, bundle, Path(name) / str(size), size)


if __name__ == "__main__":
    main()

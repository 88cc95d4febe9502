# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: how long the alerting agent takes from a failing check to the webhook, and what that and idling cost.

The floor is a loop of one blocking query and one POST, without rules, state, spool or retries: nothing can be faster over HTTP. Both
watch the same server in turn. CPU is that of the process and of the Consul server, for each change.

``BENCH_STORM="2000 10000"`` measures instead how long they take, and how much memory, when so many checks fail at once, each on a node of
its own: from the last change to the last message.
"""

from __future__ import annotations

import http.server
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import cpu_s
from tests.lab.agents import AgentProcess, make_bundle
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.fill import register_checks, set_status

ROUNDS = int(os.environ.get("BENCH_RUNS", "3"))
SIZES = [int(size) for size in os.environ.get("BENCH_CHECKS", "100 2000 10000").split()]
STORMS = [int(size) for size in os.environ.get("BENCH_STORM", "").split()]
STORM_WITHIN_S = 600.0
CHANGES = 20  # in each round
PAUSE_S = 0.3
IDLE_S = 20.0

FLOOR = """
import json, sys, requests
consul, hook = sys.argv[1:3]
session, known, index = requests.Session(), None, 1
while True:
    response = session.get(consul + "/v1/health/state/any",
                           params={"filter": 'Status != "passing"', "index": index, "wait": "60s"})
    index = response.headers["X-Consul-Index"]
    failing = {row["Node"] for row in response.json()}
    for node in sorted(failing - known if known is not None else ()):
        session.post(hook, json={"node": node})
    if known is None:
        print("ready", flush=True)
    known = failing
"""


class Hook:
    """Records when it is first told of each node."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        self._changed = threading.Condition()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.note(time.monotonic(), set(re.findall(r"node-\d{5}", body.decode())))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: t.Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def note(self, now: float, nodes: t.Iterable[str]) -> None:
        with self._changed:
            for node in nodes:
                self.told.setdefault(node, now)
            self._changed.notify_all()

    def wait_for_all(self, count: int, within_s: float) -> float:
        """Return when it was told of so many nodes."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.told) >= count, within_s):
                raise SystemExit(f"{len(self.told)} of {count} nodes were told within {within_s:g} s")
            return max(self.told.values())

    def wait(self, node: str, within_s: float = 30.0) -> float:
        """Return when it was told of a node."""
        with self._changed:
            if not self._changed.wait_for(lambda: node in self.told, within_s):
                raise SystemExit(f"{node} was not told within {within_s:g} s")
            return self.told[node]


@dataclass
class Measured:
    """What one contender took: seconds of each change, CPU seconds for one change, CPU percent while idle, memory."""

    latencies: list[float]
    own_s: list[float]
    server_s: list[float]
    idle_percent: float = 0.0
    server_idle_percent: float = 0.0
    megabytes: float = 0.0


def main() -> int:
    """Measure both at every size and print it."""
    print(f"{ROUNDS} rounds in turn of {CHANGES} changes, on {os.cpu_count()} processors; ratio: to the floor")
    with tempfile.TemporaryDirectory(prefix="consulops-bench-") as scratch, Lab(Path(scratch) / "lab") as lab:
        bundle = make_bundle(Path(scratch))
        for size in STORMS:
            storm(lab.datacenter(f"storm{size}"), size, bundle, lab, Path(scratch))
        for size in () if STORMS else SIZES:
            datacenter = lab.datacenter(f"dc{size}")
            register_checks(datacenter, size, per_node=1 if size <= 100 else 10)
            compare(datacenter, size, bundle, lab, Path(scratch))
            datacenter.servers[0].stop()
    return 0


def compare(datacenter: Datacenter, size: int, bundle: Path, lab: Lab, scratch: Path) -> None:
    """Measure the floor and the agent in turn."""
    found = {name: Measured([], [], []) for name in ("a blocking query and a POST", "the alerting agent")}
    floor, agent = found.values()
    for number in range(ROUNDS):
        hook = Hook()
        process = start_floor(datacenter, hook)
        try:
            measure(floor, datacenter, hook, process.pid, number)
        finally:
            process.kill()
            process.wait()
        hook = Hook()
        running = start_agent(datacenter, hook, {"group_by": ["..."], "group_wait": "0s"}, bundle, lab, scratch)
        try:
            measure(agent, datacenter, hook, running.process.pid, number)
        finally:
            running.stop()
    show(f"{size:,} checks", found)


def start_floor(datacenter: Datacenter, hook: Hook) -> subprocess.Popen[str]:
    """Start the floor, and return it when it has read all checks once."""
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOR, datacenter.url, hook.url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def start_agent(
    datacenter: Datacenter, hook: Hook, route: t.Mapping[str, t.Any], bundle: Path, lab: Lab, scratch: Path
) -> AgentProcess:
    """Start an agent, and return it when it holds the lease and has read everything once."""
    config = {
        "agent": "alerting",
        "connection": {"url": datacenter.url},
        "lease": {"lock_delay": "0s"},
        "options": {
            "for": "0s",
            "recover_for": "0s",
            "receivers": {"hook": {"type": "webhook", "url": hook.url}},
            "route": {"receiver": "hook", **route},
        },
    }
    running = AgentProcess(bundle, Path(tempfile.mkdtemp(dir=scratch)) / "agent", lab.address(), config)
    running.wait("active")
    eventually(lambda: running.status()["jobs"]["follow"]["cycles"])
    return running


def storm(datacenter: Datacenter, size: int, bundle: Path, lab: Lab, scratch: Path) -> None:
    """Let all checks fail at once, and print how long each contender takes to report all of them."""
    print(f"\n{size:,} of {size:,} checks fail at once\n  {'':<28}{'seconds':>9}{'peak MB':>9}")
    for name in ("a blocking query and a POST", "the alerting agent"):
        register_checks(datacenter, size, per_node=1)
        hook = Hook()
        process: subprocess.Popen[t.Any]
        stop: t.Callable[[], object]
        if name == "the alerting agent":
            agent = start_agent(
                datacenter,
                hook,
                {"group_by": ["datacenter"], "group_wait": "1s", "group_interval": "1s"},
                bundle,
                lab,
                scratch,
            )
            process, stop = agent.process, agent.stop
        else:
            floor = start_floor(datacenter, hook)
            process, stop = floor, floor.kill
        register_checks(datacenter, size, per_node=1, status="critical")
        ended = time.monotonic()
        took_s = hook.wait_for_all(size, STORM_WITHIN_S) - ended
        print(f"  {name:<28}{took_s:>9.1f}{peak_megabytes(process.pid):>9.1f}", flush=True)
        stop()
    datacenter.servers[0].stop()


def peak_megabytes(pid: int) -> float:
    """Return the most memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) / 1024 if peak else float("nan")


def measure(measured: Measured, datacenter: Datacenter, hook: Hook, pid: int, round_number: int) -> None:
    """Let one check after the other fail, each on another node, and let all recover afterwards.

    Each round has nodes of its own: what was told of an alert less than group_interval ago is not told at once when it fires again.
    """
    server = datacenter.servers[0].process
    assert server is not None
    time.sleep(1.0)
    own_s, server_s = cpu_s(pid), cpu_s(server.pid)
    nodes = [f"node-{number:05d}" for number in range(round_number * CHANGES, (round_number + 1) * CHANGES)]
    for node in nodes:
        started = time.monotonic()
        set_status(datacenter, node, "check-0", "critical")
        measured.latencies.append(hook.wait(node) - started)
        time.sleep(PAUSE_S)
    measured.own_s.append((cpu_s(pid) - own_s) / CHANGES)
    measured.server_s.append((cpu_s(server.pid) - server_s) / CHANGES)
    for node in nodes:
        set_status(datacenter, node, "check-0", "passing")
    if round_number == ROUNDS - 1:
        time.sleep(3.0)
        own_s, server_s = cpu_s(pid), cpu_s(server.pid)
        time.sleep(IDLE_S)
        measured.idle_percent = 100 * (cpu_s(pid) - own_s) / IDLE_S
        measured.server_idle_percent = 100 * (cpu_s(server.pid) - server_s) / IDLE_S
        measured.megabytes = peak_megabytes(pid)


def show(title: str, found: t.Mapping[str, Measured]) -> None:
    """Print both, and the ratio of their median latencies."""
    print(f"\n{title}, one of them fails")
    print(
        f"  {'':<28}{'p50 ms':>8}{'p99 ms':>8}{'ratio':>7}{'CPU ms':>8}{'server ms':>10}{'idle %':>8}{'server %':>9}{'peak MB':>9}"
    )
    floor = statistics.median(next(iter(found.values())).latencies)
    for name, one in found.items():
        ordered = sorted(one.latencies)
        p50, p99 = statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        print(
            f"  {name:<28}{1000 * p50:>8.1f}{1000 * p99:>8.1f}{p50 / floor:>7.2f}{1000 * statistics.median(one.own_s):>8.1f}"
            f"{1000 * statistics.median(one.server_s):>10.1f}{one.idle_percent:>8.2f}{one.server_idle_percent:>9.2f}{one.megabytes:>9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())

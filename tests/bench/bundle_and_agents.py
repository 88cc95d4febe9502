# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: building and installing the bundle, starting the command, idle agents, and a role that changes nothing.

Compared with Python's zipapp, the same libraries imported from a virtual environment, ``consul lock``, and a playbook
with one ping. The role needs root for its host; without root it is not measured.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
import zipfile
from pathlib import Path

from tests.bench.measure import Contender, cpu_s, playbook, python, show, side_by_side
from tests.hosts.conftest import Estate, agent, estate_of
from tests.lab.agents import WHEELS, AgentProcess, bare, make_bundle
from tests.lab.alerting import wait_for_lease
from tests.lab.consul import Lab, consul_binary, eventually

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
IDLE_S = float(os.environ.get("BENCH_IDLE_S", "30"))

BUILD = f"""
import time
from pathlib import Path
from ansible_collections.consulops.failover.plugins.plugin_utils import _bundle, _wheels
started = time.monotonic()
_bundle.build(_wheels.collect(None, Path({str(WHEELS)!r})), "/usr/bin/python3")
print("seconds", time.monotonic() - started)
"""
ZIPAPP = """
import time, zipapp
started = time.monotonic()
zipapp.create_archive({folder!r}, {target!r}, "/usr/bin/python3")
print("seconds", time.monotonic() - started)
"""
IMPORTS = "import consul, msgpack, requests, http.server, argparse, json, logging"


def main() -> int:
    """Run every comparison and print the results."""
    print(f"medians of {RUNS} runs in turn, on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory(prefix="consulops-bench-") as scratch, Lab(Path(scratch) / "lab") as lab:
        bundle = make_bundle(Path(scratch))
        build(bundle, Path(scratch))
        start_up(bundle, lab.datacenter("start").url)
        install(bundle, Path(scratch))
        idle(bundle, lab, Path(scratch))
    if os.geteuid() != 0:
        print("\nthe role, second run: not measured, its host needs root")
        return 0
    with tempfile.TemporaryDirectory(prefix="consulops-bench-") as scratch, estate_of(Path(scratch), ["r1"]) as estate:
        role(estate)
    return 0


def build(bundle: Path, scratch: Path) -> None:
    """Build the bundle; zipapp packs the same files from a folder, without normalising their times."""
    folder = scratch / "unpacked"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    zipped = ZIPAPP.format(folder=str(folder), target=str(scratch / "other.pyz"))
    contenders = [python("this collection", BUILD), python("zipapp of the same files", zipped)]
    show("building the bundle, libraries in the cache", side_by_side(contenders, RUNS), "this collection")


def start_up(bundle: Path, url: str) -> None:
    """Start the command and wait for its end."""
    command = [sys.executable, "-I", str(bundle)]
    where = {"CONSUL_HTTP_ADDR": url}
    contenders = [
        Contender("consulops version", [*command, "version"]),
        Contender("consulops alert check", [*command, "alert", "check"], environment=where),
        Contender("python, nothing imported", [sys.executable, "-I", "-c", "pass"]),
        Contender("python, the libraries imported", [sys.executable, "-I", "-c", IMPORTS]),
        Contender("consul version", [consul_binary(), "version"]),
        Contender("consul members", [consul_binary(), "members"], environment=where),
    ]
    show("starting the command", side_by_side(contenders, RUNS), "consulops version")


def install(bundle: Path, scratch: Path) -> None:
    """Install a bundle that is already installed; for comparison copy the finished file."""
    ours = {"dest": str(scratch / "ours.pyz"), "cache": str(WHEELS), "interpreter": sys.executable}
    copied = {"src": str(bundle), "dest": str(scratch / "copied.pyz"), "mode": "0755"}
    contenders = [
        playbook("consulops_bundle", scratch, [{"consulops.failover.consulops_bundle": ours}]),
        playbook("ansible.builtin.copy of the file", scratch, [{"ansible.builtin.copy": copied}]),
        playbook("an empty playbook", scratch, []),
    ]
    show("installing the bundle, second run", side_by_side(contenders, RUNS), "consulops_bundle")


class Idler(t.NamedTuple):
    """A process with nothing to do."""

    name: str
    pid: int


def idle(bundle: Path, lab: Lab, scratch: Path) -> None:
    """Measure an active agent, a standby, ``consul lock`` and a process with the same imports side by side."""
    datacenter = lab.datacenter("idle")
    agents = []
    for name in ("active", "standby"):
        log = {"type": "file", "path": str(scratch / f"{name}.jsonl")}
        config = {
            "agent": "alerting",
            "connection": {"url": datacenter.url},
            "service": {"name": name},
            "options": {"receivers": {"log": log}, "route": {"receiver": "log"}},
        }
        agents.append(AgentProcess(bundle, scratch / name, lab.address(), config))
        agents[-1].wait(name)
        if name == "active":
            wait_for_lease(agents[-1])
    environment = bare({"CONSUL_HTTP_ADDR": datacenter.url})
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)
        for command in (
            [consul_binary(), "lock", "-shell=false", "bench", "sleep", "3600"],
            [sys.executable, "-I", "-c", f"{IMPORTS}\nimport time; print(flush=True); time.sleep(3600)"],
        )
    ]
    try:
        eventually(lambda: datacenter.get("/v1/kv/bench/.lock")[0].get("Session"), what="consul lock holds its lock")
        t.cast("t.IO[bytes]", processes[1].stdout).readline()  # everything is imported
        watched = [
            Idler("alerting agent, sends, nothing fails", agents[0].process.pid),
            Idler("alerting agent, standby", agents[1].process.pid),
            Idler("consul lock, holding", processes[0].pid),
            Idler("python, the libraries imported", processes[1].pid),
        ]
        before = [cpu_s(one.pid) for one in watched]
        started = time.monotonic()
        time.sleep(IDLE_S)
        passed = time.monotonic() - started
        print(f"\nwith nothing to do, for {passed:.0f} s\n  {'':<44}{'CPU %':>9}{'MB':>8}")
        for one, spent in zip(watched, before, strict=True):
            print(f"  {one.name:<44}{(cpu_s(one.pid) - spent) / passed * 100:>9.2f}{resident_mb(one.pid):>8.1f}")
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)  # including the child of consul lock
            process.wait()
        for started_agent in agents:
            started_agent.stop()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def role(estate: Estate) -> None:
    """Run the role again on a host that is up to date, over SSH; for comparison a playbook with one ping."""
    agents = {"consulops_runtime_agents": [agent()]}
    estate.play("consulops.failover.install", **agents)
    ping = [{"hosts": "consulops_agents", "gather_facts": False, "tasks": [{"ansible.builtin.ping": None}]}]
    seconds: dict[str, list[float]] = {"the role": [], "one ping": []}
    for _turn in range(RUNS):
        for name, what in (("the role", "consulops.failover.install"), ("one ping", ping)):
            started = time.monotonic()
            output = estate.play(t.cast("str", what), **agents)
            seconds[name].append(time.monotonic() - started)
            assert "changed=0" in output
    print(f"\nthe role, second run on one host with one agent\n  {'':<44}{'seconds':>9}{'ratio':>8}")
    against = statistics.median(seconds["the role"])
    for name, times in seconds.items():
        print(f"  {name:<44}{statistics.median(times):>9.2f}{statistics.median(times) / against:>8.2f}")


if __name__ == "__main__":
    sys.exit(main())

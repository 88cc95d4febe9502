# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: judges thousands of checks, one of them failing, and compares it with reading all checks and with a request a node.

``server s`` is the CPU time of the Consul server. The bytes are those of the answers.
"""

from __future__ import annotations

import os
import sys
import tempfile
import typing as t
from pathlib import Path

from tests.bench.measure import Contender, playbook, python, run, show, side_by_side
from tests.lab.consul import Datacenter, Lab
from tests.lab.fill import register_checks, set_status

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SIZES = [int(size) for size in os.environ.get("BENCH_CHECKS", "2000 10000").split()]
PACKAGE = "ansible_collections.consulops.failover.plugins.module_utils"

CORE = f"""
import time
from {PACKAGE}._alerting import gate, observe, rule_options
from {PACKAGE}._consul import client, endpoint
rules = rule_options.make_rules([{{{{"rule": "autopilot_unhealthy", "enabled": False}}}}])
total = 0
body = client.read_body
def counted(*args):
    global total
    content = body(*args)
    total += len(content)
    return content
client.read_body = counted
with client.Client(endpoint.resolve({{{{"url": {{url!r}}}}}}, {{{{}}}})) as one:
    started = time.monotonic()
    judgement = gate.judge_all([one], observe.ObserveOptions(rules), {{{{}}}})
    print("seconds", time.monotonic() - started)
assert [finding.rule for finding in judgement.findings] == ["check_status"], judgement
print("bytes", total)
"""
EVERYTHING = """
import http.client, json, time, urllib.parse
connection = http.client.HTTPConnection(urllib.parse.urlsplit({url!r}).netloc)
def get(path):
    connection.request("GET", path)
    return connection.getresponse().read()
started = time.monotonic()
if {each!r}:
    total = 0
    bad = []
    for node in json.loads(get("/v1/catalog/nodes")):
        content = get("/v1/health/node/" + node["Node"])
        total += len(content)
        bad += [check for check in json.loads(content) if check["Status"] != "passing"]
else:
    content = get("/v1/health/state/any")
    total = len(content)
    bad = [check for check in json.loads(content) if check["Status"] != "passing"]
print("seconds", time.monotonic() - started)
assert len(bad) == 1
print("bytes", total)
"""


def main() -> int:
    """Run every comparison and print it."""
    print(f"medians of {RUNS} runs in turn, on {os.cpu_count()} processors; ratio: to the core of this collection")
    with tempfile.TemporaryDirectory(prefix="consulops-bench-") as scratch, Lab(Path(scratch) / "lab") as lab:
        for size in SIZES:
            datacenter = lab.datacenter(f"dc{size}")
            register_checks(datacenter, size)
            set_status(datacenter, "node-00007", "check-3", "critical")
            compare(datacenter, size, Path(scratch))
            datacenter.servers[0].stop()
    return 0


def compare(datacenter: Datacenter, size: int, scratch: Path) -> None:
    """Compare the core, reading all checks, a request for each node, and the whole Ansible task."""
    process = datacenter.servers[0].process
    contenders = [
        python("core", CORE.format(url=datacenter.url)),
        python("all checks in one answer", EVERYTHING.format(url=datacenter.url, each=False)),
        python("one request per node", EVERYTHING.format(url=datacenter.url, each=True)),
    ]
    task = {"url": datacenter.url, "fail_on": "never"}
    whole = playbook("whole Ansible task", scratch, [{"consulops.failover.consul_alert_check": task}])
    results = side_by_side([*contenders, whole], RUNS, process.pid if process else None)
    show(f"{size:,} checks, one of them failing", results, "core")
    print("  bytes read: " + "; ".join(f"{one.name} {_bytes(one):,}" for one in contenders))


def _bytes(contender: Contender) -> int:
    lines: t.Iterable[str] = run(contender).output.splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("bytes"))


if __name__ == "__main__":
    sys.exit(main())

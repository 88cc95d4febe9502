# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: copying keys beside one PUT per key, ``consul kv export | import``, a bare writer and community.general.

The other tools have no guards: they do not compare, confirm deletions, or record what they wrote. ``server s`` is the CPU
time of the destination's server.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import typing as t
import zipfile
from pathlib import Path

from tests.bench.measure import RIVALS, Contender, playbook, python, run, show, side_by_side
from tests.lab import keys
from tests.lab.consul import Datacenter, Lab
from tests.lab.fill import fill_kv

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SIZES = [int(size) for size in os.environ.get("BENCH_REPLICATED_KEYS", "1000 10000 50000").split()]
PACKAGE = "ansible_collections.consulops.failover.plugins.module_utils"
COMMUNITY = "ansible==12.3.0"  # the last one that requires ansible-core 2.19; it contains community.general
LOOP_KEYS = 200
NAME = "bench"

IMPORTS = f"""
import time
from {PACKAGE}._consul import endpoint, kv, txn
from {PACKAGE}._consul.client import Client
from {PACKAGE}._replication import apply, delete_guards, prefix_options, prepare, request
"""
CORE = """
mappings = tuple(prefix_options.make_mappings(["app/"], "owned"))
wanted = request.ReplicationRequest(mappings, limits=delete_guards.Limits(max_deletes=2000, max_delete_percent=100), name={name!r})
started = time.monotonic()
with Client(endpoint.resolve({{"url": {source!r}}}, {{}})) as source:
    with Client(endpoint.resolve({{"url": {destination!r}}}, {{}})) as destination:
        prepared = prepare.prepare(source, destination, wanted)
        if prepared.changed:
            apply.perform(source, destination, wanted, prepared, time.time())
print("seconds", time.monotonic() - started)
"""
BARE = """
started = time.monotonic()
with Client(endpoint.resolve({{"url": {source!r}}}, {{}})) as source:
    with Client(endpoint.resolve({{"url": {destination!r}}}, {{}})) as destination:
        found = kv.read_shard(source, "app/").entries
        txn.Writer(destination, 64).commit([txn.Operation("set", e.key, e.value, e.flags) for e in found])
print("seconds", time.monotonic() - started)
"""
PER_KEY = """
import base64, http.client, json, time, urllib.parse

def connect(url):
    return http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)

def request(connection, method, path, body=None):
    connection.request(method, urllib.parse.quote(path, safe="/?=&"), body)
    return connection.getresponse().read()

started = time.monotonic()
source, destination = connect({source!r}), connect({destination!r})
entries = json.loads(request(source, "GET", "/v1/kv/app/?recurse"))
existing = json.loads(request(destination, "GET", "/v1/kv/app/?keys") or "[]")
names = {{item["Key"] for item in entries}}
if not {deletes_only!r}:
    for item in entries:
        request(destination, "PUT", f"/v1/kv/{{item['Key']}}?flags={{item['Flags']}}", base64.b64decode(item["Value"] or ""))
for key in existing:
    if key not in names:
        request(destination, "DELETE", f"/v1/kv/{{key}}")
print("seconds", time.monotonic() - started)
"""


def main() -> int:
    """Run every comparison and print it."""
    print(f"medians of {RUNS} runs in turn, on {os.cpu_count()} processors; ratio: to the core of this collection")
    with tempfile.TemporaryDirectory(prefix="consulops-bench-") as scratch, Lab(Path(scratch) / "lab") as lab:
        for size in SIZES:
            one, two = lab.datacenter(f"from{size}"), lab.datacenter(f"to{size}")
            fill_kv(one, size)
            Comparison(one, two, size, Path(scratch)).all()
            for datacenter in (one, two):
                datacenter.servers[0].stop()
        compare_loops(lab, Path(scratch))
    return 0


class Comparison:
    """All comparisons of one size between two datacenters."""

    def __init__(self, one: Datacenter, two: Datacenter, size: int, scratch: Path) -> None:
        self.one, self.two, self.size, self.scratch = one, two, size, scratch
        self.urls = {"source": one.url, "destination": two.url}
        process = two.servers[0].process
        self.server = process.pid if process else None
        self.gone: keys.Keys = {}

    def all(self) -> None:
        """Compare initial, unchanged, one changed and 1000 deleted. Slow tools run last: the servers are busy after them."""
        slow = self.size > 10_000
        empty = playbook("an empty playbook", self.scratch, [])
        self.compare(
            "initial",
            [
                self.core(before=self.wipe),
                python("64-operation transactions, no safety", IMPORTS + BARE.format(**self.urls), before=self.wipe),
                self.task(before=self.wipe),
                empty,
                python("only the imports", IMPORTS),
                self.per_key(before=self.wipe, slow=slow),
                self.export_import(before=self.wipe, slow=slow),
            ],
        )
        self.fill_destination()
        self.compare(
            "unchanged",
            [self.core(), self.task(), empty, python("only the imports", IMPORTS), self.export_import(slow=slow)],
        )
        self.compare("1 changed", [self.core(before=self.change_one), self.task(before=self.change_one)])
        self.compare(
            "1000 deleted" if self.size > 1000 else "500 deleted",
            [self.core(before=self.restore_gone), self.per_key(before=self.restore_gone, deletes_only=True)],
        )

    def compare(self, what: str, contenders: t.Sequence[Contender]) -> None:
        results = side_by_side(contenders, RUNS, self.server)
        show(f"{what}, {self.size:,} keys of 256 bytes", results, "core")

    def core(self, **options: t.Any) -> Contender:
        return python("core", IMPORTS + CORE.format(**self.urls, name=NAME), **options)

    def per_key(self, deletes_only: bool = False, **options: t.Any) -> Contender:
        return python("one request per key", PER_KEY.format(**self.urls, deletes_only=deletes_only), **options)

    def export_import(self, **options: t.Any) -> Contender:
        binary = shlex.quote(self.one.servers[0].binary)
        command = f"{binary} kv export -http-addr={self.one.url} app/ | {binary} kv import -http-addr={self.two.url} -"
        return Contender("consul kv export | consul kv import", ["sh", "-c", command], several=True, **options)

    def task(self, **options: t.Any) -> Contender:
        return playbook("whole Ansible task", self.scratch, [_task(self.one, self.two)], **options)

    def wipe(self) -> None:
        keys.delete(self.two, "app/", "consulops/")

    def fill_destination(self) -> None:
        self.wipe()
        run(self.core())

    def change_one(self) -> None:
        keys.write(self.one, {"app/web/000000": os.urandom(256)})

    def restore_gone(self) -> None:
        """Prepare keys that the replication wrote at the destination and that are gone from the source."""
        if not self.gone:
            names = sorted(keys.read(self.one, "app/").items())
            self.gone = dict(names[: 1000 if self.size > 1000 else 500])
        keys.write(self.one, self.gone)
        run(self.core())
        _delete_all(self.one, list(self.gone))


def _delete_all(datacenter: Datacenter, names: t.Sequence[str]) -> None:
    for start in range(0, len(names), 64):
        operations = [{"KV": {"Verb": "delete", "Key": name}} for name in names[start : start + 64]]
        datacenter.put("/v1/txn", operations)


def compare_loops(lab: Lab, scratch: Path) -> None:
    """Copy keys with one task for each of them, as with community.general, and with one task for all."""
    one, two = lab.datacenter("loop1"), lab.datacenter("loop2")
    fill_kv(one, LOOP_KEYS)
    host, port = two.url.removeprefix("http://").split(":")
    mappings = [
        {"key": key, "value": value.decode("latin-1").encode("ascii", "replace").decode()}
        for key, (value, _flags) in keys.read(one, "app/").items()
    ]
    loop = {
        "community.general.consul_kv": {
            "key": "{{ item.key }}",
            "value": "{{ item.value }}",
            "host": host,
            "port": port,
        },
        "loop": mappings,
        "no_log": True,
    }
    _fetch_community()
    results = side_by_side(
        [
            playbook("this collection, one task", scratch, [_task(one, two)], before=lambda: keys.delete(two, "app/")),
            playbook(
                "community.general.consul_kv in a loop",
                scratch,
                [loop],
                before=lambda: keys.delete(two, "app/"),
                slow=True,
            ),
        ],
        RUNS,
    )
    show(f"initial, {LOOP_KEYS} keys, whole playbooks", results, "this collection, one task")


def _task(one: Datacenter, two: Datacenter) -> dict[str, t.Any]:
    arguments = {
        "source": {"url": one.url},
        "destination": {"url": two.url},
        "prefixes": [{"source": "app/"}],
        "name": NAME,
    }
    return {"consulops.failover.consul_kv_replicate": arguments}


def _fetch_community() -> None:
    """Download community.general from PyPI's ansible package to a place that only benchmarks use."""
    target = RIVALS / "ansible_collections" / "community" / "general"
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, COMMUNITY]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            wanted = [name for name in wheel.namelist() if name.startswith("ansible_collections/community/general/")]
            wheel.extractall(RIVALS, wanted)


if __name__ == "__main__":
    sys.exit(main())

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: saving, inspecting and restoring beside the ``consul`` command line, at 20,000 and 200,000 keys.

The core is timed inside its process, without imports; the command line and the whole task are timed as whole processes.
Peak memory is that of whole processes; "only the imports" shows how much of it the imports take.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.bench.measure import Contender, playbook, python, show, side_by_side
from tests.lab import craft
from tests.lab.consul import ROOT, Datacenter, Lab
from tests.lab.fill import fill, fill_kv
from tests.lab.restoring import with_records
from tests.lab.rewrite import maps_of

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SIZES = [int(size) for size in os.environ.get("BENCH_KEYS", "20000 200000").split()]
NODES = int(os.environ.get("BENCH_NODES", "30000"))
FIXTURES = ROOT / "tests" / "fixtures" / "consul-versions"
PACKAGE = "ansible_collections.consulops.failover.plugins.module_utils"

IMPORTS = f"""
import time
from pathlib import Path
from {PACKAGE}._consul import endpoint
from {PACKAGE}._consul.client import Client
from {PACKAGE}._snapshot import inspect, restore, restore_prepare, save
"""
SAVE = """
with Client(endpoint.resolve({{"url": {url!r}}}, {{}})) as client:
    request = save.SaveRequest(path={path!r}, cross_check={cross_check!r}, on_shrink="ignore")
    started = time.monotonic()
    save.save(client, request, save.plan(client, request, time.time()), time.time())
    print("seconds", time.monotonic() - started)
"""
RESTORE = """
with Client(endpoint.resolve({{"url": {url!r}}}, {{}})) as client:
    path = Path({path!r})
    request = restore_prepare.RestoreRequest(path=path, safety_path=path.parent)
    started, now = time.monotonic(), time.time()
    with restore_prepare.prepare(client, request, now, check=False) as prepared:
        assert prepared.decision.action == "unchanged"
    print("seconds", time.monotonic() - started)
"""
RESTORE_CHANGED = """
with Client(endpoint.resolve({{"url": {url!r}}}, {{}})) as client:
    path = Path({path!r})
    request = restore_prepare.RestoreRequest(path=path, safety_path=Path({safety!r}), force=True)
    started, now = time.monotonic(), time.time()
    with restore_prepare.prepare(client, request, now, check=False) as prepared:
        restored = restore.perform(client, request, prepared, now)
    print("seconds", time.monotonic() - started)
    assert [row.name for row in restored.lost.differences if row.table == "KVS"] == ["bench/web/000000"]
    assert not restored.verification.wrong
"""
INSPECT = """
started = time.monotonic()
inspect.inspect_file(Path({path!r}), as_of=time.time(), kv_depth=2, digests={digests!r})
print("seconds", time.monotonic() - started)
"""
COMPARE = f"""
from {PACKAGE}._snapshot import compare
with open({{before!r}}, "rb") as before, open({{after!r}}, "rb") as after:
    started = time.monotonic()
    found = compare.compare((before, "before"), (after, "after"), as_of=0)
    print("seconds", time.monotonic() - started)
assert found.migrated.get("Register", 0) >= {{migrated!r}}
assert not any(row.table == "Register" for row in found.differences)
"""
# What the search for records that some version cannot load costs: the same inspection without it.
UNCHECKED = f"""
from {PACKAGE}._snapshot import summary
class NoChecks:
    def add(self, *_record): pass
    add_key = add
    def listed(self): return ()
summary.RecordChecks = NoChecks
"""


def main() -> int:
    """Run every comparison and print it."""
    print(f"medians of {RUNS} runs in turn, on {os.cpu_count()} processors; ratio: to the consul command line")
    with tempfile.TemporaryDirectory(prefix="consulops-bench-") as scratch, Lab(Path(scratch) / "lab") as lab:
        for size in SIZES:
            datacenter = lab.datacenter(f"dc{size}")
            fill(datacenter, keys=10)
            fill_kv(datacenter, size, prefix="bench/")
            compare_save(datacenter, size, Path(scratch))
            compare_inspect(datacenter, size, Path(scratch))
            compare_restore(datacenter, size, Path(scratch))
            compare_restore_changed(datacenter, size, Path(scratch))
            datacenter.servers[0].stop()
        compare_across_versions(Path(scratch))
    return 0


def compare_save(datacenter: Datacenter, size: int, scratch: Path) -> None:
    """Save the datacenter with the command line, the core and a whole Ansible task."""
    binary = datacenter.servers[0].binary
    options = {"url": datacenter.url, "path": str(scratch / f"core-{size}.snap")}
    results = side_by_side(
        [
            Contender(
                "consul snapshot save",
                [binary, "snapshot", "save", *_at(datacenter), str(scratch / f"cli-{size}.snap")],
            ),
            _core("core: save, decoded", SAVE.format(**options, cross_check="ignore")),
            _core("core: save, decoded and cross-checked", SAVE.format(**options, cross_check="warn")),
            _task(
                "whole Ansible task",
                scratch,
                "consul_snapshot",
                {"url": datacenter.url, "path": scratch / f"task-{size}.snap"},
            ),
            _core("only the imports", ""),
        ],
        RUNS,
    )
    show(f"save, {size:,} keys of 256 bytes", results, "consul snapshot save")


def compare_inspect(datacenter: Datacenter, size: int, scratch: Path) -> None:
    """Inspect one file with the command line, the core and a whole Ansible task."""
    binary, path = datacenter.servers[0].binary, scratch / f"cli-{size}.snap"
    results = side_by_side(
        [
            Contender("consul snapshot inspect", [binary, "snapshot", "inspect", str(path)]),
            _core("core: inspect, tables and prefixes", INSPECT.format(path=str(path), digests=False)),
            _core("core: inspect, with digests", INSPECT.format(path=str(path), digests=True)),
            _core("core: the same without field checks", UNCHECKED + INSPECT.format(path=str(path), digests=True)),
            _task("whole Ansible task", scratch, "consul_snapshot_info", {"path": path}),
            _core("only the imports", ""),
        ],
        RUNS,
    )
    show(f"inspect, {size:,} keys of 256 bytes", results, "consul snapshot inspect")


def compare_restore(datacenter: Datacenter, size: int, scratch: Path) -> None:
    """Restore the live state: the command line replaces everything, the core finds that nothing differs."""
    binary, path = datacenter.servers[0].binary, scratch / f"task-{size}.snap"
    options = {"url": datacenter.url, "path": str(path)}
    save = SAVE.format(url=datacenter.url, path=str(scratch / f"again-{size}.snap"), cross_check="ignore")
    arguments = {"url": datacenter.url, "path": path, "state": "restored"}
    results = side_by_side(
        [
            _core("core: restore, nothing differs", RESTORE.format(**options)),
            _core("core: one save and one decode", save + INSPECT.format(path=str(path), digests=True)),
            _task("whole Ansible task, nothing differs", scratch, "consul_snapshot", arguments),
            Contender("consul snapshot restore", [binary, "snapshot", "restore", *_at(datacenter), str(path)]),
        ],
        RUNS,
    )
    show(f"restore of the live state, {size:,} keys of 256 bytes", results, "consul snapshot restore")


def compare_restore_changed(datacenter: Datacenter, size: int, scratch: Path) -> None:
    """Restore one changed key: the core compares, saves, sends and verifies; the command line only sends."""
    path, safety = scratch / f"task-{size}.snap", scratch / f"safety-{size}"
    safety.mkdir()
    options = {"url": datacenter.url, "path": str(path), "safety": str(safety)}

    def change_one_key() -> None:
        for old in safety.iterdir():
            old.unlink()
        datacenter.put("/v1/kv/bench/web/000000", "changed")

    binary = datacenter.servers[0].binary
    results = side_by_side(
        [
            python("core: restore, verified", IMPORTS + RESTORE_CHANGED.format(**options), before=change_one_key),
            Contender(
                "consul snapshot restore",
                [binary, "snapshot", "restore", *_at(datacenter), str(path)],
                before=change_one_key,
            ),
            _core("only the imports", ""),
        ],
        RUNS,
    )
    show(f"restore with one difference, {size:,} keys of 256 bytes", results, "consul snapshot restore")


def compare_across_versions(scratch: Path) -> None:
    """Compare a snapshot of 1.8.7 with itself, and with what a newer leader makes of it, where every record differs."""
    keys = max(SIZES)
    before, after = (_many_nodes(scratch, name, keys) for name in ("1.8.7", "1.8.7-restored-into-1.23-dev"))
    same = COMPARE.format(before=str(before), after=str(before), migrated=0)
    across = COMPARE.format(before=str(before), after=str(after), migrated=2 * NODES)
    results = side_by_side([_core("core: within one version", same), _core("core: across versions", across)], RUNS)
    show(
        f"comparing two snapshots, {NODES:,} nodes with a service each, {keys:,} keys of 256 bytes",
        results,
        "core: within one version",
    )


def _many_nodes(scratch: Path, name: str, keys: int) -> Path:
    """Add nodes like one that a server wrote, and keys, to its snapshot."""
    fixture = FIXTURES / f"{name}.snap"
    rows = [row for row in maps_of(fixture.read_bytes(), 0) if row["Node"] == b"ext-0" and not row["Check"]]
    assert len(rows) == 2  # the node and its service
    nodes = [craft.record(0, {**row, "Node": f"bench-{number:06}"}) for number in range(NODES) for row in rows]
    values = [craft.key(f"bench/{number:06}", b"%08d" % number * 32) for number in range(keys)]
    return with_records(fixture, scratch / fixture.name, *nodes, *values)


def _at(datacenter: Datacenter) -> list[str]:
    return [f"-http-addr={datacenter.url}"]


def _core(name: str, program: str) -> Contender:
    return python(name, IMPORTS + program)


def _task(name: str, scratch: Path, module: str, arguments: dict[str, object]) -> Contender:
    plain = {key: str(value) for key, value in arguments.items()}
    return playbook(name, scratch, [{"name": module, f"consulops.failover.{module}": plain}])


if __name__ == "__main__":
    sys.exit(main())

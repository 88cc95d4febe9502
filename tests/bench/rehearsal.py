# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: a rehearsal of a snapshot beside its restore, both without Ansible. The restore is that into the same, idle server."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.bench.measure import Contender, python, show, side_by_side
from tests.lab.consul import Datacenter, Lab, consul_binary
from tests.lab.fill import fill, fill_kv

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SIZES = [int(size) for size in os.environ.get("BENCH_KEYS", "20000").split()]
PACKAGE = "ansible_collections.consulops.failover.plugins.module_utils"

REHEARSE = f"""
import time
from pathlib import Path
from {PACKAGE}._snapshot.rehearsal.rehearse import RehearsalRequest, rehearse
started = time.monotonic()
request = RehearsalRequest(Path({{path!r}}), {{path!r}}, Path({{scratch!r}}), {{consul!r}})
found = rehearse(request)
assert not found.verification.wrong
print("seconds", time.monotonic() - started)
"""


def main() -> int:
    """Run every comparison and print it."""
    print(f"medians of {RUNS} runs in turn, on {os.cpu_count()} processors; ratio: to the restore")
    with tempfile.TemporaryDirectory(prefix="consulops-bench-") as name, Lab(Path(name) / "lab") as lab:
        for size in SIZES:
            datacenter = lab.datacenter(f"dc{size}")
            fill(datacenter, keys=10)
            fill_kv(datacenter, size, prefix="bench/")
            compare(datacenter, size, Path(name))
            datacenter.servers[0].stop()
    return 0


def compare(datacenter: Datacenter, size: int, scratch: Path) -> None:
    """Rehearse with the core, and restore with Consul's own command."""
    path = scratch / f"{size}.snap"
    path.write_bytes(datacenter.snapshot())
    words = {"path": str(path), "scratch": str(scratch), "consul": consul_binary()}
    restore = [consul_binary(), "snapshot", "restore", f"-http-addr={datacenter.url}", str(path)]
    results = side_by_side(
        [
            python("rehearsal: start, restore, read back, compare", REHEARSE.format(**words)),
            Contender("consul snapshot restore", restore),
        ],
        RUNS,
    )
    show(f"a rehearsal, {size:,} keys of 256 bytes", results, "consul snapshot restore")


if __name__ == "__main__":
    sys.exit(main())

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make bench``: a snapshot into an object store, encrypted and read back, beside the shell script that people have; and a store of many.

The script is ``consul snapshot save | age | rclone copy``, with a download to compare as second contender, because ours reads back
what it stored. The store is a SeaweedFS on this machine, which takes part of its processors. ``BENCH_OBJECTS`` is how many snapshots the
store and the directory have that are listed and pruned, 0 for none; ``BENCH_KEYS`` may be empty.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import obstore
import pyrage
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import prune
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.retention import RetentionPolicy
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stored_snapshots import list_store
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.in_flight import InFlight
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.object_store import ObjectStore
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.open_store import open_store
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store import Store, StoreOptions
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.tables import Table

from tests.bench.measure import Contender, python, show, side_by_side
from tests.lab.consul import Datacenter, Lab
from tests.lab.fill import fill, fill_kv
from tests.lab.object_stores import SeaweedFS
from tests.lab.snapshot_files import NOON, manifest_of
from tests.lab.tls import Authority
from tests.workshop import debian, store_servers

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
OBJECTS = int(os.environ.get("BENCH_OBJECTS", "10000"))
SIZES = [int(size) for size in os.environ.get("BENCH_KEYS", "20000").split()]
PACKAGE = "ansible_collections.consulops.failover.plugins.module_utils"

IMPORTS = f"""
import time
from {PACKAGE}._consul import endpoint
from {PACKAGE}._consul.client import Client
from {PACKAGE}._snapshot import save, store_save
from {PACKAGE}._snapshot.encryption import age_files
from {PACKAGE}._snapshot.encryption.age_format import EncryptionKeys
from {PACKAGE}._snapshot.stores.object_store import open_object_store
from {PACKAGE}._snapshot.stores.store import StoreOptions
"""
SAVE = """
store = open_object_store(StoreOptions(**{store!r}))
keys = EncryptionKeys(({recipient!r},))
started, now = time.monotonic(), time.time()
with Client(endpoint.resolve({{"url": {url!r}}}, {{}})) as client, store_save.scratch_directory(None) as directory:
    request = save.SaveRequest(path=f"{{directory}}/", cross_check="ignore", on_shrink="ignore", name=f"{{now}}.snap")
    decided = store_save.plan(client, request, store, keys, now)
    store_save.save(client, request, decided, store, keys, now)
print("seconds", time.monotonic() - started)
"""
SCRIPT = """set -eu
cd {scratch}
{consul} snapshot save -http-addr={url} script.snap >/dev/null
{age} -r {recipient} -o script.snap.age script.snap
{rclone} copyto --config rclone.conf --s3-no-check-bucket --ca-cert {ca_file} script.snap.age store:{bucket}/script/$(date +%s%N).snap.age
rm -f script.snap script.snap.age
"""
READ_BACK = """set -eu
cd {scratch}
{consul} snapshot save -http-addr={url} script.snap >/dev/null
{age} -r {recipient} -o script.snap.age script.snap
name=$(date +%s%N).snap.age
{rclone} copyto --config rclone.conf --s3-no-check-bucket --ca-cert {ca_file} script.snap.age store:{bucket}/script/$name
{rclone} cat --config rclone.conf --ca-cert {ca_file} store:{bucket}/script/$name | cmp - script.snap.age
rm -f script.snap script.snap.age
"""


def main() -> int:
    """Run every comparison and print it."""
    print(f"medians of {RUNS} runs in turn, on {os.cpu_count()} processors; ratio: to the script that reads back")
    with tempfile.TemporaryDirectory(prefix="consulops-bench-") as name, Lab(Path(name) / "lab") as lab:
        scratch = Path(name)
        server = SeaweedFS(scratch / "seaweedfs", Authority(scratch / "ca"))
        try:
            server.start()
            for size in SIZES:
                datacenter = lab.datacenter(f"dc{size}")
                fill(datacenter, keys=10)
                fill_kv(datacenter, size, prefix="bench/")
                compare(datacenter, size, server, scratch)
                datacenter.servers[0].stop()
            if OBJECTS:
                many(server, scratch)
        finally:
            server.stop()
    return 0


def compare(datacenter: Datacenter, size: int, server: SeaweedFS, scratch: Path) -> None:
    """Save into the store with the core and with the script."""
    bucket = server.bucket(f"bench-{size}")
    store = {
        "url": f"s3://{bucket}/ours",
        "endpoint": server.url,
        "ca_file": server.ca_file,
        "credentials_file": server.credentials(),
    }
    words = {
        "url": datacenter.url,
        "recipient": str(pyrage.x25519.Identity.generate().to_public()),
        "scratch": scratch,
        "consul": datacenter.servers[0].binary,
        "age": debian.age(),
        "rclone": store_servers.rclone(),
        "ca_file": server.ca_file,
        "bucket": bucket,
    }
    (scratch / "rclone.conf").write_text(
        "[store]\ntype = s3\nprovider = SeaweedFS\naccess_key_id = owner\n"
        f"secret_access_key = {server.secrets['owner']}\nendpoint = {server.url}\n",
        encoding="utf-8",
    )
    core = python("core: save, encrypt, upload, read back", IMPORTS + SAVE.format(store=store, **words))
    results = side_by_side(
        [
            core,
            replace(core, name="the same, with the start of Python", own_time=None),
            Contender("script, uploaded only", ["sh", "-c", SCRIPT.format(**words)], several=True),
            Contender("script, and read back", ["sh", "-c", READ_BACK.format(**words)], several=True),
            python("only the imports", IMPORTS + 'print("seconds", 0)'),
        ],
        RUNS,
    )
    show(f"into a store, {size:,} keys of 256 bytes", results, "script, and read back")


def many(server: SeaweedFS, scratch: Path) -> None:
    """List and prune a directory and a bucket with many snapshots, each once: what is pruned is gone."""
    directory = scratch / "many"
    directory.mkdir()
    url = f"s3://{server.bucket('bench-many')}/many"
    bucket = StoreOptions(url, endpoint=server.url, ca_file=server.ca_file, credentials_file=server.credentials())
    stores = {
        "a directory": open_store(StoreOptions(str(directory))),
        "a bucket": open_store(bucket),
    }
    print(f"\n{OBJECTS:,} snapshots, seconds")
    for name, store in stores.items():
        fill_store(store, directory if name == "a directory" else None)
        started = time.monotonic()
        entries = list_store(store)
        listed = time.monotonic()
        assert len(entries) == OBJECTS
        # As the agent lists it every 15 minutes.
        known = {one.name: one.manifest for one in entries if one.manifest}
        began = time.monotonic()
        assert list_store(store, known) == entries
        again = time.monotonic() - began
        deciding = time.monotonic()
        decided = prune.plan(entries, RetentionPolicy(last=1), time.time())
        planned = time.monotonic()
        gone = sum(1 for _name in prune.delete(store, entries, decided.to_delete))
        pruned = time.monotonic()
        assert gone == OBJECTS - 1 and len(list_store(store)) == 1
        print(
            f"  {name}: listed {listed - started:.1f}, with an index {again:.1f}, planned {planned - deciding:.1f}, "
            f"{gone:,} deleted {pruned - planned:.1f}"
        )


def fill_store(store: Store, directory: Path | None) -> None:
    """Store small files with manifests as large as those of snapshots, an hour apart; past the guards, which would take minutes."""
    tables = tuple(Table(f"Table{number}", number, 1000, 1000, True, "0" * 64) for number in range(20))
    contents = {}
    for number in range(OBJECTS):
        data = b"%d" % number
        name = f"consul-dc1-hourly-{number:06}.snap"
        manifest = manifest_of(data, time=NOON - 3600 * number, policy="hourly", tables=tables)
        contents[name], contents[f"{name}.json"] = data, manifest.as_bytes()
    if directory is not None:
        for name, data in contents.items():
            (directory / name).write_bytes(data)
        return
    assert isinstance(store, ObjectStore)
    puts = [partial(obstore.put_async, store._store, name, data) for name, data in contents.items()]
    InFlight().gather(puts)


if __name__ == "__main__":
    sys.exit(main())

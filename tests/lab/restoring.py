# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of restoring share: runs of the module, and a comparison that shares no code with it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import typing as t
from pathlib import Path

import pytest

from tests.lab import craft
from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import Datacenter, Server
from tests.lab.faults import Proxy
from tests.lab.fill import new_token, register_external
from tests.lab.tables import tables


def save(at: Datacenter, path: Path, **options: t.Any) -> Path:
    run_module("consul_snapshot", path=path, url=at.url, token=at.token, **options)
    return path


def restore(at: Datacenter | Server | str, path: Path, **options: t.Any) -> dict[str, t.Any]:
    """Run the module against a datacenter, a server or an address."""
    url = at if isinstance(at, str) else at.url
    if not isinstance(at, str) and at.token:
        options.setdefault("token", at.token)
    return run_module("consul_snapshot", state="restored", path=path, url=url, **options)


def refused(at: Datacenter | str, path: Path, **options: t.Any) -> dict[str, t.Any]:
    with pytest.raises(ModuleFailed) as caught:
        restore(at, path, **options)
    assert "\n" not in caught.value.result["msg"]
    assert caught.value.result.get("exception") is None
    return caught.value.result


def mutations(proxy: Proxy) -> list[tuple[str, str]]:
    """The requests that could have changed something; a question about rights is asked by POST."""
    return [(method, path) for method, path in proxy.requests if method != "GET" and "acl/authorize" not in path]


def restores(proxy: Proxy) -> int:
    return sum(method == "PUT" and path.startswith("/v1/snapshot") for method, path in proxy.requests)


def is_what_the_file_holds(at: Datacenter | Server, path: Path) -> None:
    """Compare table by table, by a reader that the code under test does not share."""
    live, kept = tables(at.snapshot()), tables(path.read_bytes())
    assert live.keys() == kept.keys()
    for table, rows in kept.items():
        assert live[table] == rows, table


def damage(datacenter: Datacenter) -> None:
    """Delete, overwrite and create keys, catalogue entries and ACLs."""
    datacenter.request("DELETE", "/v1/kv/app/web/?recurse")
    datacenter.put("/v1/kv/app/api/000001", "overwritten")
    datacenter.put("/v1/kv/later/one", "new")
    datacenter.put("/v1/catalog/deregister", {"Node": "ext-1"})
    register_external(datacenter, "ext-late")
    if datacenter.token:
        role = datacenter.get("/v1/acl/roles")[0]
        datacenter.request("DELETE", f"/v1/acl/role/{role['ID']}")
        new_token(datacenter, 'key "x" { policy = "read" }', "late")


def with_records(path: Path, target: Path, *extra: tuple[int, bytes]) -> Path:
    """Add records to a real snapshot."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(path.read_bytes()))) as archive:
        members = {}
        for name in ("meta.json", "state.bin"):
            member = archive.extractfile(name)
            assert member is not None
            members[name] = member.read()
    members["state.bin"] += b"".join(data for _kind, data in extra)
    meta = json.loads(members["meta.json"])
    members["meta.json"] = (json.dumps({**meta, "Size": len(members["state.bin"])}) + "\n").encode()
    target.write_bytes(craft.pack({**members, "SHA256SUMS": craft.sums(members)}))
    return target

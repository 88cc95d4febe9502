# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring only keys below some prefixes."""

from __future__ import annotations

import threading
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._consul.watch import Watch

from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import fill, fill_kv, new_token
from tests.lab.restoring import (
    is_what_the_file_holds,
    refused,
    restore,
    restores,
    save,
)
from tests.lab.tables import tables

from .conftest import MakeClient


def test_only_the_keys_below_the_prefixes_come_back(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=200)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/app/web/000000?flags=9", "damaged")
    datacenter.request("DELETE", "/v1/kv/app/web/000005")
    datacenter.put("/v1/kv/app/web/extra", "stays")
    datacenter.put("/v1/kv/app/api/000001", "damaged too")
    options = {"prefixes": ["app/web/"], "token": new_token(datacenter, 'key_prefix "app/web/" { policy = "write" }')}
    checked = restore(datacenter, path, check=True, diff=True, **options)
    assert checked["prefixes"] == [
        {
            "prefix": "app/web/",
            "created": 1,
            "updated": 1,
            "deleted": 0,
            "unchanged": 38,
            "kept": 1,
            "locked": [],
            "conflicts": [],
        }
    ]
    assert "app/web/000005" in checked["diff"]["after"]
    with Proxy(datacenter.url, lab.address()) as proxy:
        result = restore(proxy.url, path, **options)
        assert restores(proxy) == 0
    assert (result["changed"], result["action"]) == (True, "restored")
    assert datacenter.get("/v1/kv/app/web/extra")
    assert datacenter.request("GET", "/v1/kv/app/api/000001?raw").text == "damaged too"
    assert restore(datacenter, path, **options)["changed"] is False
    pruned = restore(datacenter, path, prune=True, **options)
    assert pruned["prefixes"][0]["deleted"] == 1
    live = [row for row in tables(datacenter.snapshot())["KVS"] if "'app/web/" in row]
    kept = [row for row in tables(path.read_bytes())["KVS"] if "'app/web/" in row]
    assert live == kept
    assert restore(datacenter, path, prune=True, **options)["changed"] is False


def test_a_denied_prefix_is_not_treated_as_empty(secured: Datacenter, tmp_path: Path) -> None:
    path = save(secured, tmp_path / "good.snap")
    token = new_token(secured, 'key_prefix "elsewhere/" { policy = "write" }', "partial-narrow")
    assert "Permission denied" in refused(secured, path, prefixes=["app/"], token=token)["msg"]


def test_keys_that_are_not_utf8_come_back_byte_for_byte(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    datacenter.put("/v1/kv/bin/%ff%fe/key?flags=5", b"\x00\xff")
    datacenter.put("/v1/kv/bin/plain", "text")
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.request("DELETE", "/v1/kv/bin/?recurse")
    result = restore(datacenter, path, prefixes=["bin/"])
    assert result["prefixes"][0]["created"] == 2
    assert tables(datacenter.snapshot())["KVS"] == tables(path.read_bytes())["KVS"]
    assert restore(datacenter, path, prefixes=["bin/"], prune=True)["changed"] is False


def test_a_key_that_other_clients_keep_writing_is_not_overwritten(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill_kv(datacenter, 50)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/app/web/000000", "damaged")
    counter = iter(range(1000))

    def write(method: str, found: str) -> None:
        if found.startswith("/v1/txn"):
            datacenter.put("/v1/kv/app/web/000000", f"busy {next(counter)}")

    with Proxy(datacenter.url, lab.address()) as proxy:
        proxy.before_forward = write
        result = refused(proxy.url, path, prefixes=["app/"])
    assert "1 keys could not be written in any attempt" in result["msg"]
    assert datacenter.request("GET", "/v1/kv/app/web/000000?raw").text.startswith("busy")
    assert restore(datacenter, path, prefixes=["app/"])["prefixes"][0]["updated"] == 1


def test_a_blocking_query_continues_across_a_restore(lab: Lab, make_client: MakeClient, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    datacenter.put("/v1/kv/watched", "old")
    path = save(datacenter, tmp_path / "good.snap")
    fill_kv(datacenter, 640)
    datacenter.put("/v1/kv/watched", "new")
    seen: list[str] = []
    watch = Watch(make_client(datacenter), "/v1/kv/watched", wait_s=2)
    assert watch.next().response.json()[0]["Value"] == "bmV3"
    stop = threading.Event()

    def follow() -> None:
        while not stop.is_set():
            seen.append(watch.next().response.json()[0]["Value"])

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        restore(datacenter, path)
        eventually(lambda: seen and seen[-1] == "b2xk", 10, "the watcher sees the restored value")
    finally:
        stop.set()
        thread.join()
    is_what_the_file_holds(datacenter, path)


def test_another_datacenters_keys_are_refused_by_prefix_too(
    federation: tuple[Datacenter, Datacenter], tmp_path: Path
) -> None:
    east, west = federation
    path = save(west, tmp_path / "west.snap")
    message = refused(east, path, prefixes=["app/"], prune=True)["msg"]
    assert "is of datacenter 'west' and this is 'east'" in message


def test_a_key_that_a_session_holds_is_not_written(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    datacenter.put("/v1/kv/lk/leader", "old-holder")
    datacenter.put("/v1/kv/lk/plain", "kept")
    path = save(datacenter, tmp_path / "good.snap")
    session = datacenter.put("/v1/session/create", {"Name": "new"})["ID"]
    datacenter.put(f"/v1/kv/lk/leader?acquire={session}", "new-holder")
    datacenter.put(f"/v1/kv/lk/other?acquire={session}", "held too")
    datacenter.put("/v1/kv/lk/plain", "damaged")
    message = refused(datacenter, path, prefixes=["lk/"], prune=True)["msg"]
    assert "2 keys are held by a session" in message and "accept: [locked_keys]" in message
    assert datacenter.request("GET", "/v1/kv/lk/leader?raw").text == "new-holder"
    assert datacenter.request("GET", "/v1/kv/lk/plain?raw").text == "kept"
    restore(datacenter, path, prefixes=["lk/"], prune=True, accept=["locked_keys"])
    assert datacenter.request("GET", "/v1/kv/lk/leader?raw").text == "old-holder"


def test_values_too_large_for_a_transaction_come_back_too(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    datacenter.put("/v1/kv/big/one?flags=3", b"x" * 450_000)
    datacenter.put("/v1/kv/big/\ufffd", "a real replacement character")
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.request("DELETE", "/v1/kv/big/?recurse")
    assert restore(datacenter, path, prefixes=["big/"])["prefixes"][0]["created"] == 2
    assert tables(datacenter.snapshot())["KVS"] == tables(path.read_bytes())["KVS"]
    assert restore(datacenter, path, prefixes=["big/"])["changed"] is False

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restores that meet faults: broken connections, killed servers, unknown outcomes, replaced files."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import ModuleFailed
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import fill, fill_kv
from tests.lab.restoring import (
    damage,
    is_what_the_file_holds,
    refused,
    restore,
    restores,
    save,
)
from tests.lab.tables import tables


def test_a_connection_that_breaks_in_the_restore_is_reported_and_never_sent_again(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    for fault in ("drop", "error"):
        with Proxy(datacenter.url, lab.address(), fault, path="/v1/snapshot", method="PUT") as proxy:
            result = refused(proxy.url, path, accept=["attempted_before"])
            assert restores(proxy) == 1
        assert "Do NOT restore this snapshot again" in result["msg"]
    assert datacenter.get("/v1/kv/x")


def test_a_server_killed_during_the_restore_gets_one_request(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill_kv(datacenter, 2000, value_bytes=4096)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    server = datacenter.servers[0]
    with Proxy(datacenter.url, lab.address()) as proxy:
        proxy.before_forward = lambda method, found: (
            server.stop() if method == "PUT" and found.startswith("/v1/snapshot") else None
        )
        result = refused(proxy.url, path, leader_timeout=2)
        assert restores(proxy) == 1
    assert "Do NOT restore this snapshot again" in result["msg"]
    server.start()
    datacenter.leader()
    assert datacenter.get("/v1/kv/x")


def test_a_cluster_is_restored_through_a_follower(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(servers=3)
    fill(datacenter, keys=50)
    path = save(datacenter, tmp_path / "good.snap")
    damage(datacenter)
    follower = datacenter.followers()[0]
    result = restore(follower, path)
    assert result["verified"] is True
    for server in datacenter.servers:
        eventually(lambda server=server: tables(server.snapshot()) == tables(path.read_bytes()), what=server.name)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_leader_killed_around_the_restore_leaves_the_old_state_or_the_new_one(
    lab: Lab, tmp_path: Path, when: str
) -> None:
    datacenter = lab.datacenter(servers=3)
    fill(datacenter, keys=50)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    before = tables(datacenter.snapshot())
    leader, (follower, _other) = datacenter.leader(), datacenter.followers()

    def kill(method: str, found: str) -> None:
        if method == "PUT" and found.startswith("/v1/snapshot"):
            leader.stop()

    with Proxy(follower.url, lab.address()) as proxy:
        if when == "before":
            proxy.before_forward = kill
        else:
            proxy.after_forward = kill
        try:
            outcome: t.Any = restore(proxy.url, path)
        except ModuleFailed as error:
            outcome = error.result
        assert restores(proxy) == 1
    alive = Datacenter(datacenter.name, [server for server in datacenter.servers if server.process is not None])
    alive.leader()
    now = tables(follower.snapshot())
    if outcome.get("failed"):
        assert "Do NOT restore this snapshot again" in outcome["msg"]
        assert now in (before, tables(path.read_bytes()))
    else:
        assert outcome["verified"] is True and now == tables(path.read_bytes())


def test_a_restore_whose_outcome_is_unknown_is_not_sent_again_by_a_second_run(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    with Proxy(datacenter.url, lab.address(), "lose", path="/v1/snapshot", method="PUT") as proxy:
        assert "Do NOT restore this snapshot again" in refused(proxy.url, path)["msg"]  # applied, and the answer lost
    is_what_the_file_holds(datacenter, path)
    datacenter.put("/v1/kv/since", "precious")
    with Proxy(datacenter.url, lab.address()) as proxy:
        again = refused(proxy.url, path)
        assert again["refusals"] == ["attempted_before"] and restores(proxy) == 0
    assert datacenter.get("/v1/kv/since")
    assert restore(datacenter, path, accept=["attempted_before"])["verified"] is True


def test_an_unknown_outcome_is_remembered_whatever_safety_path_the_second_run_names(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    vault, one, two = (tmp_path / name for name in ("vault", "one", "two"))
    for directory in (vault, one, two):
        directory.mkdir()
    path = save(datacenter, vault / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    with Proxy(datacenter.url, lab.address(), "lose", path="/v1/snapshot", method="PUT") as proxy:
        assert "Do NOT restore this snapshot again" in refused(proxy.url, path, safety_path=one)["msg"]
    datacenter.put("/v1/kv/since", "precious")
    link = tmp_path / "link.snap"
    link.symlink_to(path)
    moved = two / "moved.snap"
    moved.write_bytes(path.read_bytes())
    with Proxy(datacenter.url, lab.address()) as proxy:
        for found, safety_path in ((path, two), (path, vault), (link, two), (moved, one)):
            assert refused(proxy.url, found, safety_path=safety_path)["refusals"] == ["attempted_before"]
        assert restores(proxy) == 0
    assert datacenter.get("/v1/kv/since")
    assert restore(datacenter, path, safety_path=one, accept=["attempted_before"])["verified"] is True
    assert not list(tmp_path.rglob(".consulops-restore-*"))


@pytest.mark.root
def test_a_snapshot_in_a_read_only_directory_is_restored_and_the_attempt_noted_in_the_safety_directory(
    lab: Lab, tmp_path: Path, as_root: None
) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    vault, safety = tmp_path / "vault", tmp_path / "safety"
    vault.mkdir()
    safety.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(vault)], check=True)
    try:
        path = save(datacenter, vault / "good.snap")
        subprocess.run(["mount", "-o", "remount,ro", str(vault)], check=True)
        datacenter.put("/v1/kv/x", "y")
        with Proxy(datacenter.url, lab.address(), "lose", path="/v1/snapshot", method="PUT") as proxy:
            refused(proxy.url, path, safety_path=safety)
        datacenter.put("/v1/kv/x", "z")
        assert refused(datacenter, path, safety_path=safety)["refusals"] == ["attempted_before"]
        result = restore(datacenter, path, safety_path=safety, accept=["attempted_before"])
        assert result["verified"] is True
        assert f"is noted in {safety} only" in json.dumps(result["warnings"])
    finally:
        subprocess.run(["umount", str(vault)], check=True)


def test_a_failure_after_the_restore_says_that_it_was_done(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    server = datacenter.servers[0]

    def die(method: str, found: str) -> None:
        if restores(proxy) and method == "GET" and found.startswith("/v1/snapshot"):
            server.stop()

    with Proxy(datacenter.url, lab.address()) as proxy:
        proxy.before_forward = die
        message = refused(proxy.url, path)["msg"]
    assert "The restore was accepted, but it could not be verified" in message and "before-restore-" in message


def test_a_file_that_was_replaced_after_the_comparison_is_not_sent(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    other = save(datacenter, tmp_path / "other.snap")
    seen: list[str] = []

    def swap(_method: str, found: str) -> None:
        seen.append(found)
        if sum(item.startswith("/v1/snapshot") for item in seen) == 1 and other.exists():
            other.rename(path)  # while the live state is read

    with Proxy(datacenter.url, lab.address()) as proxy:
        proxy.before_forward = swap
        assert "was replaced or changed after it was compared" in refused(proxy.url, path)["msg"]
        assert restores(proxy) == 0


def test_a_restore_that_had_no_effect_is_reported_with_the_command_that_undoes_it(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    older = datacenter.snapshot()
    datacenter.put("/v1/kv/newer", "in the snapshot")
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    before = tables(datacenter.snapshot())

    def undo(method: str, found: str) -> None:
        if method == "PUT" and found.startswith("/v1/snapshot"):
            datacenter.put("/v1/snapshot", older)

    with Proxy(datacenter.url, lab.address()) as proxy:
        proxy.after_forward = undo
        result = refused(proxy.url, path)
    assert "1 records are not as the snapshot holds them (KVS newer)" in result["msg"]
    assert result["verified"] is False and result["wrong"] == [{"table": "KVS", "name": "newer", "change": "removed"}]
    way_back = result["msg"].rpartition("to go back to it: consul snapshot restore ")[2]
    assert way_back == result["safety"]
    binary = datacenter.servers[0].binary
    subprocess.run([binary, "snapshot", "restore", f"-http-addr={datacenter.url}", way_back], check=True)
    datacenter.leader()
    assert tables(datacenter.snapshot()) == before

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring real datacenters: what is refused, what is sent (once), and that the state is then the snapshot's."""

from __future__ import annotations

import json
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import restore as restoring
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import restore_prepare

from tests.lab import craft
from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, Lab, consul_binary, consul_version, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import fill, new_token
from tests.lab.restoring import (
    damage,
    is_what_the_file_holds,
    mutations,
    refused,
    restore,
    restores,
    save,
    with_records,
)

from .conftest import MakeClient


def test_a_damaged_datacenter_is_restored_to_what_the_snapshot_holds(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=100)
    path = save(datacenter, tmp_path / "good.snap")
    damage(datacenter)
    checked = restore(datacenter, path, check=True, diff=True)
    assert (checked["changed"], checked["action"]) == (True, "restore")
    assert {row["table"]: row["lost"] for row in checked["loss"]["tables"]}["KVS"] == 1
    assert {row["prefix"]: row["brought_back"] for row in checked["loss"]["kv"]}["app/"] == 20
    assert "KVS later/one" in checked["diff"]["before"]
    assert "overwritten" not in json.dumps(checked)
    assert datacenter.get("/v1/kv/later/one")

    result = restore(datacenter, path)
    assert (result["changed"], result["action"], result["verified"]) == (True, "restored", True)
    is_what_the_file_holds(datacenter, path)
    assert Path(result["safety"]).stat().st_mode & 0o777 == 0o600
    assert Path(result["safety"]).name.startswith("before-restore-dc1-")
    assert datacenter.get("/v1/acl/roles")  # the operator's token still works

    again = restore(datacenter, path)
    assert (again["changed"], again["action"]) == (False, "unchanged")


def test_a_restore_of_the_live_state_sends_nothing(dc1: Datacenter, shared_lab: Lab, tmp_path: Path) -> None:
    path = save(dc1, tmp_path / "good.snap")
    with Proxy(dc1.url, shared_lab.address()) as proxy:
        result = restore(proxy.url, path)
        assert (result["changed"], result["action"]) == (False, "unchanged")
        assert mutations(proxy) == []
    assert sorted(found.name for found in tmp_path.iterdir()) == ["good.snap", "good.snap.json"]


def test_a_second_run_does_not_undo_newer_writes(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=30)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/app/web/000000", "damaged")
    restore(datacenter, path)
    datacenter.put("/v1/kv/written/since", "precious")
    with Proxy(datacenter.url, lab.address()) as proxy:
        result = restore(proxy.url, path)
        assert mutations(proxy) == []
    assert (result["changed"], result["action"]) == (False, "drifted")
    assert "needs force" in result["reason"]
    assert {row["name"]: row["change"] for row in result["loss"]["records"]} == {"written/since": "lost"}
    assert datacenter.get("/v1/kv/written/since")
    forced = restore(datacenter, path, force=True)
    assert (forced["changed"], forced["verified"]) == (True, True)
    is_what_the_file_holds(datacenter, path)


def test_another_snapshot_is_restored_after_an_earlier_restore(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    one = save(datacenter, tmp_path / "one.snap")
    datacenter.put("/v1/kv/two", "2")
    two = save(datacenter, tmp_path / "two.snap")
    for path in (one, two, one):
        assert restore(datacenter, path)["action"] == "restored"
        is_what_the_file_holds(datacenter, path)


def test_exactly_one_request_is_sent(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    with Proxy(datacenter.url, lab.address()) as proxy:
        restore(proxy.url, path)
        assert restores(proxy) == 1
        assert [method for method, found in mutations(proxy) if "snapshot" not in found and "txn" not in found] == []
    is_what_the_file_holds(datacenter, path)


def test_each_step_reads_the_live_state_once(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")

    def readings(**options: t.Any) -> int:
        with Proxy(datacenter.url, lab.address()) as proxy:
            restore(proxy.url, path, **options)
            return sum(method == "GET" and found.startswith("/v1/snapshot") for method, found in proxy.requests)

    assert readings(check=True) == 1
    assert readings() == 2  # to decide (kept as the safety snapshot), and to verify
    datacenter.put("/v1/kv/since", "precious")
    assert readings() == 1  # a drift


def test_a_snapshot_that_would_crash_the_leader_is_refused(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    good = save(datacenter, tmp_path / "good.snap")
    poison = with_records(good, tmp_path / "type.snap", craft.record(65, {"Whatever": 1}))
    kind = with_records(good, tmp_path / "kind.snap", craft.config_entry("novelty", {"Name": "g", "Kind": "novelty"}))
    with Proxy(datacenter.url, lab.address()) as proxy:
        result = refused(proxy.url, poison)
        assert result["refusals"] == ["unknown_types"]
        version = ".".join(map(str, consul_version(consul_binary())[:2]))
        assert (
            f"record types that Consul {version} does not restore (Unknown(65)): its leader would crash"
            in result["msg"]
        )
        result = refused(proxy.url, kind)
        assert result["refusals"] == ["unknown_kinds"]
        assert "(novelty)" in result["msg"]
        assert refused(proxy.url, poison, check=True)["refusals"] == ["unknown_types"]
        assert mutations(proxy) == []
    server = datacenter.servers[0]
    assert server.process and server.process.poll() is None
    assert datacenter.get("/v1/kv/app/web/000000")


def test_an_accepted_snapshot_that_crashes_the_leader_is_sent_once_and_reported(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    good = save(datacenter, tmp_path / "good.snap")
    poison = with_records(good, tmp_path / "poison.snap", craft.record(65, {"Whatever": 1}))
    with Proxy(datacenter.url, lab.address()) as proxy:
        result = refused(proxy.url, poison, accept=["unknown_types"])
        assert restores(proxy) == 1
    assert "Do NOT restore this snapshot again" in result["msg"] and "before-restore-" in result["msg"]
    server = datacenter.servers[0]
    eventually(lambda: server.process and server.process.poll() is not None, 10, "the server has crashed")
    server.stop()
    server.start()  # it takes the older, good state, as the message says
    datacenter.leader()
    is_what_the_file_holds(datacenter, good)


def test_a_snapshot_of_another_datacenter_is_refused(
    federation: tuple[Datacenter, Datacenter], shared_lab: Lab, tmp_path: Path
) -> None:
    east, west = federation
    path = save(west, tmp_path / "west.snap")
    with Proxy(east.url, shared_lab.address()) as proxy:
        result = refused(proxy.url, path)
        assert mutations(proxy) == []
    assert result["refusals"] == ["other_datacenter"]
    assert "the snapshot is of datacenter 'west' and this is 'east'" in result["msg"]


def test_a_token_that_is_not_in_the_snapshot_is_refused(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    late = new_token(datacenter, 'acl = "write" key_prefix "" { policy = "write" }', "late-operator")
    with Proxy(datacenter.url, lab.address()) as proxy:
        result = refused(proxy.url, path, token=late)
        assert mutations(proxy) == []
    assert result["refusals"] == ["lost_token"] and late not in json.dumps(result)


def test_an_accepted_loss_of_the_token_restores_and_says_what_to_do_next(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    late = new_token(datacenter, 'acl = "write" key_prefix "" { policy = "write" }', "late-operator")
    message = refused(datacenter, path, token=late, accept=["lost_token"])["msg"]
    assert "The restore was done, but the token" in message and "says 'unchanged' if all is well" in message
    assert restore(datacenter, path)["action"] == "unchanged"
    is_what_the_file_holds(datacenter, path)


def test_a_denied_token_gets_the_policy_that_is_missing(secured: Datacenter, shared_lab: Lab, tmp_path: Path) -> None:
    path = save(secured, tmp_path / "good.snap")
    secured.put("/v1/kv/narrow/restore", "x")
    token = new_token(secured, 'operator = "write"', "narrow-restore")
    with Proxy(secured.url, shared_lab.address()) as proxy:
        assert 'acl = "write"' in refused(proxy.url, path, token=token)["msg"]
        assert mutations(proxy) == []


@pytest.mark.root
def test_a_full_disk_is_refused_before_anything_is_sent(
    dc1: Datacenter, shared_lab: Lab, tmp_path: Path, as_root: None
) -> None:
    path = save(dc1, tmp_path / "good.snap")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=True)
    try:
        # Where nothing has to be restored, no room is needed.
        assert restore(dc1, path, safety_path=small)["action"] == "unchanged"
        dc1.put("/v1/kv/full/disk", "x")
        with Proxy(dc1.url, shared_lab.address()) as proxy:
            result = refused(proxy.url, path, safety_path=small)
            assert result["refusals"] == ["low_disk"]
            # Accepted or not, without the safety snapshot nothing is sent.
            assert "No space left on device" in refused(proxy.url, path, safety_path=small, accept=["low_disk"])["msg"]
            assert mutations(proxy) == []
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "/nowhere.snap"}, "reading /nowhere.snap: No such file or directory"),
        ({"safety_path": "/nowhere"}, "The directory /nowhere for the safety snapshot does not exist"),
        ({"prefixes": []}, "prefixes is an empty list"),
        ({"prefixes": ["tpyo/"]}, "holds no key below 'tpyo/': is it spelt right"),
        ({"prefixes": ["a/", "a/b/"]}, "'a/b/' is part of 'a/'"),
        ({"prefixes": ["consulops/"]}, "is this collection's own"),
    ],
)
def test_a_bad_option_is_one_sentence(dc1: Datacenter, tmp_path: Path, options: dict[str, t.Any], words: str) -> None:
    path = craft.write(tmp_path / "x.snap", craft.key("a"))
    assert words in refused(dc1, options.pop("path", path), **options)["msg"]


def test_a_missing_leader_is_waited_for_and_then_reported(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(servers=3)
    path = save(datacenter, tmp_path / "good.snap")
    one, two, three = datacenter.servers
    two.stop()
    three.stop()
    message = refused(one.url, path, leader_timeout=1)["msg"]
    assert "leader" in message or "does not answer" in message


def test_a_new_backup_of_the_same_contents_is_not_the_one_that_was_restored(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=30)
    first = save(datacenter, tmp_path / "first.snap")
    datacenter.put("/v1/kv/x", "y")
    restore(datacenter, first)
    nightly = save(datacenter, tmp_path / "nightly.snap")
    datacenter.request("DELETE", "/v1/kv/app/?recurse")
    assert restore(datacenter, nightly)["action"] == "restored"
    is_what_the_file_holds(datacenter, nightly)


def test_a_token_that_expires_does_not_turn_a_drift_into_a_restore(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=10)
    expiring = datacenter.put("/v1/acl/token", {"Description": "short", "ExpirationTTL": "60s"})
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    restore(datacenter, path)
    datacenter.put("/v1/kv/since", "precious")
    datacenter.request("DELETE", f"/v1/acl/token/{expiring['AccessorID']}")
    assert restore(datacenter, path)["action"] == "drifted"
    assert datacenter.get("/v1/kv/since")


def test_deletions_by_other_clients_during_the_restore_are_not_reported_as_wrong(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=30)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")

    def delete(method: str, found: str) -> None:
        if method == "PUT" and found.startswith("/v1/snapshot"):
            datacenter.leader()
            datacenter.request("DELETE", "/v1/kv/app/web/?recurse")
            datacenter.put("/v1/catalog/deregister", {"Node": "ext-1"})

    with Proxy(datacenter.url, lab.address()) as proxy:
        proxy.after_forward = delete
        result = restore(proxy.url, path)
    assert result["verified"] is True
    gone = {row["name"] for row in result["written_since"]}
    assert "app/web/000000" in gone and "node ext-1" in gone


def test_a_safety_snapshot_does_not_count_as_a_backup(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=30)
    vault = tmp_path / "vault"
    vault.mkdir()
    path = save(datacenter, vault / "good.snap")
    datacenter.request("DELETE", "/v1/kv/app/?recurse")
    restore(datacenter, path)
    path.unlink()
    result = run_module("consul_snapshot", path=f"{vault}/", url=datacenter.url, max_age="1h")
    assert result["changed"] is True


def test_debug_logs_say_what_was_done_and_never_a_token_or_a_value(
    lab: Lab, make_client: MakeClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=10)
    datacenter.put("/v1/kv/app/password", "correct horse")
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/app/password", "battery staple")
    client = make_client(datacenter)
    request = restore_prepare.RestoreRequest(path=path, safety_path=tmp_path)
    with caplog.at_level("DEBUG", logger="consulops"):
        now = time.time()
        with restore_prepare.prepare(client, request, now, check=False) as prepared:
            restoring.perform(client, request, prepared, now)
    for words in (
        "restore of ",
        "the state before is in ",
        "sent ",
        "compared index",
        "restored ",
        "a leader of ",
        "after the restore",
    ):
        assert words in caplog.text
    for secret in (datacenter.token, "correct horse", "battery staple"):
        assert str(secret) not in caplog.text

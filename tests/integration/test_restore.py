# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring real datacenters: what is refused, what is sent (once), and that the state is then the snapshot's."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.watch import Watch

from tests.lab import craft
from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import Datacenter, Lab, Server, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import fill, fill_kv, new_token, register_external
from tests.lab.tables import tables

from .conftest import MakeClient


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
    """Do what people do at the wrong prompt: to keys, the catalogue and ACLs."""
    datacenter.request("DELETE", "/v1/kv/app/web/?recurse")
    datacenter.put("/v1/kv/app/api/000001", "overwritten")
    datacenter.put("/v1/kv/later/one", "new")
    datacenter.put("/v1/catalog/deregister", {"Node": "ext-1"})
    register_external(datacenter, "ext-late")
    if datacenter.token:
        role = datacenter.get("/v1/acl/roles")[0]
        datacenter.request("DELETE", f"/v1/acl/role/{role['ID']}")
        new_token(datacenter, 'key "x" { policy = "read" }', "late")


# ------------------------------------------------------------------------------------------------ the way it goes


def test_a_damaged_datacenter_is_what_the_snapshot_holds_again(lab: Lab, tmp_path: Path) -> None:
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


def test_the_live_state_sends_nothing(dc1: Datacenter, shared_lab: Lab, tmp_path: Path) -> None:
    path = save(dc1, tmp_path / "good.snap")
    with Proxy(dc1.url, shared_lab.address()) as proxy:
        result = restore(proxy.url, path)
        assert (result["changed"], result["action"]) == (False, "unchanged")
        assert mutations(proxy) == []
    assert sorted(found.name for found in tmp_path.glob("*.snap")) == ["good.snap"]


def test_running_it_again_never_undoes_what_was_written_since(lab: Lab, tmp_path: Path) -> None:
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


def test_another_snapshot_is_restored_although_one_was_before(lab: Lab, tmp_path: Path) -> None:
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
    assert readings() == 3  # to decide, the safety snapshot, to verify
    datacenter.put("/v1/kv/since", "precious")
    assert readings() == 1  # a drift


# --------------------------------------------------------------------------------------------------- what is refused


def with_records(path: Path, target: Path, *extra: tuple[int, bytes]) -> Path:
    """Add records to a real snapshot."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(path.read_bytes()))) as archive:
        members = {name: t.cast("t.IO[bytes]", archive.extractfile(name)).read() for name in ("meta.json", "state.bin")}
    members["state.bin"] += b"".join(data for _kind, data in extra)
    meta = json.loads(members["meta.json"])
    members["meta.json"] = (json.dumps({**meta, "Size": len(members["state.bin"])}) + "\n").encode()
    target.write_bytes(craft.pack({**members, "SHA256SUMS": craft.sums(members)}))
    return target


def test_a_poison_snapshot_is_refused_and_the_server_lives(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    good = save(datacenter, tmp_path / "good.snap")
    poison = with_records(good, tmp_path / "type.snap", craft.record(65, {"Whatever": 1}))
    kind = with_records(
        good, tmp_path / "kind.snap", craft.config_entry("api-gateway", {"Name": "g", "Kind": "api-gateway"})
    )
    with Proxy(datacenter.url, lab.address()) as proxy:
        result = refused(proxy.url, poison)
        assert result["refusals"] == ["unknown_types"]
        assert "record types that Consul 1.8 does not restore (Unknown(65)): its leader would crash" in result["msg"]
        result = refused(proxy.url, kind)
        assert result["refusals"] == ["unknown_kinds"]
        assert "(api-gateway)" in result["msg"]
        assert refused(proxy.url, poison, check=True)["refusals"] == ["unknown_types"]
        assert mutations(proxy) == []
    server = datacenter.servers[0]
    assert server.process and server.process.poll() is None
    assert datacenter.get("/v1/kv/app/web/000000")


def test_a_poison_snapshot_that_is_forced_is_reported_as_a_probable_crash_and_sent_once(
    lab: Lab, tmp_path: Path
) -> None:
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


def test_a_token_that_is_given_up_restores_and_says_what_to_do_then(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    late = new_token(datacenter, 'acl = "write" key_prefix "" { policy = "write" }', "late-operator")
    message = refused(datacenter, path, token=late, accept=["lost_token"])["msg"]
    assert "The restore was done, but the token" in message and "says 'unchanged' if all is well" in message
    assert restore(datacenter, path)["action"] == "unchanged"
    is_what_the_file_holds(datacenter, path)


def test_a_narrow_token_is_told_which_policy_is_missing(secured: Datacenter, shared_lab: Lab, tmp_path: Path) -> None:
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
    dc1.put("/v1/kv/full/disk", "x")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=True)
    try:
        with Proxy(dc1.url, shared_lab.address()) as proxy:
            result = refused(proxy.url, path, safety_path=small)
            assert result["refusals"] == ["low_disk"]
            # Accepted or not, without the safety snapshot nothing is sent.
            assert "No space left on device" in refused(proxy.url, path, safety_path=small, accept=["low_disk"])["msg"]
            assert mutations(proxy) == []
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


def test_no_leader_is_waited_for_and_then_said(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(servers=3)
    path = save(datacenter, tmp_path / "good.snap")
    one, two, three = datacenter.servers
    two.stop()
    three.stop()
    message = refused(one.url, path, leader_timeout=1)["msg"]
    assert "leader" in message or "does not answer" in message


# ------------------------------------------------------------------------------------------------------------ faults


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


def test_a_server_killed_in_the_middle_of_the_restore_is_asked_only_once(lab: Lab, tmp_path: Path) -> None:
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


# ----------------------------------------------------------------------------------------------- after the restore


def test_sessions_that_were_gone_come_back_and_are_destroyed_again(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    session = datacenter.put("/v1/session/create", {"Name": "holder"})["ID"]
    assert datacenter.put(f"/v1/kv/the/lock?acquire={session}", "held") is True
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put(f"/v1/session/destroy/{session}")
    datacenter.put("/v1/kv/x", "y")
    zombie = restore(datacenter, path, destroy_gone_sessions=False)
    assert zombie["destroyed_sessions"] == []
    assert datacenter.get("/v1/kv/the/lock")[0]["Session"] == session
    datacenter.put(f"/v1/session/destroy/{session}")
    datacenter.put("/v1/kv/x", "y")
    result = restore(datacenter, path, force=True)
    assert result["destroyed_sessions"] == [session]
    is_what_the_file_holds(datacenter, path)
    assert "Session" not in datacenter.get("/v1/kv/the/lock")[0]
    assert session not in {found["ID"] for found in datacenter.get("/v1/session/list")}


def test_nodes_that_are_no_members_any_more_are_named_with_what_clears_them(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    good = save(datacenter, tmp_path / "good.snap")
    ghosts = with_records(good, tmp_path / "ghosts.snap", *_ghost("old-server"))
    datacenter.put("/v1/kv/x", "y")
    result = restore(datacenter, ghosts)
    assert result["ghost_nodes"] == ["old-server"]
    assert '-d \'{"Node": "old-server"}\' $CONSUL_HTTP_ADDR/v1/catalog/deregister' in result["ghost_commands"][0]
    is_what_the_file_holds(datacenter, ghosts)


def _ghost(name: str) -> list[tuple[int, bytes]]:
    """A node with an agent, in every field that Consul wants."""
    base = {"Node": name, "Address": "192.0.2.50", "Datacenter": "dc1", "CreateIndex": 2, "ModifyIndex": 2}
    check = {"Node": name, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing", "CreateIndex": 2}
    return [craft.record(0, base), craft.record(0, {**base, "Check": {**check, "ModifyIndex": 2}})]


def test_a_secondary_that_replicates_acls_notices_within_ten_seconds(lab: Lab, tmp_path: Path) -> None:
    primary = lab.datacenter("dc1", acl=True, extra={"primary_datacenter": "dc1"})
    secondary = lab.datacenter("dc2", replicates=primary)
    lab.join_wan(primary, secondary)
    fill(primary, keys=10)
    path = save(primary, tmp_path / "good.snap")
    late = new_token(primary, 'key_prefix "" { policy = "read" }', "late")
    primary.put("/v1/kv/anything", "x")

    def knows_late() -> bool:
        return any(found["Description"] == "late" for found in secondary.get("/v1/acl/tokens"))

    eventually(knows_late, 30, "the secondary replicates the new token")
    started = time.monotonic()
    result = restore(primary, path)
    assert set(result["touched"]) == {"ACLPolicy", "ACLRole", "ACLToken", "ConfigEntry"}
    eventually(lambda: not knows_late(), 10, "the secondary forgets the token that the restore took away")
    print(f"the secondary noticed {time.monotonic() - started:.1f} s after the restore began")
    assert late
    is_what_the_file_holds(primary, path)


@pytest.fixture
def federated(lab: Lab) -> Datacenter:
    """A datacenter with ACLs that knows another one, so that its replicated tables are touched after a restore."""
    primary, other = lab.datacenter("dc1", acl=True), lab.datacenter("dc2")
    lab.join_wan(primary, other)
    fill(primary, keys=10)
    return primary


def touch_objects(datacenter: Datacenter) -> dict[str, list[str]]:
    """The IDs of the objects that touching the replicated tables has left behind."""
    prefix = "consulops-touch-"
    return {
        "policies": [row["ID"] for row in datacenter.get("/v1/acl/policies") if row["Name"].startswith(prefix)],
        "roles": [row["ID"] for row in datacenter.get("/v1/acl/roles") if row["Name"].startswith(prefix)],
        "tokens": [
            row["AccessorID"] for row in datacenter.get("/v1/acl/tokens") if row["Description"].startswith(prefix)
        ],
        "entries": [
            row["Name"] for row in datacenter.get("/v1/config/service-defaults") if row["Name"].startswith(prefix)
        ],
    }


NOTHING_LEFT: dict[str, list[str]] = {"policies": [], "roles": [], "tokens": [], "entries": []}


@pytest.mark.parametrize("fault", ["error", "drop", "lose"])
def test_a_deletion_of_a_touch_object_that_fails_is_tried_again(
    federated: Datacenter, lab: Lab, tmp_path: Path, fault: str
) -> None:
    path = save(federated, tmp_path / "good.snap")
    federated.put("/v1/kv/x", "y")
    with Proxy(federated.url, lab.address(), path="/v1/", method="DELETE") as proxy:

        def fail_once(method: str, found: str) -> None:
            proxy.fault = fault if method == "DELETE" and proxy.requests.count((method, found)) == 1 else ""

        proxy.arriving = fail_once
        result = restore(proxy.url, path, token=federated.token)
    assert set(result["touched"]) == {"ACLPolicy", "ACLRole", "ACLToken", "ConfigEntry"}
    assert "warnings" not in result
    assert touch_objects(federated) == NOTHING_LEFT


def test_a_touch_object_that_stays_is_named_and_deleted_by_the_next_restore(
    federated: Datacenter, lab: Lab, tmp_path: Path
) -> None:
    path = save(federated, tmp_path / "good.snap")
    federated.put("/v1/kv/x", "y")
    with Proxy(federated.url, lab.address(), "error", path="/v1/acl/policy/", method="DELETE") as proxy:
        result = restore(proxy.url, path, token=federated.token)
    left = touch_objects(federated)
    assert {**NOTHING_LEFT, "policies": left["policies"]} == left and len(left["policies"]) == 1
    warnings = json.dumps(result["warnings"])
    assert f"consul acl policy delete -id {left['policies'][0]}" in warnings
    assert restore(federated, path)["action"] == "unchanged"  # what is left is not a difference
    with_it = save(federated, tmp_path / "with-it.snap")
    federated.put("/v1/kv/x", "z")
    assert restore(federated, path, force=True)["verified"] is True
    assert touch_objects(federated) == NOTHING_LEFT
    federated.put("/v1/kv/x", "z")
    assert restore(federated, with_it)["verified"] is True  # it came back with this snapshot, and is deleted again
    assert touch_objects(federated) == NOTHING_LEFT
    assert restore(federated, with_it)["action"] == "unchanged"


def test_a_touch_object_whose_writing_was_not_answered_is_deleted(
    federated: Datacenter, lab: Lab, tmp_path: Path
) -> None:
    path = save(federated, tmp_path / "good.snap")
    federated.put("/v1/kv/x", "y")
    with Proxy(federated.url, lab.address(), "lose", path="/v1/acl/token", method="PUT") as proxy:
        result = restore(proxy.url, path, token=federated.token)
    assert "ACLToken could not be touched" in json.dumps(result["warnings"])
    assert touch_objects(federated) == NOTHING_LEFT


# ---------------------------------------------------------------------------------------------------------- prefixes


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


def test_a_denied_prefix_is_not_an_empty_one(secured: Datacenter, tmp_path: Path) -> None:
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


def test_a_key_that_others_keep_writing_is_not_overwritten_unseen(lab: Lab, tmp_path: Path) -> None:
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


def test_a_blocking_query_of_ours_survives_a_restore(lab: Lab, make_client: MakeClient, tmp_path: Path) -> None:
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


# --------------------------------------------------------------------------------------- what an attack on it found


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


def test_what_others_delete_meanwhile_is_not_the_restores_fault(lab: Lab, tmp_path: Path) -> None:
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


def test_a_new_cluster_keeps_the_sessions_of_the_snapshot(lab: Lab, tmp_path: Path) -> None:
    old = lab.datacenter("dc1")
    session = old.put("/v1/session/create", {"Name": "holder", "Behavior": "delete"})["ID"]
    old.put(f"/v1/kv/eph/lock?acquire={session}", "held")
    plain = old.put("/v1/session/create", {"Name": "plain"})["ID"]
    path = save(old, tmp_path / "good.snap")
    old.servers[0].stop()
    new = Lab(tmp_path / "new-lab")
    try:
        cluster = new.datacenter("dc1")
        result = restore(cluster, path)
        assert (result["verified"], result["destroyed_sessions"]) == (True, [])
        assert {session, plain} <= {found["ID"] for found in cluster.get("/v1/session/list")}
        assert cluster.get("/v1/kv/eph/lock")[0]["Session"] == session
        is_what_the_file_holds(cluster, path)
    finally:
        new.stop()


def test_a_session_that_deletes_its_keys_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    session = datacenter.put("/v1/session/create", {"Name": "holder", "Behavior": "delete"})["ID"]
    datacenter.put(f"/v1/kv/eph/lock?acquire={session}", "held")
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put(f"/v1/session/destroy/{session}")
    result = restore(datacenter, path)
    assert (result["verified"], result["destroyed_sessions"]) == (True, [])
    is_what_the_file_holds(datacenter, path)


def test_a_restore_whose_outcome_nobody_knows_is_not_sent_again_by_a_second_run(lab: Lab, tmp_path: Path) -> None:
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


def test_what_fails_after_the_restore_says_that_it_was_done(lab: Lab, tmp_path: Path) -> None:
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


def test_the_file_that_is_sent_is_the_one_that_was_looked_at(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=10)
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put("/v1/kv/x", "y")
    other = save(datacenter, tmp_path / "other.snap")
    asked: list[str] = []

    def swap(_method: str, found: str) -> None:
        asked.append(found)
        if sum(item.startswith("/v1/snapshot") for item in asked) == 2 and other.exists():
            other.rename(path)  # while the safety snapshot is taken

    with Proxy(datacenter.url, lab.address()) as proxy:
        proxy.before_forward = swap
        assert "was replaced or changed after it was compared" in refused(proxy.url, path)["msg"]
        assert restores(proxy) == 0


def test_the_safety_snapshot_is_no_backup(lab: Lab, tmp_path: Path) -> None:
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


def test_another_datacenters_keys_are_refused_by_prefix_too(
    federation: tuple[Datacenter, Datacenter], tmp_path: Path
) -> None:
    east, west = federation
    path = save(west, tmp_path / "west.snap")
    message = refused(east, path, prefixes=["app/"], prune=True)["msg"]
    assert "is of datacenter 'west' and this is 'east'" in message


def test_a_key_that_a_session_holds_is_left_to_its_holder(lab: Lab, tmp_path: Path) -> None:
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


def test_a_restore_that_did_not_take_says_so_with_the_way_back(lab: Lab, tmp_path: Path) -> None:
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

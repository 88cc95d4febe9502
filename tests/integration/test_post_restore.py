# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What follows a restore: sessions, replicated tables, nodes that are no longer members."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.lab import craft
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import fill, new_token
from tests.lab.restoring import (
    is_what_the_file_holds,
    restore,
    restores,
    save,
    with_records,
)


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


def test_nodes_that_are_not_members_any_more_are_named_with_the_command_that_deregisters_them(
    lab: Lab, tmp_path: Path
) -> None:
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
            row["Name"] for row in datacenter.get("/v1/config/terminating-gateway") if row["Name"].startswith(prefix)
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


def test_a_session_that_deletes_its_keys_is_not_destroyed(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    session = datacenter.put("/v1/session/create", {"Name": "holder", "Behavior": "delete"})["ID"]
    datacenter.put(f"/v1/kv/eph/lock?acquire={session}", "held")
    path = save(datacenter, tmp_path / "good.snap")
    datacenter.put(f"/v1/session/destroy/{session}")
    result = restore(datacenter, path)
    assert (result["verified"], result["destroyed_sessions"]) == (True, [])
    is_what_the_file_holds(datacenter, path)


@pytest.mark.parametrize("body", ["null", "5", "{}", '"text"', "[5]", "[{}]", "[1", "<html>"])
def test_answers_of_another_shape_after_the_restore_are_warnings(
    federation: tuple[Datacenter, Datacenter], shared_lab: Lab, tmp_path: Path, body: str
) -> None:
    east, _west = federation
    path = save(east, tmp_path / "good.snap")
    east.put("/v1/kv/shape", body)
    with Proxy(east.url, shared_lab.address(), path="/v1/") as proxy:
        proxy.body = body
        paths = ("/v1/agent/members", "/v1/catalog/datacenters", "/v1/config/terminating-gateway")

        def answer(_method: str, found: str) -> None:
            proxy.fault = "json" if restores(proxy) and found.startswith(paths) else ""

        proxy.arriving = answer
        result = restore(proxy.url, path)
    assert result["verified"] is True and result["ghost_nodes"] == []

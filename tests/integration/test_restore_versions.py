# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring a snapshot of another version into a real server, which stores the records in its own way.

The snapshot of the older version is the server's own, without the fields that hold no value: as a version wrote them that
did not know these fields. The server adds them when it restores. What newer servers do is in tests/unit/test_migration.py.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import craft
from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, Lab, consul_binary, consul_version
from tests.lab.faults import Proxy
from tests.lab.fill import fill
from tests.lab.restoring import damage, is_what_the_file_holds, mutations, restore, save
from tests.lab.rewrite import Record, rewritten

REGISTER = 0
REWRITTEN = {7: "PreparedQuery", 17: "ACLToken", 19: "ACLPolicy", 22: "ConfigEntry", 23: "ACLRole"}


@dataclass(frozen=True)
class Restored:
    """A datacenter, its own snapshot, the same as of an older version, and how the older one was restored."""

    datacenter: Datacenter
    own: Path
    older: Path
    before: dict[str, t.Any]
    result: dict[str, t.Any]


def _older(kind: int, record: Record) -> Record:
    """Leave out what holds no value, but for what a server needs to load the record."""
    if kind == REGISTER and record.get("Service"):
        return {**record, "Service": _set_fields(record["Service"])}
    return _set_fields(record) if kind in REWRITTEN else record


def _set_fields(record: Record) -> Record:
    # An empty list stays: a server that loads a record without the field keeps null, which is another value at the same version.
    return {field: value for field, value in record.items() if value or isinstance(value, (list, dict))}


@pytest.fixture(scope="module")
def restored(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Restored:
    directory = tmp_path_factory.mktemp("versions")
    datacenter = shared_lab.datacenter("versions", acl=True)
    fill(datacenter, keys=20)
    own = save(datacenter, directory / "own.snap")
    older = directory / "older.snap"
    older.write_bytes(rewritten(own.read_bytes(), _older))
    before = restore(datacenter, older)
    damage(datacenter)
    return Restored(datacenter, own, older, before, restore(datacenter, older))


def test_a_snapshot_of_another_version_equals_the_live_state_and_is_not_sent(restored: Restored) -> None:
    before = restored.before
    assert (before["changed"], before["action"]) == (False, "unchanged")
    assert "another version" in before["reason"]


def test_a_restore_is_verified_and_says_how_many_records_were_migrated(restored: Restored) -> None:
    result = restored.result
    assert (result["action"], result["verified"], result["wrong"]) == ("restored", True, [])
    assert result["migrated"].keys() >= {*REWRITTEN.values(), "Register"}
    assert all(count > 0 for count in result["migrated"].values())
    assert {row["table"] for row in result["loss"]["tables"]} >= {"KVS", "Register", "ACLRole"}
    is_what_the_file_holds(restored.datacenter, restored.own)


def test_a_second_restore_sends_nothing_and_later_writes_are_drift(restored: Restored) -> None:
    datacenter = restored.datacenter
    with Proxy(datacenter.url, datacenter.servers[0].address) as proxy:
        again = restore(proxy.url, restored.older, token=datacenter.token)
        assert (again["changed"], again["action"]) == (False, "unchanged")
        datacenter.put("/v1/kv/written/since", "precious")
        drifted = restore(proxy.url, restored.older, token=datacenter.token)
        assert (drifted["changed"], drifted["action"]) == (False, "drifted")
        assert [row["name"] for row in drifted["loss"]["records"]] == ["written/since"]
        assert mutations(proxy) == []
    datacenter.request("DELETE", "/v1/kv/written/since")


def test_a_comparison_with_the_live_state_counts_what_was_migrated(restored: Restored) -> None:
    datacenter = restored.datacenter
    live: dict[str, t.Any] = {"url": datacenter.url, "token": datacenter.token, "compare_live": True}
    found = run_module("consul_snapshot_info", path=restored.older, **live)["comparison"]
    assert found["equal"] and {table["table"] for table in found["tables"] if table["migrated"]} >= {
        "Register",
        "ACLRole",
    }
    assert not [row for row in found["differences"] if row["table"] in REWRITTEN.values()]
    found = run_module("consul_snapshot_info", path=restored.own, **live)["comparison"]
    assert found["equal"]
    assert all(table["migrated"] == 0 for table in found["tables"])


def _newer(restored: Restored, path: Path) -> Path:
    def newer(kind: int, record: Record) -> Record:
        service = record.get("Service") if kind == REGISTER else None
        if kind == 2 and record["Key"] == "app/web/000000":
            return {**record, "Value": "changed"}
        if not service or service["Service"] != "consul":
            return record
        return {**record, "Service": {**service, "Meta": {**service["Meta"], "version": "1.999.1"}}}

    path.write_bytes(rewritten(restored.own.read_bytes(), newer))
    return path


def test_a_snapshot_of_a_newer_version_is_restored_with_a_warning(restored: Restored, tmp_path: Path) -> None:
    checked = restore(restored.datacenter, _newer(restored, tmp_path / "newer.snap"), check=True)
    assert (checked["changed"], checked["action"]) == (True, "restore")
    assert "the snapshot is of Consul 1.999 and the servers run" in json.dumps(checked["warnings"])


@pytest.mark.skipif(
    consul_version(consul_binary()) >= (1, 16),
    reason="a newer leader has the policy, so no snapshot can be ahead of it",
)
def test_a_state_of_an_older_version_is_not_taken_for_the_restored_snapshot(restored: Restored, tmp_path: Path) -> None:
    """What a newer leader added to the snapshot, a comparison recognizes; the live state does not have it."""

    def newer(kind: int, record: Record) -> Record:
        return {**record, "Novel": None} if kind in (17, 23) else record

    number = "00000000-0000-0000-0000-000000000002"
    policy = {"ID": number, "Name": "builtin/global-read-only", "Rules": 'acl = "read"', "ModifyIndex": 999_999}
    path = tmp_path / "added.snap"
    path.write_bytes(rewritten(restored.own.read_bytes(), newer, craft.record(19, policy), index=1_000_000))
    live: dict[str, t.Any] = {"url": restored.datacenter.url, "token": restored.datacenter.token, "compare_live": True}
    found = run_module("consul_snapshot_info", path=path, **live)["comparison"]
    assert found["equal"] and [row["migrated"] for row in found["tables"] if row["table"] == "ACLPolicy"] == [1]
    assert restore(restored.datacenter, path, check=True)["action"] == "restore"


def test_the_agents_version_counts_when_the_catalog_names_that_of_an_earlier_snapshot(
    restored: Restored, tmp_path: Path
) -> None:
    datacenter, path = restored.datacenter, _newer(restored, tmp_path / "newer.snap")
    [server] = datacenter.get("/v1/catalog/service/consul")
    service = {"ID": server["ServiceID"], "Service": "consul", "Port": server["ServicePort"]}
    service["Meta"] = {**server["ServiceMeta"], "version": "1.999.1"}
    registration = {"Node": server["Node"], "Address": server["Address"], "Service": service, "SkipNodeUpdate": True}
    warnings = ""
    try:
        for _attempt in range(3):  # the leader repairs the catalog once a minute
            datacenter.put("/v1/catalog/register", registration)
            warnings = json.dumps(restore(datacenter, path, check=True).get("warnings"))
            if "the servers run" not in warnings:
                break
    finally:
        datacenter.put("/v1/catalog/register", {**registration, "Service": {**service, "Meta": server["ServiceMeta"]}})
    assert "the snapshot is of Consul 1.999 and the agent that answers runs" in warnings

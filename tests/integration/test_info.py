# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inspecting, comparing and listing snapshots of real Consul servers."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from tests.lab import craft
from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import Datacenter, Lab
from tests.lab.fill import fill, new_token, register_external

info = "consul_snapshot_info"


def save(datacenter: Datacenter, path: Path) -> Path:
    """Save a datacenter and return the file."""
    result = run_module("consul_snapshot", path=path, url=datacenter.url, token=datacenter.token)
    return Path(result["path"])


def inspect(path: Path | str, **options: t.Any) -> dict[str, t.Any]:
    """Run the module; it never changes anything."""
    result = run_module(info, path=path, **options)
    assert result["changed"] is False
    return result


def test_a_file_is_shown_by_table_and_prefix(secured: Datacenter, tmp_path: Path) -> None:
    path = save(secured, tmp_path / "one.snap")
    result = inspect(path, kv_depth=1)
    tables = {table["name"]: table for table in result["snapshot"]["tables"]}
    assert result["snapshot"]["datacenter"] == "secured"
    assert result["snapshot"]["problem"] == ""
    assert tables["ACLPolicy"]["count"] == len(secured.get("/v1/acl/policies"))
    assert tables["Register"]["durable"] is True and tables["Register (agents)"]["durable"] is False
    assert tables["Session"]["durable"] is False
    keys = secured.get("/v1/kv/?keys")
    assert {row["prefix"]: row["keys"] for row in result["kv"]}["app/"] == sum(key.startswith("app/") for key in keys)
    assert sum(row["keys"] for row in result["kv"]) == len(keys)
    below = inspect(path, kv_depth=2, kv_prefix="app/web/")["kv"]
    assert [row["prefix"] for row in below] == ["app/web/"]
    assert "kv" not in inspect(path, kv_depth=0)


def test_the_servers_are_shown_with_their_node_ids(dc1: Datacenter, tmp_path: Path) -> None:
    found = inspect(save(dc1, tmp_path / "one.snap"))["snapshot"]["server_nodes"]
    nodes = dc1.get("/v1/catalog/service/consul")
    assert found == sorted(
        ({"name": node["Node"], "id": node["ID"], "address": node["Address"]} for node in nodes),
        key=lambda node: str(node["name"]),
    )
    assert found and all(node["id"] for node in found)


def test_a_key_is_shown_as_a_digest_unless_its_value_is_requested(dc1: Datacenter, tmp_path: Path) -> None:
    dc1.put("/v1/kv/db/password?flags=42", "correct horse")
    dc1.put("/v1/kv/db/binary", b"\xff\x00\xfe")
    path = save(dc1, tmp_path / "one.snap")
    result = inspect(path, key="db/password")
    assert result["key"]["flags"] == 42 and result["key"]["bytes"] == 13
    assert "correct horse" not in json.dumps(result)
    shown = inspect(path, key="db/password", show_value=True)["key"]
    assert shown["value"] == "correct horse" and shown["value_base64"] == "Y29ycmVjdCBob3JzZQ=="
    assert shown["digest"] == result["key"]["digest"]
    binary = inspect(path, key="db/binary", show_value=True)["key"]
    assert binary["value"] is None and binary["value_base64"] == "/wD+"
    assert inspect(path, key="db/none")["key"] is None


def test_two_snapshots_are_compared_by_table_and_name(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=100)
    before = save(datacenter, tmp_path / "before.snap")
    datacenter.put("/v1/kv/app/web/000000", "edited")
    datacenter.request("DELETE", "/v1/kv/app/api/000001")
    datacenter.put("/v1/kv/new", "secret value")
    register_external(datacenter, "ext-0", address="192.0.2.99")
    after = save(datacenter, tmp_path / "after.snap")
    result = inspect(before, compare_with=after, diff=True)
    comparison = result["comparison"]
    assert comparison["equal"] is False
    changes = {(row["table"], row["name"]): row["change"] for row in comparison["differences"]}
    assert changes[("KVS", "app/web/000000")] == "changed"
    assert changes[("KVS", "app/api/000001")] == "removed"
    assert changes[("KVS", "new")] == "added"
    assert changes[("Register", "node ext-0")] == "changed"
    tables = {row["table"]: row for row in comparison["tables"]}
    assert (tables["KVS"]["added"], tables["KVS"]["removed"], tables["KVS"]["changed"]) == (1, 1, 1)
    assert tables["KVS"]["unchanged"] == 98
    assert "KVS new" in result["diff"]["after"] and "secret value" not in json.dumps(result)
    assert inspect(before, compare_with=before)["comparison"]["equal"] is True
    few = inspect(before, compare_with=after, limit=1)["comparison"]
    assert len(few["differences"]) == 1 and few["omitted"] == len(comparison["differences"]) - 1


def test_a_snapshot_is_compared_with_the_live_state(lab: Lab, tmp_path: Path) -> None:
    datacenter = lab.datacenter(acl=True)
    fill(datacenter, keys=20)
    options = {"url": datacenter.url, "token": datacenter.token, "compare_live": True}
    path = save(datacenter, tmp_path / "one.snap")
    assert inspect(path, **options)["comparison"]["equal"] is True
    new_token(datacenter, 'key "x" { policy = "read" }', "late")
    comparison = inspect(path, **options)["comparison"]
    assert comparison["equal"] is False
    changed = {row["table"] for row in comparison["tables"] if row["durable"] and row["added"]}
    assert changed == {"ACLToken", "ACLPolicy"}
    narrow = new_token(datacenter, 'key "y" { policy = "read" }', "narrow")
    with pytest.raises(ModuleFailed, match='acl = "write"'):
        inspect(path, **{**options, "token": narrow})


def test_a_directory_is_listed_newest_first(federation: tuple[Datacenter, Datacenter], tmp_path: Path) -> None:
    east, west = federation
    first = save(east, tmp_path / "a.snap")
    manifest = json.loads((tmp_path / "a.snap.json").read_text(encoding="utf-8"))
    manifest["time"] = "2020-01-01T00:00:00Z"
    (tmp_path / "a.snap.json").write_text(json.dumps(manifest), encoding="utf-8")
    second = save(west, tmp_path / "b.snap")
    foreign = craft.write(tmp_path / "c.snap", craft.key("x"))
    os.utime(foreign, (86400, 86400))
    (tmp_path / "notes.txt").write_text("not a snapshot", encoding="utf-8")
    listed = inspect(tmp_path, verify=True)["snapshots"]
    assert [row["path"] for row in listed] == [str(second), str(first), str(foreign)]
    assert [row["datacenter"] for row in listed] == ["west", "east", None]
    assert [row["intact"] for row in listed] == [True, True, None]
    assert "no manifest" in listed[2]["problem"]
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    problems = {Path(row["path"]).name: row["problem"] for row in inspect(tmp_path)["snapshots"]}
    assert "bytes, its manifest says" in problems["a.snap"]
    assert "only its manifest is left" in problems["b.snap"]


def test_a_broken_manifest_is_a_problem_of_its_file_only(dc1: Datacenter, tmp_path: Path) -> None:
    path = save(dc1, tmp_path / "a.snap")
    for text in ("{", "[]", '{"format": 99}', '{"format": 1}', "null"):
        (tmp_path / "a.snap.json").write_text(text, encoding="utf-8")
        assert inspect(tmp_path)["snapshots"][0]["problem"] != ""
        assert inspect(path)["snapshot"]["problem"] != ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "/nowhere.snap"}, "reading /nowhere.snap: No such file or directory"),
        ({"path": "{empty}"}, "is not a usable snapshot: it is empty"),
        ({"path": "{directory}", "key": "x"}, "key needs a snapshot file"),
        ({"path": "{empty}", "compare_with": "x", "compare_live": True}, "compare with one of them at a time"),
        ({"path": "{empty}", "limit": -1}, "limit is -1"),
        ({"path": "{empty}", "restorable_in": ["1.16", "latest"]}, "restorable_in 'latest' is not a version of Consul"),
        ({"path": "{empty}", "restorable_in": [1.2]}, "restorable_in '1.2': what this version loads is not known"),
        ({"path": "{directory}", "restorable_in": ["1.16"]}, "restorable_in needs a snapshot file"),
        ({"path": "{raft}"}, "raft/2-10-1795378925993 is not a usable Raft snapshot: it has no meta.json"),
    ],
)
def test_a_bad_option_is_one_sentence(tmp_path: Path, options: dict[str, t.Any], words: str) -> None:
    (tmp_path / "empty.snap").write_bytes(b"")
    state = tmp_path / "raft" / "2-10-1795378925993" / "state.bin"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"")
    places = {"empty": tmp_path / "empty.snap", "directory": tmp_path, "raft": tmp_path / "raft"}
    filled: dict[str, t.Any] = {
        name: value.format(**places) if isinstance(value, str) else value for name, value in options.items()
    }
    with pytest.raises(ModuleFailed) as caught:
        run_module(info, **filled)
    assert words in caught.value.result["msg"] and "\n" not in caught.value.result["msg"]

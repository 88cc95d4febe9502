# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots with records that make a leader panic, against real servers: refused, accepted, saved with a warning.

Every rule of version_rules.py that says "seen on 1.8.7" was tried like this with a server of its own; a few stay here.
"""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.lab import craft
from tests.lab.ansible import run_module, run_our_playbook
from tests.lab.consul import Datacenter, Lab, consul_version, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import fill
from tests.lab.restoring import is_what_the_file_holds, mutations, refused, restore, restores, save, with_records

SECRET = "21111111-2222-3333-4444-555555555555"
CREATED = b"\x01\x00\x00\x00\x0e\xe2\x9b\xc9\xfc\x1au\xecn\x00\x00"  # Go's time.MarshalBinary
# Every field that 1.8.7 writes, so that what it holds after the restore is the record that was sent.
TOKEN = {
    **dict.fromkeys(("AccessorID", "AuthMethod", "Rules", "Type"), ""),
    **dict.fromkeys(("ExpirationTime", "NodeIdentities", "Policies", "Roles", "ServiceIdentities")),
    **{"CreateIndex": 5, "ModifyIndex": 5, "ExpirationTTL": 0, "Local": False},
    **{"SecretID": SECRET, "Description": "of the old days", "Hash": b"\x01" * 32, "CreateTime": CREATED},
}


@pytest.fixture(scope="module")
def unsecured(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Datacenter]:
    """A datacenter without ACLs: with them, the leader of a version before 1.15 gives a token its AccessorID at once."""
    with Lab(tmp_path_factory.mktemp("unsecured")) as lab:
        datacenter = lab.datacenter()
        fill(datacenter, keys=10)
        yield datacenter


@pytest.fixture(scope="module")
def good(unsecured: Datacenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its snapshot before any test."""
    return save(unsecured, tmp_path_factory.mktemp("good") / "good.snap")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (craft.key(""), "KVS, record "),
        (craft.record(0, {"Address": "192.0.2.1"}), "Register, record "),
        (craft.record(7, {"Name": "a query"}), "PreparedQuery, record "),
        (craft.record(19, {"Name": "nameless"}), "no ID; Consul cannot load it"),
    ],
)
def test_a_snapshot_that_would_make_the_leader_panic_is_not_sent(
    dc1: Datacenter, shared_lab: Lab, tmp_path: Path, record: tuple[int, bytes], words: str
) -> None:
    path = with_records(save(dc1, tmp_path / "good.snap"), tmp_path / "bad.snap", record)
    with Proxy(dc1.url, shared_lab.address()) as proxy:
        result = refused(proxy.url, path)
        assert mutations(proxy) == []
    assert result["refusals"] == ["incomplete_records"] and words in result["msg"]


def test_a_state_that_an_upgrade_would_not_survive_is_saved_with_a_warning(
    unsecured: Datacenter, good: Path, tmp_path: Path
) -> None:
    if consul_version(unsecured.servers[0].binary) >= (1, 15):
        pytest.skip("only Consul before 1.15 can hold a token without AccessorID")
    path = with_records(good, tmp_path / "old.snap", craft.record(17, TOKEN))
    # Another test may have left the same token.
    unsecured.put("/v1/snapshot", good.read_bytes())
    unsecured.leader()
    assert restore(unsecured, path)["verified"] is True
    result = run_module("consul_snapshot", path=tmp_path / "again.snap", url=unsecured.url)
    assert result["changed"] is True
    assert len(result["warnings"]) == 1
    warning = json.dumps(result["warnings"])
    assert "own data, will not load in Consul 1.15 and later: ACLToken, record " in warning
    assert "'of the old days'): no AccessorID" in warning and SECRET not in str(result)
    judged = run_module("consul_snapshot_info", path=tmp_path / "again.snap", restorable_in=["1.14", "1.15.1"])
    assert [(row["version"], row["restorable"]) for row in judged["restorable_in"]] == [("1.14", True), ("1.15", False)]


def test_the_upgrade_check_fails_with_the_records_that_the_new_version_would_not_load(
    unsecured: Datacenter, good: Path, tmp_path: Path
) -> None:
    if consul_version(unsecured.servers[0].binary) >= (1, 15):
        pytest.skip("only Consul before 1.15 can hold a token without AccessorID")
    unsecured.put("/v1/snapshot", with_records(good, tmp_path / "old.snap", craft.record(17, TOKEN)).read_bytes())
    unsecured.leader()
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def check(versions: str, *options: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "consul_connection": {"url": unsecured.url},
            "consul_upgrade_check_versions": versions,
            "consul_upgrade_check_environment": {"TMPDIR": str(scratch)},
        }
        return run_our_playbook(tmp_path / "run", "upgrade_check", variables, *options)

    failed = check("1.14,1.19", "--check")
    output = " ".join(failed.stdout.split())
    assert failed.returncode != 0 and "Do not upgrade dc1 to 1.19 yet. ACLToken, record " in output
    assert "no AccessorID; Consul 1.15 and later cannot load it. Nothing was changed." in output
    assert SECRET not in output and "changed=0" in output
    assert list(scratch.iterdir()) == []  # the snapshots are gone
    passed = check("1.14")
    assert passed.returncode == 0 and "changed=0" in passed.stdout, passed.stdout
    unnamed = check("")
    assert unnamed.returncode != 0 and "consul_upgrade_check_versions=1.16,1.19" in unnamed.stdout


def test_an_accepted_incomplete_record_is_sent_once_and_the_older_state_comes_back(
    unsecured: Datacenter, tmp_path: Path
) -> None:
    good = save(unsecured, tmp_path / "good.snap")
    bad = with_records(good, tmp_path / "bad.snap", craft.record(19, {"Name": "a policy without ID"}))
    server = unsecured.servers[0]
    with Proxy(unsecured.url, server.address.rpartition(".")[0] + ".200") as proxy:
        result = refused(proxy.url, bad, accept=["incomplete_records"])
        assert restores(proxy) == 1
    assert "Do NOT restore this snapshot again" in result["msg"]
    eventually(lambda: server.process and server.process.poll() is not None, 10, "the server has crashed")
    server.stop()
    server.start()
    unsecured.leader()
    is_what_the_file_holds(unsecured, good)

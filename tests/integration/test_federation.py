# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consul_federation`` on a real federation whose primary datacenter loses its disks."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import SERF_WAN, Datacenter, Lab, Server, eventually

RULES = 'acl = "write" operator = "write" service_prefix "" { policy = "read" intentions = "read" }'
GONE = 4  # Serf's status of a member that failed


class Federation(t.NamedTuple):
    """A primary and a secondary datacenter, and the token that replicates ACLs."""

    lab: Lab
    primary: Datacenter
    secondary: Datacenter
    snapshot: dict[str, t.Any]
    snapshot_path: Path

    def run(self, state: str, **more: t.Any) -> dict[str, t.Any]:
        given: dict[str, t.Any] = {
            "state": state,
            "lost": {"url": self.primary.url, "datacenter": "dc1", "timeout": 2},
            "others": [{"url": self.secondary.url, "datacenter": "dc2"}],
            "token": self.primary.token,
            "servers": {"dc1-s1": f"{self.primary.servers[0].address}:{SERF_WAN}"},
            "snapshot": self.snapshot,
            "wait": "60s",
        }
        return run_module("consul_federation", **{**given, **more})

    def refusals(self, **more: t.Any) -> str:
        """Return why the confirmed recovery would be refused."""
        return "; ".join(self.run("planned", **{"confirm": "dc1", **more})["refusals"])

    def status(self, name: str) -> int:
        """Return how the secondary knows a member of the primary."""
        members = self.secondary.get("/v1/agent/members?wan=1")
        return next((int(one["Status"]) for one in members if one["Name"] == f"{name}.dc1"), 0)

    def tokens(self) -> set[str]:
        """Return the accessor IDs of the tokens that the secondary has."""
        return {row["AccessorID"] for row in self.secondary.get("/v1/acl/tokens")}

    def lose(self, server: Server) -> str:
        """Stop a server and remove its data; return its node ID."""
        server.stop()
        data = server.directory / "data"
        node_id = (data / "node-id").read_text(encoding="ascii")
        shutil.rmtree(data)
        return node_id


@pytest.fixture
def federation(lab: Lab, tmp_path: Path) -> Federation:
    primary = lab.datacenter("dc1", acl=True, extra={"primary_datacenter": "dc1"})
    primary.put("/v1/acl/policy", {"Name": "replication", "Rules": RULES})
    token = primary.put("/v1/acl/token", {"Description": "replication", "Policies": [{"Name": "replication"}]})
    secondary = lab.datacenter("dc2", replicates=primary)
    secondary.put("/v1/agent/token/replication", {"Token": token["SecretID"]})
    primary.put("/v1/kv/app/key", "value")
    path = tmp_path / "dc1.snap"
    path.write_bytes(primary.snapshot())
    snapshot = run_module("consul_snapshot_info", path=path, kv_depth=0)["snapshot"]
    found = Federation(lab, primary, secondary, snapshot, path)
    # It has replicated with that token.
    late = primary.put("/v1/acl/token", {"Description": "late"})["AccessorID"]
    eventually(lambda: late in found.tokens(), 60, "the secondary replicates")
    return found


def test_a_primary_that_lost_its_disks_comes_back_into_its_federation(federation: Federation, tmp_path: Path) -> None:
    primary, secondary = federation.primary, federation.secondary
    assert "dc1 has a leader and data" in federation.refusals()
    roots = secondary.get("/v1/connect/ca/roots")
    assert (federation.snapshot["connect_ca"]["trust_domain"], federation.snapshot["connect_ca"]["active_root"]) == (
        roots["TrustDomain"],
        roots["ActiveRootID"],
    )
    (server,) = primary.servers
    node_id = federation.lose(server)
    eventually(lambda: federation.status("dc1-s1") == GONE, 30, "gossip gives up on it")
    plan = federation.run("planned", confirm="dc1")
    assert (plan["action"], plan["refusals"], plan["ghosts"]) == ("recover", [], [])
    assert "not confirmed" in federation.refusals(confirm="dc2")
    assert "the primary datacenter of dc2: use the playbook recover_primary" in federation.refusals(kind="secondary")
    other = {**federation.snapshot, "connect_ca": {"trust_domain": "other.consul", "active_root": "aa", "roots": []}}
    assert "the snapshot is of another cluster: its CA has the trust domain other.consul" in federation.refusals(
        snapshot=other
    )
    assert "the snapshot is of dc9" in federation.refusals(snapshot={**federation.snapshot, "datacenter": "dc9"})
    with pytest.raises(ModuleFailed, match="federation is not whole: dc1 does not answer"):
        federation.run("verified", wait="0s")

    (server.directory / "data").mkdir()
    (server.directory / "data/node-id").write_text(node_id, encoding="ascii")
    server.start()
    primary.leader()
    # Fresh servers run: it goes on.
    assert federation.run("planned", confirm="dc1")["refusals"] == []
    restored = run_module(
        "consul_snapshot",
        state="restored",
        path=federation.snapshot_path,
        url=primary.url,
        token=primary.token,
    )
    assert restored["action"] == "restored"
    finish = federation.run("planned", confirm="dc1")
    assert (finish["action"], finish["refusals"]) == ("finish", [])
    federation.run("joined")
    assert federation.run("joined")["changed"] is False
    whole = federation.run("verified")
    assert whole["primary"] == "dc1" and "is healthy" in " ".join(whole["sentences"])
    made = primary.put("/v1/acl/token", {"Description": "new"})["AccessorID"]
    eventually(lambda: made in federation.tokens(), 30, "a token of the primary reaches the secondary")
    assert secondary.get("/v1/connect/ca/roots")["ActiveRootID"] == roots["ActiveRootID"]
    secondary.servers[0].stop()
    assert "dc2 does not answer" in federation.refusals()


def test_servers_that_do_not_come_back_are_removed_on_request(federation: Federation) -> None:
    federation.lose(federation.primary.servers[0])
    eventually(lambda: federation.status("dc1-s1") == GONE, 30, "gossip gives up on it")
    moved = {"other": federation.lab.address()}
    plan = federation.run("planned", confirm="dc1", servers=moved)
    assert [one["name"] for one in plan["ghosts"]] == ["dc1-s1.dc1"]
    new = federation.lab.datacenter(
        "dc1", acl=True, extra={"primary_datacenter": "dc1", "node_name": "other"}, token=federation.primary.token
    )
    servers = {"other": f"{new.servers[0].address}:{SERF_WAN}"}
    assert federation.run("joined", servers=servers)["joined"] == ["dc2"]
    assert federation.status("other") == 1 and federation.status("dc1-s1") == GONE
    removed = federation.run("joined", servers=servers, remove_ghosts=True)
    if removed["removed"]:
        assert removed["removed"] == ["dc1-s1.dc1 in dc2"]
        eventually(lambda: federation.status("dc1-s1") != GONE, 30, "the member is removed")
    else:  # 1.8 has no request for members of another datacenter
        assert "dc2 still has the member dc1-s1.dc1" in str(removed["warnings"])

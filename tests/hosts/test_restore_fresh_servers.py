# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three real servers that lose everything: a playbook gives fresh ones the old node IDs, and restores a snapshot of before."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import run_playbook
from tests.lab.consul import eventually

from .conftest import NAMES, POLL_S, TOKEN, Estate, estate_of

DATA = "var/lib/consul"
KEYS = {f"app/{number}": f"value {number}" for number in range(50)}
BROKEN = "/run/systemd/system/consul.service.d/broken.conf"
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)


class Fresh:
    """The servers, and the playbook that runs on the controller in their network."""

    def __init__(self, estate: Estate, directory: Path) -> None:
        self.estate = estate
        self.snapshot = directory / "before.snap"
        self._directory = directory

    def run(self, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        """Run the playbook with some variables."""
        first = next(iter(self.estate.hosts))
        given = {
            "consul_connection": {"url": f"http://{first.address}:8500", "token": TOKEN},
            "consul_restore_path": str(self.snapshot),
            "consul_restore_data_dir": f"/{DATA}",
            **variables,
        }
        extra = self._directory / "variables.json"
        extra.touch(mode=0o600)
        extra.write_text(json.dumps(given), encoding="utf-8")
        return run_playbook(
            self._directory / "ansible",
            "consulops.failover.restore_fresh_servers",
            *("-c", "ssh", "-i", str(self.estate.inventory), "-i", str(self._local()), "-e", f"@{extra}", *options),
            environment={"ANSIBLE_PIPELINING": "true", "ANSIBLE_FORKS": "10"},
            prefix=self.estate.hosts.exec_prefix,
        )

    def _local(self) -> Path:
        """Return an inventory in which localhost is reached without SSH."""
        path = self._directory / "localhost.json"
        path.write_text(json.dumps({"all": {"hosts": {"localhost": {"ansible_connection": "local"}}}}), "utf-8")
        return path

    def node_ids(self) -> dict[str, str]:
        """Return the node IDs on the disks; "" where there is none."""
        files = {host.name: host.root / DATA / "node-id" for host in self.estate.hosts}
        return {name: file.read_text(encoding="ascii") if file.exists() else "" for name, file in files.items()}

    def keys(self) -> dict[str, t.Any]:
        """Return all keys with their values, as Consul encodes them."""
        first = next(iter(self.estate.hosts))
        found = self.estate.consul(first, "GET", "/v1/kv/?recurse&consistent")
        return {row["Key"]: row["Value"] for row in found if not row["Key"].startswith("consulops/")}

    def lose_everything(self) -> None:
        """Stop every server, and remove its data."""
        for host in self.estate.hosts:
            host.run("systemctl", "stop", "consul")
        for host in self.estate.hosts:
            host.run("rm", "-rf", f"/{DATA}")

    def states(self) -> dict[str, str]:
        """Return the state of the unit on every host."""
        found = {host.name: host.run("systemctl", "is-active", "consul", check=False) for host in self.estate.hosts}
        return {name: done.stdout.strip() for name, done in found.items()}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fresh]:
    directory = tmp_path_factory.mktemp("fresh")
    with estate_of(directory, NAMES, lab_client_addr="0.0.0.0") as estate:
        yield Fresh(estate, directory)


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[int, ...]]:
    """Return changed, unreachable and failed by host, as Ansible counts them."""
    return {name: tuple(map(int, counts)) for name, *counts in RECAP.findall(done.stdout)}


def test_fresh_servers_come_back_under_their_old_ids_with_every_key(fresh: Fresh) -> None:
    estate = fresh.estate
    first = next(iter(estate.hosts))
    for name, value in KEYS.items():
        assert estate.consul(first, "PUT", f"/v1/kv/{name}", value)
    keys, ids = fresh.keys(), fresh.node_ids()
    assert set(keys) == set(KEYS) and all(ids.values())
    taken = first.http("GET", 8500, "/v1/snapshot", headers={"X-Consul-Token": TOKEN}, timeout_s=30.0)
    assert taken
    fresh.snapshot.write_bytes(taken)
    fresh.lose_everything()

    planned = fresh.run("--check", "--diff")
    assert planned.returncode == 0, planned.stdout
    for name, node_id in ids.items():
        assert f"{name} is the server {name} with the node ID {node_id}" in planned.stdout
    refused = fresh.run()
    assert refused.returncode != 0 and "confirm with -e consul_restore_confirm=dc1" in refused.stdout, refused.stdout
    assert "active" not in fresh.states().values()
    assert not any((host.root / DATA).exists() for host in estate.hosts)

    last = estate.hosts[NAMES[-1]]
    last.run("install", "-D", "-m", "644", "/dev/stdin", BROKEN, stdin="[Service]\nExecStartPre=/bin/false\n")
    last.run("systemctl", "daemon-reload")
    stopped = fresh.run(consul_restore_confirm="dc1", consul_restore_leader_wait=1)
    assert stopped.returncode != 0 and "has no leader yet" in stopped.stdout, stopped.stdout
    assert fresh.node_ids() == ids
    last.run("rm", BROKEN)
    last.run("systemctl", "daemon-reload")
    last.run("systemctl", "stop", "consul")

    done = fresh.run(consul_restore_confirm="dc1")
    assert done.returncode == 0, done.stdout
    assert fresh.node_ids() == ids and fresh.keys() == keys
    for host in estate.hosts:
        assert host.run("stat", "-c", "%U:%G %a", f"/{DATA}/node-id").stdout.strip() == "consul:consul 600"
    estate.healthy()
    peers = estate.consul(first, "GET", "/v1/operator/raft/configuration")["Servers"]
    assert {peer["Node"]: peer["ID"] for peer in peers} == ids
    nodes = estate.consul(first, "GET", "/v1/health/service/consul?passing&consistent")
    assert {node["Node"]["Node"]: node["Node"]["ID"] for node in nodes} == ids

    again = fresh.run(consul_restore_confirm="dc1")
    assert again.returncode == 0, again.stdout
    assert set(recap(again).values()) == {(0, 0, 0)}, again.stdout
    for host in estate.hosts:
        assert "is reserved by node" not in host.run("journalctl", "-q", "-u", "consul").stdout


def test_a_server_that_is_not_fresh_or_not_known_is_left_alone(fresh: Fresh) -> None:
    eventually(lambda: set(fresh.states().values()) == {"active"}, 30, "every server is active", POLL_S)
    ids, keys = fresh.node_ids(), fresh.keys()
    other = fresh.run(consul_restore_confirm="dc1", consul_restore_node_name=NAMES[1])
    assert other.returncode != 0
    text = " ".join(other.stdout.split())
    assert f"with the node ID {ids[NAMES[0]]}, and the snapshot's {NAMES[1]} had {ids[NAMES[1]]}" in text
    unknown = fresh.run(consul_restore_confirm="dc1", consul_restore_node_name="db9")
    assert unknown.returncode != 0
    text = " ".join(unknown.stdout.split())
    assert f"Its servers are {', '.join(NAMES)}" in text
    assert f"Not among these hosts, and ghost nodes after the restore: {', '.join(NAMES)}" in text
    assert (fresh.node_ids(), fresh.keys(), set(fresh.states().values())) == (ids, keys, {"active"})

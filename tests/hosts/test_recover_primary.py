# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two federated datacenters on six real hosts, with ACLs and TLS: all disks of one are lost, and a playbook brings it home."""

from __future__ import annotations

import json
import re
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import run_playbook
from tests.lab.consul import eventually
from tests.lab.drill_hosts import DATA, UNIT
from tests.lab.hosts import Host, Hosts
from tests.lab.tls import Authority

from .conftest import POLL_S, TOKEN

SERVERS = {"dc1": ("a1", "a2", "a3"), "dc2": ("b1", "b2", "b3")}
REPLICATION = 'acl = "write" operator = "write" service_prefix "" { policy = "read" intentions = "read" }'
AGENT = 'node_prefix "" { policy = "write" } service_prefix "" { policy = "read" }'
APP = 'key_prefix "app/" { policy = "write" }'
SECRETS = {"replication": REPLICATION, "agent": AGENT, "app": APP}
KEYS = {f"app/{number}": f"value {number}" for number in range(50)}
# The operator's own step: here it notes what it was given, and can be made to fail.
REJOIN = """
- name: Keep the addresses
  ansible.builtin.copy:
    content: "{{ consul_federation_wan_addresses | to_json }}"
    dest: /root/wan.json
    mode: "0600"
- name: Stop here
  ansible.builtin.fail:
    msg: the operator stopped it
  when: stop_here | default(false)
"""


class Estate:
    """The hosts, the secrets of tokens by name, and the playbooks."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self.hosts = hosts
        self.directory = directory
        self.authority = Authority(directory / "ca")
        self.secrets: dict[str, str] = {}
        self.snapshots = {name: directory / f"{name}.snap" for name in SERVERS}
        self.report = directory / "report.json"
        (directory / "rejoin.yml").write_text(REJOIN, encoding="utf-8")
        self._private("operator.token", TOKEN)

    def servers(self, datacenter: str) -> list[Host]:
        return [self.hosts[name] for name in SERVERS[datacenter]]

    def _private(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, datacenter: str) -> None:
        """Configure and start the servers of a datacenter. Agents of the primary get their token later."""
        secondary = {"retry_join_wan": [host.address for host in self.servers("dc1")]} if datacenter == "dc2" else {}
        for host in self.servers(datacenter):
            pair = self.authority.issue(self.directory / host.name, f"server.{datacenter}.consul", [host.address])
            for path, file in (("/etc/consul.pem", pair.certificate), ("/etc/consul.key", pair.key)):
                host.run("install", "-m", "600", "/dev/stdin", path, stdin=file.read_text("ascii"))
            host.run(
                "install", "-m", "644", "/dev/stdin", "/etc/ca.pem", stdin=self.authority.ca_path.read_text("ascii")
            )
            tokens = {"replication": self.secrets["replication"]} if secondary else {"master": TOKEN}
            config = {
                "server": True,
                "bootstrap_expect": 3,
                "datacenter": datacenter,
                "primary_datacenter": "dc1",
                "node_name": host.name,
                "data_dir": DATA,
                "bind_addr": host.address,
                "addresses": {"http": "127.0.0.1", "https": "0.0.0.0"},
                "ports": {"https": 8501},
                "ca_file": "/etc/ca.pem",
                "cert_file": "/etc/consul.pem",
                "key_file": "/etc/consul.key",
                "verify_incoming_rpc": True,
                "verify_outgoing": True,
                "verify_server_hostname": True,
                "retry_join": [other.address for other in self.servers(datacenter)],
                "retry_interval": "1s",
                "retry_interval_wan": "1s",
                "leave_on_terminate": False,
                "performance": {"raft_multiplier": 1},
                "autopilot": {"server_stabilization_time": "1s"},
                "connect": {"enabled": True},
                "acl": {
                    "enabled": True,
                    "default_policy": "deny",
                    "enable_token_replication": True,
                    "tokens": {**tokens, **({"agent": self.secrets["agent"]} if secondary else {})},
                },
                **secondary,
            }
            host.run("install", "-m", "600", "/dev/stdin", "/etc/consul.json", stdin=json.dumps(config))
            host.run("install", "-m", "644", "/dev/stdin", "/etc/systemd/system/consul.service", stdin=UNIT)
            host.run("systemctl", "enable", "--now", "--no-block", "consul.service")
        self.wait_healthy(datacenter)

    def wait_healthy(self, datacenter: str) -> None:
        def well() -> bool:
            found = self.ask(datacenter, "GET", "/v1/operator/autopilot/health") or {}
            return bool(found.get("Healthy")) and [one["Voter"] for one in found["Servers"]] == [True] * 3

        eventually(well, 60, f"{datacenter} is healthy", POLL_S)

    def ask(self, datacenter: str, method: str, path: str, body: t.Any = None, token: str = TOKEN) -> t.Any:
        """Send a request to the first server of a datacenter; return the decoded answer, None if it is not a success."""
        data = None if body is None else json.dumps(body).encode()
        answer = self.servers(datacenter)[0].http(method, 8500, path, headers={"X-Consul-Token": token}, body=data)
        return json.loads(answer or b"null")

    def make_tokens(self) -> None:
        for name, rules in SECRETS.items():
            assert self.ask("dc1", "PUT", "/v1/acl/policy", {"Name": name, "Rules": rules})
            made = self.ask("dc1", "PUT", "/v1/acl/token", {"Description": name, "Policies": [{"Name": name}]})
            self.secrets[name] = made["SecretID"]
            self._private(f"{name}.token", made["SecretID"])
        for host in self.servers("dc1"):
            headers = {"X-Consul-Token": TOKEN}
            body = json.dumps({"Token": self.secrets["agent"]}).encode()
            assert host.http("PUT", 8500, "/v1/agent/token/agent", headers=headers, body=body) is not None

    def keep_snapshot(self, datacenter: str) -> None:
        taken = self.servers(datacenter)[0].http("GET", 8500, "/v1/snapshot", headers={"X-Consul-Token": TOKEN})
        assert taken
        self.snapshots[datacenter].write_bytes(taken)

    def lose(self, datacenter: str) -> None:
        """Stop every server at once, and remove its data."""
        for host in self.servers(datacenter):
            host.run("systemctl", "kill", "-s", "KILL", "consul")
            host.run("systemctl", "stop", "consul")
        for host in self.servers(datacenter):
            host.run("rm", "-rf", DATA)

    def connection(self, datacenter: str) -> dict[str, t.Any]:
        return {
            "url": f"https://{self.servers(datacenter)[0].address}:8501",
            "ca_path": str(self.authority.ca_path),
            "token_file": str(self.directory / "operator.token"),
            "timeout": 3,
        }

    def run(self, kind: str, lost: str, other: str, *options: str, **more: t.Any) -> subprocess.CompletedProcess[str]:
        """Run the playbook for a datacenter, confirmed."""
        given = {
            "consul_connection": self.connection(lost),
            "consul_restore_path": str(self.snapshots[lost]),
            "consul_restore_data_dir": DATA,
            "consul_restore_user": "root",
            "consul_restore_group": "root",
            "consul_restore_servers": f"{lost}_servers",
            "consul_restore_confirm": lost,
            "consul_restore_expect": {},
            "consul_federation_others": [self.connection(other)],
            "consul_federation_agent_tokens": {"agent": str(self.directory / "agent.token")},
            "consul_federation_rejoin_tasks": str(self.directory / "rejoin.yml"),
            "consul_federation_rejoin_hosts": f"{other}_servers",
            "consul_federation_report": str(self.report),
            **more,
        }
        machines = {
            name: {**how, "ansible_host": self.hosts[name].address} for name, how in self.hosts.inventory().items()
        }
        groups = {f"{name}_servers": {"hosts": dict.fromkeys(names)} for name, names in SERVERS.items()}
        machines["localhost"] = {"ansible_connection": "local", "ansible_become": False}
        inventory = {"all": {"hosts": machines, "children": groups, "vars": {"ansible_become": True}}}
        began = time.monotonic()
        done = run_playbook(
            self.directory / "ansible",
            f"consulops.failover.recover_{kind}",
            *("-c", "ssh", "-i", str(self._private("inventory.json", json.dumps(inventory)))),
            *("-e", f"@{self._private('variables.json', json.dumps(given))}", *options),
            environment={"ANSIBLE_PIPELINING": "true", "ANSIBLE_FORKS": "10"},
            prefix=self.hosts.exec_prefix,
        )
        print(f"recover_{kind} {' '.join(options)}: {time.monotonic() - began:.0f} s")
        for secret in (TOKEN, *self.secrets.values()):
            assert secret not in done.stdout
        return done

    def keys(self, datacenter: str, token: str) -> dict[str, str]:
        """Return keys with their values, as Consul encodes them."""
        found = self.ask(datacenter, "GET", "/v1/kv/app/?recurse&consistent", token=token) or []
        return {row["Key"]: row["Value"] for row in found}

    def accessors(self, datacenter: str) -> set[str]:
        return {row["AccessorID"] for row in self.ask(datacenter, "GET", "/v1/acl/tokens") or []}

    def alive(self, datacenter: str) -> list[str]:
        """Return the names of the members that are alive over the WAN."""
        found = self.ask(datacenter, "GET", "/v1/agent/members?wan=1") or []
        return sorted(one["Name"] for one in found if one["Status"] == 1)


EVERYBODY = sorted(f"{name}.{datacenter}" for datacenter, names in SERVERS.items() for name in names)


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estate]:
    directory = tmp_path_factory.mktemp("primary")
    with Hosts(directory / "lab", [name for names in SERVERS.values() for name in names]) as hosts:
        found = Estate(hosts, directory)
        found.start("dc1")
        found.make_tokens()
        found.start("dc2")
        for name, value in KEYS.items():
            assert found.ask("dc1", "PUT", f"/v1/kv/{name}", value)
        assert found.ask("dc2", "PUT", "/v1/kv/app/own", "of dc2")
        eventually(lambda: found.accessors("dc2") == found.accessors("dc1"), 60, "ACLs are replicated", POLL_S)
        eventually(lambda: found.alive("dc1") == EVERYBODY == found.alive("dc2"), 60, "all are joined", POLL_S)
        for datacenter in SERVERS:
            found.keep_snapshot(datacenter)
        yield found


def words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


def changes(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout
    return sum(map(int, re.findall(r"changed=(\d+)", done.stdout)))


def test_a_primary_comes_home_after_all_its_disks_were_lost(estate: Estate) -> None:
    keys, tokens = estate.keys("dc1", TOKEN), estate.accessors("dc1")
    roots = [estate.ask(name, "GET", "/v1/connect/ca/roots") for name in SERVERS]
    assert set(keys) == set(KEYS)
    alive = estate.run("primary", "dc1", "dc2")
    assert alive.returncode != 0 and "dc1 has a leader and data" in words(alive), alive.stdout
    estate.lose("dc1")
    planned = estate.run("primary", "dc1", "dc2", "--check", "--diff")
    assert planned.returncode == 0, planned.stdout
    for said in ("The snapshot is of this federation.", "Connect keeps its CA", "Step 6: wait until", "gets that ID"):
        assert said in words(planned), planned.stdout
    assert not any((host.root / DATA.strip("/")).exists() for host in estate.servers("dc1"))

    stopped = estate.run("primary", "dc1", "dc2", stop_here=True)
    assert stopped.returncode != 0 and "the operator stopped it" in stopped.stdout, stopped.stdout
    began = json.loads(estate.report.read_text(encoding="utf-8"))
    done = estate.run("primary", "dc1", "dc2")
    assert done.returncode == 0, done.stdout
    report = json.loads(estate.report.read_text(encoding="utf-8"))
    print(json.dumps(report))
    assert report["began_at"] == began["began_at"] and report["took_seconds"] > began["steps"][-1]["seconds"]
    assert [one["step"] for one in report["steps"]] == [
        "servers have a leader",
        "snapshot is restored",
        "WAN is joined",
        "tasks of the operator are done",
        "federation is verified",
    ]
    assert estate.keys("dc1", estate.secrets["app"]) == keys
    assert estate.accessors("dc1") == tokens == estate.accessors("dc2")
    assert [estate.ask(name, "GET", "/v1/connect/ca/roots")["ActiveRootID"] for name in SERVERS] == [
        found["ActiveRootID"] for found in roots
    ]
    assert estate.alive("dc1") == EVERYBODY == estate.alive("dc2")
    assert json.loads((estate.servers("dc2")[0].root / "root/wan.json").read_text("utf-8")) == [
        host.address for host in estate.servers("dc1")
    ]
    again = estate.run("primary", "dc1", "dc2")
    assert changes(again) == 0 and "Nothing was to be done." in again.stdout, again.stdout
    made = estate.ask("dc1", "PUT", "/v1/acl/token", {"Description": "new"})["AccessorID"]
    eventually(lambda: made in estate.accessors("dc2"), 30, "a new token of the primary reaches the secondary", POLL_S)


def test_a_secondary_comes_home_too(estate: Estate) -> None:
    estate.lose("dc2")
    wrong = estate.run("primary", "dc2", "dc1")
    assert wrong.returncode != 0 and "the primary datacenter of dc1 is dc1, and not dc2" in words(wrong), wrong.stdout
    estate.report.unlink(missing_ok=True)
    done = estate.run("secondary", "dc2", "dc1")
    assert done.returncode == 0, done.stdout
    print(estate.report.read_text(encoding="utf-8"))
    assert set(estate.keys("dc2", estate.secrets["app"])) == {"app/own"}
    assert estate.accessors("dc1") == estate.accessors("dc2")
    assert estate.alive("dc1") == EVERYBODY == estate.alive("dc2")

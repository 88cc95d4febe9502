# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two datacenters of three real hosts each, with replication agents in the second one."""

from __future__ import annotations

import contextlib
import json
import typing as t
import urllib.parse
from pathlib import Path

from tests.lab.agents import WHEELS
from tests.lab.consul import eventually
from tests.lab.hosts import Host, Hosts

from .conftest import POLL_S, TOKEN, Estate, start_estate

SERVERS = {"dc1": ("a1", "a2", "a3"), "dc2": ("b1", "b2", "b3")}
AGENTS = ("b1", "b2")
UNIT, PORT = "consulops-replication", 9001
PREFIX = "app/"


@contextlib.contextmanager
def two_datacenters(
    directory: Path, prepare: t.Callable[[Estate], object] = lambda _estate: None, **variables: t.Any
) -> t.Iterator[Estate]:
    """Boot the hosts and start Consul on them, with these variables of the play; ``prepare`` is called before Consul starts."""
    names = [name for servers in SERVERS.values() for name in servers]
    with Hosts(directory / "hosts", names) as hosts:
        estate = Estate(hosts, directory)
        estate.groups = {"consul_servers": names, "consul_replication": list(AGENTS)}
        estate.host_variables = {
            name: {"lab_datacenter": datacenter, "lab_servers": list(servers)}
            for datacenter, servers in SERVERS.items()
            for name in servers
        }
        estate.group_variables = {
            "lab_consul_token": TOKEN,
            "consulops_runtime_cache": str(WHEELS),
            "consul_replication_lease": {"ttl": "20s", "lock_delay": "2s"},
            **variables,
        }
        prepare(estate)
        start_estate(estate)
        yield estate


class Datacenters:
    """The estate, by datacenter: requests to whichever server answers, the keys of both sides, and the agents."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.agents = [estate.hosts[name] for name in AGENTS]

    def servers(self, datacenter: str) -> list[Host]:
        return [self.estate.hosts[name] for name in SERVERS[datacenter]]

    def ask(self, datacenter: str, method: str, path: str, body: bytes | None = None) -> bytes | None:
        """Send a request to one server of a datacenter after the other; return the answer of the first that has one."""
        return self.estate.ask(self.servers(datacenter), method, path, body)

    def put(self, datacenter: str, key: str, value: bytes) -> bool:
        return self.ask(datacenter, "PUT", f"/v1/kv/{urllib.parse.quote(key)}", value) == b"true"

    def keys(self, datacenter: str) -> dict[str, str]:
        """Return the keys and values below the prefix. AssertionError while no server answers."""
        answer = self.ask(datacenter, "GET", f"/v1/kv/{PREFIX}?recurse&consistent")
        assert answer is not None, f"no server of {datacenter} answers"
        return {one["Key"]: one["Value"] for one in json.loads(answer)}

    def names(self, datacenter: str) -> set[str] | None:
        """Return the names below the prefix as the leader knows them, None while there is none."""
        answer = self.ask(datacenter, "GET", f"/v1/kv/{PREFIX}?keys")
        return None if answer is None else set(json.loads(answer))

    def leader(self, datacenter: str) -> Host:
        """Wait for a leader, and return its host."""
        return self.estate.leader(self.servers(datacenter))

    def healthy(self) -> None:
        """Wait until every server of both datacenters is a healthy voter."""
        for datacenter in SERVERS:

            def well(datacenter: str = datacenter) -> bool:
                found = json.loads(self.ask(datacenter, "GET", "/v1/operator/autopilot/health") or b"{}")
                return bool(found.get("Healthy")) and [one["Voter"] for one in found["Servers"]] == [True] * 3

            eventually(well, 90, f"every server of {datacenter} is healthy", POLL_S)

    def restarts(self) -> list[str]:
        """Return the process and the number of restarts of each agent."""
        return [host.run("systemctl", "show", "-P", "MainPID", "-P", "NRestarts", UNIT).stdout for host in self.agents]

    def wait_joined(self) -> None:
        """Wait until the second datacenter reaches the first one."""
        eventually(lambda: self.ask("dc2", "GET", "/v1/catalog/nodes?dc=dc1"), 60, "the WAN is joined", POLL_S)

    def install(self, **variables: t.Any) -> None:
        """Run the role of the agents, with these variables."""
        role = {"ansible.builtin.include_role": {"name": "consulops.failover.consul_replication"}}
        play = {"hosts": "consul_replication", "gather_facts": False, "become": True, "tasks": [role]}
        self.estate.play([play], **variables)

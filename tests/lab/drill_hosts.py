# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Consul servers on real hosts, for drills: without ACLs, with the shortest elections, and a data directory that survives a reboot."""

from __future__ import annotations

import json
import typing as t

from .consul import eventually
from .hosts import Host, Hosts

UNIT = """[Unit]
After=network-online.target
[Service]
ExecStart=/usr/bin/consul agent -config-file=/etc/consul.json
ExecReload=/bin/kill -HUP $MAINPID
KillSignal=SIGTERM
Restart=on-failure
RestartSec=2
[Install]
WantedBy=multi-user.target
"""
DATA = "/var/lib/consul"


def start_servers(
    hosts: t.Sequence[Host], datacenter: str = "dc1", raft_multiplier: int = 1, data: str = DATA, **more: t.Any
) -> None:
    """Start one datacenter of servers and wait until all are healthy voters."""
    for host in hosts:
        config = {
            "server": True,
            "bootstrap_expect": len(hosts),
            "datacenter": datacenter,
            "node_name": host.name,
            "data_dir": data,
            "bind_addr": host.address,
            "retry_join": [other.address for other in hosts],
            "retry_interval": "1s",
            "retry_interval_wan": "1s",
            "leave_on_terminate": False,
            "performance": {"raft_multiplier": raft_multiplier},
            "autopilot": {"server_stabilization_time": "1s"},
            **more,
        }
        host.run("install", "-m", "644", "/dev/stdin", "/etc/consul.json", stdin=json.dumps(config))
        host.run("install", "-m", "644", "/dev/stdin", "/etc/systemd/system/consul.service", stdin=UNIT)
        host.run("systemctl", "enable", "--now", "consul.service")
    wait_healthy(hosts)


def wait_healthy(hosts: t.Sequence[Host], within_s: float = 60.0) -> None:
    """Wait until autopilot calls all of the servers healthy voters."""

    def well() -> bool:
        found = json.loads(hosts[0].http("GET", 8500, "/v1/operator/autopilot/health") or b"{}")
        voters = [server["Voter"] for server in found.get("Servers", [])]
        return bool(found.get("Healthy")) and voters == [True] * len(hosts)

    eventually(well, within_s, f"all of {', '.join(host.name for host in hosts)} are healthy voters")


def reached(hosts: Hosts, names: t.Iterable[str]) -> list[dict[str, t.Any]]:
    """Return the option ``hosts`` of a drill whose process runs in the lab's network namespace."""
    wrapper = str(hosts.directory / "ssh")
    return [{"name": name, "ssh": [wrapper, name], "become": ["sudo", "-n"]} for name in names]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service with an instance in each of two datacenters, and the prepared query that fails over between them."""

from __future__ import annotations

import typing as t

from tests.lab.consul import HTTP, RPC, SERF_LAN, SERF_WAN, Datacenter, Lab, Server, eventually

DNS = 8600
SERVER_PORTS = {"http": HTTP, "dns": DNS, "grpc": -1, "server": RPC, "serf_lan": SERF_LAN, "serf_wan": SERF_WAN}
CLIENT_PORTS = {"http": HTTP, "dns": DNS, "grpc": -1, "server": RPC, "serf_lan": SERF_LAN}


class Estate(t.NamedTuple):
    """Two datacenters, each with an instance of web on a client agent, and one more agent of the first, which is asked."""

    dc1: Datacenter
    dc2: Datacenter
    instance: Server
    far: Server
    asked: Server


def failing_over_services(lab: Lab) -> Estate:
    """Start both datacenters, and the prepared query web, which fails over from dc1 to dc2."""
    dc1, dc2 = (lab.datacenter(name, extra={"ports": SERVER_PORTS}) for name in ("dc1", "dc2"))
    lab.join_wan(dc1, dc2)
    instance, asked = (lab.client(dc1, name, ports=CLIENT_PORTS) for name in ("Instance", "asked"))
    far = lab.client(dc2, "far", ports=CLIENT_PORTS)
    for agent in (instance, far):
        set_check(agent, "passing", register=True)
    body = {"Name": "web", "Service": {"Service": "web", "OnlyPassing": True, "Failover": {"Datacenters": ["dc2"]}}}
    dc1.request("POST", "/v1/query", json=body)
    eventually(lambda: nodes_of(asked) == ["Instance"], what="the local instance answers")
    eventually(lambda: dc2.get("/v1/health/service/web?passing"), what="the other instance is there")
    return Estate(dc1, dc2, instance, far, asked)


def set_check(agent: Server, status: str, register: bool = False) -> None:
    """Give the check of web a status, on the agent that has the instance."""
    if register:
        check = {"CheckID": "web-check", "TTL": "1h", "Status": status}
        agent.put("/v1/agent/service/register", {"Name": "web", "Port": 80, "Check": check})
    else:
        agent.put("/v1/agent/check/update/web-check", {"Status": status})


def nodes_of(agent: Server) -> list[str]:
    """Return the nodes that the prepared query answers."""
    return [entry["Node"]["Node"] for entry in agent.get("/v1/query/web/execute")["Nodes"]]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The node of a session in another datacenter than that of the Consul agent that is asked.

A session belongs to a node of its datacenter. Without a node Consul takes the agent's own, which the other datacenter does not know.
Source: https://developer.hashicorp.com/consul/api-docs/session#create-session
"""

from __future__ import annotations

import typing as t

from . import errors
from .client import Client
from .endpoint import Endpoint


def session_node(client: Client) -> str | None:
    """Return the node for a session, None for that of the agent. Raises a ConsulError.

    None as well where the token may not read the nodes of the datacenter: Consul then refuses the session, see ``with_node_rights``.
    """
    datacenter = client.endpoint.datacenter
    if datacenter is None or client.whoami().datacenter == datacenter:
        return None
    names = client.get("/v1/health/service/consul", {"passing": ""}, partial_ok=True).parse(_node_names)
    return names[0] if names else None


def _node_names(rows: t.Any) -> list[str]:
    """Return the sorted names of the nodes in an answer of /v1/health/service."""
    if not isinstance(rows, list):
        raise TypeError
    names = [row["Node"]["Node"] for row in rows]
    if not all(isinstance(name, str) for name in names):
        raise TypeError
    return sorted(names)


def with_node_rights(error: errors.Error, endpoint: Endpoint) -> errors.Error:
    """Return the error of a session that was refused, with what the token needs if Consul knows no node for it."""
    if not isinstance(error, errors.ServerFailed) or endpoint.datacenter is None:
        return error
    if "node" not in error.consul_message.lower():
        return error
    return errors.PermissionDenied(
        f"{error} A session in another datacenter belongs to a node there, so the token needs "
        'service "consul" { policy = "read" } and node_prefix "" { policy = "read" }. Or set the url of an agent of that '
        "datacenter.",
        error.status,
        error.consul_message,
    )

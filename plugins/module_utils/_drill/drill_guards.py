# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be true before a drill writes anything. All of it is read only."""

from __future__ import annotations

import typing as t

from .._consul.client import Agent, Client
from .._consul.errors import GuardRefused, InvalidOption, PermissionDenied
from .open_loop import Node


def drill_nodes(clients: t.Sequence[Client]) -> tuple[list[Node], str]:
    """Ask every address who it is; return them by the names of their nodes, and the datacenter.

    Raises InvalidOption when two are the same or they are of several datacenters, PermissionDenied where the token may not know,
    or another ConsulError.
    """
    found = [(client, client.whoami()) for client in clients]
    nodes = [Node(_name(client, agent), client) for client, agent in found]
    names = [node.name for node in nodes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidOption(f"Two of the addresses are of the same agent, {twice}: name each once.")
    datacenters = {agent.datacenter for _client, agent in found}
    if None in datacenters:
        raise PermissionDenied(
            'The token may not know the datacenter of the agent: it needs agent_prefix "" { policy = "read" }.'
        )
    if len(datacenters) > 1:
        raise InvalidOption(
            f"The addresses are of several datacenters ({', '.join(sorted(filter(None, datacenters)))}): a drill has one."
        )
    return nodes, str(datacenters.pop())


def check_leaders(nodes: t.Iterable[Node]) -> None:
    """Raise NoLeader or another ConsulError unless a leader answers through every address."""
    for node in nodes:
        node.client.check_leader()


def _name(client: Client, agent: Agent) -> str:
    return agent.node or client.endpoint.shown_url


def check_confirmed(confirm: str | None, datacenter: str) -> None:
    """Raise GuardRefused unless the user named the datacenter that will be written to."""
    if confirm is None:
        raise GuardRefused(
            f"A drill writes to the datacenter {datacenter}, and its clients are a load: say so with --confirm {datacenter}. "
            "Nothing was written."
        )
    if confirm != datacenter:
        raise GuardRefused(
            f"The confirmation names {confirm!r}, and the datacenter is {datacenter}. Nothing was written."
        )

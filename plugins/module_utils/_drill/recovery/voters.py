# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waits until servers are what a recovery wants: a leader, a consistent read, and exactly the expected voters."""

from __future__ import annotations

import time
import typing as t

from ..._consul.autopilot import PATH, autopilot_of
from ..raft_address import address_of
from .host_facts import POLL_S, raft_servers
from .local_agent import LocalAgent, NoAnswer
from .raft_data import Server


def wait_for_voters(
    agent: LocalAgent, expected: t.Mapping[str, t.Collection[str]], healthy: bool, seconds: float
) -> dict[str, t.Any]:
    """Return what was found when all is as expected, or when the time is over; ``problem`` says what is missing then."""
    end = time.monotonic() + seconds
    while True:
        found = _once(agent, expected, healthy)
        if not found["problem"] or time.monotonic() >= end:
            return found
        time.sleep(POLL_S)


def _once(agent: LocalAgent, expected: t.Mapping[str, t.Collection[str]], healthy: bool) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {"leader": "", "keys": None, "servers": None, "healthy": None, "problem": ""}
    try:
        found["leader"] = str(agent.get("/v1/status/leader"))
        if not found["leader"]:
            found["problem"] = "there is no leader"
            return found
        found["keys"] = len(agent.get("/v1/kv/?keys&consistent", (404,)) or [])
        servers = raft_servers(agent, "consistent")
        found["servers"] = [one._asdict() for one in servers]
        found["problem"] = difference(servers, expected)
        found["healthy"] = autopilot_of(agent.get(PATH, (429,))).healthy
        if healthy and not found["healthy"] and not found["problem"]:
            found["problem"] = "autopilot does not call all servers healthy"
    except NoAnswer as error:
        found["problem"] = str(error)
    except (KeyError, TypeError, ValueError):
        found["problem"] = "the answers are not those of a Consul server"
    return found


def difference(servers: t.Iterable[Server], expected: t.Mapping[str, t.Collection[str]]) -> str:
    """Return how Raft's configuration differs from the expected voters, "" if it does not.

    ``expected`` has the ids or addresses by which the server of each host is known.
    """
    missing = dict(expected)
    for server in servers:
        names = {server.id, server.address, address_of(server.address)}
        host = next((host for host, known in missing.items() if names & set(known)), None)
        if host is None:
            return f"Raft's configuration has a server that is not expected, {server.id} at {server.address}"
        if server.is_voter:
            del missing[host]
    return f"not a voter yet: {', '.join(missing)}" if missing else ""

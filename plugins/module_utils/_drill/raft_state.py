# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Raft says of a datacenter, as a drill needs it: its servers, and how long elections take."""

from __future__ import annotations

import re
import typing as t

from .._consul.client import Client
from .._consul.errors import ConsulError, PermissionDenied
from .raft_address import address_of

_ELECTION_TIMEOUT = re.compile(r"(?:(?P<minutes>[0-9]+)m)?(?:(?P<seconds>[0-9.]+)(?P<unit>ms|s))?")


class RaftPeer(t.NamedTuple):
    """A server of Raft's configuration: its node, and its address without the port."""

    node: str
    address: str
    is_voter: bool


def raft_peers(client: Client) -> list[RaftPeer]:
    """Return the servers of Raft's configuration. Raises a ConsulError."""

    def read(answer: t.Any) -> list[RaftPeer]:
        return [
            RaftPeer(str(one["Node"]), address_of(str(one["Address"])), bool(one["Voter"])) for one in answer["Servers"]
        ]

    return client.get("/v1/operator/raft/configuration").parse(read)


def wan_addresses(client: Client, datacenter: str) -> list[str]:
    """Return the addresses of the servers of other datacenters. Raises a ConsulError."""

    def read(answer: t.Any) -> list[str]:
        return sorted({str(one["Addr"]) for one in answer if one["Tags"].get("dc") != datacenter})

    return client.get("/v1/agent/members", {"wan": 1}).parse(read)


def raft_multiplier(client: Client) -> int | None:
    """Return ``performance.raft_multiplier`` of the agent, None where it does not say. Raises a ConsulError.

    The election timeout is one second for each; ``consul agent -dev`` has less than one, which counts as 1.
    """

    def read(answer: t.Any) -> int | None:
        return multiplier_of(str(answer["DebugConfig"]["ConsulRaftElectionTimeout"]))

    try:
        return client.get("/v1/agent/self").parse(read)
    except PermissionDenied:
        return None


def multiplier_of(election_timeout: str) -> int | None:
    """Return the multiplier of an election timeout such as ``5s`` or ``104ms``; None if it is none."""
    found = _ELECTION_TIMEOUT.fullmatch(election_timeout)
    if found is None or not election_timeout:
        return None
    seconds = 60.0 * int(found["minutes"] or 0)
    seconds += float(found["seconds"] or 0) / (1000 if found["unit"] == "ms" else 1)
    return max(1, round(seconds))


def first_answer(clients: t.Iterable[Client], ask: t.Callable[[Client], t.Any]) -> t.Any:
    """Return what the first client is told that gets an answer. Raises the ConsulError of the last one."""
    failure: ConsulError | None = None
    for client in clients:
        try:
            return ask(client)
        except ConsulError as error:
            failure = error
    if failure is None:
        raise ValueError("there is nobody to ask")
    raise failure

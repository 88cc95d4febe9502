# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Autopilot's health report: whether the servers of a datacenter are healthy, and how many of them may be lost."""

from __future__ import annotations

import time
import typing as t

from .answer_fields import Row, to_flag, to_number, to_object, to_rows, to_seconds, to_text

if t.TYPE_CHECKING:  # recoveries read the report on hosts without the libraries of a client
    from .client import Client

FIRST_ROUND_S = (
    3.0  # after an election autopilot calls everything unhealthy until its next round; there is one every 2 s
)
POLL_S = 0.25
PATH = "/v1/operator/autopilot/health"


class RaftServer(t.NamedTuple):
    """One server as autopilot sees it. ``last_contact_s`` is how long ago it heard from the leader."""

    name: str
    healthy: bool
    is_voter: bool
    is_leader: bool
    last_contact_s: float
    last_index: int


class Autopilot(t.NamedTuple):
    """Autopilot's health report. ``tolerance`` is how many voters may be lost."""

    healthy: bool
    tolerance: int
    servers: tuple[RaftServer, ...] = ()

    @property
    def has_completed_round(self) -> bool:
        """Whether it has looked at the servers since the last election."""
        return self.healthy or not all(server.healthy for server in self.servers)


def read_autopilot(client: Client) -> Autopilot:
    """Return the report as it is; right after an election it calls a datacenter unhealthy that is well. Raises a ConsulError."""
    # An unhealthy datacenter answers 429.
    return client.exchange("GET", PATH, {}, ok_statuses=(200, 429)).parse(autopilot_of)


def settled_autopilot(client: Client) -> Autopilot:
    """Return the report of a completed round; it is waited for ``FIRST_ROUND_S`` at most. Raises a ConsulError."""
    deadline = time.monotonic() + FIRST_ROUND_S
    while True:
        found = read_autopilot(client)
        if found.has_completed_round or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)


def autopilot_of(answer: t.Any) -> Autopilot:
    """Return the report in an answer. Raises KeyError, TypeError or ValueError for one of another shape."""
    row = to_object(answer)
    rows = row["Servers"]
    servers = tuple(map(_raft_server, [] if rows is None else to_rows(rows)))
    return Autopilot(to_flag(row["Healthy"]), to_number(row["FailureTolerance"]), servers)


def _raft_server(row: Row) -> RaftServer:
    return RaftServer(
        name=to_text(row["Name"] or row["Address"] or row["ID"]),  # a server that is being removed has no name any more
        healthy=to_flag(row["Healthy"]),
        is_voter=to_flag(row["Voter"]),
        is_leader=to_flag(row["Leader"]),
        last_contact_s=to_seconds(row["LastContact"]),
        last_index=to_number(row["LastIndex"]),
    )

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Autopilot's view of the servers: is the datacenter healthy, which follower lags behind the leader."""

from __future__ import annotations

import time
import typing as t

from ..judging import Judging
from ..parsing import Row, to_flag, to_number, to_object, to_rows, to_seconds, to_text
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

RULES = (
    Rule("autopilot_unhealthy", severity="warning"),
    Rule("raft_last_contact", "seconds", warning=0.2),
    Rule("raft_trailing_logs", "count", warning=250),
)

FIRST_ROUND_S = (
    3.0  # after an election autopilot calls everything unhealthy until its next round; there is one every 2 s
)
POLL_S = 0.25


class RaftServer(t.NamedTuple):
    """One server as autopilot sees it. ``last_contact_s`` is how long ago it heard from the leader."""

    name: str
    healthy: bool
    is_voter: bool
    is_leader: bool
    last_contact_s: float
    last_index: int


class Autopilot(t.NamedTuple):
    """Autopilot's health report."""

    healthy: bool
    servers: tuple[RaftServer, ...] = ()


# ---------------------------------------------------------------------------------------------------------------
# Reading


def _read_autopilot(reader: Reader) -> None:
    deadline = time.monotonic() + (FIRST_ROUND_S if reader.rules.get("autopilot_unhealthy") is not None else 0.0)
    while True:
        # An unhealthy datacenter answers 429.
        response = reader.client.exchange("GET", "/v1/operator/autopilot/health", {}, ok_statuses=(200, 429))
        autopilot = response.parse(_autopilot)
        has_completed_round = autopilot.healthy or not all(server.healthy for server in autopilot.servers)
        if has_completed_round or time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    reader.observation.add(autopilot)


def _autopilot(answer: t.Any) -> Autopilot:
    rows = to_object(answer)["Servers"]
    return Autopilot(to_flag(answer["Healthy"]), tuple(map(_raft_server, [] if rows is None else to_rows(rows))))


def _raft_server(row: Row) -> RaftServer:
    return RaftServer(
        name=to_text(row["Name"] or row["Address"] or row["ID"]),  # a server that is being removed has no name any more
        healthy=to_flag(row["Healthy"]),
        is_voter=to_flag(row["Voter"]),
        is_leader=to_flag(row["Leader"]),
        last_contact_s=to_seconds(row["LastContact"]),
        last_index=to_number(row["LastIndex"]),
    )


# ---------------------------------------------------------------------------------------------------------------
# Judging


def judge(judging: Judging) -> None:
    """Judge autopilot's report. Servers that have a finding already are left out."""
    autopilot = judging.observation.get(Autopilot)
    if autopilot is None:
        return
    unhealthy = sorted(server.name for server in autopilot.servers if not server.healthy)
    is_explained = bool(unhealthy) and set(unhealthy) <= judging.reported_servers
    if is_explained:
        judging.judgement.not_judged.add((judging.datacenter, "autopilot_unhealthy"))
    if not autopilot.healthy and not is_explained:
        names = f": {', '.join(unhealthy)}" if unhealthy else ""
        judging.add_by_rule(
            "autopilot_unhealthy",
            f"autopilot calls {judging.datacenter} unhealthy{names}",
            detail="consul operator autopilot state shows more.",
        )
    leader = next((server for server in autopilot.servers if server.is_leader), None)
    for server in autopilot.servers:
        if not server.is_leader and server.name not in judging.reported_servers:
            _judge_follower(judging, server, leader)


def _judge_follower(judging: Judging, server: RaftServer, leader: RaftServer | None) -> None:
    contact_rule = judging.rules.get("raft_last_contact")
    if contact_rule is not None:
        judging.add(
            "raft_last_contact",
            contact_rule.severity_above(server.last_contact_s),
            f"server {server.name} of {judging.datacenter} has not heard from the leader for {server.last_contact_s:.1f} s",
            node=server.name,
            advice="Check its load, its disk, and the network between it and the leader.",
        )
    trailing_rule = judging.rules.get("raft_trailing_logs")
    if trailing_rule is not None and leader is not None:
        trailing = leader.last_index - server.last_index
        judging.add(
            "raft_trailing_logs",
            trailing_rule.severity_above(trailing),
            f"server {server.name} of {judging.datacenter} is {trailing:,} log entries behind the leader",
            node=server.name,
        )


GROUP = RuleGroup(
    RULES, judge, (Reading("autopilot", _read_autopilot, tuple(rule.name for rule in RULES)),), needs_leader=True
)

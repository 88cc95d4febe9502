# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Autopilot's view of the servers: is the datacenter healthy, which follower lags behind the leader."""

from __future__ import annotations

from ..._consul.autopilot import Autopilot, RaftServer, read_autopilot, settled_autopilot
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

RULES = (
    Rule("autopilot_unhealthy", severity="warning"),
    Rule("raft_last_contact", "seconds", warning=0.2),
    Rule("raft_trailing_logs", "count", warning=250),
)


def _read_autopilot(reader: Reader) -> None:
    is_judged = reader.rules.get("autopilot_unhealthy") is not None
    reader.observation.add(settled_autopilot(reader.client) if is_judged else read_autopilot(reader.client))


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

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six times in a row Consul loses its leader: no agent ends, and no two ever write at once."""

from __future__ import annotations

import time

from tests.lab.agents import writers_in_turn
from tests.lab.consul import eventually
from tests.lab.hosts import Host

from .conftest import POLL_S, TAKEOVER_S, Estate

KILLS = 6


def consul_leader(estate: Estate, after: str = "") -> tuple[Host, str] | None:
    """Return the host of Consul's leader and the raft term that it leads; None while none leads a term after ``after``."""
    for host in estate.hosts:
        stats = (estate.consul(host, "GET", "/v1/agent/self") or {}).get("Stats", {})
        term = str(stats.get("raft", {}).get("term", ""))
        if stats.get("consul", {}).get("leader") == "true" and int(term) > int(after or 0):
            return host, term
    return None


def test_six_leaders_killed_in_a_row_end_no_agent(estate: Estate) -> None:
    estate.healthy()
    estate.active()
    pids = {
        host.name: host.run("systemctl", "show", "-P", "MainPID", "consulops-demonstration").stdout
        for host in estate.hosts
    }
    began = time.monotonic()
    term = ""
    for _kill in range(KILLS):
        leader, term = eventually(lambda term=term: consul_leader(estate, term), 30, "a new leader", POLL_S)
        written = estate.entries(leader)
        leader.run("systemctl", "kill", "-s", "KILL", "consul")
        eventually(lambda term=term: consul_leader(estate, term), 30, "a new leader", POLL_S)
        # The next leader dies as soon as the cluster can lose one again and the agents have written under this one.
        estate.healthy()
        active = estate.active()
        # A new leader counts the TTL of every session from its election, so a takeover may take two TTLs and the lock delay.
        eventually(
            lambda active=active, written=written: estate.entries(active) > written,
            within_s=2 * TAKEOVER_S,
            what="the journal goes on",
            every_s=POLL_S,
        )
    terms = writers_in_turn(estate.sessions(active))
    print(f"{KILLS} leaders killed in {time.monotonic() - began:.0f} s, {len(terms)} lease terms")
    for host in estate.hosts:
        assert host.run("systemctl", "show", "-P", "MainPID", "consulops-demonstration").stdout == pids[host.name]
        assert host.run("systemctl", "show", "-P", "NRestarts", "consulops-demonstration").stdout == "0\n"

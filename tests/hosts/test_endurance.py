# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Six times in a row Consul loses its leader: no agent ends, and what fails and recovers meanwhile is told once each."""

from __future__ import annotations

import time

from tests.lab.consul import eventually
from tests.lab.hosts import Host

from .conftest import POLL_S, TAKEOVER_S, Estate

UNIT = "consulops-alerting"
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
    estate.set_check(estate.holder(), "endurance", "passing")
    pids = {host.name: host.run("systemctl", "show", "-P", "MainPID", UNIT).stdout for host in estate.hosts}
    began = time.monotonic()
    term = ""
    kinds: list[str] = []
    for _kill in range(KILLS):
        leader, term = eventually(lambda term=term: consul_leader(estate, term), 30, "a new leader", POLL_S)
        leader.run("systemctl", "kill", "-s", "KILL", "consul")
        changed = "resolved" if kinds[-1:] == ["firing"] else "firing"
        kinds.append(changed)
        status = "critical" if changed == "firing" else "passing"
        estate.set_check(estate.others(leader)[0], "endurance", status)  # as soon as there is a new leader
        # The next leader dies as soon as the cluster can lose one again and the agents have told what changed under this one.
        estate.healthy()
        # A new leader counts the TTL of every session from its election, so a takeover may take two TTLs and the lock delay.
        estate.wait_told("endurance", kinds, 2 * TAKEOVER_S)
        estate.holder()
    print(f"{KILLS} leaders killed in {time.monotonic() - began:.0f} s")
    for host in estate.hosts:
        assert host.run("systemctl", "show", "-P", "MainPID", UNIT).stdout == pids[host.name]
        assert host.run("systemctl", "show", "-P", "NRestarts", UNIT).stdout == "0\n"

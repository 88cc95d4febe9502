# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two minutes in which Consul loses its leader every twenty seconds: no agent ends, and no two ever write."""

from __future__ import annotations

import time

from tests.lab.agents import writers_in_turn
from tests.lab.consul import eventually
from tests.lab.hosts import Host

from .conftest import Estate

KILLS, EVERY_S = 6, 20.0


def leader(estate: Estate) -> Host | None:
    for host in estate.hosts:
        address = str(estate.consul(host, "GET", "/v1/status/leader") or "").rpartition(":")[0]
        if address:
            return next((one for one in estate.hosts if one.address == address), None)
    return None


def test_leaders_killed_for_two_minutes_end_no_agent(estate: Estate) -> None:
    estate.healthy()
    estate.active()
    pids = {
        host.name: host.run("systemctl", "show", "-P", "MainPID", "consulops-demonstration").stdout
        for host in estate.hosts
    }
    written = len(estate.sessions(estate.hosts["s1"]))
    began = time.monotonic()
    for number in range(KILLS):
        leading = eventually(lambda: leader(estate), 30, "a leader")
        leading.run("systemctl", "kill", "-s", "KILL", "consul")
        until = began + (number + 1) * EVERY_S
        eventually(lambda until=until: time.monotonic() >= until, EVERY_S + 1)
    estate.healthy()
    active = estate.active()
    eventually(lambda: len(estate.sessions(active)) > written, what="the journal goes on")
    terms = writers_in_turn(estate.sessions(active))
    print(f"{KILLS} leaders killed in {time.monotonic() - began:.0f} s, {len(terms)} terms")
    for host in estate.hosts:
        assert host.run("systemctl", "show", "-P", "MainPID", "consulops-demonstration").stdout == pids[host.name]
        assert host.run("systemctl", "show", "-P", "NRestarts", "consulops-demonstration").stdout == "0\n"

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease after a process was killed: who starts again in its state directory ends its session, and nobody else does."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.lab.agents import AgentProcess
from tests.lab.consul import eventually
from tests.lab.probes import Probes

LOCK_DELAY_S = 60  # nobody gets the lease for this time after its session ended by itself


def start(probes: Probes, name: str, state: Path | None = None) -> AgentProcess:
    """Start an agent that does nothing but hold a required lease, with a long lock delay."""
    return probes.start(name, {"watch": "watch"}, state=state, lease={"lock_delay": f"{LOCK_DELAY_S}s"})


def kill(agent: AgentProcess) -> float:
    agent.process.kill()
    agent.process.wait()
    return time.monotonic()


def fence(agent: AgentProcess) -> int:
    return int(agent.status()["leases"]["lease"]["fence"])


def test_an_instance_that_was_killed_takes_its_lease_again_at_once(probes: Probes) -> None:
    first = start(probes, "again")
    first.wait("active")
    before = fence(first)
    killed_at = kill(first)
    second = start(probes, "again", first.state)
    second.wait("active")
    assert time.monotonic() - killed_at < LOCK_DELAY_S
    assert fence(second) > before


def test_a_standby_takes_the_lease_when_the_killed_holder_is_back_at_the_latest(probes: Probes) -> None:
    holder = start(probes, "standby")
    holder.wait("active")
    standby = start(probes, "standby")
    standby.wait("standby")
    killed_at = kill(holder)
    back = start(probes, "standby", holder.state)
    eventually(lambda: "active" in (standby.status()["state"], back.status()["state"]), what="one of them is active")
    assert time.monotonic() - killed_at < LOCK_DELAY_S


def test_a_second_process_in_the_same_directory_leaves_the_session_of_the_first_alone(probes: Probes) -> None:
    first = start(probes, "second")
    first.wait("active")
    before = fence(first)
    second = start(probes, "second", first.state)
    second.wait("standby")
    assert fence(first) == before and first.status()["lease_terms"] == 1


def test_a_directory_of_another_host_gives_no_lease_away(probes: Probes, tmp_path: Path) -> None:
    first = start(probes, "copied")
    first.wait("active")
    before = fence(first)
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    record = json.loads((first.state / "lease.json").read_text(encoding="utf-8"))
    (copy / "lease.json").write_text(json.dumps({**record, "node": "another host"}), encoding="utf-8")
    second = start(probes, "copied", copy)
    second.wait("standby")
    assert fence(first) == before

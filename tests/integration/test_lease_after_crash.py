# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease after a process was killed: who starts again in its state directory ends its session, and nobody else does."""

from __future__ import annotations

import itertools
import json
import time
import typing as t
from pathlib import Path

import pytest

from tests.lab import probe_agent
from tests.lab.agents import AgentProcess
from tests.lab.consul import Datacenter, Lab, eventually

LOCK_DELAY_S = 60  # nobody gets the lease for this time after its session ended by itself


class Probes:
    """Starts agents of one name that do nothing but hold a required lease, with a long lock delay."""

    def __init__(self, lab: Lab, datacenter: Datacenter, directory: Path, name: str) -> None:
        self._lab, self._datacenter, self._directory, self._name = lab, datacenter, directory, name
        self.started: list[AgentProcess] = []

    def start(self, state: Path | None = None) -> AgentProcess:
        settings = {
            "agent": "probe",
            "name": self._name,
            "connection": {"url": self._datacenter.url},
            "lease": {"lock_delay": f"{LOCK_DELAY_S}s"},
            "back_off": {"first": "50ms", "longest": "100ms"},
            "options": {"jobs": {"watch": "watch"}},
        }
        directory = self._directory / f"probe{len(self.started)}"
        program = [probe_agent.__file__]
        agent = AgentProcess(
            Path("/nonexistent"), directory, self._lab.address(), settings, program=program, state=state
        )
        self.started.append(agent)
        return agent


NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def datacenter(own_lab: Lab) -> Datacenter:
    return own_lab.datacenter()


@pytest.fixture
def probes(own_lab: Lab, datacenter: Datacenter, tmp_path: Path) -> t.Iterator[Probes]:
    probes = Probes(own_lab, datacenter, tmp_path, f"crash-{next(NUMBERS)}")
    yield probes
    for agent in probes.started:
        agent.stop()


def kill(agent: AgentProcess) -> float:
    agent.process.kill()
    agent.process.wait()
    return time.monotonic()


def fence(agent: AgentProcess) -> int:
    return int(agent.status()["leases"]["lease"]["fence"])


def test_an_instance_that_was_killed_takes_its_lease_again_at_once(probes: Probes) -> None:
    first = probes.start()
    first.wait("active")
    before = fence(first)
    killed_at = kill(first)
    second = probes.start(first.state)
    second.wait("active")
    assert time.monotonic() - killed_at < LOCK_DELAY_S
    assert fence(second) > before


def test_a_standby_takes_the_lease_when_the_killed_holder_is_back_at_the_latest(probes: Probes) -> None:
    holder = probes.start()
    holder.wait("active")
    standby = probes.start()
    standby.wait("standby")
    killed_at = kill(holder)
    back = probes.start(holder.state)
    eventually(lambda: "active" in (standby.status()["state"], back.status()["state"]), what="one of them is active")
    assert time.monotonic() - killed_at < LOCK_DELAY_S


def test_a_second_process_in_the_same_directory_leaves_the_session_of_the_first_alone(probes: Probes) -> None:
    first = probes.start()
    first.wait("active")
    before = fence(first)
    second = probes.start(first.state)
    second.wait("standby")
    assert fence(first) == before and first.status()["lease_terms"] == 1


def test_a_directory_of_another_host_gives_no_lease_away(probes: Probes, tmp_path: Path) -> None:
    first = probes.start()
    first.wait("active")
    before = fence(first)
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    record = json.loads((first.state / "lease.json").read_text(encoding="utf-8"))
    (copy / "lease.json").write_text(json.dumps({**record, "node": "another host"}), encoding="utf-8")
    second = probes.start(copy)
    second.wait("standby")
    assert fence(first) == before

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Agents and Consul servers are killed and paused at random: the leases are never held twice, and everything recovers.

It takes some ten seconds. ``CONSULOPS_CHAOS_S=600`` runs it for ten minutes; ``CONSULOPS_CHAOS_SEED`` repeats a run.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
import typing as t
from pathlib import Path

import pytest

from tests.lab.agents import AgentProcess
from tests.lab.consul import Lab, eventually
from tests.lab.journal import Journal
from tests.lab.probes import start_probe

CHAOS_S = float(os.environ.get("CONSULOPS_CHAOS_S", "6"))
AGENTS, NAME = 3, "herd"


class Herd:
    """Agents that write under a required lease, on a datacenter of three servers, and what is done to them."""

    def __init__(self, lab: Lab, directory: Path, chance: random.Random) -> None:
        self._directory, self._chance = directory, chance
        self.datacenter = lab.datacenter(servers=3)
        self._addresses = [lab.address() for _number in range(AGENTS)]
        self._started = 0
        self.agents = [self._start(number) for number in range(AGENTS)]
        self.done: list[str] = []

    def _start(self, number: int) -> AgentProcess:
        self._started += 1
        settings = {
            "agent": "probe",
            "name": NAME,
            "connection": {"url": self.datacenter.servers[number % len(self.datacenter.servers)].url, "timeout": 3},
            "options": {"jobs": {"journal": "write_journal"}},
            "lease": {"lock_delay": "1s"},
            "back_off": {"first": "50ms", "longest": "500ms"},
            "service": {"name": f"herd-{number}"},
        }
        return start_probe(self._directory / f"herd{self._started}", self._addresses[number], settings)

    def strike(self) -> None:
        """Do one thing to one agent, or to one server: never to more servers than leave a quorum."""
        number = self._chance.randrange(AGENTS)
        what = self._chance.choice(
            [self._kill, self._pause, self._stop, self._reload, self._pause_server, self._kill_server]
        )
        self.done.append(f"{what.__name__.strip('_')} {number}")
        what(number)

    def _pause_s(self) -> float:
        return self._chance.uniform(0.1, 1.5)

    def _kill(self, number: int) -> None:
        self.agents[number].process.kill()
        self.agents[number].stop()
        self.agents[number] = self._start(number)

    def _stop(self, number: int) -> None:
        agent = self.agents[number]
        eventually(agent.status, what="it has started")
        assert agent.stop() < 2 and agent.process.returncode == 0, agent.log()
        self.agents[number] = self._start(number)

    def _pause(self, number: int) -> None:
        self.agents[number].process.send_signal(signal.SIGSTOP)
        time.sleep(self._pause_s())
        self.agents[number].process.send_signal(signal.SIGCONT)

    def _reload(self, number: int) -> None:
        eventually(self.agents[number].status, what="it has started")
        self.agents[number].reload()

    def _pause_server(self, number: int) -> None:
        self.datacenter.servers[number].pause()
        time.sleep(self._pause_s())
        self.datacenter.servers[number].resume()

    def _kill_server(self, number: int) -> None:
        self.datacenter.servers[number].stop()
        time.sleep(self._pause_s())
        self.datacenter.servers[number].start()

    def end_sessions(self) -> None:
        """End every session now, instead of waiting for the TTL of those whose agent was killed."""
        for session in self.datacenter.get("/v1/session/list"):
            self.datacenter.put(f"/v1/session/destroy/{session['ID']}")

    def states(self) -> list[str]:
        return sorted(str(agent.status()["state"]) for agent in self.agents)

    def logs(self) -> str:
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(self._directory.glob("herd*/log")))


@pytest.fixture
def herd(lab: Lab, tmp_path: Path) -> t.Iterator[Herd]:
    seed = int(os.environ.get("CONSULOPS_CHAOS_SEED", random.randrange(1 << 32)))
    print(f"CONSULOPS_CHAOS_SEED={seed}")
    made = Herd(lab, tmp_path, random.Random(seed))
    yield made
    for server in made.datacenter.servers:
        with contextlib.suppress(ProcessLookupError):
            server.resume()
    for agent in made.agents:
        agent.stop()


def test_random_kills_and_pauses_never_give_two_writers_and_all_recover(herd: Herd) -> None:
    calm = ["active", *["standby"] * (AGENTS - 1)]
    eventually(lambda: herd.states() == calm, what="one is active")
    until = time.monotonic() + CHAOS_S
    while time.monotonic() < until:
        herd.strike()
    print(f"{len(herd.done)} strikes: {', '.join(herd.done)}")
    herd.datacenter.leader()
    if CHAOS_S < 60:
        herd.end_sessions()
    eventually(lambda: herd.states() == calm, 60, f"calm after {herd.done}")
    journal = Journal(herd.datacenter, NAME)
    terms = journal.writers()
    before = len(journal.sessions())
    eventually(lambda: len(journal.sessions()) > before, what="it writes")
    print(f"{len(terms)} lease terms, {before} entries")
    assert "Traceback" not in herd.logs() and "because of a bug" not in herd.logs()

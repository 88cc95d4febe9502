# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two instances of the alerting agent under random faults, with a ledger: what failed for long enough was told, and under one key.

CONSULOPS_CHAOS_S is how long the faults go on, CONSULOPS_CHAOS_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time
import typing as t
from pathlib import Path

from tests.lab.agents import AgentProcess
from tests.lab.alerting import Instances, messages, register_check, set_check
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.http_service import HttpService, Reply

FAULTS_S = float(os.environ.get("CONSULOPS_CHAOS_S", "30"))
SEED = int(os.environ.get("CONSULOPS_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
SERVICES = ("web", "db", "cache", "queue")
FOR_S = 1.0
# After the last fault: the lease of an instance that was killed ends after twice its TTL, and messages wait for the back-off.
CALM_WITHIN_S = 90.0


class Ledger:
    """What really was wrong, by service: when it began to fail and when that ended."""

    def __init__(self, datacenter: Datacenter) -> None:
        self._datacenter = datacenter
        self.failing: dict[str, float] = {}
        self.episodes: dict[str, list[float]] = {service: [] for service in SERVICES}

    def set(self, service: str, *, fails: bool) -> None:
        """Let a service fail or work again. A Consul that cannot take that now changes nothing."""
        set_check(self._datacenter, service, "critical" if fails else "passing")
        if fails:
            self.failing.setdefault(service, time.monotonic())
        elif service in self.failing:
            self.episodes[service].append(time.monotonic() - self.failing.pop(service))


class Chaos:
    """Random faults of the agent, of Consul and of the receiver, and their ends."""

    def __init__(self, datacenter: Datacenter, instances: Instances, hook: HttpService, rng: random.Random) -> None:
        self.datacenter, self.instances, self.hook, self.rng = datacenter, instances, hook, rng
        self.running: list[AgentProcess] = []
        self.log: list[str] = []

    def start(self, number: int, state: Path | None = None) -> AgentProcess:
        given = {
            "instance": f"host{number}",
            "for": f"{FOR_S:g}s",
            "flapping": {"changes": 0},
            "match": [{"service": service} for service in SERVICES],
            "reconcile_every": "1s",
        }
        return self.instances.start(
            self.datacenter, name="chaos", options=given, state=state, service={"register": False}
        )

    def kill_agent(self) -> None:
        number = self.rng.randrange(len(self.running))
        killed = self.running[number]
        self.log.append(f"kill host{number}")
        killed.process.kill()
        killed.process.wait()
        self.running[number] = self.start(number, killed.state)

    def stop_agent(self) -> None:
        number = self.rng.randrange(len(self.running))
        self.log.append(f"stop host{number}")
        self.running[number].stop()
        self.running[number] = self.start(number, self.running[number].state)

    def refuse(self) -> None:
        self.log.append("the receiver refuses")
        self.hook.replies[:] = [Reply(503)] * self.rng.randrange(1, 4)

    def pause_consul(self) -> None:
        self.log.append("Consul hangs")
        server = self.datacenter.servers[0]
        server.pause()
        time.sleep(self.rng.uniform(0.5, 3))
        server.resume()

    def kill_consul(self) -> None:
        self.log.append("Consul is killed")
        server = self.datacenter.servers[0]
        server.stop()
        server.start()
        self.datacenter.wait_ready()


def test_every_failure_that_lasted_was_told_under_one_key_and_ended(
    lab: Lab, bundle: Path, tmp_path: Path, hook: HttpService
) -> None:
    rng = random.Random(SEED)
    datacenter = lab.datacenter()
    instances = Instances(lab, bundle, tmp_path / "agents", hook)
    chaos, ledger = Chaos(datacenter, instances, hook, rng), Ledger(datacenter)
    for service in SERVICES:
        register_check(datacenter, service)
        ledger.set(service, fails=False)  # a check that was never updated is critical after its Consul was killed
    try:
        chaos.running += [chaos.start(number) for number in range(2)]
        faults = [chaos.kill_agent, chaos.stop_agent, chaos.refuse, chaos.pause_consul, chaos.kill_consul]
        until = time.monotonic() + FAULTS_S
        while time.monotonic() < until:
            service = rng.choice(SERVICES)
            chaos.log.append(f"{service} {'works' if service in ledger.failing else 'fails'}")
            ledger.set(service, fails=service not in ledger.failing)
            time.sleep(rng.uniform(0.2, 2))
            if rng.random() < 0.5:
                rng.choice(faults)()
        hook.replies.clear()
        # What fails now goes on until it is told.
        lasting = sorted(ledger.failing)
        eventually(lambda: set(lasting) <= set(firing(hook)), CALM_WITHIN_S, f"{lasting} are told")
        for service in lasting:
            ledger.set(service, fails=False)
        eventually(lambda: not firing(hook), CALM_WITHIN_S, "everything is told to be over")
    except AssertionError as error:
        logs = "\n".join(agent.log()[-1500:] for agent in chaos.running)
        raise AssertionError(f"seed {SEED}: {error}\n{chaos.log}\n{[*told(hook)]}\n{logs}") from error
    finally:
        instances.stop()
    keys: dict[str, set[str]] = {}
    for service, _status, key in told(hook):
        if service:  # not what concerns Consul itself
            keys.setdefault(service, set()).add(key)
    for service, found in keys.items():
        assert len(found) <= len(ledger.episodes[service]), f"seed {SEED}: {service} {found} {chaos.log}"


def told(hook: HttpService) -> t.Iterator[tuple[str, str, str]]:
    """Yield service, status and key of each alert that was delivered, in order."""
    for message in messages(hook):
        for alert in message["alerts"]:
            yield alert["service_name"], alert["status"], alert["incident"]


def firing(hook: HttpService) -> list[str]:
    """Return the services that fire according to what the receiver was told, each by its last message."""
    last = {(service, key): status for service, status, key in told(hook)}
    return sorted({service for (service, _key), status in last.items() if status == "firing"})

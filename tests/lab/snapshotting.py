# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs snapshot agents in a lab, and waits for what they do."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from .agents import AgentProcess, Status, status_of_part, wait_for_part
from .consul import Datacenter, Lab


class Snapshotters:
    """Starts instances of the snapshot agent; each has an address of its own, and all share the name."""

    def __init__(self, lab: Lab, bundle: Path, directory: Path) -> None:
        self._lab, self._bundle, self._directory = lab, bundle, directory
        self.started: list[AgentProcess] = []

    def config(self, datacenter: Datacenter, policies: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
        """Return the whole configuration of an instance."""
        return {
            "agent": "snapshot",
            "connection": {"url": datacenter.url, "timeout": 5.0},
            "lease": {"lock_delay": "0s"},
            "service": {"register": False},
            "back_off": {"first": "50ms", "longest": "500ms"},
            "options": {"policies": policies},
            **more,
        }

    def start(
        self,
        datacenter: Datacenter,
        policies: dict[str, t.Any],
        *,
        state: Path | None = None,
        clock: bool = False,
        token: str | None = None,
        **more: t.Any,
    ) -> AgentProcess:
        """Start an instance."""
        directory = self._directory / f"instance{len(self.started)}"
        config = self.config(datacenter, policies, **more)
        agent = AgentProcess(
            self._bundle, directory, self._lab.address(), config, token or datacenter.token, state=state, clock=clock
        )
        self.started.append(agent)
        return agent

    def __enter__(self) -> Snapshotters:
        return self

    def __exit__(self, *_args: object) -> None:
        for agent in self.started:
            agent.stop()


def a_policy(*places: Path, **more: t.Any) -> dict[str, t.Any]:
    """Return the options of a policy with directories as destinations, named ``a``, ``b`` and so on."""
    destinations = {chr(ord("a") + number): {"url": str(place)} for number, place in enumerate(places)}
    return {"interval": "1h", "placement": "one", "destinations": destinations, **more}


def policy_status(agent: AgentProcess, name: str) -> Status:
    """Return the status of a policy, {} while the instance does not work for it."""
    return status_of_part(agent, "policies", name)


def wait_for_policy(
    agent: AgentProcess, name: str, condition: t.Callable[[Status], t.Any], what: str, within_s: float = 30.0
) -> Status:
    """Wait until the status of a policy fulfils a condition, and return it."""
    return wait_for_part(agent, "policies", name, condition, what, within_s)


def wait_for_snapshot(agent: AgentProcess, name: str, within_s: float = 30.0) -> Status:
    """Wait until a policy has a verified snapshot and nothing is wrong or waiting."""

    def is_done(one: Status) -> bool:
        return (
            one["newest"] is not None
            and not one["problem"]
            and not any(place["waiting"] for place in one["destinations"].values())
        )

    return wait_for_policy(agent, name, is_done, f"{name} has a snapshot", within_s)


def end_session(datacenter: Datacenter, policy: str, agent: str = "snapshot") -> None:
    """End the session of a policy's lease, as its TTL would some seconds later."""
    entry = datacenter.get(f"/v1/kv/consulops/agents/{agent}/lease/{policy}")[0]
    if entry.get("Session"):
        datacenter.put(f"/v1/session/destroy/{entry['Session']}")


def manifests(place: Path) -> list[Status]:
    """Return the manifests in a directory, oldest slot first."""
    found = [json.loads(path.read_bytes()) for path in place.glob("*.snap.json")]
    return sorted(found, key=lambda one: (one.get("slot", ""), one["time"]))


def litter(place: Path) -> list[str]:
    """Return the files of a directory that are neither a snapshot with a manifest nor its manifest."""
    names = {path.name for path in place.iterdir()}
    whole = {name for name in names if name.endswith(".snap") and f"{name}.json" in names}
    return sorted(names - whole - {f"{name}.json" for name in whole})

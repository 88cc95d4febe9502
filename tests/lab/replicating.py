# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs replication agents in a lab, and waits for what they do."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client

from . import keys
from .agents import AgentProcess, Status, status_of_part, wait_for_part
from .consul import Datacenter, Lab, eventually


def client_of(datacenter: Datacenter) -> Client:
    """Return a client of a datacenter; the caller closes it."""
    return Client(endpoint.resolve({"url": datacenter.url, "token": datacenter.token, "timeout": 5}, {}))


class Replicators:
    """Starts instances of the agent; each has an address of its own, and all share the name."""

    def __init__(self, lab: Lab, bundle: Path, directory: Path) -> None:
        self._lab, self._bundle, self._directory = lab, bundle, directory
        self.started: list[AgentProcess] = []

    def config(self, sets: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
        """Return the whole configuration of an instance."""
        return {
            "agent": "replication",
            "connection": {"timeout": 3.0},
            "lease": {"lock_delay": "0s"},
            "service": {"register": False},
            "back_off": {"first": "50ms", "longest": "500ms"},
            "options": {"sets": sets},
            **more,
        }

    def start(self, sets: dict[str, t.Any], *, clock: bool = False, **more: t.Any) -> AgentProcess:
        """Start an instance, with ``clock`` one with a wall clock of its own."""
        directory = self._directory / f"instance{len(self.started)}"
        agent = AgentProcess(self._bundle, directory, self._lab.address(), self.config(sets, **more), clock=clock)
        self.started.append(agent)
        return agent

    def reload(self, agent: AgentProcess, sets: dict[str, t.Any], **more: t.Any) -> None:
        """Give an instance other sets, and wait until it uses them."""
        reloads = eventually(agent.status, what="the agent answers")["reloads"]
        agent.configure(self.config(sets, **more))
        agent.reload()
        eventually(lambda: agent.status()["reloads"] > reloads, what="the agent reloads")

    def __enter__(self) -> Replicators:
        return self

    def __exit__(self, *_args: object) -> None:
        for agent in self.started:
            agent.stop()


def a_set(here: Datacenter, there: Datacenter, *prefixes: t.Any, **more: t.Any) -> dict[str, t.Any]:
    """Return the options of a set."""
    return {
        "source": {"url": here.url, **more.pop("source", {})},
        "destination": {"url": there.url, **more.pop("destination", {})},
        "prefixes": list(prefixes),
        **more,
    }


def set_status(agent: AgentProcess, name: str) -> Status:
    """Return the status of a set, {} while the instance does not replicate it."""
    return status_of_part(agent, "sets", name)


def wait_for_status(
    agent: AgentProcess, name: str, condition: t.Callable[[Status], t.Any], what: str, within_s: float = 30.0
) -> Status:
    """Wait until the status of a set fulfils a condition, and return it."""
    return wait_for_part(agent, "sets", name, condition, what, within_s)


def wait_for_following(agent: AgentProcess, name: str, within_s: float = 30.0) -> Status:
    """Wait until everything was compared and the set is followed."""
    return wait_for_status(
        agent, name, lambda one: one["verification"] and one["state"] == "following", f"{name} is followed", within_s
    )


def wait_for_equal(
    source: Datacenter, destination: Datacenter, prefix: str, to: str | None = None, within_s: float = 30.0
) -> keys.Keys:
    """Wait until the keys below a prefix are the same on both sides, and return them as the source has them."""
    target = prefix if to is None else to

    def equal() -> bool:
        here, there = keys.read(source, prefix), keys.read(destination, target)
        return {key[len(prefix) :]: value for key, value in here.items()} == {
            key[len(target) :]: value for key, value in there.items()
        }

    eventually(equal, within_s, f"{prefix} is equal")
    return keys.read(source, prefix)

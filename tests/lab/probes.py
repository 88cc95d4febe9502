# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts probe agents as real processes: agents of the frame whose jobs do, fail and hang as a test says."""

from __future__ import annotations

import typing as t
from pathlib import Path

from . import probe_agent
from .agents import AgentProcess
from .consul import Datacenter, Lab


class Probes:
    """Starts probe agents, each with an address of its own. They register as consulops-NAME unless a test says otherwise."""

    def __init__(self, lab: Lab, datacenter: Datacenter, directory: Path) -> None:
        self._lab, self._datacenter, self._directory = lab, datacenter, directory
        self.started: list[AgentProcess] = []

    def settings(self, name: str, jobs: dict[str, str], **more: t.Any) -> dict[str, t.Any]:
        """Return a configuration: jobs as NAME: "WHAT ARGUMENT", their options, and other keys of a configuration."""
        options = {"jobs": jobs, **more.pop("options", {})}
        return {
            "agent": "probe",
            "name": name,
            "connection": {"url": self._datacenter.url},
            "lease": {"lock_delay": "0s"},
            "back_off": {"first": "50ms", "longest": "100ms"},
            "options": options,
            **more,
        }

    def start(
        self, name: str, jobs: dict[str, str], token: str | None = None, state: Path | None = None, **more: t.Any
    ) -> AgentProcess:
        """Start one with these settings, and with the ``state`` of an earlier process."""
        directory = self._directory / f"probe{len(self.started)}"
        settings = self.settings(name, jobs, **more)
        agent = start_probe(directory, self._lab.address(), settings, token, state)
        self.started.append(agent)
        return agent

    def stop(self) -> None:
        """Stop all of them."""
        for agent in self.started:
            agent.stop()


def start_probe(
    directory: Path, address: str, settings: dict[str, t.Any], token: str | None = None, state: Path | None = None
) -> AgentProcess:
    """Start a probe agent with a whole configuration."""
    program = [probe_agent.__file__]
    return AgentProcess(Path("/nonexistent"), directory, address, settings, token, program=program, state=state)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances of the alerting agent with a webhook that records what it is told, and checks that the tests make fail."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from .agents import AgentProcess
from .consul import Datacenter, Lab, Server, eventually
from .http_service import HttpService

Message = dict[str, t.Any]


def options(hook: HttpService, **more: t.Any) -> dict[str, t.Any]:
    """Return options of the agent: everything goes to one webhook at once, whatever is not given otherwise."""
    return {
        "for": "0s",
        "recover_for": "0s",
        "gone_for": "0s",
        "receivers": {"hook": {"type": "webhook", "url": f"{hook.url}/alerts", "timeout": "2s"}},
        "route": {"receiver": "hook", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"},
        **more,
    }


class Instances:
    """Starts instances of the agent in a lab; each has an address of its own, and all share the name."""

    def __init__(self, lab: Lab, bundle: Path, directory: Path, hook: HttpService) -> None:
        self._lab, self._bundle, self._directory, self.hook = lab, bundle, directory, hook
        self.started: list[AgentProcess] = []
        directory.mkdir(parents=True, exist_ok=True)

    def config(self, url: str, name: str = "watch", **more: t.Any) -> dict[str, t.Any]:
        """Return the whole configuration of an instance that speaks to the Consul agent at ``url``."""
        return {
            "agent": "alerting",
            "name": name,
            "connection": more.pop("connection", {"url": url, "timeout": 2.0}),
            "lease": {"lock_delay": "0s"},
            "back_off": {"first": "50ms", "longest": "500ms"},
            "options": options(self.hook, **more.pop("options", {})),
            **more,
        }

    def start(self, at: Datacenter | Server, *, clock: bool = False, **more: t.Any) -> AgentProcess:
        """Start an instance; with ``state`` it goes on where an earlier one left off, as a restart does.

        ``token`` replaces that of the datacenter; with ``clock`` the instance has a wall clock of its own.
        """
        state, token = more.pop("state", None), more.pop("token", getattr(at, "token", None))
        config = self.config(more.pop("url", at.url), **more)
        directory = self._directory / f"instance{len(self.started)}"
        agent = AgentProcess(self._bundle, directory, self._lab.address(), config, token, clock=clock, state=state)
        self.started.append(agent)
        return agent

    def __enter__(self) -> Instances:
        return self

    def __exit__(self, *_args: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all of them."""
        for agent in self.started:
            agent.stop()


def wait_for_lease(agent: AgentProcess, within_s: float = 30.0) -> dict[str, t.Any]:
    """Wait until an instance holds the lease, and return its status. An active one may not know yet who holds it."""

    def holder() -> dict[str, t.Any] | None:
        status = agent.wait("active", within_s)
        return status if status["lease"]["held"] else None

    return t.cast("dict[str, t.Any]", eventually(holder, within_s, "it holds the lease"))


def register_check(at: Datacenter | Server, service: str, status: str = "passing") -> None:
    """Register a service with a TTL check whose status the test sets."""
    check = {"TTL": "1h", "Status": status, "CheckID": f"{service}-check", "Name": f"{service} answers"}
    at.put("/v1/agent/service/register", {"Name": service, "Check": check})


def set_check(at: Datacenter | Server, service: str, status: str, output: str = "") -> None:
    """Set the status of the check of a service."""
    at.put(f"/v1/agent/check/update/{service}-check", {"Status": status, "Output": output})


def messages(hook: HttpService) -> list[Message]:
    """Return the notifications that the webhook was sent, in order."""
    return [json.loads(one.body) for one in hook.received]


def alerts(hook: HttpService, service: str) -> list[tuple[str, str]]:
    """Return kind and severity of each alert about a service that the webhook was told, in order."""
    return [
        (message["kind"], alert["severity"])
        for message in messages(hook)
        for alert in message["alerts"]
        if alert["service_name"] == service
    ]


def wait_for_alerts(hook: HttpService, service: str, count: int, within_s: float = 20.0) -> list[tuple[str, str]]:
    """Wait until the webhook was told ``count`` times of a service, and return what it was told."""
    return t.cast(
        "list[tuple[str, str]]",
        eventually(
            lambda: found if len(found := alerts(hook, service)) >= count else None, within_s, f"alerts of {service}"
        ),
    )

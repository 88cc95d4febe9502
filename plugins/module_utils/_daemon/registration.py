# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the agent in Consul's catalogue: a service with two TTL checks, one for its life and one for its work.

The Consul agent on the host may be restarted, restored or emptied: whatever it has forgotten is told again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import typing as t
from dataclasses import replace

from .._consul import errors
from .._consul.client import Client
from .._consul.version import VERSION
from .agent_config import AgentConfig
from .status import ACTIVE, FAILING, AgentStatus, Status

log = logging.getLogger("consulops")

UPDATES_PER_TTL = 3
LONGEST_OUTPUT = 1000
DEREGISTER_S = 0.5


class Registration:
    """Keeps the service registered from a thread, until ``stop``."""

    def __init__(self, config: AgentConfig, status: Status) -> None:
        self._config = config
        self._status = status
        # By the agent's own name: two agents of a host may show as one service.
        self._id = f"consulops-{config.name}-{status.current.node}"
        self._every_s = config.service.check_ttl_s / UPDATES_PER_TTL
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._known_tags: tuple[str, ...] | None = None
        self._deregister = True
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    @staticmethod
    def is_same(one: AgentConfig, other: AgentConfig) -> bool:
        """Tell whether two configurations have the same entry in the catalogue of the same Consul."""
        return (one.service, one.name, one.connection) == (other.service, other.name, other.connection)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether the thread is there: it ends only when it is stopped, or by a mistake of ours."""
        return self._thread.is_alive()

    def publish(self) -> None:
        """Tell Consul at once: the state has changed."""
        self._news.set()

    def stop(self, within_s: float, *, deregister: bool = True) -> None:
        """End, and with ``deregister`` deregister the service if Consul answers in time."""
        self._deregister = deregister
        self._stopping.set()
        self._news.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        endpoint = self._config.connection
        # The agent that is asked registers for its own node: other datacenters do not come into it.
        near = replace(endpoint, datacenter=None, timeout_s=min(endpoint.timeout_s, self._every_s))
        failing = False
        while not self._stopping.is_set():
            self._news.clear()
            try:
                with Client(near) as client:
                    self._publish(client)
                failing = False
            except errors.Error as error:
                self._known_tags = None
                if not failing:
                    log.warning("Consul does not take the registration of %s: %s", self._id, error)
                failing = True
            self._news.wait(self._every_s)
        if not self._deregister:  # another one goes on with the same service
            return
        with contextlib.suppress(errors.Error), Client(replace(near, timeout_s=DEREGISTER_S)) as client:
            client.put(f"/v1/agent/service/deregister/{self._id}")

    def _publish(self, client: Client) -> None:
        status = self._status.current
        tags = (*self._config.service.tags, "active" if status.state == ACTIVE else "standby")
        if tags != self._known_tags:
            client.put("/v1/agent/service/register", body=self._service(status, tags))
            self._known_tags = tags
        try:
            self._publish_checks(client, status)
        except (errors.NotFound, errors.ServerFailed, errors.Rejected):
            # Unknown there: the Consul agent lost its memory, or somebody deregistered the service.
            client.put("/v1/agent/service/register", body=self._service(status, tags))
            self._publish_checks(client, status)

    def _publish_checks(self, client: Client, status: AgentStatus) -> None:
        for check, health, output in (
            ("alive", "passing", "the process runs"),
            ("work", _work(status), status.sentence),
        ):
            told = {"Status": health, "Output": output[:LONGEST_OUTPUT]}
            client.put(f"/v1/agent/check/update/{self._id}:{check}", body=json.dumps(told).encode())

    def _service(self, status: AgentStatus, tags: tuple[str, ...]) -> bytes:
        listen, service = self._config.listen, self._config.service
        found: dict[str, t.Any] = {
            "ID": self._id,
            "Name": service.name,
            "Tags": list(tags),
            "Meta": {"version": VERSION, "agent": status.agent, "instance": status.name},
            "Checks": [
                self._check("alive", f"{service.name} runs", "passing"),
                self._check("work", f"{service.name} does its work", _work(status)),
            ],
        }
        if listen.enabled:
            found["Port"] = listen.port
        return json.dumps(found).encode()

    def _check(self, name: str, title: str, status: str) -> dict[str, t.Any]:
        service = self._config.service
        return {
            "CheckID": f"{self._id}:{name}",
            "Name": title,
            "TTL": f"{service.check_ttl_s:g}s",
            "Status": status,  # without, it would be critical for a moment whenever a tag changes
            "DeregisterCriticalServiceAfter": f"{service.deregister_after_s:g}s",
        }


def _work(status: AgentStatus) -> str:
    """Return how Consul is to see the work."""
    return "critical" if status.state == FAILING else "warning" if status.problem else "passing"

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps the agent registered in Consul's catalog: a service with two TTL checks, one for the process and one for its work.

The local Consul agent may be restarted, restored or emptied: what it no longer knows is registered again.
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
from .status import ACTIVE, FAILING, AgentStatus, StatusTracker

log = logging.getLogger("consulops")

UPDATES_PER_TTL = 3
MAX_OUTPUT_CHARACTERS = 1000
DEREGISTER_TIMEOUT_S = 0.5


class Registration:
    """Keeps the service registered, from a thread of its own, until ``stop``."""

    def __init__(self, config: AgentConfig, tracker: StatusTracker) -> None:
        self._config = config
        self._tracker = tracker
        # From the agent's name, not the service's: two agents of a host may share a service name.
        self._id = f"consulops-{config.name}-{tracker.current.node}"
        self._every_s = config.service.check_ttl_s / UPDATES_PER_TTL
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._registered_tags: tuple[str, ...] | None = None
        self._deregister = True
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    @staticmethod
    def is_same(one: AgentConfig, other: AgentConfig) -> bool:
        """Return whether two configurations register the same service with the same Consul."""
        return (one.service, one.name, one.connection) == (other.service, other.name, other.connection)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread runs: it ends when it is stopped, or by a bug."""
        return self._thread.is_alive()

    def publish(self) -> None:
        """Send the current status to Consul now, because it has changed."""
        self._wake.set()

    def stop(self, within_s: float, *, deregister: bool = True) -> None:
        """Stop the thread; with ``deregister`` the service is deregistered, if Consul answers within ``within_s``."""
        self._deregister = deregister
        self._stopping.set()
        self._wake.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        endpoint = self._config.connection
        # A service belongs to the node of the agent that registers it, so the datacenter option does not apply.
        local = replace(endpoint, datacenter=None, timeout_s=min(endpoint.timeout_s, self._every_s))
        was_failing = False
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                with Client(local) as client:
                    self._publish(client)
                was_failing = False
            except errors.Error as error:
                self._registered_tags = None
                if not was_failing:
                    log.warning("Consul does not accept the registration of %s: %s", self._id, error)
                was_failing = True
            self._wake.wait(self._every_s)
        if not self._deregister:  # the registration of the next configuration continues with the same service
            return
        with contextlib.suppress(errors.Error), Client(replace(local, timeout_s=DEREGISTER_TIMEOUT_S)) as client:
            client.put(f"/v1/agent/service/deregister/{self._id}")
            log.debug("deregistered %s", self._id)

    def _publish(self, client: Client) -> None:
        status = self._tracker.current
        tags = (*self._config.service.tags, "active" if status.state == ACTIVE else "standby")
        if tags != self._registered_tags:
            self._register(client, status, tags)
            self._registered_tags = tags
        try:
            self._publish_checks(client, status)
        except (errors.NotFound, errors.ServerFailed, errors.Rejected):
            # The Consul agent does not know the checks: its state was lost, or the service was deregistered.
            self._register(client, status, tags)
            self._publish_checks(client, status)

    def _register(self, client: Client, status: AgentStatus, tags: tuple[str, ...]) -> None:
        client.put("/v1/agent/service/register", body=self._service(status, tags))
        log.debug("registered %s with the tags %s", self._id, ", ".join(tags))

    def _publish_checks(self, client: Client, status: AgentStatus) -> None:
        for check, health, output in (
            ("alive", "passing", "the process runs"),
            ("work", _work_health(status), status.sentence),
        ):
            update = {"Status": health, "Output": output[:MAX_OUTPUT_CHARACTERS]}
            client.put(f"/v1/agent/check/update/{self._id}:{check}", body=json.dumps(update).encode())

    def _service(self, status: AgentStatus, tags: tuple[str, ...]) -> bytes:
        listen, service = self._config.listen, self._config.service
        definition: dict[str, t.Any] = {
            "ID": self._id,
            "Name": service.name,
            "Tags": list(tags),
            "Meta": {"version": VERSION, "agent": status.agent, "instance": status.name},
            "Checks": [
                self._check("alive", f"{service.name} runs", "passing"),
                self._check("work", f"{service.name} does its work", _work_health(status)),
            ],
        }
        if listen.enabled:
            definition["Port"] = listen.port
        return json.dumps(definition).encode()

    def _check(self, name: str, title: str, health: str) -> dict[str, t.Any]:
        service = self._config.service
        return {
            "CheckID": f"{self._id}:{name}",
            "Name": title,
            "TTL": f"{service.check_ttl_s:g}s",
            "Status": health,  # without it the check would be critical for a moment whenever a tag changes
            "DeregisterCriticalServiceAfter": f"{service.deregister_after_s:g}s",
        }


def _work_health(status: AgentStatus) -> str:
    """Return the status of the check "does its work"."""
    return "critical" if status.state == FAILING else "warning" if status.problem else "passing"

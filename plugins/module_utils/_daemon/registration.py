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
from dataclasses import dataclass, replace

from .._consul import endpoint, errors
from .._consul.client import Client
from .._consul.version import VERSION
from .agent_config import AgentConfig, ServiceConfig
from .status import AgentStatus
from .status_board import StatusBoard

log = logging.getLogger("consulops")

UPDATES_PER_TTL = 3
MAX_OUTPUT_CHARACTERS = 1000
DEREGISTER_TIMEOUT_S = 0.3  # what a Consul that hangs has received by then, it does when it goes on


@dataclass(frozen=True)
class RegistrationSpec:
    """What is registered, and with which Consul. Equal specs are the same registration: a reload leaves it alone."""

    agent: str
    name: str
    service: ServiceConfig
    connection: endpoint.Endpoint
    port: int | None

    @classmethod
    def of(cls, config: AgentConfig) -> RegistrationSpec | None:
        """Return what a configuration registers, None if nothing."""
        port = config.listen.port if config.listen.enabled else None
        return (
            cls(config.agent, config.name, config.service, config.connection, port) if config.service.register else None
        )

    def is_same_service(self, other: RegistrationSpec | None) -> bool:
        """Return whether another spec continues with the same entry of the same catalog."""
        return other is not None and (self.name, self.connection) == (other.name, other.connection)


class Registration:
    """Keeps the service registered, from a thread of its own, until ``stop``."""

    def __init__(self, spec: RegistrationSpec, board: StatusBoard, on_end: t.Callable[[], None]) -> None:
        self.spec = spec
        self._board = board
        self._on_end = on_end
        # From the agent's name, not the service's: two agents of a host may share a service name.
        self._id = f"consulops-{spec.name}-{board.current.node}"
        self._every_s = spec.service.check_ttl_s / UPDATES_PER_TTL
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._registered_tags: tuple[str, ...] | None = None
        self._deregister = True
        self._problem = ""
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        """Whether the thread ended by a bug."""
        return not self._thread.is_alive() and not self._stopping.is_set()

    def publish(self) -> None:
        """Send the current status to Consul now, because it has changed."""
        self._wake.set()

    def request_stop(self, *, deregister: bool = True) -> None:
        """Begin to stop: the request in flight is cut, and with ``deregister`` the service is deregistered."""
        self._deregister = deregister
        self._stopping.set()
        self._wake.set()
        client = self._client
        if client is not None:
            client.abort()

    def join(self, within_s: float) -> None:
        """Wait for the end of the thread: of deregistering, if Consul answers."""
        self._thread.join(within_s)

    def _run(self) -> None:
        try:
            self._keep_registered()
        finally:
            self._on_end()

    def _keep_registered(self) -> None:
        connection = self.spec.connection
        # A service belongs to the node of the agent that registers it, so the datacenter option does not apply.
        local = replace(connection, datacenter=None, timeout_s=min(connection.timeout_s, self._every_s))
        was_failing = False
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                with Client(local) as client:
                    self._client = client
                    if not self._stopping.is_set():
                        self._publish(client)
                was_failing = False
                self._report("")
            except errors.Error as error:
                self._registered_tags = None
                # Everything else concerns the jobs too, and they report it.
                self._report(str(self._with_right(error)) if isinstance(error, errors.PermissionDenied) else "")
                if not was_failing and not self._stopping.is_set():
                    log.warning("Consul does not accept the registration of %s: %s", self._id, error)
                was_failing = True
            if not self._stopping.is_set():
                self._wake.wait(self._every_s)
        self._report("")
        if not self._deregister:  # the registration of the next configuration continues with the same service
            return
        with contextlib.suppress(errors.Error), Client(replace(local, timeout_s=DEREGISTER_TIMEOUT_S)) as client:
            client.put(f"/v1/agent/service/deregister/{self._id}")
            log.debug("deregistered %s", self._id)

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._board.change(registration_problem=problem)

    def _with_right(self, error: errors.PermissionDenied) -> errors.PermissionDenied:
        """Return an error with the rule that the token lacks."""
        return error.with_advice(after=f'The token needs service "{self.spec.service.name}" {{ policy = "write" }}.')

    def _publish(self, client: Client) -> None:
        status = self._board.current
        tags = (*self.spec.service.tags, "active" if status.is_primary else "standby")
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
        service = self.spec.service
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
        if self.spec.port is not None:
            definition["Port"] = self.spec.port
        return json.dumps(definition).encode()

    def _check(self, name: str, title: str, health: str) -> dict[str, t.Any]:
        service = self.spec.service
        return {
            "CheckID": f"{self._id}:{name}",
            "Name": title,
            "TTL": f"{service.check_ttl_s:g}s",
            "Status": health,  # without it the check would be critical for a moment whenever a tag changes
            "DeregisterCriticalServiceAfter": f"{service.deregister_after_s:g}s",
        }


def _work_health(status: AgentStatus) -> str:
    """Return the status of the check "does its work"."""
    return "critical" if status.is_critical else "warning" if status.problem else "passing"

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A check that a drill makes fail, so that the alerting agent has something to report: of a node that exists only in the catalogue."""

from __future__ import annotations

import contextlib
import json
import typing as t
from urllib.parse import quote

from ..._consul.client import Client
from ..._consul.errors import Conflict, ConsulError, GuardRefused, InvalidResponse, NotConverged, PermissionDenied
from ..._consul.retry import RetryPolicy, is_transient
from ..._consul.units import count_of, some_of
from ..history import CRITICAL, PASSING
from ..open_loop import Node
from ..raft_state import first_answer

PREFIX = "consulops-drill-"  # of the name of the node, with that of the run behind it
CHECK = "consulops-drill-canary"
ADDRESS = "192.0.2.1"  # of documentation (RFC 5737): nobody answers there
REMOVE_WITHIN_S = 60.0


class Canary:
    """The canary of one run. Every change of its status depends on the ModifyIndex before it, so a late one changes nothing."""

    def __init__(self, run_name: str, nodes: t.Sequence[Node]) -> None:
        self.node = f"{PREFIX}{run_name}"
        self._clients = [node.client for node in nodes]

    def check_alone(self) -> None:
        """Raise GuardRefused when another drill left its canary, or a ConsulError."""
        found = first_answer(self._clients, _names)
        if found:
            body = json.dumps({"Node": found[0]})
            raise GuardRefused(
                f"{count_of(len(found), 'drill')} left a canary in the catalogue ({some_of(found)}), or another drill is running. If none "
                f"is, remove it: curl -X PUT --data '{body}' CONSUL/v1/catalog/deregister; nothing was changed."
            )

    def register(self) -> None:
        """Make it, with a check that passes. Raises a ConsulError."""
        body = {"Node": self.node, "Address": ADDRESS, "Check": self._check(PASSING)}
        client = self._clients[0]
        try:
            client.put("/v1/catalog/register", body=json.dumps(body).encode())
        except PermissionDenied as error:
            raise error.with_advice(after=f'The token needs node_prefix "{PREFIX}" {{ policy = "write" }}.') from None
        except ConsulError:
            # It may be there all the same, if the answer was lost.
            with contextlib.suppress(ConsulError):
                self._deregister(client)
            raise

    def set_status(self, status: str) -> None:
        """Set the status of its check. It may be called again after any failure. Raises a ConsulError."""
        first_answer(self._clients, lambda client: self._set_through(client, status))

    def remove(self) -> None:
        """Remove it. Raises NotConverged when no address lets it."""
        policy = RetryPolicy(REMOVE_WITHIN_S, can_pass=_can_pass)
        try:
            policy.run(lambda: first_answer(self._clients, self._deregister))
        except ConsulError as error:
            raise NotConverged(
                f"The canary of the drill could not be removed ({error}): remove it with "
                f"curl -X PUT --data '{self._name()}' CONSUL/v1/catalog/deregister"
            ) from None

    def _deregister(self, client: Client) -> object:
        return client.put("/v1/catalog/deregister", body=self._name().encode())

    def _name(self) -> str:
        return json.dumps({"Node": self.node})

    def _set_through(self, client: Client, status: str) -> None:
        path = f"/v1/health/node/{quote(self.node)}"
        found = [one for one in client.get(path, consistency="consistent").objects() if one.get("CheckID") == CHECK]
        if not found:
            raise Conflict(f"The canary {self.node} is not in the catalogue any more.")
        if found[0].get("Status") == status:
            return
        check = {**self._check(status), "ModifyIndex": found[0].get("ModifyIndex")}
        client.put("/v1/txn", body=json.dumps([{"Check": {"Verb": "cas", "Check": check}}]).encode())

    def _check(self, status: str) -> dict[str, t.Any]:
        says = "A drill makes this check fail on purpose." if status == CRITICAL else "A drill is running."
        return {"Node": self.node, "CheckID": CHECK, "Name": "Canary of a drill", "Status": status, "Output": says}


def _can_pass(error: ConsulError) -> bool:
    return is_transient(error) or isinstance(error, InvalidResponse)


def _names(client: Client) -> list[str]:
    """Return the nodes that are canaries. A token that may write them may read them, whatever else Consul leaves out."""
    found = client.get("/v1/catalog/nodes", partial_ok=True).objects()
    return sorted(str(one.get("Node")) for one in found if str(one.get("Node", "")).startswith(PREFIX))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the Register records of a snapshot say: which nodes run an agent, which datacenter and servers it is of."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from . import records

SERVER_SERVICE = b"consul"

Registration = tuple[str, int, t.Any, int]  # table, type number, record, size in bytes


@dataclass(frozen=True)
class ServerNode:
    """A server in the catalog: the name and ID of its node ("" if the record has none), and its address."""

    name: str
    id: str
    address: str


class NodeBuffer:
    """Buffers the registrations of one node until it is known whether the node runs an agent.

    A node's own record, its services and its checks follow each other in every snapshot; serfHealth is among the
    checks when the node has an agent.
    """

    def __init__(self) -> None:
        self._node: tuple[t.Any, t.Any] | None = None
        self._buffered: list[tuple[t.Any, int]] = []
        self._has_agent = False

    def add(self, record: t.Any, size: int) -> list[Registration]:
        """Take one registration; return those of the node before it when this one begins another node."""
        node = (record[b"Node"], record.get(b"PeerName"))
        flushed = self.flush() if node != self._node else []
        self._node = node
        self._buffered.append((record, size))
        if records.fields(record.get(b"Check")).get(b"CheckID") == records.SERF_CHECK:
            self._has_agent = True
        return flushed

    def flush(self) -> list[Registration]:
        """Return the buffered registrations and forget them."""
        table = records.AGENT_TABLE if self._has_agent else records.type_name(records.REGISTER)
        flushed = [(table, records.REGISTER, record, size) for record, size in self._buffered]
        self._buffered, self._has_agent = [], False
        return flushed


class CatalogFacts:
    """The datacenter, its servers with their versions, and how many nodes and services there are."""

    def __init__(self) -> None:
        self.datacenter = ""
        self.servers: dict[str, ServerNode] = {}
        self.versions: set[str] = set()
        self.services: set[bytes] = set()
        self.nodes = 0
        self._datacenter_is_a_servers = False

    def add(self, record: t.Any) -> None:
        """Take one registration."""
        service = records.fields(record.get(b"Service"))
        if not service:
            if not record.get(b"Check"):
                self.nodes += 1
            self._note_datacenter(record, is_server=False)
            return
        label = service.get(b"Service")
        self.services.add(label if isinstance(label, bytes) else b"?")
        if label == SERVER_SERVICE and not record.get(b"PeerName"):
            server = ServerNode(*(records.text(record.get(name) or b"") for name in (b"Node", b"ID", b"Address")))
            self.servers[server.name] = server
            self._note_datacenter(record, is_server=True)
            version = records.fields(service.get(b"Meta")).get(b"version")
            if version:
                self.versions.add(records.text(version))

    def _note_datacenter(self, record: t.Any, *, is_server: bool) -> None:
        # A server's registration wins: an external node can claim any datacenter.
        if not self._datacenter_is_a_servers and (is_server or not self.datacenter):
            self.datacenter = records.text(record.get(b"Datacenter")) if record.get(b"Datacenter") else ""
            self._datacenter_is_a_servers = is_server

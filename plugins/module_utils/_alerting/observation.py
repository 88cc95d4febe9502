# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one look at a datacenter gave: plain data that rules judge. None means that it was not asked or is not known."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .finding import Unknown

SERF_CHECK = "serfHealth"
NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"


@dataclass(frozen=True)
class Check:
    """One check that is not passing. ``index`` is its ModifyIndex."""

    node: str
    check: str
    name: str
    status: str
    output: str = field(repr=False)
    service: str = ""
    service_id: str = ""
    tags: tuple[str, ...] = ()
    index: int = 0


@dataclass(frozen=True)
class Server:
    """One Consul server. ``alive`` as gossip or its node check says; ``version`` "" where it is not known.

    ``replica``: it is not meant to vote (Enterprise).
    """

    name: str
    alive: bool
    version: str = ""
    replica: bool = False


@dataclass(frozen=True)
class RaftServer:
    """One server as autopilot sees it. Times in seconds."""

    name: str
    healthy: bool
    voter: bool
    leader: bool
    last_contact_s: float
    last_index: int


@dataclass(frozen=True)
class Instance:
    """One instance of a service."""

    node: str
    service_id: str
    healthy: bool
    maintenance: bool
    tags: tuple[str, ...] = ()
    node_meta: t.Mapping[str, str] = field(default_factory=dict)
    service_meta: t.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AclReplication:
    """How a secondary datacenter copies its ACLs. Times are Unix seconds, 0 for never."""

    running: bool
    last_success: float
    last_error: float


@dataclass(frozen=True)
class Snapshot:
    """The newest snapshot of a datacenter in a directory; ``problem`` is "" when it is intact. ``time`` in Unix seconds."""

    path: str
    time: float
    problem: str


@dataclass
class Observation:
    """One datacenter at one moment (``time``, Unix seconds).

    ``nameless``: nobody could say what it is called, and ``datacenter`` is an address. ``on_dead_nodes`` are the services of nodes
    that are down, read only where something is matched by service: (name, tags, metadata) by node.
    """

    datacenter: str
    time: float
    nameless: bool = False
    unreachable: str = ""
    leader_problem: str | None = None
    checks: list[Check] | None = None
    servers: list[Server] | None = None
    voters: list[str] | None = None
    autopilot_healthy: bool | None = None
    raft: list[RaftServer] | None = None
    wan: list[tuple[str, str, bool]] | None = None  # name, datacenter, alive
    datacenters: list[str] | None = None
    visible_servers: int | None = None
    services: dict[str, list[Instance]] | None = None
    on_dead_nodes: dict[str, list[tuple[str, tuple[str, ...], dict[str, str]]]] = field(default_factory=dict)
    node_meta: dict[str, dict[str, str]] = field(default_factory=dict)
    service_meta: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    certificate_expiry: float | None = None
    ca_expiry: float | None = None
    acl_replication: AclReplication | None = None
    snapshots: dict[str, Snapshot | None] | None = None
    unknown: list[Unknown] = field(default_factory=list)

    def add_unknown(self, what: str, reason: t.Any) -> None:
        """Note what could not be read."""
        self.unknown.append(Unknown(self.datacenter, what, str(reason)))

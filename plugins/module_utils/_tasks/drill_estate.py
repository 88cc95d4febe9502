# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts of a drill with faults: connects to them, finds out which servers they are, and asks whether they may be broken now."""

from __future__ import annotations

import contextlib
import functools
import time
import typing as t
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from .._config.connection_spec import Spec
from .._consul.autopilot import Autopilot, settled_autopilot
from .._consul.errors import GuardRefused, InvalidOption
from .._consul.units import parse_duration
from .._drill.at_once import at_once, results
from .._drill.drill_definition import DrillDefinition
from .._drill.drill_host import DrillHost
from .._drill.fault_schedule import FaultSchedule, heal_after_s
from .._drill.fault_targets import FaultLimits, Server, TargetChoice
from .._drill.history_writer import HistoryWriter
from .._drill.host_channel import HostAccess, HostChannel, HostProgram
from .._drill.leader_watch import leader_address
from .._drill.open_loop import Node
from .._drill.raft_address import address_of
from .._drill.raft_state import (
    first_answer,
    raft_peers,
    wan_addresses,
)
from .._drill.time_window import TimeWindow
from . import host_program

HOST_SPEC: Spec = {
    "name": {"type": "str", "required": True},
    "ssh": {"type": "list", "elements": "str", "required": True},
    "become": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "str", "default": "python3"},
}
FAULT_OPTIONS: Spec = {
    "drill": {"type": "dict"},
    "hosts": {"type": "list", "elements": "dict", "options": HOST_SPEC},
    "max_targets": {"type": "int", "default": 3},
    "allow_quorum_loss": {"type": "bool", "default": False},
    "stop_after_outage": {"type": "str"},
    "window": {"type": "str"},
    "data_path": {"type": "str"},
}
DEFAULT_URL = "http://127.0.0.1:8500"


@contextlib.contextmanager
def open_channels(hosts: t.Sequence[t.Mapping[str, t.Any]], url: str | None) -> t.Iterator[list[HostChannel]]:
    """Connect to all hosts at once, forward the port of ``url`` as each host has it, and close all. Raises InvalidOption and HostLost."""
    names = [one["name"] for one in hosts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidOption(f"hosts: {twice} is there twice.")
    program = HostProgram(host_program.START, host_program.archive())
    channels = [HostChannel(_access(one, url or DEFAULT_URL), program) for one in hosts]
    try:
        results(at_once(HostChannel.open, channels))
        yield channels
    finally:
        for channel in channels:
            channel.close()


def _access(host: t.Mapping[str, t.Any], url: str) -> HostAccess:
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or "," in url:
        raise InvalidOption(
            f"url {url!r}: with hosts it is the address of Consul on each host, for example {DEFAULT_URL}."
        )
    if not host["ssh"]:
        raise InvalidOption(f"hosts: {host['name']} has no words in ssh: write for example [ssh, root@{host['name']}].")
    port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    return HostAccess(host["name"], tuple(host["ssh"]), tuple(host["become"]), host["python"], parts.hostname, port)


def forwarded(channels: t.Iterable[HostChannel], url: str | None) -> list[dict[str, str]]:
    """Return a connection to Consul on each host, through its forwarded port."""
    scheme = urlsplit(url or DEFAULT_URL).scheme
    return [{"url": f"{scheme}://127.0.0.1:{channel.local_port}"} for channel in channels]


@dataclass(frozen=True)
class Estate:
    """The hosts of a drill whose guards let it begin, and who of them may be struck."""

    hosts: tuple[DrillHost, ...]
    choice: TargetChoice

    def schedule(
        self, definition: DrillDefinition, run_name: str, nodes: t.Sequence[Node], history: HistoryWriter
    ) -> FaultSchedule:
        """Return the faults of the drill."""
        hosts = [replace(host, now_ns=history.now_ns) for host in self.hosts]
        return FaultSchedule(run_name, definition, hosts, nodes, history, self.choice)

    def plan(self, definition: DrillDefinition, run_name: str) -> list[dict[str, t.Any]]:
        """Return each fault with its targets, as they would be chosen now, and the commands on their hosts. Raises GuardRefused."""
        planned = []
        for step in definition.faults:
            targets = []
            for target in self.choice.choose(step, self.choice.first_leader):
                host = next(one for one in self.hosts if one.server == target.server)
                found = host.plan(run_name, step, target, heal_after_s(step))
                targets.append({"host": target.server.host, "node": target.server.node, "commands": found["commands"]})
            planned.append({"fault": str(step), "targets": targets})
        return planned


def check_estate(
    options: t.Mapping[str, t.Any],
    channels: t.Sequence[HostChannel],
    nodes: t.Sequence[Node],
    run_name: str,
    seed: int,
    datacenter: str,
    instances: t.Collection[str],
) -> Estate:
    """Return the hosts, if they may be broken now. Nothing is changed. ``instances`` are the nodes with an instance of what is looked up.

    Raises GuardRefused, InvalidOption, HostLost or a ConsulError.
    """
    window = None if options["window"] is None else TimeWindow.parse(options["window"])
    if window is not None and not window.contains(time.time()):
        raise GuardRefused(f"It is not the time for drills: window is {window}; no fault was made.")
    clients = [node.client for node in nodes]
    peers = {peer.node: peer for peer in first_answer(clients, raft_peers)}
    missing = sorted(set(peers) - {node.name for node in nodes})
    if missing:
        raise GuardRefused(
            f"Servers of the datacenter are not among the hosts of the drill: {', '.join(missing)}. Name all of them, because "
            "each may be the leader; no fault was made."
        )
    hosts = []
    for channel, node in zip(channels, nodes):
        peer = peers.get(node.name)
        server = Server(
            channel.access.name, node.name, peer.address if peer else "", peer is not None and peer.is_voter
        )
        hosts.append(DrillHost(server, channel, time.monotonic_ns))
    health: Autopilot = first_answer(clients, settled_autopilot)
    if not health.healthy:
        raise GuardRefused("Autopilot says that not all servers are healthy: mend that first; no fault was made.")

    def check(host: DrillHost) -> None:
        host.check_clean(run_name)

    results(at_once(check, hosts))
    outage = options["stop_after_outage"]
    limits = FaultLimits(
        options["max_targets"],
        len(peers) if options["allow_quorum_loss"] else health.tolerance,
        None if outage is None else parse_duration(outage, "stop_after_outage"),
    )
    leader = first_answer(clients, leader_address)
    wan = first_answer(clients, functools.partial(wan_addresses, datacenter=datacenter))
    servers = [host.server for host in hosts]
    choice = TargetChoice(servers, limits, seed, address_of(leader) if leader else None, wan, instances)
    return Estate(tuple(hosts), choice)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes on beside the clients of a drill, from the options of ``consul_drill`` and the definition of the drill."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import typing as t
from dataclasses import dataclass

from .._config.connection_spec import Spec, side_spec
from .._consul.client import Client
from .._consul.digest import RESERVED_PREFIX
from .._consul.errors import InvalidOption
from .._consul.key_path import is_addressable
from .._drill.alerts.alert_watch import AlertLimits, AlertWatch
from .._drill.alerts.canary import Canary
from .._drill.drill_definition import DrillDefinition, Objective
from .._drill.drill_part import DrillPart
from .._drill.history_writer import HistoryWriter
from .._drill.open_loop import Node
from .._drill.replica.replica_watch import ReplicaPlan, ReplicaWatch
from .._snapshot.rehearsal.launch import find_consul
from .drill_query import QueryWatch
from .drill_snapshot import SnapshotRehearsal
from .task import Invocation

PART_OPTIONS: Spec = {
    "alert_listen": {"type": "str"},
    "consul_binary": {"type": "str", "default": "consul"},
    "replica": side_spec(type="dict"),
    "replica_prefix": {"type": "str"},
    "query": {"type": "str"},
}
_LISTEN = re.compile(r"(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):(?P<port>[0-9]{1,5})")


def check_parts(options: t.Mapping[str, t.Any], definition: DrillDefinition) -> None:
    """Raise InvalidOption or RehearsalRefused where the drill needs an option or a program that is missing, or an option is wrong."""
    if definition.alert is not None:
        if options["alert_listen"] is None:
            raise InvalidOption(
                f"The drill {definition.name} listens for alerts: it needs alert_listen, the address and port for a webhook of the "
                "alerting agent, for example 10.0.0.5:8497."
            )
        listen_address(options["alert_listen"])
    if definition.expect.snapshot_restores:
        if options["snapshot_path"] is None:
            raise InvalidOption(
                f"The drill {definition.name} restores a snapshot: it needs snapshot_path, a directory for it on this host."
            )
        find_consul(options["consul_binary"])
    if definition.expect.needs_replica:
        _check_replica(options, definition)
    if definition.needs_query and not options["query"]:
        raise InvalidOption(
            f"The drill {definition.name} is about a prepared query: it needs query, the name of one that fails over to another datacenter."
        )


def _check_replica(options: t.Mapping[str, t.Any], definition: DrillDefinition) -> None:
    if options["replica"] is None:
        raise InvalidOption(
            f"The drill {definition.name} follows its keys to another datacenter: it needs replica, the connection to that."
        )
    if options["replica"]["url"] is None:
        raise InvalidOption(
            "replica.url: this option is required: the address of Consul in the other datacenter, as this host has it."
        )
    reserved = RESERVED_PREFIX.decode()
    for name in ("prefix", "replica_prefix"):
        prefix = options[name]
        if prefix is None:
            continue
        if prefix.startswith(reserved):
            raise InvalidOption(
                f"{name}: {prefix} is never replicated. The drill {definition.name} needs a folder that a replication copies, for "
                "example drills/."
            )
        if not prefix.endswith("/") or not is_addressable(prefix):
            raise InvalidOption(f"{name} {prefix!r} is not a folder of keys: write for example drills/.")


def listen_address(text: str) -> tuple[str, int]:
    """Return address and port. Raises InvalidOption."""
    found = _LISTEN.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        address, port = str(ipaddress.ip_address(found["address"].strip("[]"))), int(found["port"])
        if port > 65535:
            raise ValueError
    except ValueError:
        raise InvalidOption(
            f"alert_listen: {text!r} is not an IP address with a port: write for example 10.0.0.5:8497 or [::1]:8497."
        ) from None
    return address, port


@dataclass(frozen=True)
class PartsOfDrill:
    """What the parts of one drill need to know."""

    definition: DrillDefinition
    run_name: str
    nodes: t.Sequence[Node]
    datacenter: str
    raft_multiplier: int
    history: HistoryWriter

    def make(self, call: Invocation, stack: contextlib.ExitStack) -> list[DrillPart]:
        """Return the parts, opened; ``stack`` closes them. Nothing else was written before. Raises an Error."""
        parts = self._make(call, stack)
        for part in parts:
            stack.enter_context(part)
        return parts

    def _make(self, call: Invocation, stack: contextlib.ExitStack) -> list[DrillPart]:
        options, parts = call.params, list[DrillPart]()
        if self.definition.alert is not None:
            expect = self.definition.expect
            limits = AlertLimits(self._limit_s(expect.alert_firing), self._limit_s(expect.alert_resolved))
            listen = listen_address(options["alert_listen"])
            made = Canary(self.run_name, self.nodes)
            parts.append(AlertWatch(self.definition.alert, limits, listen, made, self.datacenter, self.history))
        if self.definition.expect.needs_replica:
            parts.append(self._replica_watch(options, stack.enter_context(call.client("replica"))))
        if self.definition.expect.of_query:
            returns_s = self._limit_s(self.definition.expect.query_returns)
            parts.append(QueryWatch(self.nodes, options["query"], self.datacenter, returns_s, self.history))
        if self.definition.expect.snapshot_restores:
            parts.append(SnapshotRehearsal(call, self.nodes, self.history))
        return parts

    def _replica_watch(self, options: t.Mapping[str, t.Any], client: Client) -> ReplicaWatch:
        expect, prefix = self.definition.expect, options["replica_prefix"] or options["prefix"]
        there = client.whoami().datacenter
        if there == self.datacenter and prefix == options["prefix"]:
            raise InvalidOption(
                f"replica: this is the datacenter of the drill, {there}, and the same folder {prefix}. Nothing was written."
            )
        catch_up_s = max(self._limit_s(expect.replica_caught_up), self._limit_s(expect.replica_lag))
        healings_s = tuple(step.end_s for step in self.definition.faults)
        plan = ReplicaPlan(prefix, healings_s, catch_up_s, self._limit_s(expect.replica_equal))
        return ReplicaWatch(client, plan, self.run_name, self.nodes, self.history)

    def _limit_s(self, objective: Objective | None) -> float:
        return 0.0 if objective is None else objective.limit_s(self.raft_multiplier)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The prepared query of a drill: where its instances are, and what clients get from it while something fails."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._consul.client import Client
from .._consul.errors import GuardRefused
from .._drill.drill_definition import DrillDefinition
from .._drill.drill_part import DrillSignals
from .._drill.drill_space import DrillSpace
from .._drill.history import NS, QUERY_ANSWERED, QUERY_ENDED, QUERY_STARTED, QUERY_UNANSWERED
from .._drill.history_writer import HistoryWriter
from .._drill.open_loop import Node
from .._drill.raft_state import first_answer
from .._failover import dns_message, prepared_queries
from .._failover.prepared_queries import Execution
from .._failover.probe_track import Sample, Status
from .._failover.service_probe import DnsOptions, Lookup, Name

LOOK_EVERY_S = 0.2


def instances_of_query(
    nodes: t.Sequence[Node], definition: DrillDefinition, query: str | None, datacenter: str
) -> frozenset[str]:
    """Return the nodes of the datacenter with an instance, before anything is broken; none for a drill without a query.

    Raises GuardRefused when there is no such query, or when the own datacenter does not answer it, and a ConsulError.
    """
    if not definition.needs_query or not query:
        return frozenset()

    def execute(client: Client) -> Execution | None:
        return prepared_queries.execute(client, query)

    found = first_answer([node.client for node in nodes], execute)
    if found is None:
        raise GuardRefused(f"query: there is no prepared query {query}; no fault was made.")
    if not found.nodes or found.datacenter != datacenter:
        where = f"answers from {found.datacenter}" if found.nodes else "has no healthy instance"
        raise GuardRefused(
            f"query: {query} {where}, and the drill {definition.name} needs one in {datacenter}; no fault was made."
        )
    return frozenset(instance["node"] for instance in found.nodes)


class QueryWatch:
    """The part of a drill that looks a prepared query up, as a client does that asks the next agent when one gives no answer.

    After the load it goes on until the own datacenter answers again, for ``returns_s`` at most.
    """

    def __init__(
        self, nodes: t.Sequence[Node], query: str, datacenter: str, returns_s: float, history: HistoryWriter
    ) -> None:
        dns = DnsOptions(dns_message.TYPE_SRV, "")  # nothing is looked up by DNS
        self._lookups = [Lookup(node.client, Name("query", query), None, dns) for node in nodes]
        self._query, self._datacenter, self._returns_s, self._history = query, datacenter, returns_s, history

    def __enter__(self) -> QueryWatch:
        """Nothing is prepared."""
        return self

    def __exit__(self, *_args: object) -> None:
        """Nothing is left."""

    def run(self, _began_ns: int, _space: DrillSpace, signals: DrillSignals, /) -> None:
        """Look up until the load has ended and the own datacenter answers. Raises LocalFailure when the history cannot be written."""
        self._history.event(QUERY_STARTED, {"query": self._query, "datacenter": self._datacenter})
        last: Sample | None = None
        ended_s: float | None = None
        while not signals.stop.is_set():
            sample = self._look_up()
            self._record(last, sample)
            last = sample
            if signals.load_ended.is_set():
                ended_s = sample.end_s if ended_s is None else ended_s
                if sample.datacenter == self._datacenter or sample.end_s - ended_s >= self._returns_s:
                    self._history.event(QUERY_ENDED)
                    return
            signals.stop.wait(LOOK_EVERY_S)

    def _look_up(self) -> Sample:
        """Ask the agents in turn, beginning with the one that answered last; return the first answer with instances, else the last one."""
        began_s = self._now_s()
        found: Sample | None = None
        for lookup in list(self._lookups):
            found = lookup.sample(self._now_s)
            if found.status is Status.ANSWERED:
                break
            self._lookups.append(self._lookups.pop(0))
        if found is None:
            raise ValueError("there is nobody to ask")
        return replace(found, begin_s=began_s)

    def _record(self, last: Sample | None, sample: Sample) -> None:
        """Record what changed: the answering datacenter, or that there is no instance and since when."""
        if sample.status is Status.ANSWERED:
            if last is None or (last.status, last.datacenter) != (sample.status, sample.datacenter):
                self._history.event(QUERY_ANSWERED, {"datacenter": sample.datacenter, "nodes": list(sample.nodes)})
        elif last is None or last.status is Status.ANSWERED:
            self._history.event(QUERY_UNANSWERED, {"since": int(sample.begin_s * NS), "problem": sample.problem})

    def _now_s(self) -> float:
        return self._history.now_ns() / NS

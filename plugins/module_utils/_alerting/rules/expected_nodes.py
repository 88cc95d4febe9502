# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes that should be there and that Consul no longer lists: they left, were removed, or were reaped after 72 hours."""

from __future__ import annotations

import typing as t

from ..._consul.answer_fields import to_rows, to_text
from ..._consul.errors import InvalidResponse
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

RULES = (Rule("node_left"),)


class RegisteredNodes(t.NamedTuple):
    """The names of the nodes in the catalog."""

    names: frozenset[str]


def _read_nodes(reader: Reader) -> None:
    """Read the names of all nodes, if any are expected."""
    if not reader.expected.node_count:
        return
    response = reader.get("/v1/catalog/nodes")
    names = response.parse(lambda rows: frozenset(to_text(row["Node"]) for row in to_rows(rows)))
    if not names:
        # There is always the node of a server: the token may read none.
        raise InvalidResponse(
            f'{response.request_line}: the list of nodes is empty. The token needs node_prefix "" {{ policy = "read" }}.'
        )
    reader.observation.add(RegisteredNodes(names))


def judge(judging: Judging) -> None:
    """Judge which of the expected nodes are not registered. A node that is registered and down is judged by node_down."""
    registered, expected = judging.observation.get(RegisteredNodes), judging.expected.get(judging.datacenter)
    if registered is None or expected is None or not expected.node_count:
        return
    for name in expected.node_names:
        if name not in registered.names and name not in judging.reported_servers:
            judging.add_by_rule(
                "node_left",
                f"node {name} of {judging.datacenter} is expected and gone: Consul no longer lists it",
                node=name,
                advice="Start its Consul agent again, or remove it from expect.",
            )
    missing = expected.node_count - len(registered.names)
    if not expected.node_names and missing > 0:
        judging.add_by_rule(
            "node_left",
            f"{len(registered.names)} of {expected.node_count} expected nodes in {judging.datacenter} registered",
            advice="Name the nodes in expect to learn which one is missing.",
        )


GROUP = RuleGroup(RULES, judge, (Reading("nodes", _read_nodes, ("node_left",)),), needs_leader=True)

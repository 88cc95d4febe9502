# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds replications of one configuration that overlap or form a loop, before any of them is started. No I/O."""

from __future__ import annotations

import collections
import typing as t

from .mapping import PrefixMapping, display_prefix, overlaps

Store = t.Hashable  # equal for connections that name one and the same store


class Edge(t.NamedTuple):
    """One mapping of one set: keys flow from ``source`` to ``destination``."""

    set_name: str
    source: Store
    destination: Store
    mapping: PrefixMapping


def find_overlap(edges: t.Sequence[Edge]) -> tuple[Edge, Edge] | None:
    """Return two edges of different sets that write to overlapping prefixes of one store, None if there are none."""
    for number, one in enumerate(edges):
        for other in edges[number + 1 :]:
            is_other_set = one.set_name != other.set_name and one.destination == other.destination
            if is_other_set and overlaps(one.mapping.destination, other.mapping.destination):
                return one, other
    return None


def find_loop(edges: t.Sequence[Edge]) -> list[Edge] | None:
    """Return edges along which a key would come back to where the first of them reads, None if there are none.

    Exclude patterns count where they name a whole folder on the way; what else they match is not looked at.
    """
    for start in edges:
        found = _way_back(edges, start)
        if found is not None:
            return found
    return None


def _way_back(edges: t.Sequence[Edge], start: Edge) -> list[Edge] | None:
    """Return the shortest way from an edge back to where it reads, None if there is none."""
    waiting = collections.deque([([start], start.mapping.destination)])
    seen = set()
    while waiting:
        way, prefix = waiting.popleft()
        store = way[-1].destination
        for number, edge in enumerate(edges):
            region = _flows(edge, store, prefix)
            if region is None:
                continue
            if edge is start:
                return way
            image = edge.mapping.to_destination(region)
            # The image may grow with every round of a loop that does not contain the start: each edge is taken once.
            if edge not in way and (number, image) not in seen:
                seen.add((number, image))
                waiting.append(([*way, edge], image))
    return None


def _flows(edge: Edge, store: Store, prefix: str) -> str | None:
    """Return the prefix of the keys below ``prefix`` of a store that an edge copies, None if it copies none."""
    mapping = edge.mapping
    if edge.source != store or not overlaps(prefix, mapping.source):
        return None
    region = max(prefix, mapping.source, key=len)
    return None if mapping.excludes_folder(region, mapping.source) else region


def described(way: t.Sequence[Edge]) -> str:
    """Return a way as messages show it: the sets with their mappings."""
    return ", ".join(
        f"{edge.set_name} ({display_prefix(edge.mapping.source)} → {display_prefix(edge.mapping.destination)})"
        for edge in way
    )

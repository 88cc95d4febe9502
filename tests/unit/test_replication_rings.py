# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replications that begin in any order through several datacenters: a ring is refused, whatever has no way back is not."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._replication.flow import Flow
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from ansible_collections.consulops.failover.plugins.module_utils._replication.state import (
    Direction,
    Origin,
    State,
    find_loops,
    is_recorded,
    parse_state,
    successor,
    upstream_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st


class Federation:
    """What each datacenter has stored of the replications that fill it."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, State]] = {}
        self.now = 100.0

    def verify(
        self, source: str, destination: str, prefix: str, to: str | None = None, accepts: bool = False, **more: t.Any
    ) -> bool:
        """Do what a replication does at its start and with each verification. Return whether it may go on."""
        mappings = make_mappings([{"source": prefix, "destination": prefix if to is None else to, **more}], "owned")
        direction, name = Direction(source, destination), f"from-{source}"
        at_source, here = self.states.get(source, {}), self.states.setdefault(destination, {})
        loops, newest = find_loops(at_source, direction, here.get(name), mappings)
        if loops and not accepts:
            return False
        self.now += 1.0
        upstream = upstream_of(at_source, direction, mappings)
        if not is_recorded(here.get(name), source, mappings, upstream):
            here[name] = successor(here.get(name), source, mappings, self.now, newest, upstream)
        stored = here[name]
        assert parse_state(stored.as_json(), "k") == stored
        return True


NAMES = "abcde"


@given(st.permutations(NAMES), st.integers(2, 5), st.data())
@settings(deadline=None)
def test_in_a_ring_one_replication_is_refused_however_they_begin(
    order: list[str], size: int, data: st.DataObject
) -> None:
    ring = order[:size]
    edges = [(ring[number], ring[(number + 1) % size]) for number in range(size)]
    federation = Federation()
    for source, destination in data.draw(st.permutations(edges)):
        federation.verify(source, destination, "app/")
    allowed: list[bool] = []
    for _round in range(size):
        allowed = [federation.verify(source, destination, "app/") for source, destination in edges]
    assert not all(allowed)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
@settings(deadline=None)
def test_what_has_no_way_back_is_never_refused(pairs: list[tuple[int, int]]) -> None:
    federation = Federation()
    for one, other in pairs:
        if one != other:
            assert federation.verify(NAMES[min(one, other)], NAMES[max(one, other)], "app/")


def test_the_last_of_a_ring_is_refused_at_once() -> None:
    federation = Federation()
    assert federation.verify("a", "b", "app/") and federation.verify("b", "c", "app/")
    (stored,) = federation.states["c"].values()
    assert stored.prefixes["app/"].upstream == (Flow("a", "app/", "app/"),)
    assert not federation.verify("c", "a", "app/")
    loops, newest = find_loops(
        federation.states["c"],
        Direction("c", "a"),
        None,
        make_mappings([{"source": "app/", "destination": "app/"}], "owned"),
    )
    assert newest == stored.time and loops == [
        "keys of 'app/' of a come to 'app/' of c through b (replication 'from-b'), and app/ would copy them back"
    ]


@pytest.mark.parametrize(
    ("last", "is_loop"),
    [
        ({"prefix": "copy/", "to": "app/"}, True),
        ({"prefix": "copy/sub/", "to": "app/sub/"}, True),
        ({"prefix": "copy/sub/", "to": "app/other/"}, False),
        ({"prefix": "copy/", "to": "archive/"}, False),
        ({"prefix": "else/", "to": "app/"}, False),
        ({"prefix": "", "to": "", "exclude": ["copy/"]}, False),
    ],
)
def test_prefixes_are_followed_through_each_datacenter(last: dict[str, t.Any], is_loop: bool) -> None:
    federation = Federation()
    assert federation.verify("a", "b", "app/", "mirror/") and federation.verify("b", "c", "mirror/", "copy/")
    assert federation.verify("c", "a", **last) is not is_loop


def test_a_chain_can_be_reversed() -> None:
    federation = Federation()
    assert federation.verify("a", "b", "app/") and federation.verify("b", "c", "app/")
    assert not federation.verify("c", "b", "app/")
    assert federation.verify("c", "b", "app/", accepts=True) and federation.verify("b", "a", "app/", accepts=True)
    assert federation.verify("c", "b", "app/") and federation.verify("b", "a", "app/")
    assert not federation.verify("a", "b", "app/")


def test_what_is_recorded_of_the_upstream_stays_while_it_is_not_known() -> None:
    mappings = make_mappings([{"source": "app/", "destination": "app/"}], "owned")
    flow = Flow("a", "app/", "app/")
    before = State("b", {"app/": Origin("app/", 5.0, (flow,))})
    assert successor(before, "b", mappings, 9.0).prefixes["app/"] == Origin("app/", 9.0, (flow,))
    assert is_recorded(before, "b", mappings) and not is_recorded(before, "b", mappings, {})
    assert successor(before, "x", mappings, 9.0).prefixes["app/"].upstream == ()

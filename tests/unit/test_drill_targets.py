# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom faults strike: the right ones, from whom they are cut off, and never more than the limits allow."""

from __future__ import annotations

import itertools
import random

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GuardRefused
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_definition import FaultStep
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_host import best_offset
from ansible_collections.consulops.failover.plugins.module_utils._drill.fault_targets import (
    FaultLimits,
    Server,
    Target,
    TargetChoice,
    choose_targets,
    quorum,
    unavailable,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.raft_address import address_of
from ansible_collections.consulops.failover.plugins.module_utils._drill.raft_state import multiplier_of
from hypothesis import given
from hypothesis import strategies as st

COUNTS = st.integers(1, 9)


def servers(count: int) -> list[Server]:
    return [Server(f"h{number}", f"n{number}", f"10.0.0.{number}") for number in range(1, count + 1)]


def step(targets: str, fault: str = "killed", shape: str = "") -> FaultStep:
    return FaultStep(1, 5, fault, targets, shape or ("alone" if fault == "isolated" else ""), {})


def groups(found: list[Target], all_servers: list[Server]) -> dict[str, set[str]]:
    """Return whom each server still reaches, itself included."""
    cut = {frozenset((target.server.address, peer)) for target in found for peer in target.peers}
    addresses = [one.address for one in all_servers]
    return {one: {other for other in addresses if frozenset((one, other)) not in cut} for one in addresses}


@given(COUNTS, st.integers(0, 8), st.randoms(use_true_random=False))
def test_a_minority_leaves_a_quorum_and_a_majority_does_not(count: int, place: int, chance: random.Random) -> None:
    known = servers(count)
    leader = known[place % count]
    majority = choose_targets(step("majority"), known, leader, chance)
    assert leader in [one.server for one in majority]
    assert count - unavailable(majority, known) < quorum(count)
    if count < 3:
        with pytest.raises(GuardRefused, match="is nobody"):
            choose_targets(step("minority"), known, leader, chance)
        return
    minority = choose_targets(step("minority"), known, leader, chance)
    assert count - unavailable(minority, known) >= quorum(count)
    assert leader not in [one.server for one in minority]
    halves = choose_targets(step("minority", "isolated", "halves"), known, leader, chance)
    assert halves[0].server == leader and all(leader.address not in one.peers for one in halves)
    reached = groups(halves, known)
    assert {frozenset(group) for group in reached.values()} == {
        frozenset(one.server.address for one in halves),
        frozenset(one.address for one in known if one not in [half.server for half in halves]),
    }


@given(st.integers(5, 9), st.integers(0, 8), st.randoms(use_true_random=False))
def test_in_a_ring_each_server_has_a_majority_and_no_two_the_same(
    count: int, place: int, chance: random.Random
) -> None:
    known = servers(count)
    reached = groups(choose_targets(step("all", "isolated", "ring"), known, known[place % count], chance), known)
    assert all(len(group) >= quorum(count) and own in group for own, group in reached.items())
    assert all(one != other for one, other in itertools.combinations(reached.values(), 2))


@given(st.integers(3, 9), st.integers(0, 8), st.randoms(use_true_random=False))
def test_a_bridge_reaches_both_halves_and_they_do_not_reach_each_other(
    count: int, place: int, chance: random.Random
) -> None:
    known = servers(count)
    found = choose_targets(step("all", "isolated", "bridge"), known, known[place % count], chance)
    reached = groups(found, known)
    everything = {one.address for one in known}
    assert any(group == everything for group in reached.values())
    left = {one.server.address for one in found}
    assert left and all(reached[one] & left == left for one in left)
    assert sum(group != everything for group in reached.values()) >= 2


@given(COUNTS, st.integers(0, 8), st.randoms(use_true_random=False))
def test_one_that_is_alone_reaches_nobody(count: int, place: int, chance: random.Random) -> None:
    known = servers(count)
    leader = known[place % count]
    (found,) = choose_targets(step("leader", "isolated"), known, leader, chance)
    assert groups([found], known)[leader.address] == {leader.address}


def test_hosts_that_are_no_servers_are_struck_only_by_name() -> None:
    known = [*servers(3), Server("client", "c1", "", is_voter=False)]
    chosen = choose_targets(step("all"), known, known[0], random.Random(1))
    assert [one.server.host for one in chosen] == ["h1", "h2", "h3"]
    assert unavailable([Target(known[3])], known) == 0
    (named,) = choose_targets(step("host:client"), known, known[0], random.Random(1))
    assert named.server.node == "c1"
    with pytest.raises(GuardRefused, match="no host other"):
        choose_targets(step("host:other"), known, known[0], random.Random(1))
    with pytest.raises(GuardRefused, match="no server leads"):
        choose_targets(step("leader"), known, None, random.Random(1))


def test_limits_are_kept_and_servers_have_numbers() -> None:
    known = servers(3)
    strict = TargetChoice(known, FaultLimits(1, 1, None), 7, "10.0.0.1", [])
    order = [strict.choose(step(f"server:{number}"), "10.0.0.2")[0].server.host for number in (1, 2, 3)]
    assert order == ["h2", "h3", "h1"], "followers first, and last who led when the drill began"
    with pytest.raises(GuardRefused, match="max_targets is 1"):
        strict.choose(step("majority"), "10.0.0.1")
    loose = TargetChoice(known, FaultLimits(3, 1, None), 7, "10.0.0.1", [])
    with pytest.raises(GuardRefused, match="takes 2 voters away, and the datacenter can lose 1"):
        loose.choose(step("majority"), "10.0.0.1")
    with pytest.raises(GuardRefused, match="needs another datacenter"):
        loose.choose(step("all", "isolated", "wan"), "10.0.0.1")
    wan = TargetChoice(known, FaultLimits(3, 0, None), 7, "10.0.0.1", ["10.1.0.1"])
    assert {one.peers for one in wan.choose(step("all", "isolated", "wan"), "10.0.0.1")} == {("10.1.0.1",)}


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**9), st.floats(0, 1)), min_size=1),
)
def test_the_offset_of_a_clock_is_never_more_wrong_than_it_says(
    offset: int, asked: list[tuple[int, int, float]]
) -> None:
    samples = [(start, start + int(way * took) - offset, start + took) for start, took, way in asked]
    found = best_offset(samples)
    assert abs(found.offset_ns - offset) <= found.error_ns + 1


@pytest.mark.parametrize(
    ("timeout", "multiplier"), [("1s", 1), ("5s", 5), ("104ms", 1), ("1m0s", 60), ("", None), ("soon", None)]
)
def test_the_multiplier_is_that_of_the_election_timeout(timeout: str, multiplier: int | None) -> None:
    assert multiplier_of(timeout) == multiplier


def test_the_port_of_an_address_is_left_out() -> None:
    assert [address_of(one) for one in ("10.0.0.1:8300", "[fd00::1]:8300")] == ["10.0.0.1", "fd00::1"]

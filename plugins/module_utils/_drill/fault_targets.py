# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chooses the targets of a fault among the servers of a datacenter, and from whom each is cut off. Pure."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass, replace

from .._consul.errors import GuardRefused
from .._consul.units import some_of
from .drill_definition import (
    ALL,
    BRIDGE,
    FOLLOWER,
    FOLLOWERS,
    HALVES,
    HOST,
    INSTANCES,
    LEADER,
    MAJORITY,
    MINORITY,
    RING,
    SERVER,
    WAN,
    FaultStep,
)


@dataclass(frozen=True)
class Server:
    """A host of the drill: its name in the inventory, its node, and its address in Raft without the port; "" for one that is no server."""

    host: str
    node: str
    address: str
    is_voter: bool = True

    @property
    def is_server(self) -> bool:
        """Whether it takes part in Raft."""
        return bool(self.address)


@dataclass(frozen=True)
class Target:
    """A host that is struck; ``peers`` are the addresses from which it is cut off, only for the fault ``isolated``."""

    server: Server
    peers: tuple[str, ...] = ()


def quorum(voters: int) -> int:
    """Return how many of the voters must be there."""
    return voters // 2 + 1


def choose_targets(
    step: FaultStep,
    servers: t.Sequence[Server],
    leader: Server | None,
    chance: random.Random,
    instances: t.Collection[str] = (),
) -> list[Target]:
    """Return the hosts that a fault strikes now. Raises GuardRefused when they cannot be chosen.

    ``instances`` are the nodes with an instance of what is looked up.
    """
    targets = _targets(step, servers, leader, chance, instances)
    servers = [one for one in servers if one.is_server]
    if step.fault != "isolated":
        return [Target(one) for one in targets]
    if step.shape == RING:
        return _ring(list(servers))
    if step.shape == BRIDGE:
        return _bridge(_leader_last(servers, leader))
    if step.shape == HALVES:
        rest = [one for one in servers if one not in targets]
        if not rest:
            raise GuardRefused("All servers are targets: two halves need servers on both sides.")
        return [Target(one, _addresses(rest)) for one in targets]
    given = tuple(step.options.get("peers", ()))
    return [Target(one, given or _addresses(other for other in servers if other != one)) for one in targets]


def _targets(
    step: FaultStep,
    servers: t.Sequence[Server],
    leader: Server | None,
    chance: random.Random,
    instances: t.Collection[str],
) -> list[Server]:
    words = step.targets
    if words.startswith(HOST):
        found = [one for one in servers if one.host == words[len(HOST) :]]
        if not found:
            known = ", ".join(sorted(one.host for one in servers))
            raise GuardRefused(f"targets: there is no host {words[len(HOST) :]} in this drill, only {known}.")
        return found
    if words == INSTANCES:
        return _with_instances(servers, instances)
    servers = [one for one in servers if one.is_server]
    if words == ALL:
        return list(servers)
    if words.startswith(SERVER):
        number = int(words[len(SERVER) :])
        return servers[number - 1 : number]
    if leader is None:
        raise GuardRefused(f"targets: no server leads at this moment, so {words} cannot be chosen.")
    followers = [one for one in servers if one != leader]
    chance.shuffle(followers)
    voters = [one for one in servers if one.is_voter]
    most = len(voters) - quorum(len(voters))
    # The leader is in the minority, or a minority would change nothing; and it stays out of nothing else.
    counts = {LEADER: 0, FOLLOWER: 1, FOLLOWERS: len(followers), MINORITY: most, MAJORITY: quorum(len(voters))}
    if words == LEADER:
        return [leader]
    if words == MINORITY:
        chosen = ([leader] if step.fault == "isolated" else []) + [one for one in followers if one.is_voter]
    elif words == MAJORITY:
        chosen = [leader, *(one for one in followers if one.is_voter)]
    else:
        chosen = followers
    if not chosen[: counts[words]]:
        raise GuardRefused(f"targets: {words} of {len(servers)} servers is nobody.")
    return chosen[: counts[words]]


def _with_instances(servers: t.Sequence[Server], nodes: t.Collection[str]) -> list[Server]:
    known = {one.node: one for one in servers}
    missing = sorted(set(nodes) - set(known))
    if missing:
        raise GuardRefused(
            f"targets: {INSTANCES} are also on {some_of(missing)}, not among the hosts of the drill: name these hosts too."
        )
    if not nodes:
        raise GuardRefused(f"targets: {INSTANCES} is nobody: the query has no instance in this datacenter.")
    return [known[node] for node in sorted(nodes)]


def _leader_last(servers: t.Sequence[Server], leader: Server | None) -> list[Server]:
    return sorted(servers, key=lambda one: one == leader)


def _bridge(servers: t.Sequence[Server]) -> list[Target]:
    """Cut one half off from the other; the server in the middle, which is the leader's neighbour, has both."""
    half = (len(servers) - 1) // 2
    if half < 1:
        raise GuardRefused(f"A bridge needs 3 servers at least, and there are {len(servers)}.")
    left, right = servers[:half], servers[half + 1 :]
    return [Target(one, _addresses(right)) for one in left]


def _ring(servers: t.Sequence[Server]) -> list[Target]:
    """Let each server have only its neighbours, so that all have a majority and no two the same one."""
    count = len(servers)
    if count < 5:
        raise GuardRefused(f"A ring needs 5 servers at least, and there are {count}.")
    reach = quorum(count) // 2
    targets = []
    for place, one in enumerate(servers):
        near = {servers[(place + step) % count] for step in range(-reach, reach + 1)}
        targets.append(Target(one, _addresses(other for other in servers if other not in near)))
    return targets


def _addresses(servers: t.Iterable[Server]) -> tuple[str, ...]:
    return tuple(sorted(one.address for one in servers))


def unavailable(targets: t.Iterable[Target], servers: t.Sequence[Server]) -> int:
    """Return how many voters cannot take part in the largest group that is left. Two servers that one drops cannot talk at all."""
    found = list(targets)
    struck = {target.server.address for target in found if not target.peers}
    cut = {frozenset((target.server.address, peer)) for target in found for peer in target.peers}
    voters = [one.address for one in servers if one.is_voter and one.is_server]
    alive = [address for address in voters if address not in struck]
    # A leader needs a majority that it can reach; those need not reach each other.
    reached = [sum(frozenset((one, other)) not in cut for other in alive) for one in alive]
    return len(voters) - max(reached, default=0)


@dataclass(frozen=True)
class FaultLimits:
    """What must not be passed: targets of one fault, voters that may be lost, and seconds without an acknowledged change."""

    most_targets: int
    tolerance: int
    most_outage_s: float | None


class TargetChoice:
    """Chooses the targets of each fault within the limits; the same seed chooses the same ones for a fault again.

    ``wan`` are the addresses of the servers of other datacenters. ``leader``, kept as ``first_leader``, is the address of the server that
    led when the drill began. ``instances`` are the nodes with an instance of what is looked up.
    """

    def __init__(
        self,
        servers: t.Sequence[Server],
        limits: FaultLimits,
        seed: int,
        leader: str | None,
        wan: t.Sequence[str],
        instances: t.Collection[str] = (),
    ) -> None:
        self.limits = limits
        self.first_leader = leader
        self._servers = sorted(servers, key=lambda one: (one.address == leader, one.host))
        self._wan = tuple(wan)
        self._seed = seed
        self._instances = instances

    def choose(self, step: FaultStep, leader: str | None) -> list[Target]:
        """Return whom a fault strikes while the server of that address leads. Raises GuardRefused, also when a limit would be passed."""
        leading = next((one for one in self._servers if leader is not None and one.address == leader), None)
        targets = choose_targets(step, self._servers, leading, random.Random(f"{self._seed}/{step}"), self._instances)
        if step.shape == WAN:
            if not self._wan:
                raise GuardRefused(
                    f"The fault {step} needs another datacenter, and no server knows one; it was not made."
                )
            targets = [replace(target, peers=self._wan) for target in targets]
        if len(targets) > self.limits.most_targets:
            raise GuardRefused(
                f"The fault {step} strikes {len(targets)} hosts, and max_targets is {self.limits.most_targets}; it was not made."
            )
        lost = unavailable(targets, self._servers)
        if lost > self.limits.tolerance:
            raise GuardRefused(
                f"The fault {step} takes {lost} voters away, and the datacenter can lose {self.limits.tolerance}: its quorum would be "
                "lost. Allow that with allow_quorum_loss; it was not made."
            )
        return targets

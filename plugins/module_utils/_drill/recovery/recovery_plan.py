# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides how a datacenter that lost the majority of its servers comes back, from the facts of its hosts alone. Does no I/O."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ..._consul.errors import GuardRefused
from ..raft_address import address_of
from .raft_data import Server

NOTHING, FINISH, RECOVER = "nothing", "finish", "recover"
# Steps of a recovery as its record has them: peers.json is being written, a leader was elected, all servers are back.
STARTED, ELECTED, DONE = "started", "elected", "done"
STOPPED = ("inactive", "failed")
UNCHANGED = "Nothing was changed."

Facts = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Survivor:
    """A server with Raft data. ``index`` and ``term`` are those of its last entry, None where they cannot be read."""

    host: str
    id: str
    index: int | None
    term: int | None
    source: str
    servers: tuple[Server, ...] | None
    address: str = ""

    @property
    def order(self) -> tuple[int, int]:
        """Raft's own order: a server is only elected by servers whose last entry is not newer."""
        return self.term or 0, self.index or 0


@dataclass(frozen=True)
class Plan:
    """What to do. Survivors stand in the order in which they are started; ``fresh`` are hosts without data."""

    action: str
    datacenter: str
    survivors: tuple[Survivor, ...]
    fresh: tuple[str, ...]
    sentences: tuple[str, ...]

    @property
    def peers_json(self) -> str:
        """The content of peers.json, the same on all survivors."""
        peers = [{"id": one.id, "address": one.address, "non_voter": False} for one in self.survivors]
        return json.dumps(peers, indent=2) + "\n"


def make_plan(
    hosts: t.Mapping[str, Facts | None], addresses: t.Mapping[str, str], lost: t.Collection[str], confirm: str | None
) -> Plan:
    """Return the plan. ``hosts`` has None for a host that does not answer; ``lost`` names hosts, ids and addresses that never come back.

    ``confirm`` None is for looking at the plan. Raises GuardRefused.
    """
    reached = {host: facts for host, facts in hosts.items() if facts is not None and host not in lost}
    datacenter = _datacenter(reached)
    for host, facts in hosts.items():
        if facts is None and host not in lost:
            raise GuardRefused(
                f"{host} does not answer, so Consul may run there: name it in consul_recover_lost if it never comes back. {UNCHANGED}"
            )
    for host, facts in reached.items():
        if facts["unit"] not in STOPPED and not facts["agent"]["answers"]:
            raise GuardRefused(
                f"Consul on {host} is {facts['unit']} and does not answer ({facts['agent']['problem']}), so whether there is a leader is "
                f"unknown: set consul_recover_connection, or stop Consul there. {UNCHANGED}"
            )
    survivors = [_survivor(host, facts) for host, facts in reached.items() if has_data(facts)]
    fresh = tuple(host for host, facts in reached.items() if not has_data(facts))
    leader = next((facts["agent"]["leader"] for facts in reached.values() if facts["agent"]["leader"]), "")
    steps = {(facts["record"] or {}).get("step") for facts in reached.values()}
    if leader:
        return _with_leader(
            datacenter, leader, tuple(sorted(survivors, key=_first)), fresh, bool(steps & {STARTED, ELECTED})
        )
    if not survivors:
        raise GuardRefused(
            f"None of the hosts has Raft data: restore a snapshot into new servers (docs/disaster.md). {UNCHANGED}"
        )
    survivors.sort(key=_first)
    servers = _check_survivors(survivors, reached)
    gone = _check_gone(servers, survivors, {host: reached[host]["addresses"] for host in fresh}, addresses, lost)
    alive = [one for one in servers if one.is_voter and one.id in {survivor.id for survivor in survivors}]
    voters = [one for one in servers if one.is_voter]
    if len(alive) > len(voters) // 2 and STARTED not in steps:
        raise GuardRefused(
            f"{len(alive)} of {len(voters)} voters still have their data, which is a majority: start Consul on "
            f"{', '.join(one.host for one in survivors)} and let them reach each other, and they elect a leader. {UNCHANGED}"
        )
    if confirm is not None and confirm != datacenter:
        raise GuardRefused(
            f"This makes new voters of the datacenter {datacenter} and may lose writes: "
            f"confirm it with -e consul_recover_confirm={datacenter}. {UNCHANGED}"
        )
    known = {one.id: one.address for one in servers}
    ordered = tuple(_with_address(one, known[one.id]) for one in survivors)
    return Plan(RECOVER, datacenter, ordered, fresh, _sentences(ordered, fresh, gone, datacenter))


def has_data(facts: Facts) -> bool:
    """Return whether there is Raft data on a host. Data that cannot be read is data."""
    return bool(facts["raft"]["index"] != 0)


def _first(survivor: Survivor) -> tuple[int, int, str]:
    term, index = survivor.order
    return -term, -index, survivor.host


def _survivor(host: str, facts: Facts) -> Survivor:
    raft = facts["raft"]
    servers = (
        None
        if raft["servers"] is None
        else tuple(Server(one["id"], one["address"], one["is_voter"]) for one in raft["servers"])
    )
    return Survivor(host, facts["node_id"], raft["index"], raft["term"], raft["source"], servers)


def _with_address(survivor: Survivor, address: str) -> Survivor:
    return Survivor(
        survivor.host, survivor.id, survivor.index, survivor.term, survivor.source, survivor.servers, address
    )


def _datacenter(reached: t.Mapping[str, Facts]) -> str:
    found: set[str] = {facts["datacenter"] for facts in reached.values() if facts["datacenter"]}
    if len(found) > 1:
        raise GuardRefused(f"The hosts belong to different datacenters, {', '.join(sorted(found))}. {UNCHANGED}")
    if not found:
        raise GuardRefused(
            f"None of the hosts says to which datacenter it belongs: start Consul on one that has its data. {UNCHANGED}"
        )
    return found.pop()


def _with_leader(
    datacenter: str, leader: str, survivors: tuple[Survivor, ...], fresh: tuple[str, ...], begun: bool
) -> Plan:
    if begun:
        return Plan(
            FINISH,
            datacenter,
            survivors,
            fresh,
            (f"The recovery of {datacenter} was begun and has a leader, {leader}: it is finished.",),
        )
    ids = {one.id for one in survivors}
    servers = next((one.servers for one in survivors if one.servers), ())
    if not fresh and servers and {one.id for one in servers if one.is_voter} == ids:
        return Plan(
            NOTHING,
            datacenter,
            survivors,
            (),
            (f"{datacenter} has a leader, {leader}, and all hosts are voters: nothing is to be done.",),
        )
    raise GuardRefused(
        f"{datacenter} has a leader, {leader}, so it did not lose its majority: start new servers in place of those that are missing, "
        f"and it takes them. {UNCHANGED}"
    )


def _check_survivors(survivors: t.Sequence[Survivor], reached: t.Mapping[str, Facts]) -> tuple[Server, ...]:
    """Return the newest known configuration, of which all survivors are. Raises GuardRefused."""
    for one in survivors:
        if one.index is None or not one.id:
            problem = reached[one.host]["raft"]["problem"] or "It has no node-id."
            raise GuardRefused(
                f"{one.host}: {problem} Name {one.host} in consul_recover_lost to go on without its data. {UNCHANGED}"
            )
    servers = next((one.servers for one in survivors if one.servers), None)
    if servers is None:
        raise GuardRefused(
            f"It is not known which servers the datacenter had: start Consul on {survivors[0].host}, so that it says so. {UNCHANGED}"
        )
    for one in survivors:
        if one.id not in {server.id for server in servers}:
            raise GuardRefused(
                f"{one.host} has Raft data, but is none of the servers that {survivors[0].host} knows: its data is of another time or "
                f"datacenter. Move it away, or name {one.host} in consul_recover_lost. {UNCHANGED}"
            )
    return servers


def _check_gone(
    servers: t.Iterable[Server],
    survivors: t.Iterable[Survivor],
    fresh: t.Mapping[str, t.Collection[str]],
    addresses: t.Mapping[str, str],
    lost: t.Collection[str],
) -> list[Server]:
    """Return the servers that are gone for good: their host has no data, or somebody said so. Raises GuardRefused."""
    known = {one.id for one in survivors}
    given = {*lost, *(addresses[host] for host in lost if host in addresses)}
    empty = {address for found in fresh.values() for address in found}
    gone = [one for one in servers if one.id not in known]
    for one in gone:
        address = address_of(one.address)
        if not {one.id, one.address, address} & given and address not in empty:
            raise GuardRefused(
                f"The server {one.id} at {one.address} is on none of the hosts that answer: add its host to the inventory, or name its "
                f"address in consul_recover_lost if it never comes back. {UNCHANGED}"
            )
    return gone


def _sentences(
    survivors: t.Sequence[Survivor], fresh: t.Sequence[str], gone: t.Sequence[Server], datacenter: str
) -> tuple[str, ...]:
    best = survivors[0]
    found = [
        f"{one.host} has its data: last entry {one.index} of term {one.term}, by the {one.source}." for one in survivors
    ]
    found += [f"{host} has no data, and joins as a new server." for host in fresh]
    found += [f"The server {one.id} at {one.address} is gone." for one in gone]
    found.append(f"The new voters of {datacenter} are {', '.join(one.host for one in survivors)}.")
    if len(survivors) > 1:
        found.append(
            f"{best.host} is started first: it has the newest entry, and another one that is elected before it would overwrite that."
        )
    found.append(
        f"Writes after the entry {best.index} are lost. How many clients were told that they are done is unknown: only servers that are "
        "gone had them. Writes up to it that were never confirmed may come to be."
    )
    return tuple(found)

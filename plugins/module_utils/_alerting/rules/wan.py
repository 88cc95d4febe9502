# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The WAN: servers and datacenters that cannot be reached from this one."""

from __future__ import annotations

import typing as t

from ..._consul.answer_fields import to_metadata, to_number, to_rows, to_text, to_texts
from ..judging import Judging
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup

RULES = (Rule("wan_member_failed", severity="warning"), Rule("wan_dc_missing"))

# The states of Serf, as numbers in /v1/agent/members: 1 alive, 2 leaving, 3 left, 4 failed.
MEMBER_ALIVE = 1
MEMBER_LEFT = (2, 3)  # not members any more: they left, or were made to


class WanMember(t.NamedTuple):
    """One server of some datacenter, as gossip over the WAN sees it."""

    name: str
    datacenter: str
    alive: bool


class Wan(t.NamedTuple):
    """The datacenters that the agent knows, and the members of its WAN; ``members`` is None where it is a client agent."""

    datacenters: tuple[str, ...]
    members: tuple[WanMember, ...] | None


# ---------------------------------------------------------------------------------------------------------------
# Reading


def read_wan_members(reader: Reader) -> tuple[WanMember, ...] | None:
    """Return the servers that gossip over the WAN. Client agents do not, and answer ``null``: None. Raises a ConsulError."""
    return reader.client.get("/v1/agent/members", {"wan": "1"}).parse(_wan_members)


def _wan_members(rows: t.Any) -> tuple[WanMember, ...] | None:
    if rows is None:
        return None
    members = []
    for row in to_rows(rows):
        datacenter, status = to_metadata(row["Tags"]).get("dc", ""), to_number(row["Status"])
        if status not in MEMBER_LEFT:
            name = to_text(row["Name"]).removesuffix(f".{datacenter}")
            members.append(WanMember(name, datacenter, status == MEMBER_ALIVE))
    return tuple(members)


def _read_wan(reader: Reader) -> None:
    if reader.is_local:
        datacenters = reader.client.get("/v1/catalog/datacenters").parse(_names)
        reader.observation.add(Wan(datacenters, read_wan_members(reader)))


def _names(answer: t.Any) -> tuple[str, ...]:
    if answer is None:
        raise TypeError
    return to_texts(answer)


# ---------------------------------------------------------------------------------------------------------------
# Judging


def judge(judging: Judging) -> None:
    """Judge what of the other datacenters can be reached. Those in ``expect`` must be."""
    wan = judging.observation.get(Wan)
    if wan is None:
        return
    for member in sorted(wan.members or (), key=lambda one: (one.name, one.datacenter)):
        if not member.alive and member.datacenter != judging.datacenter:
            judging.add_by_rule(
                "wan_member_failed",
                f"server {member.name} of {member.datacenter} cannot be reached from {judging.datacenter} over the WAN",
                node=member.name,
            )
    for datacenter in sorted(set(judging.expected) - {judging.datacenter}):
        servers_alive = [member.alive for member in wan.members or () if member.datacenter == datacenter]
        if datacenter not in wan.datacenters:
            judging.add_by_rule("wan_dc_missing", f"{judging.datacenter} does not know the datacenter {datacenter}")
        elif servers_alive and not any(servers_alive):
            judging.add_by_rule("wan_dc_missing", f"no server of {datacenter} can be reached from {judging.datacenter}")


GROUP = RuleGroup(RULES, judge, (Reading("the WAN", _read_wan, ("wan_member_failed", "wan_dc_missing")),))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A WAN federation as its datacenters know it: members, ACL replication, ACL objects and Connect's roots, parsed from answers. Pure.

What a datacenter did not say is None, and ``unknown`` has the reason.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._consul.answer_fields import Row, to_flag, to_metadata, to_number, to_object, to_rows, to_text, to_unix_time

ALIVE = 1  # Serf's status of a member: 1 alive, 2 leaving, 3 left, 4 failed
STATUSES = {ALIVE: "alive", 2: "leaving", 3: "left", 4: "failed"}
TOKENS = "tokens"  # ReplicationType of ACL replication: policies, roles and tokens
MEMBERS, ACL_REPLICATION, ACLS, ROOTS, PRIMARY = "members", "ACL replication", "ACLs", "Connect's roots", "primary"


class Member(t.NamedTuple):
    """A server in the gossip over the WAN. ``name`` is that of its node, ``address`` is host:port, ``id`` is "" where it has none."""

    name: str
    datacenter: str
    address: str
    id: str
    status: int

    @property
    def is_alive(self) -> bool:
        """Whether gossip reaches it."""
        return self.status == ALIVE

    @property
    def full_name(self) -> str:
        """The name in the gossip, which ends in that of the datacenter."""
        return f"{self.name}.{self.datacenter}"


class AclReplication(t.NamedTuple):
    """ACL replication of a datacenter. Times are Unix seconds of its own clock, 0 for never."""

    is_enabled: bool
    is_running: bool
    source: str
    kind: str
    last_success: float
    last_error: float
    message: str = ""


class Roots(t.NamedTuple):
    """Connect's root certificates by ID. Without Connect all are empty."""

    trust_domain: str = ""
    active: str = ""
    ids: tuple[str, ...] = ()


# ACL objects that are replicated, as (table, ID) with the hash of the content, "" for one that every version writes in its own words.
AclObjects = t.Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class View:
    """What one datacenter says. ``problem`` says why it cannot be asked, "" if its leader answers.

    ``primary`` is the primary datacenter as its agent has it. ``acls`` is empty without ACLs. ``clock_ahead_s`` is by how much its clock
    is ahead of that of the process that reads.
    """

    name: str
    problem: str = ""
    primary: str | None = None
    members: tuple[Member, ...] | None = None
    replication: AclReplication | None = None
    acls: AclObjects | None = None
    roots: Roots | None = None
    clock_ahead_s: float = 0.0
    unknown: t.Mapping[str, str] = field(default_factory=dict)

    def of(self, datacenter: str) -> tuple[Member, ...]:
        """Return the members of one datacenter."""
        return tuple(one for one in self.members or () if one.datacenter == datacenter)


def parse_members(answer: t.Any) -> tuple[Member, ...]:
    """Return the servers among ``/v1/agent/members?wan``. Raises what a body of another shape raises."""
    found = []
    for row in _rows(answer):
        tags = to_metadata(row["Tags"])
        if tags.get("role", "consul") != "consul" or not tags.get("dc"):
            continue
        datacenter = tags["dc"]
        name = to_text(row["Name"]).removesuffix(f".{datacenter}")
        host = to_text(row["Addr"])
        address = f"{f'[{host}]' if ':' in host else host}:{to_number(row['Port'])}"
        found.append(Member(name, datacenter, address, tags.get("id", ""), to_number(row["Status"])))
    return tuple(found)


def parse_replication(answer: t.Any) -> AclReplication:
    """Return the state in ``/v1/acl/replication``. Raises what a body of another shape raises."""
    row = to_object(answer)
    return AclReplication(
        to_flag(row["Enabled"]),
        to_flag(row["Running"]),
        to_text(row["SourceDatacenter"]),
        to_text(row["ReplicationType"]),
        to_unix_time(row["LastSuccess"]),
        to_unix_time(row["LastError"]),
        to_text(row.get("LastErrorMessage") or ""),  # Consul 1.8 has none
    )


def parse_roots(answer: t.Any) -> Roots:
    """Return the roots in ``/v1/connect/ca/roots``. Raises what a body of another shape raises."""
    row = to_object(answer)
    ids = sorted(to_text(root["ID"]) for root in _rows(row["Roots"]))
    return Roots(to_text(row["TrustDomain"]).lower(), to_text(row["ActiveRootID"]), tuple(ids))


def parse_acls(policies: t.Any, roles: t.Any, tokens: t.Any) -> dict[tuple[str, str], str]:
    """Return the replicated objects of three lists. Tokens that are local to their datacenter are not replicated."""
    found = {("policy", to_text(row["ID"])): to_text(row["Hash"]) for row in _rows(policies)}
    found.update({("role", to_text(row["ID"])): to_text(row["Hash"]) for row in _rows(roles)})
    replicated = [row for row in _rows(tokens) if not row.get("Local")]
    found.update({("token", to_text(row["AccessorID"])): to_text(row["Hash"]) for row in replicated})
    return {name: "" if _is_built_in(name[1]) else digest for name, digest in found.items()}


def _rows(value: t.Any) -> list[Row]:
    """Return a list of objects; Go writes null for an empty one."""
    return [] if value is None else to_rows(value)


def _is_built_in(name: str) -> bool:
    return name.startswith("00000000-0000-0000-0000-")

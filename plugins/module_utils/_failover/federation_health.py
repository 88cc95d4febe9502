# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges whether a WAN federation is whole: members, ACL replication and Connect's roots, from what its datacenters say. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul.units import count_of, some_of, timestamp
from .federation_view import ACL_REPLICATION, ACLS, MEMBERS, ROOTS, STATUSES, TOKENS, AclObjects, Roots, View


@dataclass(frozen=True)
class Expected:
    """What must be so. ``servers`` are the node names of the datacenter that was recovered, ``active_root`` the root of its snapshot.

    ``since`` is when it was restored, in Unix seconds of the process that reads, 0 if any time will do.
    """

    recovered: str
    primary: str
    servers: t.Sequence[str]
    active_root: str = ""
    since: float = 0.0


class Problem(t.NamedTuple):
    """What is wrong, or not known, in one datacenter."""

    datacenter: str
    sentence: str


def problems_of(expected: Expected, views: t.Sequence[View], before: AclObjects | None) -> list[Problem]:
    """Return everything that is not as expected. ``before`` are the primary's ACL objects at an earlier look, None at the first one.

    An object counts as missing only if the primary has it now and had it before: replication needs a moment for a new one.
    """
    found = [Problem(view.name, f"{view.name} does not answer: {view.problem}") for view in views if view.problem]
    answering = [view for view in views if not view.problem]
    for view in answering:
        for part in (MEMBERS, ACL_REPLICATION, ACLS, ROOTS):
            if part in view.unknown:
                found.append(Problem(view.name, f"{part} of {view.name} are not known: {view.unknown[part]}"))
        found += [Problem(view.name, sentence) for sentence in _about_members(expected, view, answering)]
        if view.name != expected.primary:
            found += [Problem(view.name, sentence) for sentence in _about_replication(expected, view, answering)]
            found += [Problem(view.name, sentence) for sentence in _about_acls(expected, view, answering, before)]
    return found + _about_roots(expected, answering)


def missing_servers(expected: Expected, view: View, answering: t.Sequence[View]) -> list[tuple[str, str]]:
    """Return the servers, as (datacenter, node name), that a datacenter does not reach over the WAN."""
    wanted = [(expected.recovered, name) for name in expected.servers]
    for other in answering:
        if other.name != expected.recovered:
            wanted += [(other.name, one.name) for one in other.of(other.name) if one.is_alive]
    alive = {(one.datacenter, one.name) for one in view.members or () if one.is_alive}
    return [one for one in dict.fromkeys(wanted) if one not in alive]


def _about_members(expected: Expected, view: View, answering: t.Sequence[View]) -> list[str]:
    if view.members is None:
        return []
    status = {(one.datacenter, one.name): STATUSES.get(one.status, "unknown") for one in view.members}
    found = [
        f"{view.name} does not reach {name} of {datacenter} over the WAN: it is {status.get((datacenter, name), 'no member')} there"
        for datacenter, name in missing_servers(expected, view, answering)
    ]
    alive = [one for one in view.of(expected.recovered) if one.is_alive]
    for one in alive:
        if one.name not in expected.servers:
            found.append(f"{view.name} has the member {one.full_name} at {one.address}, which is none of the servers")
    names = [one.name for one in alive]
    found += [
        f"{view.name} has {names.count(name)} members {name} of {expected.recovered}"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    return found


def _about_replication(expected: Expected, view: View, answering: t.Sequence[View]) -> list[str]:
    state = view.replication
    if state is None:
        return []
    if not state.is_enabled:
        # Without ACLs nothing is replicated; whether there are ACLs is what the primary says.
        primary = _named(answering, expected.primary)
        return [f"ACL replication of {view.name} is not enabled"] if primary is None or primary.acls != {} else []
    if not state.is_running:
        return [f"ACL replication of {view.name} does not run"]
    if state.source != expected.primary:
        return [f"{view.name} replicates ACLs from {state.source}, and not from {expected.primary}"]
    since = expected.since + view.clock_ahead_s if expected.since else 0.0
    if state.last_success <= since:
        last = timestamp(state.last_success) if state.last_success else "never"
        return [
            f"ACL replication of {view.name} has not succeeded since the restore: its last success was {last}{_reason(state.message)}"
        ]
    if state.last_error > state.last_success:
        return [f"ACL replication of {view.name} failed at {timestamp(state.last_error)}{_reason(state.message)}"]
    return []


def _reason(message: str) -> str:
    return f" ({message})" if message else ""


def _about_acls(expected: Expected, view: View, answering: t.Sequence[View], before: AclObjects | None) -> list[str]:
    primary = _named(answering, expected.primary)
    if primary is None or primary.acls is None or view.acls is None or view.replication is None:
        return []
    tables = ("policy", "role", *(("token",) if view.replication.kind == TOKENS else ()))
    earlier = primary.acls if before is None else before
    stable = {name: digest for name, digest in primary.acls.items() if earlier.get(name) == digest}
    missing = [name for name, digest in stable.items() if name[0] in tables and view.acls.get(name) != digest]
    extra = [name for name in view.acls if name[0] in tables and name not in primary.acls and name not in earlier]
    found = []
    if missing:
        found.append(f"{view.name} does not have {_objects(missing)} as {expected.primary} has it")
    if extra:
        found.append(f"{view.name} has {_objects(extra)} that {expected.primary} does not have")
    return found


def _objects(names: t.Sequence[tuple[str, str]]) -> str:
    shown = some_of([f"{table} {identity}" for table, identity in sorted(names)])
    return f"{count_of(len(names), 'ACL object')} ({shown})"


def _about_roots(expected: Expected, answering: t.Sequence[View]) -> list[Problem]:
    primary = _named(answering, expected.primary)
    if primary is None or primary.roots is None:
        return []
    found = []
    wanted = primary.roots
    if expected.active_root and wanted.active != expected.active_root:
        found.append(
            Problem(primary.name, f"the active root of Connect's CA in {primary.name} is not that of the snapshot")
        )
    for view in answering:
        if view.roots in (None, Roots()):  # without Connect there is nothing to keep
            continue
        if view.roots is not None and (view.roots.trust_domain, view.roots.active) != (
            wanted.trust_domain,
            wanted.active,
        ):
            found.append(Problem(view.name, f"{view.name} has another active root of Connect's CA than {primary.name}"))
    return found


def _named(views: t.Iterable[View], name: str) -> View | None:
    return next((view for view in views if view.name == name), None)

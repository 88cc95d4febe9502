# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks before a run: leaders, the datacenters' names, the tokens' rights, loops and changed sources. Writes nothing."""

from __future__ import annotations

import typing as t

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.errors import GuardRefused
from .._consul.reserved_keys import REPLICATION_ROOT
from .._consul.token_rules import DenyRule, denied_by_policies
from .._consul.units import some_of
from . import checkpoint
from .mapping import PrefixMapping, check_one_store
from .prepared import MappingPlan
from .request import ReplicationRequest
from .state import Direction, State, Upstream, changed_sources, find_loops, find_reversed, upstream_of


def identify_datacenters(source: Client, destination: Client, request: ReplicationRequest) -> tuple[str, str | None]:
    """Return the names of the two datacenters, None for a destination whose name its token may not read.

    Checks that both have a leader, and that they are not one store with overlapping prefixes. Raises InvalidOption or a
    ConsulError.
    """
    if request.consistency != "stale":
        source.check_leader()
    destination.check_leader()
    source_name = source.endpoint.datacenter or source.whoami().datacenter
    destination_name = destination.endpoint.datacenter or destination.whoami().datacenter
    if source_name is None:
        raise errors.InvalidOption(
            f"The token may not read the datacenter's name from {source.endpoint}, and several datacenters are known there: set "
            "the source's datacenter."
        )
    if source_name == destination_name and _raft_peers(source) == _raft_peers(destination):
        check_one_store(request.mappings)
    return source_name, destination_name


def _raft_peers(client: Client) -> list[str]:
    """Return the Raft addresses of a datacenter's servers, which any token may read. Raises a ConsulError."""
    response = client.get("/v1/status/peers")
    peers = response.strings()
    if not peers:  # a datacenter with a leader has a server
        raise response.invalid()
    return sorted(peers)


def check_readable(source: Client, destination: Client, request: ReplicationRequest) -> None:
    """Raise PermissionDenied unless both tokens may read below their prefixes: a list filtered by ACLs looks empty."""
    for mapping in request.mappings:
        for client, prefix, side, policy in (
            (source, mapping.source, "source", "read"),
            (destination, mapping.destination, "destination", "write"),
        ):
            try:
                kv.check_readable(client, prefix)
            except errors.PermissionDenied as error:
                raise error.with_advice(
                    f"The {side}'s token may not read below {prefix!r}:",
                    f'It needs key_prefix "{prefix}" {{ policy = "{policy}" }}. Nothing was changed.',
                ) from None


def hidden_sources(source: Client, request: ReplicationRequest) -> list[str]:
    """Return a warning for each prefix of which the policies of the source's token deny a part.

    Empty where Consul says itself what it leaves out (see _consul/acl_filter.py) or the policies cannot be read.
    """
    rules = [rule for rule in denied_by_policies(source) if rule.resource == "key"]
    warnings = []
    for mapping in request.mappings:
        denied = [str(rule) for rule in rules if _hides_from(mapping, rule)]
        if denied:
            warnings.append(
                f"{mapping}: keys may be missing, because the policies of the source's token deny {some_of(denied)}, and this "
                "version of Consul does not say what it leaves out"
            )
    return warnings


def _hides_from(mapping: PrefixMapping, rule: DenyRule) -> bool:
    """Return whether a rule denies keys that take part in a mapping. That the whole prefix is denied was refused before."""
    if not rule.name.startswith(mapping.source):
        return False
    if rule.is_prefix:
        return not mapping.excludes_folder(rule.name, mapping.source)
    return mapping.includes(rule.name)


def check_writable(destination: Client, name: str, plans: t.Sequence[MappingPlan]) -> None:
    """Raise PermissionDenied when the token may not write the state or a mapping's first key, in check mode too."""
    keys = [(checkpoint.state_key(name), checkpoint.folder(name))]
    keys += [(key, plan.mapping.destination) for plan in plans for key in [plan.first_key()] if key]
    for key, prefix in keys:
        # A single denied key below a writable prefix is reported when it is written, and the others are written.
        if destination.may("key", "write", key) is False and destination.may("key", "write", prefix) is False:
            raise errors.PermissionDenied(
                f"The destination's token may not write {key!r} ({destination.endpoint}): see the policies in docs/replication.md. "
                "Nothing was changed."
            )


class DirectionCheck(t.NamedTuple):
    """``reversed_after``: when the replication in the other direction last wrote (Unix seconds), 0 for none.

    ``unchecked`` says what could not be checked. ``upstream`` says from where the source has what is copied, None if that is not known.
    ``reversed_names`` are the names of the replications in the other direction, which the next run ends.
    """

    reversed_after: float
    unchecked: list[str]
    upstream: Upstream | None = None
    reversed_names: t.Sequence[str] = ()


def check_direction(
    source: Client,
    name: str,
    direction: tuple[str, str | None],
    previous: State | None,
    request: ReplicationRequest,
) -> DirectionCheck:
    """Check for changed sources and for loops. Raises GuardRefused for those that ``accept`` does not name.

    ``direction`` holds the names of the two datacenters, ``previous`` is the state of this replication until now.
    """
    source_name, destination_name = direction
    _check_changed_sources(name, source_name, previous, request)
    if destination_name is None:
        return DirectionCheck(
            0.0,
            ["loops: the destination's token may not read its datacenter's name; set the destination's datacenter"],
        )
    try:
        states, unreadable = checkpoint.read_states(source)
    except errors.PermissionDenied:
        return DirectionCheck(0.0, [f"loops: the source's token may not read {REPLICATION_ROOT}"])
    sides = Direction(source_name, destination_name)
    loops, newest = find_loops(states, sides, previous, request.mappings)
    if loops and "reversed" not in request.accept:
        raise GuardRefused(
            f"{'; '.join(loops)}. To reverse the direction, or if one of these replications has ended, set accept: [reversed] once; the "
            "other direction is then refused. Nothing was changed"
        )
    upstream = None if unreadable else upstream_of(states, sides, request.mappings)
    return DirectionCheck(
        newest,
        [f"loops: at the source, {reason}" for reason in unreadable],
        upstream,
        find_reversed(states, sides, previous, request.mappings),
    )


def _check_changed_sources(name: str, source_name: str, previous: State | None, request: ReplicationRequest) -> None:
    changed = changed_sources(previous, request.mappings)
    if previous is not None and previous.source != source_name:
        changed.append(
            f"{checkpoint.folder(name)} belongs to a replication from {previous.source}, and this one is from {source_name}"
        )
    if changed and "other_source" not in request.accept:
        raise GuardRefused(
            f"{'; '.join(changed)}. Keys that it owns would be deleted or overwritten with what the new source has. If that is "
            "intended, set accept: [other_source]. Nothing was changed"
        )

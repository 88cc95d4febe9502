# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lost datacenter comes back into its WAN federation: the options and the work of ``consul_federation``."""

from __future__ import annotations

import contextlib
import logging
import time
import typing as t
from dataclasses import replace

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec, side_spec
from .._consul import errors
from .._consul.client import Client
from .._consul.units import parse_duration, parse_timestamp
from .._failover import federation_reader as reader
from .._failover.federation_health import Expected, missing_servers, problems_of
from .._failover.federation_plan import (
    KIND_PRIMARY,
    KIND_SECONDARY,
    UNCHANGED,
    UNKNOWN_FEDERATION,
    Plan,
    Request,
    SnapshotFacts,
    ghosts_of,
    make_plan,
)
from .._failover.federation_view import AclObjects, Member, View
from .task import Invocation, Result, Task

log = logging.getLogger("consulops")

LOOK_AGAIN_S = 1.0

SPEC: Spec = {
    "state": {"type": "str", "choices": ["planned", "joined", "verified"], "default": "planned"},
    "kind": {"type": "str", "choices": [KIND_PRIMARY, KIND_SECONDARY], "default": KIND_PRIMARY},
    "lost": side_spec(),
    "others": side_spec(type="list", elements="dict", required=True),
    "servers": {"type": "dict", "required": True},
    "snapshot": {"type": "dict"},
    "confirm": {"type": "str"},
    "accept": {"type": "list", "elements": "str", "choices": [UNKNOWN_FEDERATION], "default": []},
    "remove_ghosts": {"type": "bool", "default": False},
    "wait": {"type": "str", "default": "120s"},
    **connection_spec(),
}


class _Request(t.NamedTuple):
    """The options, checked. ``addresses`` are those of the fresh servers by node name, "" where none is given."""

    plan: Request
    addresses: t.Mapping[str, str]
    snapshot: SnapshotFacts | None
    wait_s: float


class _Sides(t.NamedTuple):
    """The client of the lost datacenter, and those of the others by name."""

    lost: Client
    others: t.Mapping[str, Client]


def _request(call: Invocation) -> _Request:
    """Return the request that the options describe. Raises InvalidOption."""
    options = call.params
    lost = options["lost"].get("datacenter") or options["datacenter"]
    if not lost:
        raise errors.InvalidOption(f"lost has no datacenter: name the one that is lost. {UNCHANGED}")
    if not options["servers"]:
        raise errors.InvalidOption(f"servers is empty: name the fresh servers of {lost}. {UNCHANGED}")
    if options["state"] == "planned" and not options["snapshot"]:
        raise errors.InvalidOption(f"snapshot is missing: give what consul_snapshot_info says of it. {UNCHANGED}")
    return _Request(
        Request(lost, options["kind"], list(options["servers"]), options["confirm"] or "", options["accept"]),
        {name: str(address or "") for name, address in options["servers"].items()},
        _snapshot_facts(options["snapshot"]) if options["snapshot"] else None,
        parse_duration(options["wait"], "wait"),
    )


def _snapshot_facts(given: t.Mapping[str, t.Any]) -> SnapshotFacts:
    try:
        return SnapshotFacts(
            str(given["datacenter"]),
            str(given["digest"]),
            int(given["index"]),
            {str(one["name"]): str(one["id"]) for one in given["server_nodes"]},
            str(given["connect_ca"]["trust_domain"]),
            str(given["connect_ca"]["active_root"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise errors.InvalidOption(
            f"snapshot does not have what consul_snapshot_info returns as snapshot. {UNCHANGED}"
        ) from error


def perform(call: Invocation) -> Result:
    """Plan how a datacenter comes back, join it again, or wait until the federation is whole. Raises an Error."""
    request = _request(call)
    with contextlib.ExitStack() as stack:
        sides = _sides(call, stack)
        if request.plan.lost in sides.others:
            raise errors.InvalidOption(f"{request.plan.lost} is lost, and is among others, too. {UNCHANGED}")
        state = call.params["state"]
        if state == "planned" and request.snapshot is not None:
            return _planned(sides, request, request.snapshot, stack)
        if state == "joined":
            return _joined(call, sides, request)
        return _verified(sides, request)


def _sides(call: Invocation, stack: contextlib.ExitStack) -> _Sides:
    lost = stack.enter_context(call.client("lost"))
    others: dict[str, Client] = {}
    for client in stack.enter_context(call.clients(call.params["others"], None)) if call.params["others"] else ():
        name = client.endpoint.datacenter or _own_name(client)
        if name in others:
            raise errors.InvalidOption(f"others names {name} twice. {UNCHANGED}")
        others[name] = client
    return _Sides(lost, others)


def _own_name(client: Client) -> str:
    """Return the datacenter of an agent, or its address if it does not say it."""
    try:
        return client.whoami().datacenter or str(client.endpoint)
    except errors.ConsulError as error:
        log.debug("%s", error)
        return str(client.endpoint)


def _views(sides: _Sides) -> list[View]:
    return [reader.view_of(client, name) for name, client in sides.others.items()]


# -------------------------------------------------------------------------------------------------------------------
# Planning


def _planned(sides: _Sides, request: _Request, snapshot: SnapshotFacts, stack: contextlib.ExitStack) -> Result:
    lost = request.plan.lost
    others = _views(sides)
    states = [reader.lost_state(sides.lost, str(sides.lost.endpoint.shown_url))]
    for view in others:
        if not view.problem:
            endpoint = replace(sides.others[view.name].endpoint, datacenter=lost)
            states.append(reader.lost_state(stack.enter_context(Client(endpoint)), view.name))
    plan = make_plan(request.plan, snapshot, states, others)
    restored = next((one.receipt.restored_at for one in states if one.receipt is not None), None)
    return {
        "changed": False,
        **_described(plan, request),
        "restored_at": restored if plan.action == "finish" else None,
        "datacenters": {view.name: _shown(view) for view in others},
    }


def _described(plan: Plan, request: _Request) -> Result:
    return {
        "action": plan.action,
        "datacenter": request.plan.lost,
        "primary": plan.primary,
        "ghosts": [_member(one) for one in plan.ghosts],
        "refusals": plan.refusals,
        "sentences": plan.sentences,
    }


def _member(one: Member) -> dict[str, str]:
    return {"name": one.full_name, "address": one.address, "id": one.id}


def _shown(view: View) -> Result:
    """Return what a datacenter says, without what is long."""
    return {
        "answers": not view.problem,
        "primary": view.primary,
        "members": None
        if view.members is None
        else [{**_member(one), "datacenter": one.datacenter, "alive": one.is_alive} for one in view.members],
        "acl_objects": None if view.acls is None else len(view.acls),
        "trust_domain": None if view.roots is None else view.roots.trust_domain,
        "active_root": None if view.roots is None else view.roots.active,
        "unknown": dict(view.unknown),
    }


# -------------------------------------------------------------------------------------------------------------------
# Joining


def _joined(call: Invocation, sides: _Sides, request: _Request) -> Result:
    """Have the other datacenters join the servers of the lost one, until each reaches each. Raises NotConverged."""
    expected = Expected(request.plan.lost, "", request.plan.servers)
    deadline = time.monotonic() + request.wait_s
    sent: list[str] = []
    problems: list[str] = []
    while True:
        views = _views(sides)
        silent = [view for view in views if view.problem or view.members is None]
        if silent:
            problem = silent[0].problem or silent[0].unknown["members"]
            raise errors.NotConverged(f"{silent[0].name} does not say which members it has: {problem}")
        missing = {view.name: missing_servers(expected, view, []) for view in views}
        if not any(missing.values()):
            removed = _remove_ghosts(call, sides, request, views)
            return {"changed": bool(sent or removed), "joined": sent, "removed": removed}
        if call.check_mode:
            return {
                "changed": True,
                "joined": sorted(name for name, servers in missing.items() if servers),
                "removed": [],
            }
        if time.monotonic() > deadline:
            raise errors.NotConverged(_not_joined(request, missing, problems))
        problems = _join_missing(sides, request, views, missing, sent)
        time.sleep(LOOK_AGAIN_S)


def _join_missing(
    sides: _Sides,
    request: _Request,
    views: t.Sequence[View],
    missing: t.Mapping[str, t.Sequence[tuple[str, str]]],
    sent: list[str],
) -> list[str]:
    """Send the requests of one round, and return what failed. ``sent`` gets the datacenters of requests that were accepted."""
    problems = []
    for view in views:
        for _datacenter, name in missing[view.name]:
            address = request.addresses[name] or _remembered(view, request.plan.lost, name)
            if not address:
                problems.append(f"the address of {name} is not known: name it in servers")
                continue
            try:
                reader.join(sides.others[view.name], address)
            except errors.ConsulError as error:
                problems.append(str(error))
                continue
            if view.name not in sent:
                sent.append(view.name)
    return problems


def _remembered(view: View, datacenter: str, name: str) -> str:
    return next((one.address for one in view.of(datacenter) if one.name == name), "")


def _not_joined(
    request: _Request, missing: t.Mapping[str, t.Sequence[tuple[str, str]]], problems: t.Sequence[str]
) -> str:
    shown = "; ".join(
        f"{name} does not reach {', '.join(server for _datacenter, server in servers)}"
        for name, servers in missing.items()
        if servers
    )
    why = f" The last request failed: {problems[0]}" if problems else ""
    return f"After {request.wait_s:g} seconds the WAN is not joined again: {shown} of {request.plan.lost}.{why} Run it again."


def _remove_ghosts(call: Invocation, sides: _Sides, request: _Request, views: t.Sequence[View]) -> list[str]:
    """Have the other datacenters forget servers that do not come back, if that is wanted; return their names."""
    if not call.params["remove_ghosts"]:
        return []
    removed = []
    for view in views:
        for member in ghosts_of(request.plan.lost, request.plan.servers, [view]):
            if not call.check_mode:
                try:
                    reader.remove(sides.others[view.name], member)
                except errors.ConsulError as error:
                    call.warn(f"{view.name} still has the member {member.full_name}: {error}")
                    continue
            removed.append(f"{member.full_name} in {view.name}")
    return removed


# -------------------------------------------------------------------------------------------------------------------
# Verifying


def _verified(sides: _Sides, request: _Request) -> Result:
    """Wait until the federation is whole. Raises NotConverged."""
    deadline = time.monotonic() + request.wait_s
    before: AclObjects | None = None
    while True:
        since = _restored_at(sides, request)
        everyone = [reader.view_of(sides.lost, request.plan.lost), *_views(sides)]
        expected = _expected(request, everyone, since)
        problems = problems_of(expected, everyone, before)
        if not problems:
            return {
                "changed": False,
                "primary": expected.primary,
                "datacenters": {view.name: _shown(view) for view in everyone},
                "sentences": _whole(expected, everyone),
            }
        if time.monotonic() > deadline:
            found = "; ".join(dict.fromkeys(one.sentence.rstrip(".") for one in problems))
            raise errors.NotConverged(f"After {request.wait_s:g} seconds the federation is not whole: {found}.")
        before = next((view.acls for view in everyone if view.name == expected.primary), None)
        time.sleep(LOOK_AGAIN_S)


def _restored_at(sides: _Sides, request: _Request) -> float:
    """Return when the snapshot was restored, in Unix seconds; 0 if that does not matter or is not known."""
    if request.snapshot is None:
        return 0.0
    receipt = reader.lost_state(sides.lost, request.plan.lost).receipt
    try:
        return parse_timestamp(receipt.restored_at, "restored_at") if receipt is not None else 0.0
    except errors.InvalidOption:
        return 0.0  # the receipt is not as we write it


def _expected(request: _Request, everyone: t.Sequence[View], since: float) -> Expected:
    is_primary = request.plan.kind == KIND_PRIMARY
    others = [view.primary for view in everyone if view.name != request.plan.lost and view.primary]
    primary = request.plan.lost if is_primary or not others else others[0]
    active = request.snapshot.active_root if is_primary and request.snapshot is not None else ""
    return Expected(request.plan.lost, primary, request.plan.servers, active, since)


def _whole(expected: Expected, everyone: t.Sequence[View]) -> list[str]:
    """Return what was verified, in words."""
    found = []
    for view in everyone:
        alive = len([one for one in view.members or () if one.is_alive])
        count = len(view.acls or {})
        said = f"{view.name} reaches {alive} servers over the WAN, and has {count} ACL policies, roles and tokens"
        if view.name != expected.primary and view.replication is not None and view.replication.is_enabled:
            said += f"; its ACL replication from {expected.primary} is healthy"
        found.append(f"{said}.")
    return found


FEDERATION = Task(SPEC, perform, (ONE_TOKEN,), _request)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides whether a datacenter of a WAN federation is lost, whether a snapshot is of it, and what brings it back. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul.units import count_of, some_of
from .federation_view import MEMBERS, PRIMARY, STATUSES, Member, View

RECOVER, FINISH = "recover", "finish"
KIND_PRIMARY, KIND_SECONDARY = "primary", "secondary"
UNKNOWN_FEDERATION = "unknown_federation"  # an element of ``accept``
UNCHANGED = "Nothing was changed."


@dataclass(frozen=True)
class Receipt:
    """What the last restore left in a datacenter: the logical digest and the index of its snapshot, and when it was restored."""

    digest: str
    index: int
    restored_at: str


@dataclass(frozen=True)
class LostState:
    """Whether the lost datacenter answers, asked ``through`` an agent. ``has_data`` is None if that is not known, ``problem`` says why."""

    through: str
    answers: bool
    has_data: bool | None
    problem: str
    receipt: Receipt | None = None
    trust_domain: str = ""


@dataclass(frozen=True)
class SnapshotFacts:
    """What a snapshot is of. ``server_ids`` are node IDs by node name; ``trust_domain`` and ``active_root`` are "" without Connect's CA."""

    datacenter: str
    digest: str
    index: int
    server_ids: t.Mapping[str, str]
    trust_domain: str = ""
    active_root: str = ""


@dataclass(frozen=True)
class Request:
    """What the operator wants. ``kind`` is primary or secondary, ``servers`` are the node names of the fresh servers."""

    lost: str
    kind: str
    servers: t.Sequence[str]
    confirm: str
    accept: t.Sequence[str] = ()


class Plan(t.NamedTuple):
    """``action`` is recover, or finish if the snapshot was restored already. ``refusals`` say why it must not be carried out.

    ``ghosts`` are members of the lost datacenter that are none of the fresh servers and are not alive.
    """

    action: str
    primary: str
    ghosts: tuple[Member, ...]
    refusals: list[str]
    sentences: list[str]


def make_plan(request: Request, snapshot: SnapshotFacts, lost: t.Sequence[LostState], others: t.Sequence[View]) -> Plan:
    """Return the plan. ``lost`` is the lost datacenter as each agent sees it, ``others`` are the other datacenters."""
    primary = request.lost if request.kind == KIND_PRIMARY else _primary_of(others)
    is_restored = any(is_from_snapshot(one, snapshot) for one in lost)
    refusals = [
        *_about_snapshot(request, snapshot),
        *_about_others(others),
        *_about_kind(request, others),
        *([] if is_restored else [*_about_federation(request, snapshot, others), *_about_loss(request, lost)]),
        *_about_members(request, others),
    ]
    if request.confirm != request.lost:
        refusals.append(f"it is not confirmed: confirm it with -e consul_restore_confirm={request.lost}")
    ghosts = ghosts_of(request.lost, request.servers, others)
    sentences = [
        f"{request.lost} is the {request.kind} datacenter, and its servers are {', '.join(request.servers)}.",
        *(_lost_sentence(request.lost, one, snapshot) for one in lost),
        *(_other_sentence(request, view) for view in others),
        _federation_sentence(request, snapshot, others),
        *_ca_sentences(snapshot, others),
    ]
    if ghosts:
        names = some_of([f"{one.full_name} at {one.address}" for one in ghosts])
        sentences.append(f"Members of {request.lost} that do not come back: {names}.")
    return Plan(FINISH if is_restored else RECOVER, primary, ghosts, refusals, sentences)


def is_from_snapshot(lost: LostState, snapshot: SnapshotFacts) -> bool:
    """Return whether the last restore of a datacenter was that of this snapshot.

    The digest leaves out tokens that have expired meanwhile. Two snapshots of one cluster with the same index are of the same state.
    """
    if lost.receipt is None or lost.receipt.index != snapshot.index:
        return False
    return lost.receipt.digest == snapshot.digest or "" != lost.trust_domain == snapshot.trust_domain


def ghosts_of(lost: str, servers: t.Collection[str], views: t.Iterable[View]) -> tuple[Member, ...]:
    """Return members of a datacenter that are none of its servers and are alive nowhere, each once."""
    members = [one for view in views for one in view.of(lost) if one.name not in servers]
    alive = {one.name for one in members if one.is_alive}
    return tuple(sorted({one.name: one for one in members if one.name not in alive}.values()))


def _primary_of(others: t.Iterable[View]) -> str:
    return next((view.primary for view in others if view.primary), "")


# -------------------------------------------------------------------------------------------------------------------
# Refusals


def _about_snapshot(request: Request, snapshot: SnapshotFacts) -> list[str]:
    if snapshot.datacenter != request.lost:
        return [f"the snapshot is of {snapshot.datacenter or 'an unknown datacenter'}, and not of {request.lost}"]
    return []


def _about_others(others: t.Sequence[View]) -> list[str]:
    if not others:
        return ["no other datacenter is named, so nothing is known of the federation"]
    return [
        f"{view.name} does not answer, so whether it still works with {view.primary or 'the federation'} is unknown "
        f"({view.problem.rstrip('.')}): bring it back first, or leave it out and recover it later"
        for view in others
        if view.problem
    ]


def _about_kind(request: Request, others: t.Sequence[View]) -> list[str]:
    found = []
    for view in others:
        if view.problem:
            continue
        if view.primary is None:
            found.append(
                f"{view.name} does not say which its primary datacenter is ({view.unknown[PRIMARY].rstrip('.')})"
            )
        elif request.kind == KIND_PRIMARY and view.primary != request.lost:
            found.append(f"the primary datacenter of {view.name} is {view.primary}, and not {request.lost}")
        elif request.kind == KIND_SECONDARY and view.primary == request.lost:
            found.append(f"{request.lost} is the primary datacenter of {view.name}: use the playbook recover_primary")
    names = {view.name for view in others}
    primaries = {view.primary for view in others if view.primary}
    if request.kind == KIND_SECONDARY and not found and not names & primaries:
        found.append(f"the primary datacenter {', '.join(sorted(primaries))} is not among those that are named")
    return found


def federation_is_same(request: Request, snapshot: SnapshotFacts, others: t.Iterable[View]) -> bool | None:
    """Return whether the snapshot is of the federation of the other datacenters; None if nothing says so.

    All datacenters of a federation share the trust domain of Connect's CA. Without one, the node IDs of members that
    gossip still remembers are compared.
    """
    domains = {view.roots.trust_domain for view in others if view.roots is not None and view.roots.trust_domain}
    if snapshot.trust_domain and domains:
        return domains == {snapshot.trust_domain}
    remembered = {one.id for view in others for one in view.of(request.lost) if one.id}
    known = {one for one in snapshot.server_ids.values() if one}
    if not remembered or not known:
        return None
    return bool(remembered & known)


def _about_federation(request: Request, snapshot: SnapshotFacts, others: t.Sequence[View]) -> list[str]:
    if snapshot.datacenter != request.lost or any(view.problem for view in others) or not others:
        return []
    is_same = federation_is_same(request, snapshot, others)
    if is_same is False:
        return [f"the snapshot is of another cluster: {_evidence(request, snapshot, others)}"]
    if is_same is None and UNKNOWN_FEDERATION not in request.accept:
        return [
            "whether the snapshot is of this federation is unknown: there is no CA of Connect to compare, and gossip has forgotten the "
            f"servers of {request.lost}; accept {UNKNOWN_FEDERATION} if it is"
        ]
    return []


def _evidence(request: Request, snapshot: SnapshotFacts, others: t.Sequence[View]) -> str:
    for view in others:
        if (
            snapshot.trust_domain
            and view.roots is not None
            and view.roots.trust_domain not in ("", snapshot.trust_domain)
        ):
            return f"its CA has the trust domain {snapshot.trust_domain}, and that of {view.name} has {view.roots.trust_domain}"
    return f"none of its servers has the node ID of a server of {request.lost} that the other datacenters remember"


def _about_loss(request: Request, lost: t.Sequence[LostState]) -> list[str]:
    alive = [one.through for one in lost if one.answers and one.has_data]
    if alive:
        return [f"{request.lost} has a leader and data (asked {', '.join(alive)}), so it is not lost"]
    return [
        f"{request.lost} has a leader (asked {one.through}), and whether it has data is unknown ({one.problem.rstrip('.')})"
        for one in lost
        if one.answers and one.has_data is None
    ]


def _about_members(request: Request, others: t.Sequence[View]) -> list[str]:
    found = []
    for view in others:
        if view.members is None and not view.problem:
            found.append(
                f"{view.name} does not say which members the federation has ({view.unknown[MEMBERS].rstrip('.')})"
            )
        strangers = [one for one in view.of(request.lost) if one.is_alive and one.name not in request.servers]
        if strangers:
            names = some_of([f"{one.name} at {one.address}" for one in strangers])
            found.append(
                f"{view.name} reaches servers of {request.lost} that are none of the fresh ones: {names}; gossip needs a minute to give up "
                "on a server that is gone, and one that runs is not lost"
            )
    return found


# -------------------------------------------------------------------------------------------------------------------
# Sentences


def _lost_sentence(lost: str, one: LostState, snapshot: SnapshotFacts) -> str:
    if not one.answers:
        return f"{lost} does not answer through {one.through}."
    if one.receipt is not None and is_from_snapshot(one, snapshot):
        return f"{lost} answers through {one.through}: this snapshot was restored there at {one.receipt.restored_at}."
    if one.has_data is None:
        return f"{lost} answers through {one.through}, and does not say whether it has data."
    return f"{lost} answers through {one.through} and has {'data' if one.has_data else 'no data'}."


def _other_sentence(request: Request, view: View) -> str:
    if view.problem:
        return f"{view.name} does not answer."
    members = [f"{one.name} {STATUSES.get(one.status, 'unknown')}" for one in view.of(request.lost)]
    seen = ", ".join(sorted(members)) or "none"
    objects = "an unknown number of" if view.acls is None else f"{len(view.acls):,}"
    return f"{view.name} answers: its members of {request.lost} are {seen}; it has {objects} ACL policies, roles and tokens."


def _federation_sentence(request: Request, snapshot: SnapshotFacts, others: t.Sequence[View]) -> str:
    is_same = federation_is_same(request, snapshot, others)
    if is_same is None:
        return "Whether the snapshot is of this federation is unknown."
    return f"The snapshot is of {'this' if is_same else 'another'} federation."


def _ca_sentences(snapshot: SnapshotFacts, others: t.Sequence[View]) -> list[str]:
    """Return what becomes of Connect's CA."""
    active = {view.roots.active for view in others if view.roots is not None and view.roots.active}
    if not snapshot.active_root or not active:
        return []
    if active == {snapshot.active_root}:
        return [
            "Connect keeps its CA: the root certificate of the snapshot is the one in use, and certificates stay valid."
        ]
    return [
        "Connect's CA was changed after the snapshot: the other datacenters use "
        f"{count_of(len(active - {snapshot.active_root}), 'root certificate')} that the snapshot does not have as the active one, and get "
        "that of the snapshot, so services need new certificates."
    ]

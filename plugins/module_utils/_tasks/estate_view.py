# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of one datacenter as plain data, for the page and the text of an estate: from an observation of the alerting wing.

What is None is not known; ``not_known`` says why. Pure.
"""

from __future__ import annotations

import typing as t

from .._alerting.finding import Judgement
from .._alerting.observation import Observation
from .._alerting.published_alerts import WHAT as ALERTS
from .._alerting.published_alerts import PublishedAgent, PublishedAgents, PublishedSilence
from .._alerting.rules import drills, replications, snapshot_policies, token_expiry
from .._alerting.rules.certificates import AgentCertificate, ConnectCA
from .._alerting.rules.cluster import Servers, VisibleServers, Voters, survivable_failures
from .._alerting.rules.drills import Drills
from .._alerting.rules.replications import Replication, Replications
from .._alerting.rules.snapshot_policies import Policy, SnapshotPolicies
from .._alerting.rules.snapshots import Snapshots
from .._consul.autopilot import Autopilot
from .._consul.units import timestamp

Data = dict[str, t.Any]

# The sections of a datacenter, and the names of the readings that they need, as they stand in what is unknown.
READINGS = {
    "leader": ("the leader", "autopilot"),
    "servers": ("servers",),
    "tolerance": ("raft peers", "servers"),
    "alerts": (ALERTS,),
    "replications": (replications.WHAT,),
    "snapshots": (snapshot_policies.WHAT,),
    "drills": (drills.WHAT,),
    "expiries": ("the agent's certificate", "Connect's CA", token_expiry.WHAT),
}


def view(observation: Observation, judgement: Judgement) -> Data:
    """Return everything that is known of a datacenter, but for what is wrong with it, which the judgement says."""
    now = observation.time
    servers = _servers(observation)
    sections: dict[str, t.Any] = {
        "leader": _leader(observation),
        "servers": servers,
        "tolerance": survivable_failures(observation),
        "alerts": _alerts(observation.get(PublishedAgents), now),
        "replications": _replications(observation.get(Replications), now),
        "snapshots": _snapshots(observation.get(SnapshotPolicies), now),
        "drills": _drills(observation.get(Drills), now),
        "expiries": _expiries(observation),
    }
    reasons = {one.what: one.reason for one in reversed(judgement.unknown)}
    not_known = {name: _reason(observation, reasons, name) for name, value in sections.items() if value is None}
    return {
        "name": observation.datacenter,
        "verdict": judgement.verdict,
        "answered": not observation.unreachable,
        "at": timestamp(now),
        "counts": judgement.counts,
        **sections,
        "versions": sorted({one["version"] for one in servers or () if one["version"]}),
        "snapshot_file": _snapshot_file(observation),
        "maintenance": list(judgement.maintenance),
        "not_known": not_known,
    }


def _reason(observation: Observation, reasons: t.Mapping[str, str], section: str) -> str:
    if observation.unreachable:
        return observation.unreachable
    found = next((reasons[what] for what in READINGS[section] if what in reasons), "")
    if found or observation.leader_problem is None:
        return found or reasons.get("checks") or "it was not asked"
    return f"there is no leader ({observation.leader_problem})"


def _leader(observation: Observation) -> Data | None:
    """Return whether there is a leader, and its name where autopilot says it."""
    if observation.unreachable or any(one.what in ("the leader", "checks") for one in observation.unknown):
        return None
    if observation.leader_problem is not None:
        return {"exists": False, "name": None, "problem": observation.leader_problem}
    autopilot = observation.get(Autopilot)
    names = [one.name for one in autopilot.servers if one.is_leader] if autopilot else []
    return {"exists": True, "name": names[0] if names else None, "problem": ""}


def _servers(observation: Observation) -> list[Data] | None:
    servers, voters, visible = observation.get(Servers), observation.get(Voters), observation.get(VisibleServers)
    if servers is None or (visible is not None and not visible.in_catalog):
        return None
    return [
        {
            "name": one.name,
            "alive": one.alive,
            "version": one.version or None,
            "votes": None if voters is None else one.name in voters.names,
        }
        for one in sorted(servers.servers)
    ]


def _alerts(agents: PublishedAgents | None, now: float) -> Data | None:
    if agents is None:
        return None
    firing = sorted(
        (one for agent in agents.found for one in agent.alerts), key=lambda one: (one.severity, one.since, one.summary)
    )
    silences = [one for agent in agents.found for one in agent.silences if one.is_active(now)]
    return {
        "agents": [_agent(one) for one in agents.found],
        "firing": [
            {
                "agent": one.agent,
                "severity": one.severity,
                "rule": one.rule,
                "datacenter": one.datacenter,
                "place": one.place,
                "summary": one.summary,
                "since": timestamp(one.since),
                "age_s": round(max(0.0, now - one.since)),
                "receivers": list(one.receivers),
            }
            for one in firing
        ],
        "silences": [_silence(one, now) for one in sorted(silences, key=lambda one: (one.end, one.id))],
    }


def _agent(one: PublishedAgent) -> Data:
    return {"name": one.name, "instances": list(one.instances), "active": one.is_held}


def _silence(one: PublishedSilence, now: float) -> Data:
    return {
        "agent": one.agent,
        "id": one.id,
        "match": one.match,
        "until": timestamp(one.end),
        "left_s": round(one.end - now),
        "author": one.author,
        "reason": one.reason,
    }


def _replications(found: Replications | None, now: float) -> list[Data] | None:
    return None if found is None else [_replication(one, now) for one in found.found]


def _replication(one: Replication, now: float) -> Data:
    status = one.status
    if status is None:
        return {"name": one.name, "frozen": one.is_frozen, "published": None}
    lag_s = max(status.lag_s, 0.0 if status.behind_since is None else now - status.behind_since)
    return {
        "name": one.name,
        "frozen": one.is_frozen,
        "published": timestamp(status.at),
        "published_age_s": round(max(0.0, now - status.at)),
        "lag_s": round(lag_s, 3),
        "pending": status.pending,
        "paused_deletes": status.paused_deletes,
        "plan": status.plan,
        "conflicts": status.conflicts,
        "unwritable": status.unwritable,
        "equal": status.is_equal,
        "verified": timestamp(status.verified_at),
        "keys": {"source": status.source_keys, "destination": status.destination_keys},
        "problem": status.problem,
    }


def _snapshots(found: SnapshotPolicies | None, now: float) -> list[Data] | None:
    return None if found is None else [_policy(one, now) for one in found.found]


def _policy(one: Policy, now: float) -> Data:
    place, status = one.place, one.status
    rehearsal = status.rehearsal
    return {
        "agent": place.agent,
        "policy": place.policy,
        "node": place.node or None,
        "published": timestamp(status.at),
        "published_age_s": round(max(0.0, now - status.at)),
        "objective_s": status.objective_s,
        **_newest(status.newest, now),
        "late": status.is_critical(now),
        "destinations": [
            {
                "name": name,
                "place": at.place,
                **_newest(at.newest, now),
                "late": at.newest is None or now - at.newest > status.objective_s,
                "snapshots": at.snapshots,
                "waiting": at.waiting,
                "problem": at.damage or at.problem,
            }
            for name, at in sorted(status.destinations.items())
        ],
        "rehearsal": None
        if rehearsal is None
        else {
            "at": None if rehearsal.at is None else timestamp(rehearsal.at),
            "age_s": None if rehearsal.at is None else round(max(0.0, now - rehearsal.at)),
            "ok": rehearsal.is_ok,
            "overdue": rehearsal.is_overdue,
            "error": rehearsal.error,
        },
    }


def _newest(newest: float | None, now: float) -> Data:
    if newest is None:
        return {"newest": None, "age_s": None}
    return {"newest": timestamp(newest), "age_s": round(max(0.0, now - newest))}


def _snapshot_file(observation: Observation) -> Data | None:
    """Return the newest snapshot of the directory that was named, None without one."""
    snapshots = observation.get(Snapshots)
    newest = None if snapshots is None else snapshots.newest.get(observation.datacenter)
    if newest is None:
        return None
    return {"path": newest.path, **_newest(newest.time, observation.time), "problem": newest.problem}


def _drills(found: Drills | None, now: float) -> list[Data] | None:
    if found is None:
        return None
    return [
        {
            "drill": one.drill,
            "run": one.run,
            "at": timestamp(one.at),
            "age_s": round(max(0.0, now - one.at)),
            "passed": one.is_passed,
            "rto_s": one.recovery_s,
            "recovered": one.is_recovered,
            "reasons": list(one.reasons),
        }
        for one in sorted(found.found, key=lambda one: (-one.at, one.drill))
    ]


def _expiries(observation: Observation) -> list[Data] | None:
    """Return what runs out; None where nothing of it could be read."""
    agent, connect_ca = observation.get(AgentCertificate), observation.get(ConnectCA)
    token = observation.get(token_expiry.TokenExpiry)
    times = {
        "the agent's certificate": agent.expires_at if agent else None,
        "the root certificate of Connect's CA": connect_ca.expires_at if connect_ca else None,
        "the token that asks": token.expires_at if token else None,
    }
    found = [
        {"what": what, "expires": timestamp(at), "left_s": round(at - observation.time)}
        for what, at in times.items()
        if at is not None
    ]
    is_unknown = observation.unreachable or any(one.what in READINGS["expiries"] for one in observation.unknown)
    return None if is_unknown and not found else found

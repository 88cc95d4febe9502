# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the agent knows, as plain data for JSON, the page and commands. Pure.

Times are RFC 3339 texts, None where there is none. What is not known is said to be unknown: an empty list of alerts means that nothing
is wrong only if ``unknown_parts`` is empty too.
"""

from __future__ import annotations

import collections
import copy
import typing as t
from dataclasses import dataclass, field

from ..._alerting.finding import RANK
from ..._consul.units import human_age, timestamp
from .core import Core
from .delivery import ReceiverHealth
from .grouping import Grouping, Suppression
from .incident import FIRING_STATE, FLAPPING_STATE, FROZEN_STATE, PENDING_STATE, RECOVERING_STATE, Incident
from .match_index import MatchIndex
from .memory import Reading
from .notification import Alert
from .silences import Silence, Silences
from .told import NOT_DELIVERED, Note, Told

Data = dict[str, t.Any]

UNKNOWN = "unknown"
ACTIVE, FUTURE, EXPIRED = "active", "future", "expired"
WORKING, FAILING, UNTRIED = "working", "failing", "untried"
WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given up"

# The order in which alerts are listed.
STATES = (FIRING_STATE, FLAPPING_STATE, RECOVERING_STATE, FROZEN_STATE, PENDING_STATE)

# A job that watches reads within reconcile_every, and each request has a time limit: after this time in addition it hangs.
STALE_AFTER_S = 60.0


@dataclass(frozen=True)
class Snapshot:
    """The core at one moment, so that the views can be made while it goes on. Nothing in it changes."""

    incidents: t.Sequence[Incident]
    notes: t.Sequence[Note]
    silences: Silences
    grouping: Grouping

    @classmethod
    def of(cls, core: Core) -> Snapshot:
        """Copy what the views show: call it while nobody changes the core."""
        shown = [one for one in core.incidents.by_key.values() if one.present or one.rank or one.flapping]
        silences = core.silences.copy()
        return cls(
            incidents=[copy.copy(one) for one in shown],
            notes=list(core.told.notes.values()),
            silences=silences,
            grouping=Grouping(core.grouping.policy, silences, Told()),
        )

    @property
    def firing(self) -> list[Alert]:
        """The alerts that fire."""
        return [one.firing_alert() for one in self.incidents if one.rank]


@dataclass(frozen=True)
class Moment:
    """What the views are made from, besides the core: the same moment for all of them.

    ``readings`` are by source, ``sources`` is everything that is watched. ``waiting`` are the IDs of the messages in the spool.
    """

    now: float
    readings: t.Mapping[str, Reading] = field(default_factory=dict)
    sources: t.Collection[str] = ()
    health: t.Mapping[str, ReceiverHealth] = field(default_factory=dict)
    waiting: t.Collection[str] = ()
    reconcile_every_s: float = 10.0


# ---------------------------------------------------------------------------------------------------------------
# Alerts


def alerts(core: Snapshot, moment: Moment) -> list[Data]:
    """Return what is wrong, was wrong a moment ago, or is not known any more: what fires first, then by severity and time."""
    suppression = core.grouping.suppression(core.incidents, moment.now)
    notes: dict[str, list[Note]] = {}
    for note in sorted(core.notes, key=lambda one: one.receiver):
        notes.setdefault(note.episode, []).append(note)
    return [_alert(core, incident, suppression, notes, moment) for incident in sorted(core.incidents, key=_order)]


def _order(incident: Incident) -> tuple[t.Any, ...]:
    rank = STATES.index(incident.state) if incident.state in STATES else len(STATES)
    return (not incident.rank, rank, -RANK[incident.severity], incident.started, incident.key)


def _alert(
    core: Snapshot,
    incident: Incident,
    suppression: Suppression,
    notes: t.Mapping[str, t.Sequence[Note]],
    moment: Moment,
) -> Data:
    alert = incident.firing_alert()
    routes = core.grouping.routes_of(alert, incident.worst_severity)
    episodes = (incident.episode, *incident.other_episodes) if incident.rank else ()
    return {
        "state": incident.state,
        "firing": incident.rank > 0,
        "severity": incident.severity,
        "rule": alert.rule,
        "datacenter": alert.datacenter,
        "node": alert.node,
        "service": alert.service,
        "service_name": alert.service_name,
        "check": alert.check,
        "check_name": alert.check_name,
        "tags": list(alert.tags),
        "place": alert.place,
        "summary": alert.summary,
        "output": alert.output,
        "detail": alert.detail,
        "advice": alert.advice,
        "since": time_of(incident.started),
        "firing_since": time_of(incident.fired_at) if incident.rank else None,
        "unknown_since": None if incident.frozen_since is None else time_of(incident.frozen_since),
        "flapping": incident.flapping,
        "key": alert.key,
        "episode": alert.episode,
        "silenced_by": [_silenced_by(one) for one in suppression.silences_of(alert)],
        "inhibited_by": [one.summary for one in suppression.inhibitors_of(alert)],
        "routes": [
            {
                "receiver": route.receiver,
                "path": route.path,
                "muted": core.grouping.policy.is_muted(route, moment.now),
            }
            for route in routes
        ],
        "told": [_told(note, moment) for episode in episodes for note in notes.get(episode, ())],
    }


def _silenced_by(silence: Silence) -> Data:
    return {"id": silence.id, "author": silence.author, "reason": silence.reason, "until": time_of(silence.end)}


def _told(note: Note, moment: Moment) -> Data:
    """Return what a receiver was told: ``delivery`` is what became of the last message."""
    outcome = GIVEN_UP if note.status in NOT_DELIVERED else DELIVERED
    return {
        "receiver": note.receiver,
        "status": note.status,
        "severity": note.severity,
        "at": time_of(note.at),
        "messages": note.count,
        "delivery": WAITING if note.notification in moment.waiting else outcome,
    }


def counts_of(shown: t.Sequence[Data]) -> dict[str, int]:
    """Return how many alerts of ``alerts`` fire, by severity, and how many are in which other state."""
    firing = [one for one in shown if one["firing"]]
    others = [one for one in shown if not one["firing"]]
    return {
        "firing": len(firing),
        "critical": sum(one["severity"] == "critical" for one in firing),
        "warning": sum(one["severity"] == "warning" for one in firing),
        "pending": sum(one["state"] == PENDING_STATE for one in others),
        "unknown": sum(one["state"] == FROZEN_STATE for one in shown),
        "silenced": sum(bool(one["silenced_by"]) for one in firing),
        "inhibited": sum(bool(one["inhibited_by"]) for one in firing),
    }


# ---------------------------------------------------------------------------------------------------------------
# Silences


def silences(core: Snapshot, now: float) -> list[Data]:
    """Return the silences: those in force first, the first to end first; then those to come, then those that are over."""
    every = {one.id: one for one in core.silences.all()}
    covered = _covered([one for one in every.values() if one.end > now], core.firing)
    found = [silence(one, name in core.silences.configured, covered[name], now) for name, one in every.items()]
    order = (ACTIVE, FUTURE, EXPIRED)

    def place(one: Data) -> tuple[t.Any, ...]:
        end = every[one["id"]].end
        return (order.index(one["state"]), -end if one["state"] == EXPIRED else end, one["id"])

    return sorted(found, key=place)


def _covered(silences: t.Sequence[Silence], firing: t.Iterable[Alert]) -> collections.Counter[str]:
    """Return, by the ID of a silence, how many firing alerts it covers."""
    index = MatchIndex([one.matchers for one in silences])
    return collections.Counter(silences[place].id for alert in firing for place in index.covering(alert))


def silence(one: Silence, is_configured: bool, covered: int, now: float) -> Data:
    """Return one silence, which covers so many firing alerts. ``configured``: it is in the configuration file, and is ended there only."""
    is_over = one.end <= now
    return {
        "id": one.id,
        "state": EXPIRED if is_over else ACTIVE if one.is_active(now) else FUTURE,
        "match": one.match,
        "start": time_of(one.start) if one.start else None,
        "end": time_of(one.end),
        "author": one.author,
        "reason": one.reason,
        "configured": is_configured,
        "firing": 0 if is_over else covered,
    }


# ---------------------------------------------------------------------------------------------------------------
# Receivers


def receivers(core: Snapshot, moment: Moment, types: t.Mapping[str, str]) -> list[Data]:
    """Return the receivers, those that fail first. ``types`` are their types by name.

    One to which nothing was sent since the start of the process is ``untried``: whether it works is not known.
    """
    told = dict.fromkeys(types, 0)
    for note in core.notes:
        if note.receiver in told and note.status not in NOT_DELIVERED:
            told[note.receiver] += 1
    found = [
        {"name": name, "type": kind, **_receiver(moment.health.get(name, _NO_HEALTH)), "episodes_told": told[name]}
        for name, kind in types.items()
    ]
    return sorted(found, key=lambda one: (one["state"] != FAILING, one["name"]))


# Of a receiver that has not begun.
_NO_HEALTH = ReceiverHealth("", 0, None, None, None, 0, 0, 0)


def _receiver(health: ReceiverHealth) -> Data:
    state = FAILING if health.problem else UNTRIED if health.last_success is None else WORKING
    return {
        "state": state,
        "problem": health.problem,
        "waiting": health.waiting,
        "oldest": time_of(health.oldest),
        "last_success": time_of(health.last_success),
        "sending_since": time_of(health.sending_since),
        "delivered": health.delivered,
        "given_up": health.given_up,
        "failures_in_row": health.failures_in_row,
    }


# ---------------------------------------------------------------------------------------------------------------
# Datacenters


def datacenters(moment: Moment) -> list[Data]:
    """Return the watched datacenters, in the order of their names. ``verdict`` is that of the last reading, unless that is too old."""
    return [_datacenter(source, moment) for source in sorted({*moment.sources, *moment.readings})]


def _datacenter(source: str, moment: Moment) -> Data:
    reading = moment.readings.get(source)
    if reading is None:
        return {
            "datacenter": source,
            "watched_as": source,
            "verdict": UNKNOWN,
            "read_at": None,
            "took_s": None,
            "findings": {},
            "unknown": ["It has not been read yet."],
            "not_judged": [],
            "maintenance": [],
        }
    judgement = reading.judgement
    missing = [f"{one.what}: {one.reason}" for one in judgement.unknown]
    age_s = moment.now - reading.at
    is_stale = age_s > moment.reconcile_every_s + STALE_AFTER_S
    if is_stale:
        missing.insert(0, f"The last full reading is {human_age(age_s)} old.")
    not_judged = sorted({rule for _datacenter_name, rule in judgement.not_judged})
    verdict = judgement.verdict
    if is_stale or (verdict == "ok" and not_judged):
        verdict = UNKNOWN
    return {
        "datacenter": reading.datacenter,
        "watched_as": source,
        "verdict": verdict,
        "read_at": time_of(reading.at),
        "took_s": round(reading.took_s, 3),
        "findings": {name: count for name, count in judgement.counts.items() if name != UNKNOWN},
        "unknown": missing,
        "not_judged": not_judged,
        "maintenance": list(judgement.maintenance),
    }


def unknown_parts(shown: t.Sequence[Data], watched: t.Sequence[Data]) -> list[str]:
    """Return sentences about what is not known of the alerts and datacenters: while there is one, "no alert" says little."""
    found = []
    for one in watched:
        found += [f"{one['datacenter']}: {text}" for text in one["unknown"]]
        if one["not_judged"] and not one["unknown"]:
            found.append(f"{one['datacenter']}: not judged are {', '.join(one['not_judged'])}")
    frozen = sum(one["state"] == FROZEN_STATE for one in shown)
    if frozen and not found:
        found.append(f"the state of {frozen} alerts" if frozen > 1 else "the state of one alert")
    return found


def time_of(seconds: float | None) -> str | None:
    """Return a time as text; None for none, and for one that no calendar has."""
    if seconds is None:
        return None
    try:
        return timestamp(seconds)
    except (OverflowError, ValueError, OSError):
        return None

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All incidents of an agent: takes judgements and the time, and says what fires and what has ended. Pure.

The clock is the caller's: every ``now`` is in Unix seconds, and never less than the one before.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ..._alerting.finding import RANK, Finding, InMaintenance, Judgement
from ..._alerting.registry import BUILT_IN_RULES
from .incident import DEREGISTERED, MAINTENANCE, RECOVERED, FlapLimits, Incident
from .notification import RESOLVED, Alert
from .saved_state import decode_alert, decode_incident, encode_alert, encode_incident, number, text
from .timing import Timing

# Of a node that is down these are not judged.
RULES_HIDDEN_WITH_A_NODE = {"check_status", "node_down", "raft_last_contact", "raft_trailing_logs"}
MOST_ENDED = 10_000  # so many episodes wait, in memory and on disk, until a receiver can be told of their end

# What is in maintenance is not judged by these.
RULES_WITH_MAINTENANCE = {rule.name for rule in BUILT_IN_RULES if rule.takes_match}


@dataclass(frozen=True)
class Ended:
    """An episode that has ended. It is kept until every receiver that was told of it knows. ``names`` are all names it has."""

    alert: Alert
    source: str
    fired_at: float
    names: tuple[str, ...]


class Place(t.NamedTuple):
    """What an incident is about: a node, or a check on it. ``service`` is the ID of the service."""

    node: str
    service: str
    check: str


def key_of(finding: Finding) -> str:
    """Return what identifies a finding, as one text: ``dc1/check_status/node/service/check``. A slash in a name is written %2F."""
    parts = (finding.datacenter, finding.rule, finding.node, finding.service, finding.check)
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


class Incidents:
    """The incidents of all datacenters, and the episodes that ended and are not reported yet."""

    def __init__(self, timing: Timing, flaps: FlapLimits | None = None) -> None:
        self.timing = timing
        self.flaps = flaps or FlapLimits()
        self.by_key: dict[str, Incident] = {}
        self.ended: dict[str, Ended] = {}

    # -------------------------------------------------------------------------------------------------------------
    # Input

    def update(self, source: str, judgement: Judgement, now: float, gone: t.Collection[Place] = ()) -> None:
        """Take a judgement of one datacenter. ``source`` is its name as it is watched, the same as long as it is watched.

        ``gone`` are those of ``vanished_places`` that are not registered any more.
        """
        findings, not_judged = _worst_by_key(judgement.findings), _rules_not_judged(judgement)
        for key, finding in findings.items():
            incident = self.by_key.get(key)
            if incident is None:
                incident = self.by_key[key] = Incident(key, source, finding, started=now)
            incident.source = source
            incident.mark_present(finding, now)
        for key, incident in self.by_key.items():
            if incident.source == source and key not in findings:
                if _is_in_maintenance(incident.finding, judgement.in_maintenance):
                    self._end_for_maintenance(incident, now)
                elif _is_unknown(incident.finding, judgement, not_judged):
                    incident.freeze(now)
                else:
                    incident.mark_absent(now, _place(incident.finding) in gone)
        self.advance(now)

    def _end_for_maintenance(self, incident: Incident, now: float) -> None:
        incident.mark_absent(now)
        if incident.rank:
            self._end(incident, now, MAINTENANCE)
        incident.end()

    def vanished_places(self, source: str, judgement: Judgement) -> list[Place]:
        """Return the nodes and checks that fire and are not in a judgement: they recovered, or they are not registered any more."""
        keys, not_judged = set(map(key_of, judgement.findings)), _rules_not_judged(judgement)
        return sorted(
            {
                _place(incident.finding)
                for key, incident in self.by_key.items()
                if incident.source == source
                and incident.rank
                and key not in keys
                and incident.finding.rule in ("check_status", "node_down")
                and not _is_unknown(incident.finding, judgement, not_judged)
            }
        )

    def freeze(self, now: float, source: str | None = None) -> None:
        """Record that nothing is known about one datacenter or all: it was not judged."""
        for incident in self.by_key.values():
            if source in (None, incident.source):
                incident.freeze(now)

    def advance(self, now: float) -> None:
        """Apply what the timers say."""
        for incident in list(self.by_key.values()):
            if incident.advance(now, self.timing.of(incident.finding), self.flaps):
                self._end(incident, now, DEREGISTERED if incident.gone else RECOVERED)
            if incident.is_idle(now):
                del self.by_key[incident.key]

    def _end(self, incident: Incident, now: float, reason: str) -> None:
        alert = incident.resolved_alert(now, reason)
        names = (incident.episode, *incident.other_episodes)
        for episode in names:
            self.ended[episode] = Ended(replace(alert, episode=episode), incident.source, incident.fired_at, names)

    def release(self, episode: str) -> None:
        """Forget an episode that has ended: whoever must know of it does."""
        self.ended.pop(episode, None)

    def restore_end(self, alert: Alert, source: str, now: float) -> None:
        """Keep an episode again that has ended: a receiver that was told of it could not be told of its end."""
        if self.fires(alert) or len(self.ended) >= MOST_ENDED:
            return
        ended = alert.ended if alert.ended is not None else now
        alert = replace(alert, status=RESOLVED, ended=ended, reason=alert.reason or RECOVERED)
        self.ended.setdefault(alert.episode, Ended(alert, source, ended, (alert.episode,)))

    def fires(self, alert: Alert) -> bool:
        """Whether the episode of an alert fires."""
        return self._firing_as(alert) is not None

    def source_of(self, alert: Alert) -> str | None:
        """Return as what the datacenter of an episode that fires or has ended is watched, None if the episode is not known."""
        ended = self.ended.get(alert.episode)
        if ended is not None:
            return ended.source
        incident = self._firing_as(alert)
        return None if incident is None else incident.source

    def _firing_as(self, alert: Alert) -> Incident | None:
        """Return the incident that fires, if this alert is about its episode."""
        incident = self.by_key.get(alert.key)
        if incident is None or not incident.rank or alert.episode not in (incident.episode, *incident.other_episodes):
            return None
        return incident

    def rename_sources(self, names: t.Mapping[str, str], sources: t.Collection[str]) -> None:
        """Give what belongs to none of ``sources`` to the one that watches its datacenter: ``names`` has the source of a datacenter.

        A datacenter may be watched under another name than before, or than by another instance.
        """
        for incident in self.by_key.values():
            if incident.source not in sources and incident.finding.datacenter in names:
                incident.source = names[incident.finding.datacenter]

    def forget_sources(self, sources: t.Collection[str], now: float) -> None:
        """End what belongs to datacenters that are not watched any more."""
        for key, incident in list(self.by_key.items()):
            if incident.source not in sources:
                if incident.rank:
                    self._end(incident, now, DEREGISTERED)
                del self.by_key[key]

    # -------------------------------------------------------------------------------------------------------------
    # Output

    def firing(self) -> list[Incident]:
        """Return the incidents that fire, in an order that does not depend on the order of findings."""
        return [self.by_key[key] for key in sorted(self.by_key) if self.by_key[key].rank]

    def ended_episodes(self) -> list[Ended]:
        """Return the episodes that ended, in a stable order."""
        return [self.ended[episode] for episode in sorted(self.ended)]

    # -------------------------------------------------------------------------------------------------------------
    # What another instance told receivers

    def adopt(self, source: str, alert: Alert, now: float) -> None:
        """Take over an episode that another instance reported as firing.

        If the incident is known here and does not fire yet, it fires under the other's name; if it does, both names stand for it. If
        nothing is known of it, it fires until a judgement shows that it is over, so that its recovery is reported.
        """
        if alert.episode in self.ended:
            return
        incident = self.by_key.get(alert.key)
        if incident is None:
            incident = Incident(alert.key, source, _finding_of(alert), started=alert.since)
            incident.left = dict.fromkeys((RANK["warning"], RANK["critical"]), now)
            incident.freeze(now)
            self.by_key[alert.key] = incident
        incident.adopt_episode(alert, now)

    # -------------------------------------------------------------------------------------------------------------
    # Saving

    def encode(self) -> dict[str, t.Any]:
        """Return everything as plain data."""
        return {
            "incidents": [encode_incident(self.by_key[key]) for key in sorted(self.by_key)],
            "ended": [
                {
                    "alert": encode_alert(one.alert),
                    "source": one.source,
                    "fired_at": one.fired_at,
                    "names": list(one.names),
                }
                for one in self.ended_episodes()
            ],
        }

    def decode(self, raw: dict[str, t.Any], now: float) -> None:
        """Take what ``encode`` returned, at any later time. Everything is unknown until it is judged again.

        Times ahead of ``now`` become ``now``: the clock was set back. Raises as ``saved_state.decode_state`` expects it.
        """
        incidents = [decode_incident(one) for one in raw["incidents"]]
        ended = [
            Ended(
                decode_alert(one["alert"]), text(one["source"]), number(one["fired_at"]), tuple(map(text, one["names"]))
            )
            for one in raw["ended"]
        ]
        saved_at = min(now, number(raw["saved_at"]))
        for incident in incidents:
            _limit_times(incident, now)
            incident.freeze(saved_at)
        self.by_key = {incident.key: incident for incident in incidents}
        self.ended = {one.alert.episode: one for one in ended}


def _worst_by_key(findings: t.Iterable[Finding]) -> dict[str, Finding]:
    """Return one finding for each key: the worst, or the first by its words. The order of the findings does not matter."""
    found: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda one: (-RANK[one.severity], one.summary, one)):
        found.setdefault(key_of(finding), finding)
    return found


def _place(finding: Finding) -> Place:
    return Place(finding.node, finding.service, finding.check)


def _is_in_maintenance(finding: Finding, in_maintenance: t.Collection[InMaintenance]) -> bool:
    if finding.rule not in RULES_WITH_MAINTENANCE or not finding.node:
        return False
    node = InMaintenance(finding.datacenter, finding.node)
    return node in in_maintenance or (
        bool(finding.service) and node._replace(service=finding.service) in in_maintenance
    )


def _rules_not_judged(judgement: Judgement) -> set[str]:
    """Return the rules alone: the incidents of one source belong to one datacenter, whose name is not known while it does not answer."""
    return {rule for _datacenter, rule in judgement.not_judged}


def _is_unknown(finding: Finding, judgement: Judgement, not_judged: t.Collection[str]) -> bool:
    if finding.rule in not_judged:
        return True
    is_hidden = (finding.datacenter, finding.node) in judgement.hidden_nodes
    return is_hidden and finding.rule in RULES_HIDDEN_WITH_A_NODE


def _limit_times(incident: Incident, now: float) -> None:
    incident.started = min(incident.started, now)
    incident.fired_at = min(incident.fired_at, now)
    incident.reached = {level: min(since, now) for level, since in incident.reached.items()}
    incident.left = {level: min(since, now) for level, since in incident.left.items()}
    incident.changes = [min(time, now) for time in incident.changes]
    if incident.frozen_since is not None:
        incident.frozen_since = min(incident.frozen_since, now)


def _finding_of(alert: Alert) -> Finding:
    return Finding(
        alert.rule,
        alert.severity,
        alert.datacenter,
        alert.summary,
        alert.node,
        alert.service,
        alert.check,
        service_name=alert.service_name,
        check_name=alert.check_name,
        tags=alert.tags,
        node_meta=tuple(sorted(alert.node_meta.items())),
        service_meta=tuple(sorted(alert.service_meta.items())),
    )

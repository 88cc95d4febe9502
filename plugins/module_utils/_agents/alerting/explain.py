# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the agent would do, and does, about a node, a service or a check: rule, timers, routes, silences, messages. Pure.

The command and the endpoint show it; here it is plain data.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ..._alerting.finding import Finding
from ..._alerting.rule import Rule, RuleSet
from ..._consul.units import timestamp
from .alert_match import ALL_RULES
from .core import Core
from .grouping import Suppression
from .incident import Incident
from .incidents import key_of
from .notification import FIRING, Alert
from .routing import Route, group_of
from .templates import what_failed
from .timing import subject_of


@dataclass(frozen=True)
class Question:
    """What is asked about: NODE, NODE/SERVICE, NODE/SERVICE/CHECK or NODE//CHECK, or a RULE. Services by ID; names and tags help matchers.

    ``severity`` is the one that is supposed where nothing is wrong now.
    """

    datacenter: str
    node: str
    service: str = ""
    check: str = ""
    service_name: str = ""
    tags: tuple[str, ...] = ()
    node_meta: t.Mapping[str, str] = field(default_factory=dict)
    service_meta: t.Mapping[str, str] = field(default_factory=dict)
    severity: str = "critical"

    @property
    def is_rule(self) -> bool:
        """Whether it asks about a rule that concerns no node, as messages name what has none."""
        return self.node in ALL_RULES and not (self.service or self.check)

    @property
    def finding(self) -> Finding:
        """The finding that a failure would be."""
        if self.is_rule:
            return Finding(self.node, self.severity, self.datacenter, f"{self.node} in {self.datacenter}")
        is_check = bool(self.service or self.check)
        return Finding(
            "check_status" if is_check else "node_down",
            self.severity,
            self.datacenter,
            f"{'/'.join(filter(None, (self.node, self.service, self.check)))} of {self.datacenter} fails",
            self.node,
            self.service,
            self.check,
            service_name=self.service_name or self.service,
            tags=self.tags,
            node_meta=tuple(sorted(self.node_meta.items())),
            service_meta=tuple(sorted(self.service_meta.items())),
        )


def parse_question(text: str, datacenter: str) -> Question:
    """Return the question of ``NODE``, ``NODE/SERVICE`` or ``NODE/SERVICE/CHECK``."""
    node, service, check = [*text.split("/", 2), "", ""][:3]
    return Question(datacenter, node, service, check)


def explain(core: Core, rules: RuleSet, question: Question, now: float) -> dict[str, t.Any]:
    """Return what applies to the subject of a question at ``now``, as plain data for JSON.

    ``incidents`` are those that are known of it; ``supposed`` is what a failure of it would cause, if none is known.
    """
    suppression = core.suppression(now)
    known = [incident for incident in core.incidents.by_key.values() if _concerns(question, incident.finding)]
    result: dict[str, t.Any] = {
        "datacenter": question.datacenter,
        "node": question.node,
        "service": question.service,
        "check": question.check,
        "incidents": [
            _of_incident(core, rules, incident, suppression, now) for incident in sorted(known, key=lambda one: one.key)
        ],
    }
    if not known:
        finding = question.finding
        supposed = Incident(key_of(finding), question.datacenter, finding, started=now)
        result["supposed"] = _of_incident(core, rules, supposed, suppression, now)
    return result


def _concerns(question: Question, finding: Finding) -> bool:
    if question.is_rule and finding.datacenter == question.datacenter and finding.rule == question.node:
        return True
    return (
        finding.datacenter == question.datacenter
        and finding.node == question.node
        and question.service in ("", finding.service, finding.service_name)
        and question.check in ("", finding.check, finding.check_name)
    )


def _of_incident(
    core: Core, rules: RuleSet, incident: Incident, suppression: Suppression, now: float
) -> dict[str, t.Any]:
    alert, finding = incident.firing_alert(), incident.finding
    timers = core.incidents.timing.of(finding)
    return {
        "rule": finding.rule,
        "judged": _judged(rules, finding),
        "state": incident.state,
        "severity": incident.severity,
        "summary": finding.summary,
        "episode": incident.episode,
        "since": timestamp(incident.started),
        "for_s": dict(timers.for_s),
        "recover_for_s": timers.recover_for_s,
        "gone_for_s": timers.gone_for_s,
        "silenced_by": [
            {"id": one.id, "author": one.author, "reason": one.reason, "until": timestamp(one.end)}
            for one in suppression.silences_of(alert)
        ],
        "inhibited_by": [one.summary for one in suppression.inhibitors_of(alert)],
        "routes": [_of_route(core, route, incident, now) for route in _routes(core, incident, alert)],
        "message": what_failed(replace(alert, status=FIRING)),
    }


def _judged(rules: RuleSet, finding: Finding) -> str:
    """Return by which entry of the rules it is judged, in words."""
    rule = rules.get(finding.rule) if finding.rule != "check_status" else None
    entries: list[Rule] = rules.entries(finding.rule)
    takes_match = any(entry.takes_match for entry in entries)
    if takes_match:
        rule = rules.entry_for(finding.rule, subject_of(finding))
    if rule is None:
        return "not judged: the rule is off, or match and ignore leave it out" if entries else "by the agent itself"
    return "by an entry of rules with match" if rule.match else "by the rule for all"


def _routes(core: Core, incident: Incident, alert: Alert) -> list[Route]:
    return core.grouping.routes_of(alert, incident.worst_severity)


def _of_route(core: Core, route: Route, incident: Incident, now: float) -> dict[str, t.Any]:
    alert = replace(incident.firing_alert(), severity=incident.worst_severity)
    note = core.told.find(route.receiver, (incident.episode, *incident.other_episodes)) if incident.episode else None
    return {
        "path": route.path,
        "receiver": route.receiver,
        "group": dict(group_of(route, alert).labels),
        "group_wait_s": route.group_wait_s,
        "group_interval_s": route.group_interval_s,
        "repeat_every_s": route.repeat_every_s,
        "muted": core.grouping.policy.is_muted(route, now),
        "told": None if note is None else {"status": note.status, "at": timestamp(note.at), "messages": note.count},
    }

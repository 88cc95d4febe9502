# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long something must be wrong before it is an alert, and right before the alert ends: by rule, severity and place. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..._alerting.finding import Finding
from ..._alerting.match import Matcher, Subject

# Consul removes a dead server after some 15 seconds, and an election takes about three.
CLUSTER_FOR_S = {
    "consul_unreachable": 10.0,
    "no_leader": 10.0,
    "acl_token_blind": 10.0,
    "quorum_margin": 5.0,
    "server_missing": 5.0,
    "delivery_failed": 0.0,
    "maintenance_too_long": 0.0,
}


@dataclass(frozen=True)
class Timers:
    """Times in seconds. ``for_s`` is by severity. ``gone_for_s`` applies in place of ``recover_for_s`` to what was deregistered."""

    for_s: t.Mapping[str, float]
    recover_for_s: float
    gone_for_s: float


DEFAULT_TIMERS = Timers({"critical": 30.0, "warning": 60.0}, 30.0, 60.0)


@dataclass(frozen=True)
class TimerEntry:
    """Times of one rule, for what ``match`` and ``ignore`` cover. What is not given comes from later entries."""

    rule: str
    for_s: t.Mapping[str, float] = field(default_factory=dict)
    recover_for_s: float | None = None
    match: tuple[Matcher, ...] = ()
    ignore: tuple[Matcher, ...] = ()

    def covers(self, finding: Finding) -> bool:
        """Return whether the entry applies to a finding."""
        if self.rule != finding.rule:
            return False
        subject = subject_of(finding)
        if self.match and not any(matcher.matches(subject) for matcher in self.match):
            return False
        return not any(matcher.matches(subject) for matcher in self.ignore)


@dataclass(frozen=True)
class Timing:
    """All times of an agent. The first entry that covers a finding and gives a time decides it."""

    default: Timers = DEFAULT_TIMERS
    entries: tuple[TimerEntry, ...] = ()

    def of(self, finding: Finding) -> Timers:
        """Return the times that apply to a finding."""
        entries = [entry for entry in self.entries if entry.covers(finding)]
        built_in = CLUSTER_FOR_S.get(finding.rule)
        for_s = {
            severity: next(
                (entry.for_s[severity] for entry in entries if severity in entry.for_s),
                default_s if built_in is None else min(built_in, default_s),
            )
            for severity, default_s in self.default.for_s.items()
        }
        recover_for_s = next(
            (entry.recover_for_s for entry in entries if entry.recover_for_s is not None), self.default.recover_for_s
        )
        return Timers(for_s, recover_for_s, self.default.gone_for_s)


def subject_of(finding: Finding) -> Subject:
    """Return what the matchers of rules compare of a finding."""
    return Subject(
        finding.node,
        finding.service_name or finding.service,
        finding.check,
        finding.check_name,
        finding.tags,
        dict(finding.node_meta),
        dict(finding.service_meta),
    )

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which alerts are not reported because of others that explain them: built-in rules, and those of the configuration. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..._alerting.registry import RULE_GROUPS
from .alert_match import AlertMatchers, alert_matchers, label
from .match_index import MatchIndex
from .notification import Alert


@dataclass(frozen=True)
class InhibitRule:
    """While a ``source`` fires, a ``target`` with the same values of the labels in ``equal`` is not reported."""

    source: AlertMatchers
    target: AlertMatchers
    equal: tuple[str, ...] = ()

    def labels(self, alert: Alert) -> tuple[str, ...]:
        """Return the values of the labels in ``equal``."""
        return tuple(label(alert, name) for name in self.equal)


class InhibitRules:
    """The inhibition rules of a configuration. What was found out about an alert is kept. Not for several threads at a time."""

    def __init__(self, rules: t.Sequence[InhibitRule] = ()) -> None:
        self.rules = tuple(rules)
        self._index = MatchIndex([matchers for rule in self.rules for matchers in (rule.source, rule.target)])

    def roles(self, alert: Alert) -> tuple[int, ...]:
        """Return what an alert is in the rules, in ascending order: twice the place of a rule as its source, and one more as a target."""
        return self._index.covering(alert)


@dataclass
class _Sources:
    """The firing alerts that are sources of one rule, with the same labels. ``only`` are those that are not targets of it too."""

    every: list[Alert] = field(default_factory=list)
    only: list[Alert] = field(default_factory=list)


class Inhibitors:
    """The firing alerts that can inhibit others, by rule and labels: each alert is compared with few of them.

    No alert inhibits itself, or another that would inhibit it in turn.
    """

    def __init__(self, firing: t.Sequence[Alert], rules: InhibitRules) -> None:
        self._rules = rules
        self._sources: dict[int, dict[tuple[str, ...], _Sources]] = {}  # by the place of the rule
        for alert in firing:
            roles = rules.roles(alert)
            for role in roles:
                place, is_target = divmod(role, 2)
                if not is_target:
                    by_labels = self._sources.setdefault(place, {})
                    found = by_labels.setdefault(rules.rules[place].labels(alert), _Sources())
                    found.every.append(alert)
                    if role + 1 not in roles:
                        found.only.append(alert)

    def of(self, alert: Alert) -> list[Alert]:
        """Return the firing alerts because of which an alert is not reported."""
        return list({source.key: source for source in self._of(alert)}.values())

    def any_of(self, alert: Alert) -> bool:
        """Return whether there is such an alert."""
        return next(self._of(alert), None) is not None

    def _of(self, alert: Alert) -> t.Iterator[Alert]:
        if not self._sources:
            return
        roles = self._rules.roles(alert)
        for role in roles:
            place, is_target = divmod(role, 2)
            if not is_target or place not in self._sources:
                continue
            found = self._sources[place].get(self._rules.rules[place].labels(alert))
            if found is not None:
                candidates = found.only if role - 1 in roles else found.every
                yield from (source for source in candidates if source.key != alert.key)


def _rule(source: dict[str, t.Any], target: dict[str, t.Any], *equal: str) -> InhibitRule:
    return InhibitRule(
        AlertMatchers(alert_matchers(source, "source_match")),
        AlertMatchers(alert_matchers(target, "target_match")),
        equal,
    )


_NEED_LEADER = [rule.name for group in RULE_GROUPS if group.needs_leader for rule in group.rules]
_NOT_FIRST = [rule.name for group in RULE_GROUPS for rule in group.rules if rule.name != "consul_unreachable"]

BUILT_IN_INHIBITIONS = (
    # What is wrong on a node that is down follows from it.
    _rule(
        {"rule": ["node_down", "server_missing", "node_left"]},
        {"rule": ["check_status", "raft_last_contact", "raft_trailing_logs"]},
        "datacenter",
        "node",
    ),
    _rule({"rule": "server_missing"}, {"rule": ["node_down", "node_left"]}, "datacenter", "node"),
    # Without a leader the checks say what they said before.
    _rule({"rule": "no_leader"}, {"rule": _NEED_LEADER}, "datacenter"),
    # As a warning it says that the token sees a part: what it sees is reported.
    _rule({"rule": "acl_token_blind", "severity": "critical"}, {"rule": _NEED_LEADER}, "datacenter"),
    _rule({"rule": "consul_unreachable"}, {"rule": _NOT_FIRST}, "datacenter"),
)

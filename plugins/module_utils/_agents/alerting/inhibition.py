# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which alerts are not reported because of others that explain them: built-in rules, and those of the configuration. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._alerting.registry import RULE_GROUPS
from .alert_match import AlertMatchers, alert_matchers, label
from .notification import Alert


@dataclass(frozen=True)
class InhibitRule:
    """While a ``source`` fires, a ``target`` with the same values of the labels in ``equal`` is not reported."""

    source: AlertMatchers
    target: AlertMatchers
    equal: tuple[str, ...] = ()

    def inhibits(self, source: Alert, target: Alert) -> bool:
        """Return whether one alert inhibits the other. None inhibits itself, or another that would inhibit it in turn."""
        pair = (source, target)
        return source.key != target.key and self._applies(pair) and not self._applies(pair[::-1])

    def labels(self, alert: Alert) -> tuple[str, ...]:
        """Return the values of the labels in ``equal``."""
        return tuple(label(alert, name) for name in self.equal)

    def _applies(self, pair: tuple[Alert, ...]) -> bool:
        source, target = pair
        return self.source.covers(source) and self.target.covers(target) and self.labels(source) == self.labels(target)


class Inhibitors:
    """The firing alerts that can inhibit others, by rule and labels: each alert is compared with few of them."""

    def __init__(self, firing: t.Sequence[Alert], rules: t.Sequence[InhibitRule]) -> None:
        self._by_labels: list[tuple[InhibitRule, dict[tuple[str, ...], list[Alert]]]] = []
        for rule in rules:
            by_labels: dict[tuple[str, ...], list[Alert]] = {}
            for alert in firing:
                if rule.source.covers(alert):
                    by_labels.setdefault(rule.labels(alert), []).append(alert)
            self._by_labels.append((rule, by_labels))

    def of(self, alert: Alert) -> list[Alert]:
        """Return the firing alerts because of which an alert is not reported."""
        found: dict[str, Alert] = {}
        for rule, by_labels in self._by_labels:
            for source in by_labels.get(rule.labels(alert), ()):
                if rule.inhibits(source, alert):
                    found[source.key] = source
        return list(found.values())


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

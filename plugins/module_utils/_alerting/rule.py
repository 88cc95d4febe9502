# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rule with its thresholds, and the set of rules that a request uses. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .match import Matcher, Subject


@dataclass(frozen=True)
class Rule:
    """One rule with its thresholds, None where there is none for a severity.

    ``unit`` is what the thresholds are: ``seconds``, ``count``, ``share`` (a count or a percentage), or "" for a rule that has
    only a ``severity``. ``severities`` gives the severity of each status of a check. ``takes_match`` says that ``match`` and
    ``ignore`` can narrow it to some nodes, services and checks. ``is_named``: an entry of the options is about it.
    """

    name: str
    unit: str = ""
    severity: str = "critical"
    warning: float | None = None
    critical: float | None = None
    is_percentage: bool = False
    is_bad_when_small: bool = False
    can_be_negative: bool = False
    takes_match: bool = False
    enabled: bool = True
    is_named: bool = False
    match: tuple[Matcher, ...] = ()
    ignore: tuple[Matcher, ...] = ()
    severities: t.Mapping[str, str] = field(default_factory=dict)

    def severity_above(self, value: float) -> str:
        """Return the severity of a value that is bad when it is large, "none" when it is fine."""
        if self.critical is not None and value > self.critical:
            return "critical"
        return "warning" if self.warning is not None and value > self.warning else "none"

    def severity_below(self, value: float, *, inclusive: bool = False) -> str:
        """Return the severity of a value that is bad when it is small, "none" when it is fine."""
        for severity, limit in (("critical", self.critical), ("warning", self.warning)):
            if limit is not None and (value < limit or (inclusive and value == limit)):
                return severity
        return "none"

    @property
    def worst_severity(self) -> str:
        """The worst severity that has a threshold, "none" without thresholds."""
        return "critical" if self.critical is not None else "warning" if self.warning is not None else "none"


@dataclass(frozen=True)
class RuleSet:
    """All rules, also those that are off. A rule that takes ``match`` can have several entries: the first that matches applies.

    ``match`` and ``ignore`` apply to all rules that take them. ``also_read`` are fields (``node_meta``, ``service_meta``) that are
    read though no rule matches by them, because routes do.
    """

    rules: tuple[Rule, ...]
    match: tuple[Matcher, ...] = ()
    ignore: tuple[Matcher, ...] = ()
    also_read: frozenset[str] = frozenset()

    def get(self, name: str) -> Rule | None:
        """Return a rule, None when it is off."""
        return next((rule for rule in self.rules if rule.name == name and rule.enabled), None)

    def get_named(self, name: str) -> Rule | None:
        """Return a rule that an entry of the options names, None when there is no such entry or it is off."""
        rule = self.get(name)
        return rule if rule is not None and rule.is_named else None

    def has_enabled(self, names: t.Iterable[str], *, only_named: bool = False) -> bool:
        """Return whether one of these rules is on; with ``only_named`` because an entry of the options names it."""
        get = self.get_named if only_named else self.get
        return any(get(name) is not None for name in names)

    def entries(self, name: str) -> list[Rule]:
        """Return all entries of a rule in order, also those that are off: they take what they match from later ones."""
        return [rule for rule in self.rules if rule.name == name]

    def entry_for(self, name: str, subject: Subject) -> Rule | None:
        """Return the first entry of a rule that applies to a subject, None when there is none or it is off."""
        if not _covers(self.match, self.ignore, subject):
            return None
        entry = next((rule for rule in self.entries(name) if _covers(rule.match, rule.ignore, subject)), None)
        return entry if entry is not None and entry.enabled else None

    def matched_fields(self, *names: str) -> set[str]:
        """Return the fields that the matchers of these rules use, of all rules when none is named."""
        matchers = [*self.match, *self.ignore]
        for rule in self.rules:
            if not names or rule.name in names:
                matchers += [*rule.match, *rule.ignore]
        found = {name for matcher in matchers for name in matcher.fields}
        return found if names else found | self.also_read


def _covers(match: t.Sequence[Matcher], ignore: t.Sequence[Matcher], subject: Subject) -> bool:
    if match and not any(matcher.matches(subject) for matcher in match):
        return False
    return not any(matcher.matches(subject) for matcher in ignore)

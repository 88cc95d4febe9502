# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a rule set of the built-in rules and the options ``rules``, ``match`` and ``ignore``. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

from .._consul.errors import InvalidOption
from .._consul.units import parse_duration
from .finding import RANK
from .match import matchers
from .registry import BUILT_IN_RULES
from .rule import Rule, RuleSet

RULE_NAMES = tuple(rule.name for rule in BUILT_IN_RULES)
SETTINGS = ("rule", "enabled", "severity", "severities", "warning", "critical", "match", "ignore")
CHECK_STATUSES = ("warning", "critical")  # of Consul's checks, beside passing


def make_rules(options: t.Sequence[t.Mapping[str, t.Any]], match: t.Any = None, ignore: t.Any = None) -> RuleSet:
    """Return the built-in rules as the options change them. Raises InvalidOption.

    An entry with ``match`` comes before the built-in entry of its rule; one without replaces it.
    """
    entries_by_rule = {rule.name: [rule] for rule in BUILT_IN_RULES}
    for number, given in enumerate(options):
        option = f"rules[{number}]"
        unknown = sorted(set(given) - set(SETTINGS))
        if unknown:
            raise InvalidOption(f"{option}: {unknown[0]!r} is not a setting of a rule; use {', '.join(SETTINGS)}.")
        name = given.get("rule")
        if name not in RULE_NAMES:
            raise InvalidOption(f"{option}: there is no rule {name!r}; there are {', '.join(RULE_NAMES)}.")
        entries = entries_by_rule[name]
        changed = _changed(entries[-1], given, option)
        if changed.match:
            entries.insert(len(entries) - 1, changed)
        else:
            entries[-1] = changed
    return RuleSet(
        tuple(rule for name in RULE_NAMES for rule in entries_by_rule[name]),
        tuple(matchers(match, "match")),
        tuple(matchers(ignore, "ignore")),
    )


def _changed(rule: Rule, given: t.Mapping[str, t.Any], option: str) -> Rule:
    if given.get("match") is not None and not rule.takes_match:
        with_match = ", ".join(one.name for one in BUILT_IN_RULES if one.takes_match)
        raise InvalidOption(f"{option}: {rule.name} applies to a whole datacenter; only {with_match} take match.")
    changed = replace(
        rule,
        is_named=True,
        enabled=_flag(given.get("enabled"), option),
        match=tuple(matchers(given.get("match"), f"{option}.match")),
        ignore=(*rule.ignore, *matchers(given.get("ignore"), f"{option}.ignore")),
    )
    changed = _with_severities(changed, given, option)
    for name in ("warning", "critical"):
        if given.get(name) is not None:
            changed = _with_threshold(changed, name, given[name], option)
    _check_order(changed, option)
    if changed.name == "service_min_healthy" and changed.enabled:
        _check_service_rule(changed, option)
    return changed


def _with_severities(rule: Rule, given: t.Mapping[str, t.Any], option: str) -> Rule:
    severities = given.get("severities")
    if severities is not None:
        if not rule.severities:
            raise InvalidOption(f"{option}: severities is for check_status; {rule.name} takes severity or thresholds.")
        rule = replace(rule, severities={**rule.severities, **_severities(severities, option)})
    if given.get("severity") is not None:
        severity = _severity(given["severity"], option)
        if rule.unit:
            raise InvalidOption(f"{option}: {rule.name} has thresholds; set warning and critical instead of severity.")
        rule = replace(rule, severity=severity, severities=dict.fromkeys(rule.severities, severity))
    return rule


def _flag(given: t.Any, option: str) -> bool:
    """Return a switch; an Ansible variable arrives as text."""
    text = str(given).lower()
    if given is None or text in ("true", "yes", "on", "1"):
        return True
    if text in ("false", "no", "off", "0"):
        return False
    raise InvalidOption(f"{option}.enabled {given!r} is neither true nor false.")


def _severities(given: t.Any, option: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise InvalidOption(f"{option}.severities is a dictionary, for example {{warning: critical}}.")
    for status in given:
        if status not in CHECK_STATUSES:
            raise InvalidOption(f"{option}.severities: {status!r} is none of {', '.join(CHECK_STATUSES)}.")
    return {status: _severity(severity, option) for status, severity in given.items()}


def _severity(text: t.Any, option: str) -> str:
    if not isinstance(text, str) or text not in RANK:
        raise InvalidOption(f"{option}: the severity {text!r} is none of {', '.join(RANK)}.")
    return text


def _with_threshold(rule: Rule, name: str, given: t.Any, option: str) -> Rule:
    text = str(given).strip()
    if text == "none":
        return _with_limit(rule, name, None)
    if not rule.unit:
        raise InvalidOption(f"{option}: {rule.name} has no threshold; set severity.")
    if rule.unit == "seconds":
        return _with_limit(rule, name, parse_duration(text, f"{option}.{name}"))
    is_percentage = rule.unit == "share" and text.endswith("%")
    number = text[:-1] if is_percentage else text
    sign = "-?" if rule.can_be_negative else ""
    if not re.fullmatch(sign + "[0-9]{1,9}", number) or (is_percentage and int(number) > 100):
        form = "a number, or a percentage such as 50%" if rule.unit == "share" else "a whole number"
        raise InvalidOption(f"{option}.{name} {text!r} is not {form}.")
    has_other_limit = rule.match and (rule.warning, rule.critical) != (None, None)
    if rule.unit == "share" and has_other_limit and rule.is_percentage != is_percentage:
        raise InvalidOption(f"{option}: warning and critical must both be numbers or both percentages.")
    return _with_limit(replace(rule, is_percentage=is_percentage), name, float(number))


def _with_limit(rule: Rule, name: str, limit: float | None) -> Rule:
    return replace(rule, warning=limit) if name == "warning" else replace(rule, critical=limit)


def _check_order(rule: Rule, option: str) -> None:
    """Raise InvalidOption if the value would be critical before it is a warning."""
    if rule.warning is None or rule.critical is None or rule.warning == rule.critical:
        return
    if (rule.warning > rule.critical) != rule.is_bad_when_small:
        raise InvalidOption(
            f"{option}: {rule.name} would be critical before it is a warning; exchange the two thresholds."
        )


def _check_service_rule(rule: Rule, option: str) -> None:
    """Raise InvalidOption unless the rule says which service, and how many instances."""
    if any("check" in matcher.fields for matcher in (*rule.match, *rule.ignore)):
        raise InvalidOption(f"{option}: service_min_healthy counts instances, which have no check to match by.")
    if not any(matcher.patterns("service") for matcher in rule.match):
        raise InvalidOption(f"{option}: service_min_healthy needs match: {{service: NAME}}, to know which service.")
    if (rule.warning, rule.critical) == (None, None):
        raise InvalidOption(f"{option}: service_min_healthy needs warning or critical: how many must be healthy.")

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules there are, their thresholds, and how options change them. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from .._consul.errors import InvalidOption
from .._consul.units import parse_duration
from .finding import RANK
from .match import Matcher, matchers


@dataclass(frozen=True)
class Rule:
    """One rule with its thresholds, None where there is none for a severity.

    ``unit`` says what the thresholds are: seconds, a count, a count or percentage, or "" when a rule has only a ``severity``.
    """

    name: str
    unit: str = ""
    severity: str = "critical"
    warning: float | None = None
    critical: float | None = None
    percent: bool = False
    enabled: bool = True
    match: tuple[Matcher, ...] = ()
    ignore: tuple[Matcher, ...] = ()
    severities: t.Mapping[str, str] = field(default_factory=dict)

    def exceeded(self, value: float) -> str:
        """Return the severity of a value that is bad when it is large, "none" when it is fine."""
        if self.critical is not None and value > self.critical:
            return "critical"
        return "warning" if self.warning is not None and value > self.warning else "none"

    def undercut(self, value: float, *, inclusive: bool = False) -> str:
        """Return the severity of a value that is bad when it is small, "none" when it is fine."""
        for severity, limit in (("critical", self.critical), ("warning", self.warning)):
            if limit is not None and (value < limit or (inclusive and value == limit)):
                return severity
        return "none"


DAY_S = 86400.0
BUILT_IN = (
    Rule("consul_unreachable"),
    Rule("no_leader"),
    Rule("acl_token_blind"),
    Rule("quorum_margin", "count", warning=1, critical=0),
    Rule("server_missing"),
    Rule("server_unexpected", severity="warning"),
    Rule("autopilot_unhealthy", severity="warning"),
    Rule("raft_last_contact", "seconds", warning=0.2),
    Rule("raft_trailing_logs", "count", warning=250),
    Rule("version_skew", severity="warning"),
    Rule("node_down"),
    Rule("check_status", severities={"critical": "critical", "warning": "warning"}),
    Rule("service_min_healthy", "share"),
    Rule("wan_member_failed", severity="warning"),
    Rule("wan_dc_missing"),
    Rule("tls_cert_expiry", "seconds", warning=30 * DAY_S, critical=7 * DAY_S),
    Rule("connect_ca_expiry", "seconds", warning=30 * DAY_S, critical=7 * DAY_S),
    Rule("acl_replication_lag", "seconds", warning=300.0, critical=1800.0),
    Rule("snapshot_age", "seconds", warning=26 * 3600.0, critical=50 * 3600.0),
    Rule("snapshot_unverified", severity="warning"),
)
NAMES = tuple(rule.name for rule in BUILT_IN)
_KEYS = ("rule", "enabled", "severity", "severities", "warning", "critical", "match", "ignore")
CHECK_STATUSES = ("warning", "critical")  # of Consul's checks, beside passing
_BAD_WHEN_SMALL = ("quorum_margin", "service_min_healthy", "tls_cert_expiry", "connect_ca_expiry")
_MATCHED = ("check_status", "node_down", "service_min_healthy")


@dataclass(frozen=True)
class RuleSet:
    """The rules that are on. Several entries of ``check_status`` and ``service_min_healthy`` count in their order."""

    rules: tuple[Rule, ...]
    match: tuple[Matcher, ...] = ()
    ignore: tuple[Matcher, ...] = ()

    def get(self, name: str) -> Rule | None:
        """Return a rule, None when it is off."""
        return next((rule for rule in self.rules if rule.name == name and rule.enabled), None)

    def every(self, name: str) -> list[Rule]:
        """Return all entries of a rule in order, switched off ones too: what they match is not looked at by later ones."""
        return [rule for rule in self.rules if rule.name == name]

    @property
    def needs(self) -> set[str]:
        """Which fields decide what is meant, in any rule."""
        return self.needs_of(*NAMES)

    def needs_of(self, *names: str) -> set[str]:
        """Which fields decide what is meant in some rules."""
        every = [*self.match, *self.ignore]
        every += [one for rule in self.rules if rule.name in names for one in (*rule.match, *rule.ignore)]
        return {need for one in every for need in one.needs}


def make_rules(options: t.Sequence[t.Mapping[str, t.Any]], match: t.Any = None, ignore: t.Any = None) -> RuleSet:
    """Return the built-in rules as the options change them. Raises InvalidOption.

    An entry with ``match`` stands before the built-in one; without it takes its place.
    """
    placed = {rule.name: [rule] for rule in BUILT_IN}
    for number, given in enumerate(options):
        where = f"rules[{number}]"
        unknown = sorted(set(given) - set(_KEYS))
        if unknown:
            raise InvalidOption(f"{where}: {unknown[0]!r} is no setting of a rule; there are {', '.join(_KEYS)}.")
        name = given.get("rule")
        if name not in NAMES:
            raise InvalidOption(f"{where}: there is no rule {name!r}; there are {', '.join(NAMES)}.")
        entries = placed[name]
        changed = _changed(entries[-1], given, where)
        if changed.match:
            entries.insert(len(entries) - 1, changed)
        else:
            entries[-1] = changed
    return RuleSet(
        tuple(rule for name in NAMES for rule in placed[name]),
        tuple(matchers(match, "match")),
        tuple(matchers(ignore, "ignore")),
    )


def _changed(rule: Rule, given: t.Mapping[str, t.Any], where: str) -> Rule:
    if given.get("match") is not None and rule.name not in _MATCHED:
        raise InvalidOption(f"{where}: {rule.name} is about a whole datacenter; only {', '.join(_MATCHED)} take match.")
    changed = replace(
        rule,
        enabled=_flag(given.get("enabled"), where),
        match=tuple(matchers(given.get("match"), f"{where}.match")),
        ignore=(*rule.ignore, *matchers(given.get("ignore"), f"{where}.ignore")),
    )
    severities = given.get("severities")
    if severities is not None:
        if rule.name != "check_status":
            raise InvalidOption(f"{where}: severities is for check_status; {rule.name} takes severity or thresholds.")
        changed = replace(changed, severities={**rule.severities, **_severities(severities, where)})
    if given.get("severity") is not None:
        severity = _severity(given["severity"], where)
        if rule.unit:
            raise InvalidOption(f"{where}: {rule.name} has thresholds; set warning and critical instead of severity.")
        changed = replace(changed, severity=severity)
        if rule.name == "check_status":
            changed = replace(changed, severities=dict.fromkeys(("critical", "warning"), severity))
    for which in ("warning", "critical"):
        if given.get(which) is not None:
            changed = _threshold(changed, which, given[which], where)
    _check_order(changed, where)
    if changed.name == "service_min_healthy" and changed.enabled:
        if any("check" in one.needs for one in (*changed.match, *changed.ignore)):
            raise InvalidOption(f"{where}: service_min_healthy counts instances, which have no check to match by.")
        if not any(one.names("service") for one in changed.match):
            raise InvalidOption(
                f"{where}: service_min_healthy needs match: {{service: NAME}}, to know what must be there."
            )
        if (changed.warning, changed.critical) == (None, None):
            raise InvalidOption(f"{where}: service_min_healthy needs warning or critical: how many must be healthy.")
    return changed


def _flag(given: t.Any, where: str) -> bool:
    """Return a switch; a variable of a play arrives as a word."""
    word = str(given).lower()
    if given is None or word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise InvalidOption(f"{where}.enabled {given!r} is neither true nor false.")


def _severities(given: t.Any, where: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise InvalidOption(f"{where}.severities is a dictionary, for example {{warning: critical}}.")
    for status in given:
        if status not in CHECK_STATUSES:
            raise InvalidOption(f"{where}.severities: {status!r} is none of {', '.join(CHECK_STATUSES)}.")
    return {status: _severity(severity, where) for status, severity in given.items()}


def _check_order(rule: Rule, where: str) -> None:
    """Refuse a warning that comes later than what is critical."""
    if rule.warning is None or rule.critical is None or rule.warning == rule.critical:
        return
    if (rule.warning > rule.critical) != (rule.name in _BAD_WHEN_SMALL):
        raise InvalidOption(
            f"{where}: {rule.name} would be critical before it is a warning; exchange the two thresholds."
        )


def _severity(word: t.Any, where: str) -> str:
    if not isinstance(word, str) or word not in RANK:
        raise InvalidOption(f"{where}: the severity {word!r} is none of {', '.join(RANK)}.")
    return str(word)


def _with(rule: Rule, which: str, limit: float | None) -> Rule:
    return replace(rule, warning=limit) if which == "warning" else replace(rule, critical=limit)


def _threshold(rule: Rule, which: str, given: t.Any, where: str) -> Rule:
    text = str(given).strip()
    if text == "none":
        return _with(rule, which, None)
    if not rule.unit:
        raise InvalidOption(f"{where}: {rule.name} has no threshold; set severity.")
    if rule.unit == "seconds":
        return _with(rule, which, parse_duration(text, f"{where}.{which}"))
    percent = rule.unit == "share" and text.endswith("%")
    number = text[:-1] if percent else text
    least = r"-?" if rule.name == "quorum_margin" else ""  # below 0 quorum is lost
    if not re.fullmatch(least + "[0-9]{1,9}", number) or (percent and int(number) > 100):
        form = "a number, or a percentage as 50%" if rule.unit == "share" else "a whole number"
        raise InvalidOption(f"{where}.{which} {text!r} is not {form}.")
    if (
        rule.unit == "share"
        and rule.match
        and rule.percent != percent
        and (rule.warning, rule.critical) != (None, None)
    ):
        raise InvalidOption(f"{where}: warning and critical must both be numbers or both percentages.")
    return _with(replace(rule, percent=percent), which, float(number))


@dataclass(frozen=True)
class Expected:
    """What a datacenter should have: server names, or only how many."""

    names: tuple[str, ...] = ()
    count: int = 0


def make_expected(options: t.Mapping[str, t.Any] | None) -> dict[str, Expected]:
    """Return what is expected of each datacenter: ``{dc1: {servers: [s1, s2, s3]}, dc2: {servers: 3}}``. Raises InvalidOption."""
    found = {}
    for datacenter, given in (options or {}).items():
        where = f"expect.{datacenter}"
        if not isinstance(given, dict) or set(given) != {"servers"}:
            raise InvalidOption(f"{where} must be {{servers: [names]}} or {{servers: how many}}.")
        servers = given["servers"]
        if isinstance(servers, list) and servers and all(isinstance(name, str) and name for name in servers):
            if len(set(servers)) != len(servers):
                raise InvalidOption(f"{where}.servers names a server twice.")
            found[datacenter] = Expected(tuple(sorted(servers)), len(servers))
        elif re.fullmatch("0*[1-9][0-9]{0,5}", str(servers)):
            found[datacenter] = Expected((), int(str(servers)))
        else:
            raise InvalidOption(f"{where}.servers {servers!r} is neither a list of node names nor a number above 0.")
    return found

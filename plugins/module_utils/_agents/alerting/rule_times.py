# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of rules and times, which the alerting agent and the event source have in common. Pure."""

from __future__ import annotations

import typing as t

from ..._alerting.finding import SEVERITIES
from ..._alerting.match import matchers
from ..._alerting.rule import RuleSet
from ..._alerting.rule_options import SETTINGS, make_rules
from ..._config.durations import duration
from ..._config.validation import Spec
from ..._consul.errors import InvalidOption
from .incident import FlapLimits
from .timing import DEFAULT_TIMERS, TimerEntry, Timers, Timing

# What is judged, and how long something must be wrong or right before it counts.
SPEC: Spec = {
    "expect": {"type": "dict", "default": {}},
    "rules": {"type": "list", "elements": "dict", "default": []},
    "match": {"type": "list", "elements": "dict"},
    "ignore": {"type": "list", "elements": "dict"},
    "snapshots": {"type": "path"},
    "for": {"type": "raw"},
    "recover_for": {"type": "str", "default": "30s"},
    "gone_for": {"type": "str", "default": "60s"},
    "flapping": {
        "type": "dict",
        "apply_defaults": True,
        "options": {"changes": {"type": "int", "default": 4}, "window": {"type": "str", "default": "10m"}},
    },
}
TIMER_SETTINGS = ("for", "recover_for")  # of an entry of rules, beside those of consul_alert_check


def make_rule_set(values: t.Mapping[str, t.Any], prefix: str) -> RuleSet:
    """Return the rules of the options ``rules``, ``match`` and ``ignore``. Raises InvalidOption that begins with ``prefix``."""
    entries = []
    for number, entry in enumerate(values["rules"]):
        unknown = sorted(set(map(str, entry)) - {*SETTINGS, *TIMER_SETTINGS})
        if unknown:
            known = ", ".join((*SETTINGS, *TIMER_SETTINGS))
            raise InvalidOption(f"{prefix}rules[{number}].{unknown[0]}: unknown option. The options are {known}.")
        entries.append({name: value for name, value in entry.items() if name not in TIMER_SETTINGS})
    return at(prefix, lambda: make_rules(entries, values["match"], values["ignore"]))


def make_timing(values: t.Mapping[str, t.Any], prefix: str) -> Timing:
    """Return the times of the options ``for``, ``recover_for``, ``gone_for`` and ``rules``.

    Raises InvalidOption that begins with ``prefix``.
    """
    for_s = {**DEFAULT_TIMERS.for_s, **_for(values["for"], f"{prefix}for")}
    default = Timers(
        for_s,
        duration(values["recover_for"], f"{prefix}recover_for"),
        duration(values["gone_for"], f"{prefix}gone_for"),
    )
    entries = []
    for number, entry in enumerate(values["rules"]):
        place = f"{prefix}rules[{number}]"
        recover_for = entry.get("recover_for")
        entries.append(
            TimerEntry(
                rule=entry["rule"],
                for_s=_for(entry.get("for"), f"{place}.for"),
                recover_for_s=None if recover_for is None else duration(recover_for, f"{place}.recover_for"),
                match=tuple(matchers(entry.get("match"), f"{place}.match")),
                ignore=tuple(matchers(entry.get("ignore"), f"{place}.ignore")),
            )
        )
    # As for rules: an entry with match is tried before one without, and of several without the last one counts.
    with_match = [entry for entry in entries if entry.match]
    without = [entry for entry in reversed(entries) if not entry.match]
    return Timing(default, (*with_match, *without))


def _for(given: t.Any, path: str) -> dict[str, float]:
    """Return times by severity, of one time for all or of an object."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        return dict.fromkeys(SEVERITIES, duration(given, path))
    for severity in given:
        if severity not in SEVERITIES:
            raise InvalidOption(f"{path}.{severity}: unknown option. The options are {', '.join(SEVERITIES)}.")
    return {severity: duration(text, f"{path}.{severity}") for severity, text in given.items()}


def make_flap_limits(values: t.Mapping[str, t.Any], path: str) -> FlapLimits:
    """Return when something flaps. Raises InvalidOption that begins with ``path``."""
    changes = values["changes"]
    if changes != 0 and not 2 <= changes <= 1000:
        raise InvalidOption(f"{path}.changes: {changes} is neither 0 (nothing flaps) nor between 2 and 1000.")
    return FlapLimits(changes, duration(values["window"], f"{path}.window", 1, 86400))


Value = t.TypeVar("Value")


def at(prefix: str, make: t.Callable[[], Value]) -> Value:
    """Return what ``make`` makes; an InvalidOption that it raises begins with ``prefix`` afterwards."""
    try:
        return make()
    except InvalidOption as error:
        raise InvalidOption(f"{prefix}{error}") from None

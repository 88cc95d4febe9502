# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which alerts a route, a silence or an inhibition applies to: the matchers of rules, over what an alert has. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._alerting.finding import SEVERITIES
from ..._alerting.match import Matcher, matchers
from ..._alerting.rule_options import RULE_NAMES
from ..._consul.errors import InvalidOption
from .notification import Alert

FIELDS = ("severity", "rule", "datacenter", "node", "service", "check", "tags", "node_meta", "service_meta")
# Findings of the agent itself, beside those of the rules.
DELIVERY_FAILED, MAINTENANCE_TOO_LONG = "delivery_failed", "maintenance_too_long"
ALL_RULES = (*RULE_NAMES, DELIVERY_FAILED, MAINTENANCE_TOO_LONG)
LABELS = ("severity", "rule", "datacenter", "node", "service", "check")  # to group by, beside metadata


@dataclass(frozen=True)
class AlertMatchers:
    """Covers alerts that match one of ``match`` (all if there are none) and none of ``ignore``."""

    match: tuple[Matcher, ...] = ()
    ignore: tuple[Matcher, ...] = ()

    def covers(self, alert: Alert) -> bool:
        """Return whether an alert is covered."""
        fields = AlertFields(alert)
        if self.match and not any(matcher.matches(fields) for matcher in self.match):
            return False
        return not any(matcher.matches(fields) for matcher in self.ignore)

    @property
    def metadata(self) -> set[str]:
        """The kinds of metadata (``node_meta``, ``service_meta``) that must be read for it."""
        fields = {name for matcher in (*self.match, *self.ignore) for name in matcher.fields}
        return fields & {"node_meta", "service_meta"}


class AlertFields:
    """An alert as matchers see it. Services and checks match by ID and by name."""

    def __init__(self, alert: Alert) -> None:
        self._alert = alert

    def values(self, name: str) -> tuple[str, ...]:
        alert = self._alert
        if name == "service":
            return (alert.service, alert.service_name)
        if name == "check":
            return (alert.check, alert.check_name)
        value = getattr(alert, name)
        return value if isinstance(value, tuple) else (value,)

    def metadata(self, name: str) -> t.Mapping[str, str]:
        return self._alert.node_meta if name == "node_meta" else self._alert.service_meta


def alert_matchers(options: t.Any, option: str) -> tuple[Matcher, ...]:
    """Return the matchers of an option that is one dictionary or a list of them. Raises InvalidOption."""
    found = tuple(matchers(options, option, FIELDS))
    for matcher in found:
        for name, known in (("severity", SEVERITIES), ("rule", ALL_RULES)):
            wrong = [text for text in matcher.exact_names(name) if text not in known]
            if wrong:
                raise InvalidOption(f"{option}.{name}: there is no {name} {wrong[0]!r}; there are {', '.join(known)}.")
    return found


def label(alert: Alert, name: str) -> str:
    """Return the value of a label that alerts are grouped or compared by, "" if the alert has none."""
    kind, dot, key = name.partition(".")
    if dot:
        return (alert.node_meta if kind == "node_meta" else alert.service_meta).get(key, "")
    if name == "service":
        return alert.service_name or alert.service
    return str(getattr(alert, name))


def check_label(name: t.Any, option: str) -> str:
    """Return the name of a label. Raises InvalidOption for one that does not exist."""
    kind, dot, key = str(name).partition(".")
    if isinstance(name, str) and (name in LABELS or (dot and key and kind in ("node_meta", "service_meta"))):
        return name
    raise InvalidOption(f"{option}: {name!r} is none of {', '.join(LABELS)}, node_meta.KEY and service_meta.KEY.")

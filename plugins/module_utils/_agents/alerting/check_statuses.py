# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of single checks as consul-alerts answered it: /v1/health and /v1/health/wildcard. Pure.

What is different: a check that is not registered any more is not found; every status of ``status`` counts; a check of a node that is
down is unknown, whatever it said last; and what cannot be read is unknown, with 503, also with ``alwaysOk``.
Source: https://github.com/AcalephStorage/consul-alerts, "Health Check via API"
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._alerting.check_output import in_one_line
from ..._alerting.rule import RuleSet
from ..._alerting.rules.checks import NODE_MAINTENANCE, SERVICE_MAINTENANCE, Check, FailingChecks
from ..._consul.errors import InvalidOption
from .current_checks import CurrentChecks
from .notification import FIRING, Alert
from .silences import Silences

PASSING, WARNING, CRITICAL, UNKNOWN = "passing", "warning", "critical", "unknown"
STATUSES = (PASSING, WARNING, CRITICAL, UNKNOWN)
_WORST_FIRST = (CRITICAL, WARNING, UNKNOWN, PASSING)


class CheckStatus(t.NamedTuple):
    """The status of one check, ``unknown`` if it cannot be told; ``output`` then says why."""

    datacenter: str
    check: Check
    status: str
    output: str


@dataclass(frozen=True)
class Blacklist:
    """What consul-alerts called the blacklist: checks of which nobody is told. Here that are rules, maintenance and silences.

    ``failing`` has the metadata of the last reading.
    """

    rules: RuleSet
    silences: Silences
    now: float
    failing: FailingChecks

    def has(self, datacenter: str, check: Check, in_maintenance: bool) -> bool:
        """Return whether nobody is told of a check."""
        subject = self.failing.subject(check)
        name = "node_down" if check.is_node_down else "check_status"
        rule = self.rules.entry_for(name, subject)
        if rule is None or in_maintenance:
            return True
        if check.status == PASSING:
            return False
        severity = rule.severity if check.is_node_down else rule.severities.get(check.status, "none")
        alert = Alert(
            key="",
            episode="",
            status=FIRING,
            severity=severity,
            rule=name,
            datacenter=datacenter,
            summary="",
            since=self.now,
            node=check.node,
            service=check.service_id,
            check=check.check_id,
            tags=check.tags,
            node_meta=subject.node_meta,
            service_meta=subject.service_meta,
            service_name=check.service,
            check_name=check.name,
        )
        return severity == "none" or bool(self.silences.of(alert, self.now))


# ---------------------------------------------------------------------------------------------------------------


def statuses(current: CurrentChecks, datacenter: str) -> list[CheckStatus]:
    """Return the status of each check of one datacenter."""
    down = {check.node for check in current.checks if check.is_node_down}
    found = []
    for check in current.checks:
        status, output = check.status, in_one_line(check.output)
        if check.node in down and not check.is_node_down and status == PASSING:
            status, output = UNKNOWN, f"The node {check.node} is down. Before that it was passing: {output}"
        found.append(CheckStatus(datacenter, check, status if status in STATUSES else UNKNOWN, output))
    return found


def one_status(
    found: t.Sequence[CheckStatus], query: t.Mapping[str, str], problems: t.Sequence[str]
) -> tuple[int, str]:
    """Return the answer of /v1/health, as code and text, of the check of ``node``, ``service`` (ID) and ``check`` (ID).

    Raises InvalidOption for a query that names no check.
    """
    wanted = {name: query.get(name, "") for name in ("node", "service", "check")}
    if not wanted["node"] or not wanted["check"]:
        raise InvalidOption("Give node and check, and service for the check of a service.")
    matching = [
        one for one in found if (one.check.node, one.check.service_id, one.check.check_id) == tuple(wanted.values())
    ]
    if not matching:
        # What could not be read may have it.
        return (503, _text(UNKNOWN, " ".join(problems))) if problems else (404, _text(UNKNOWN, ""))
    worst = min(matching, key=lambda one: _WORST_FIRST.index(one.status))
    return (200 if worst.status == PASSING else 503), _text(worst.status, worst.output)


def _text(status: str, output: str) -> str:
    return f"status: {status}\n" + (f"output: {output}\n" if output else "")


def all_statuses(
    found: t.Sequence[CheckStatus],
    query: t.Mapping[str, str],
    problems: t.Mapping[str, str],
    blacklists: t.Mapping[str, Blacklist],
) -> tuple[int, list[dict[str, str]]]:
    """Return the answer of /v1/health/wildcard, as code and data.

    ``node``, ``service`` and ``check`` are names, ``status`` is a list with commas. ``problems`` and ``blacklists`` are by datacenter;
    a datacenter of which not everything is known adds an entry with the status ``unknown``. Raises InvalidOption.
    """
    wanted = {name for name in query.get("status", "").split(",") if name}
    for name in sorted(wanted - set(STATUSES)):
        raise InvalidOption(f"status: there is no status {name!r}; there are {', '.join(STATUSES)}.")
    matching = [one for one in found if _matches(one, query)]
    if not _is_set(query, "ignoreBlacklist"):
        in_maintenance = _in_maintenance(found)
        matching = [
            one
            for one in matching
            if not blacklists[one.datacenter].has(one.datacenter, one.check, _places(one) & in_maintenance != set())
        ]
    if wanted:
        matching = [one for one in matching if one.status in wanted]
    rows = [_row(one) for one in matching]
    rows += [
        {
            "Datacenter": datacenter,
            "Node": "",
            "ServiceName": "",
            "ServiceID": "",
            "CheckID": "",
            "Name": "",
            "Status": UNKNOWN,
            "Output": problem,
        }
        for datacenter, problem in problems.items()
    ]
    is_known = not any(row["Status"] == UNKNOWN for row in rows)
    is_passing = all(row["Status"] == PASSING for row in rows)
    return (200 if is_passing or (is_known and _is_set(query, "alwaysOk")) else 503), rows


def _matches(one: CheckStatus, query: t.Mapping[str, str]) -> bool:
    have = {"node": one.check.node, "service": one.check.service, "check": one.check.name}
    return all(query.get(name, "") in ("", value) for name, value in have.items())


def _is_set(query: t.Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() not in ("", "0", "false", "no")


def _in_maintenance(found: t.Sequence[CheckStatus]) -> set[tuple[str, str, str]]:
    """Return datacenter, node and service ID of what is in maintenance; the service is "" for a whole node."""
    places = set()
    for datacenter, check, _status, _output in found:
        if check.check_id == NODE_MAINTENANCE:
            places.add((datacenter, check.node, ""))
        elif check.check_id.startswith(SERVICE_MAINTENANCE):
            places.add((datacenter, check.node, check.check_id[len(SERVICE_MAINTENANCE) :]))
    return places


def _places(one: CheckStatus) -> set[tuple[str, str, str]]:
    node = (one.datacenter, one.check.node, "")
    return {node, (*node[:2], one.check.service_id)}


def _row(one: CheckStatus) -> dict[str, str]:
    check = one.check
    return {
        "Datacenter": one.datacenter,
        "Node": check.node,
        "ServiceName": check.service,
        "ServiceID": check.service_id,
        "CheckID": check.check_id,
        "Name": check.name,
        "Status": one.status,
        "Output": one.output,
    }

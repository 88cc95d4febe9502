# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings, what could not be read, and the verdict over both. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

SEVERITIES = ("warning", "critical")
RANK = {"none": 0, "warning": 1, "critical": 2}


class Finding(t.NamedTuple):
    """One thing that is wrong. Rule, datacenter, node, service and check identify it; the other fields may change.

    ``since_index`` is the Raft index of the state in which it was seen, 0 where there is none. ``output`` is the first line that
    the check reported, shortened and printable; ``detail`` has more of it.

    The fields from ``service_name`` on are for the routes and silences of an agent; metadata is in pairs, and empty where it was
    not read.
    """

    rule: str
    severity: str
    datacenter: str
    summary: str
    node: str = ""
    service: str = ""
    check: str = ""
    since_index: int = 0
    output: str = ""
    detail: str = ""
    advice: str = ""
    service_name: str = ""
    check_name: str = ""
    tags: tuple[str, ...] = ()
    node_meta: tuple[tuple[str, str], ...] = ()
    service_meta: tuple[tuple[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        """The summary, with the check's output if there is any."""
        return f'{self.summary} (output: "{self.output}")' if self.output else self.summary


RESULT_FIELDS = Finding._fields[: Finding._fields.index("service_name")]  # what modules return of a finding


class InMaintenance(t.NamedTuple):
    """A node in maintenance, or one service (ID) on a node."""

    datacenter: str
    node: str
    service: str = ""


class Unknown(t.NamedTuple):
    """Something that could not be read, and why. Unknown is never ok."""

    datacenter: str
    what: str
    reason: str


@dataclass
class Judgement:
    """The findings of one attempt in one datacenter or several.

    ``maintenance`` names what is in maintenance and was not judged; ``in_maintenance`` is the same as data.

    The absence of a finding means that all is well, with two exceptions. ``not_judged`` has the rules (datacenter, name) that could
    not be judged completely, or not at all. ``hidden_nodes`` (datacenter, node) are down, and what else is wrong with them is not
    listed.
    """

    findings: list[Finding] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    maintenance: list[str] = field(default_factory=list)
    in_maintenance: set[InMaintenance] = field(default_factory=set)
    not_judged: set[tuple[str, str]] = field(default_factory=set)
    hidden_nodes: set[tuple[str, str]] = field(default_factory=set)

    def extend(self, other: Judgement) -> None:
        """Add the findings of another datacenter."""
        self.findings += other.findings
        self.unknown += other.unknown
        self.maintenance += other.maintenance
        self.in_maintenance |= other.in_maintenance
        self.not_judged |= other.not_judged
        self.hidden_nodes |= other.hidden_nodes

    def sort(self) -> None:
        """Remove duplicates and sort: by severity, then by datacenter, rule and place. The order is the same in every run."""
        self.findings = list(dict.fromkeys(self.findings))
        self.unknown = list(dict.fromkeys(self.unknown))
        self.maintenance = list(dict.fromkeys(self.maintenance))
        self.findings.sort(
            key=lambda one: (
                -RANK[one.severity],
                one.datacenter,
                one.rule,
                one.node,
                one.service,
                one.check,
                one.summary,
            )
        )
        self.unknown.sort()
        self.maintenance.sort()

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each severity, and of what is unknown."""
        by_severity = {severity: sum(one.severity == severity for one in self.findings) for severity in SEVERITIES}
        return {**by_severity, "unknown": len(self.unknown)}

    @property
    def verdict(self) -> str:
        """The worst that applies: critical, unknown, warning or ok, in this order."""
        counts = self.counts
        if counts["critical"]:
            return "critical"
        if counts["unknown"]:
            return "unknown"
        return "warning" if counts["warning"] else "ok"

    def fails(self, fail_on: str) -> bool:
        """Return whether a gate is closed: by a finding of that severity or worse, or by anything unknown."""
        if fail_on == "never":
            return False
        return bool(self.unknown) or any(RANK[one.severity] >= RANK[fail_on] for one in self.findings)

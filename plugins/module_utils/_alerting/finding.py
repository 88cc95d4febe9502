# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong, as data: findings, what could not be known, and the verdict over both. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

SEVERITIES = ("warning", "critical")
RANK = {"none": 0, "warning": 1, "critical": 2}


class Finding(t.NamedTuple):
    """One thing that is wrong. Its identity is rule, datacenter, node, service and check; the rest may change.

    ``since_index`` is the Raft index of the state that it was seen in, 0 where there is none.
    """

    rule: str
    severity: str
    datacenter: str
    summary: str
    node: str = ""
    service: str = ""
    check: str = ""
    since_index: int = 0
    detail: str = ""
    advice: str = ""


class Unknown(t.NamedTuple):
    """Something that could not be read, and why. Unknown is never ok."""

    datacenter: str
    what: str
    reason: str


@dataclass
class Judgement:
    """All findings of one look at an estate. ``maintenance`` names what is in maintenance and does not count."""

    findings: list[Finding] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    maintenance: list[str] = field(default_factory=list)

    def add(self, other: Judgement) -> None:
        """Add the findings of another datacenter."""
        self.findings += other.findings
        self.unknown += other.unknown
        self.maintenance += other.maintenance

    def sort(self) -> None:
        """Put everything, each thing once, in an order that is the same in every run: the worst first, then by place."""
        self.findings = list(dict.fromkeys(self.findings))
        self.unknown = list(dict.fromkeys(self.unknown))
        self.maintenance = list(dict.fromkeys(self.maintenance))
        self.findings.sort(
            key=lambda found: (-RANK[found.severity], found.datacenter, found.rule, *found[4:7], found.summary)
        )
        self.unknown.sort()
        self.maintenance.sort()

    @property
    def counts(self) -> dict[str, int]:
        """How many findings of each severity there are, and how much is unknown."""
        found = {severity: sum(one.severity == severity for one in self.findings) for severity in SEVERITIES}
        return {**found, "unknown": len(self.unknown)}

    @property
    def verdict(self) -> str:
        """critical, unknown, warning or ok: the worst that there is."""
        counts = self.counts
        if counts["critical"]:
            return "critical"
        if counts["unknown"]:
            return "unknown"
        return "warning" if counts["warning"] else "ok"

    def fails(self, fail_on: str) -> bool:
        """Tell whether a gate is closed: by a finding of that severity or worse, or by what is not known."""
        if fail_on == "never":
            return False
        return bool(self.unknown) or any(RANK[found.severity] >= RANK[fail_on] for found in self.findings)

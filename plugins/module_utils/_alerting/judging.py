# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the rules of one datacenter put their findings. Pure."""

from __future__ import annotations

import typing as t

from .expectation import Expected
from .finding import Finding, Judgement, Unknown
from .observation import Observation
from .rule import RuleSet


class Judging:
    """The judging of one observation: what rules need to know, and what they have found so far.

    ``expected`` has the servers that each datacenter should have. ``reported_servers`` are the servers that have a finding: what
    else is wrong with them follows from it and is not reported again.
    """

    def __init__(self, observation: Observation, rules: RuleSet, expected: t.Mapping[str, Expected]) -> None:
        self.observation = observation
        self.rules = rules
        self.expected = expected
        self.judgement = Judgement(unknown=list(observation.unknown))
        self.reported_servers: set[str] = set()

    @property
    def datacenter(self) -> str:
        """The name of the datacenter."""
        return self.observation.datacenter

    def add(self, rule: str, severity: str, summary: str, **fields: t.Any) -> bool:
        """Add a finding unless its severity is "none". Return whether it was added."""
        if severity == "none":
            return False
        self.judgement.findings.append(Finding(rule, severity, self.datacenter, summary, **fields))
        return True

    def add_by_rule(self, name: str, summary: str, **fields: t.Any) -> bool:
        """Add a finding with the severity of the rule unless the rule is off. Return whether it was added."""
        rule = self.rules.get(name)
        return rule is not None and self.add(name, rule.severity, summary, **fields)

    def add_unknown(self, what: str, reason: str) -> None:
        """Record something that cannot be judged."""
        self.judgement.unknown.append(Unknown(self.datacenter, what, reason))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges an observation: which rules find something wrong. Pure, so a module and an agent judge alike.

A consequence is not reported beside its cause: without a leader checks are not judged, the checks of a node that is down are not
listed one by one, and what is in maintenance does not count as failing.
"""

from __future__ import annotations

import typing as t

from .expectation import Expected
from .finding import Judgement
from .judging import Judging
from .observation import Observation
from .registry import RULE_GROUPS
from .rule import RuleSet


def judge(observation: Observation, rules: RuleSet, expected: t.Mapping[str, Expected]) -> Judgement:
    """Return everything that is wrong with one datacenter. ``expected`` is by datacenter."""
    judging = Judging(observation, rules, expected)
    for group in RULE_GROUPS:
        if observation.leader_problem is None or not group.needs_leader:
            group.judge(judging)
    return judging.judgement

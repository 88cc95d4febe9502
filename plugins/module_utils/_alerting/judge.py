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
from .observation import FilteredLists, Observation
from .registry import BUILT_IN_RULES, RULE_GROUPS
from .rule import RuleSet
from .rules.cluster import VisibleServers

# What a list that Consul filtered by ACLs leaves open.
_RULES_OF_LISTS = {
    "/v1/health/state/": {"check_status", "node_down"},
    "/v1/health/service/consul": {rule.name for rule in BUILT_IN_RULES},  # the servers
    "/v1/health/service/": {"service_min_healthy", "service_missing"},
    "/v1/catalog/services": {"service_min_healthy"},
    "/v1/catalog/service/": {"check_status", "node_down"},  # metadata
    "/v1/catalog/nodes": {"check_status", "node_down", "node_left"},
}


def judge(observation: Observation, rules: RuleSet, expected: t.Mapping[str, Expected]) -> Judgement:
    """Return everything that is wrong with one datacenter. ``expected`` is by datacenter."""
    judging = Judging(observation, rules, expected)
    for group in RULE_GROUPS:
        if observation.leader_problem is None or not group.needs_leader:
            group.judge(judging)
    judging.judgement.not_judged |= {(judging.datacenter, rule) for rule in _not_judged(observation, rules)}
    return judging.judgement


def _not_judged(observation: Observation, rules: RuleSet) -> set[str]:
    """Return the rules of which the absence of a finding says nothing: what they read is unknown."""
    everything = {rule.name for rule in BUILT_IN_RULES}
    visible = observation.get(VisibleServers)
    if observation.unreachable or (visible is not None and visible.in_catalog == 0):
        return everything
    rules_of_reading = {reading.what: reading.rules for group in RULE_GROUPS for reading in group.readings}
    found: set[str] = set()
    for unknown in observation.unknown:
        # A reading without rules is one that all of them build on.
        found |= set(rules_of_reading.get(unknown.what, ())) or everything
    filtered = observation.get(FilteredLists)
    for path in filtered.paths if filtered else ():
        found |= next((rules for start, rules in _RULES_OF_LISTS.items() if path.startswith(start)), everything)
    if observation.leader_problem is not None:
        groups = [group for group in RULE_GROUPS if group.needs_leader]
        found |= {rule.name for group in groups for rule in group.rules}
        # Some judge for rules of other groups too.
        for reading in (reading for group in groups for reading in group.readings):
            found |= {name for name in reading.rules if rules.has_enabled([name], only_named=reading.only_named)}
    return found

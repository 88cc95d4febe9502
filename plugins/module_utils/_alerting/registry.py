# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All rules there are. A new rule goes into a file of rules/; a new file there is entered here."""

from __future__ import annotations

from .rule import Rule
from .rule_group import RuleGroup
from .rules import (
    acl_replication,
    autopilot,
    certificates,
    checks,
    cluster,
    drills,
    expected_nodes,
    replications,
    services,
    snapshot_policies,
    snapshots,
    token,
    token_expiry,
    wan,
)

# In the order in which they are read and judged: the cluster group finds the leader and reports dead servers, which later groups leave out.
RULE_GROUPS: tuple[RuleGroup, ...] = (
    cluster.GROUP,
    autopilot.GROUP,
    checks.GROUP,
    expected_nodes.GROUP,
    services.GROUP,
    wan.GROUP,
    certificates.GROUP,
    token_expiry.GROUP,
    acl_replication.GROUP,
    replications.GROUP,
    snapshots.GROUP,
    snapshot_policies.GROUP,
    drills.GROUP,
    token.GROUP,
)
BUILT_IN_RULES: tuple[Rule, ...] = tuple(rule for group in RULE_GROUPS for rule in group.rules)

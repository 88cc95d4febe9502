#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_alert_check
short_description: Judge the health of Consul datacenters, and wait for it
version_added: 1.1.0
description:
  - Looks at one datacenter or several and says what is wrong. A play can gate on it, before maintenance, after a failover, in a
    drill.
  - Sees what Consul itself forgets. A server that died is removed by autopilot after some 15 seconds, and what is left calls
    itself healthy; with O(expect) it is still reported.
  - Reads what is not passing with one filtered request, however many checks there are. Never changes anything.
  - What could not be read is C(unknown), and unknown is never ok.
options:
  datacenters:
    description:
      - Datacenters to look at through the one agent in O(url). Without it, O(datacenter) or the agent's own.
    type: list
    elements: str
  expect:
    description:
      - What should be there. For each datacenter a dictionary with C(servers), the node names of its servers or how many there are.
    type: dict
  rules:
    description:
      - Changes to the built-in rules. Each names a C(rule) and may set C(enabled), C(severity) (V(critical), V(warning) or
        V(none)), thresholds C(warning) and C(critical) (a number, a duration as V(26h), or V(none)), and for C(check_status) C(severities), a
        dictionary of the check's status (V(warning), V(critical)) and the severity. What is not named stays as it is.
      - C(check_status), C(node_down) and C(service_min_healthy) take C(match) and C(ignore), as O(match). An entry with C(match) stands
        before the built-in one, which still judges the rest.
      - C(service_min_healthy) needs C(match) with C(service), and C(warning) or C(critical) as a number or as a percentage.
      - The rules are C(consul_unreachable), C(no_leader), C(acl_token_blind), C(quorum_margin), C(server_missing),
        C(server_unexpected), C(autopilot_unhealthy), C(raft_last_contact), C(raft_trailing_logs), C(version_skew), C(node_down),
        C(check_status), C(service_min_healthy), C(wan_member_failed), C(wan_dc_missing), C(tls_cert_expiry),
        C(connect_ca_expiry), C(acl_replication_lag), C(snapshot_age) and C(snapshot_unverified).
    type: list
    elements: dict
    default: []
  match:
    description:
      - Look only at checks and nodes that match one of these. Each is a dictionary of C(node), C(service), C(check), C(tags) (patterns
        or lists of them), C(node_meta) and C(service_meta) (dictionaries of patterns). All that are given must match. C(check) is
        the check's ID or its name.
      - A pattern is a glob as V(web-*), or after V(re:) a regular expression.
    type: list
    elements: dict
  ignore:
    description:
      - Leave out checks and nodes that match one of these.
    type: list
    elements: dict
  snapshots:
    description:
      - Directory with the snapshots of M(consulops.failover.consul_snapshot), on the host where the module runs. Without it the rules
        C(snapshot_age) and C(snapshot_unverified) are not looked at.
    type: path
  fail_on:
    description:
      - Fail when there is a finding of this severity or worse, or when something is unknown. V(never) only reports.
    type: str
    choices: [critical, warning, never]
    default: critical
  wait:
    description:
      - Seconds to wait until nothing is left that O(fail_on) fails on.
    type: float
    default: 0.0
  stable_for:
    description:
      - Seconds for which everything must stay well. Needs O(wait) of at least as long. Fails when it was well for less.
    type: float
    default: 0.0
extends_documentation_fragment:
  - consulops.failover.connection
  - consulops.failover.connection.several
  - consulops.failover.connection.attributes
attributes:
  check_mode:
    support: full
    details:
      - Changes nothing in any mode.
  diff_mode:
    support: none
seealso:
  - module: consulops.failover.consul_snapshot
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: Go on only when the datacenter is well
  consulops.failover.consul_alert_check:
    expect:
      dc1:
        servers: [consul1, consul2, consul3]

- name: Wait up to two minutes for everything to be well, and to stay so for ten seconds
  consulops.failover.consul_alert_check:
    datacenters: [dc1, dc2]
    expect: {dc1: {servers: 3}, dc2: {servers: 3}}
    fail_on: warning
    wait: 120
    stable_for: 10

- name: Report with rules of our own
  consulops.failover.consul_alert_check:
    snapshots: /var/backups/consul
    fail_on: never
    ignore:
      - node: "build-*"
      - tags: no-alert
    rules:
      - rule: snapshot_age
        warning: 2h
        critical: 8h
      - rule: check_status
        match: {service: "re:^infra-"}
        severities: {warning: critical}
      - rule: service_min_healthy
        match: {service: web}
        warning: 3
        critical: 1
  register: health
"""

RETURN = r"""
verdict:
  description: The worst that there is, V(critical), V(unknown), V(warning) or V(ok).
  returned: always
  type: str
  sample: ok
findings:
  description: What is wrong, the worst first, in the same order in every run.
  returned: always
  type: list
  elements: dict
  contains:
    rule:
      description: The rule that found it.
      type: str
    severity:
      description: V(critical) or V(warning).
      type: str
    datacenter:
      description: The datacenter.
      type: str
    node:
      description: The node, if it is about one.
      type: str
    service:
      description: ID of the service, or its name where it is about all of its instances.
      type: str
    check:
      description: ID of the check, if it is about one.
      type: str
    since_index:
      description: Raft index of the check's state, 0 for what is no check.
      type: int
    summary:
      description: A sentence that a person can act on.
      type: str
    detail:
      description: What else is known, for example the check's output.
      type: str
    advice:
      description: What to do.
      type: str
  sample:
    - rule: quorum_margin
      severity: critical
      datacenter: dc1
      summary: "2 of 3 expected servers alive in dc1: one more failure loses quorum"
counts:
  description: Findings of each severity, and how much is unknown.
  returned: always
  type: dict
  sample: {"critical": 1, "warning": 0, "unknown": 0}
unknown:
  description: What could not be read, with the datacenter and the reason.
  returned: always
  type: list
  elements: dict
maintenance:
  description: What is in maintenance and was not judged.
  returned: always
  type: list
  elements: str
table:
  description: The findings, what is unknown and what is in maintenance, as lines for a person.
  returned: always
  type: list
  elements: str
looks:
  description: How often it looked.
  returned: always
  type: int
seconds:
  description: How long it looked and waited, in seconds.
  returned: always
  type: float
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.alert_check import ALERT_CHECK


def main() -> None:
    run(ALERT_CHECK)


if __name__ == "__main__":
    main()

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
  - Judges one datacenter or several and reports what is wrong. A play can use it as a gate, before maintenance, after a failover or
    in a drill.
  - Reports what Consul itself forgets. Autopilot removes a dead server after some 15 seconds, and the remaining servers then call
    themselves healthy. With O(expect) the dead server is still reported.
  - Reads the checks that are not passing with one filtered request, however many checks there are. Never changes anything.
  - What could not be read is C(unknown), and unknown is never ok.
options:
  datacenters:
    description:
      - Datacenters to judge through the one agent in O(url). Without it, O(datacenter) or the agent's own.
    type: list
    elements: str
  expect:
    description:
      - What there should be. For each datacenter a dictionary with C(servers), the node names of its servers or their number.
      - Since 1.3.0 it also takes C(nodes), the names of nodes that must be registered or their number, and C(services), a dictionary from the
        names of services to the number of healthy instances that each needs. Rules C(node_left) and C(service_missing) judge them.
    type: dict
  rules:
    description:
      - Changes to the built-in rules. Each names a C(rule) and may set C(enabled), C(severity) (V(critical), V(warning) or
        V(none)), thresholds C(warning) and C(critical) (a number, a duration such as V(26h), or V(none)), and for C(check_status)
        C(severities), a dictionary from the check's status (V(warning), V(critical)) to the severity. Settings that are not given stay as
        they are.
      - C(check_status), C(node_down) and C(service_min_healthy) take C(match) and C(ignore), in the form of O(match). An entry with
        C(match) comes before the built-in one, which still judges the rest.
      - C(service_min_healthy) needs C(match) with C(service), and C(warning) or C(critical) as a number or as a percentage.
      - The rules are C(consul_unreachable), C(no_leader), C(acl_token_blind), C(quorum_margin), C(server_missing),
        C(server_unexpected), C(autopilot_unhealthy), C(raft_last_contact), C(raft_trailing_logs), C(version_skew), C(node_down),
        C(check_status), C(node_left), C(service_min_healthy), C(service_missing), C(wan_member_failed), C(wan_dc_missing), C(tls_cert_expiry),
        C(connect_ca_expiry), C(acl_replication_lag), C(kv_replication_diverged), C(kv_replication_lag), C(snapshot_age),
        C(snapshot_unverified), C(snapshot_rehearsal_overdue), C(drill_failed), C(drill_overdue) and C(acl_token_expiry).
      - C(kv_replication_diverged) and C(kv_replication_lag) are off until an entry names them, because they read keys below
        C(consulops/replication/). The token then needs C(key_prefix "consulops/replication/" read).
      - For an entry that names C(snapshot_age), C(snapshot_unverified) or C(snapshot_rehearsal_overdue) what snapshot agents publish below
        C(consulops/snapshots/) is judged too. The token then needs C(key_prefix "consulops/snapshots/" read). The last one is off until
        an entry names it.
      - C(drill_failed) and C(drill_overdue) are off until an entry names them. They judge what M(consulops.failover.consul_drill) writes with its option
        C(publish), and need C(key_prefix "consulops/drills/" read).
      - C(acl_token_expiry) is off until an entry names it. It judges when the token expires that is used here.
    type: list
    elements: dict
    default: []
  match:
    description:
      - Judge only checks, nodes and instances that match one of these. Each is a dictionary of C(node), C(service), C(check), C(tags) (patterns
        or lists of them), C(node_meta) and C(service_meta) (dictionaries of patterns). All that are given must match. C(check) is
        the check's ID or its name.
      - A pattern is a glob such as V(web-*), or a regular expression after V(re:).
    type: list
    elements: dict
  ignore:
    description:
      - Do not judge checks, nodes and instances that match one of these. The form is that of O(match).
    type: list
    elements: dict
  snapshots:
    description:
      - Directory with the snapshots of M(consulops.failover.consul_snapshot), on the host where the module runs. Without it the rules
        C(snapshot_age) and C(snapshot_unverified) judge only what snapshot agents publish, where an entry of O(rules) names them.
    type: path
  fail_on:
    description:
      - Fail when there is a finding of this severity or worse, or when something is unknown. With V(never) the
        module only reports.
    type: str
    choices: [critical, warning, never]
    default: critical
  wait:
    description:
      - Seconds to wait until there is nothing left that O(fail_on) fails on.
    type: float
    default: 0.0
  stable_for:
    description:
      - Seconds for which there must be nothing that O(fail_on) fails on. O(wait) must be at least as long. The module fails when that
        time is not reached.
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
- name: Continue only when the datacenter is healthy
  consulops.failover.consul_alert_check:
    expect:
      dc1:
        servers: [consul1, consul2, consul3]

- name: Report nodes and services that are gone, which Consul itself forgets
  consulops.failover.consul_alert_check:
    expect:
      dc1:
        servers: 3
        nodes: [consul1, consul2, consul3, db1, db2]
        services: {web: 2}

- name: Wait up to two minutes until nothing is wrong for ten seconds
  consulops.failover.consul_alert_check:
    datacenters: [dc1, dc2]
    expect: {dc1: {servers: 3}, dc2: {servers: 3}}
    fail_on: warning
    wait: 120
    stable_for: 10

- name: Report with changed rules
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
  description: The worst that applies, V(critical), V(unknown), V(warning) or V(ok), in this order.
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
      description: The name of the rule.
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
      description: Raft index of the check's state, 0 for a finding that is not about a check.
      type: int
    summary:
      description: What is wrong, in one sentence.
      type: str
    output:
      description:
        - First line of what the check reported, for C(check_status). At most 160 characters, printable, without user names and passwords
          in URLs.
      type: str
    detail:
      description: What else is known, for example more of the check's output, in one line of at most 300 characters.
      type: str
    advice:
      description: What can be done.
      type: str
  sample:
    - rule: quorum_margin
      severity: critical
      datacenter: dc1
      summary: "2 of 3 expected servers alive in dc1: one more failure loses quorum"
counts:
  description: The number of findings of each severity, and of what is unknown.
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
  description: The findings with the output of their checks, what is unknown and what is in maintenance, as lines of text.
  returned: always
  type: list
  elements: str
attempts:
  description: How often the datacenters were judged.
  returned: always
  type: int
seconds:
  description: How long judging and waiting took, in seconds.
  returned: always
  type: float
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.alert_check import ALERT_CHECK


def main() -> None:
    run(ALERT_CHECK)


if __name__ == "__main__":
    main()

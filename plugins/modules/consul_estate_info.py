#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_estate_info
short_description: Shows all Consul datacenters on one page, and what to do first
version_added: 1.3.0
description:
  - Asks all datacenters at once, within a deadline, and returns what is known of each. That is its servers and leader, how many more servers may be
    lost, what the alerting agents say, replications, snapshots, rehearsals, drills, and certificates and the token that run out.
  - What is wrong is found by the rules of M(consulops.failover.consul_alert_check), and ordered so that the most urgent comes first.
  - What the agents of this collection publish is judged too. The token needs C(key_prefix "consulops/" read) for it, beside what the rules need.
  - What could not be asked is C(unknown), with the reason, and unknown is never ok. Never changes anything.
options:
  datacenters:
    description:
      - Datacenters to ask through the one agent in O(url). Without it all that the agent knows, or O(datacenter) if that is given.
    type: list
    elements: str
  expect:
    description:
      - What there should be, as in M(consulops.failover.consul_alert_check).
    type: dict
  rules:
    description:
      - Changes to the built-in rules, as in M(consulops.failover.consul_alert_check). The rules that judge what agents and drills publish are on.
    type: list
    elements: dict
    default: []
  match:
    description:
      - Judge only checks, nodes and instances that match one of these, as in M(consulops.failover.consul_alert_check).
    type: list
    elements: dict
  ignore:
    description:
      - Do not judge checks, nodes and instances that match one of these, as in M(consulops.failover.consul_alert_check).
    type: list
    elements: dict
  snapshots:
    description:
      - Directory with the snapshots of M(consulops.failover.consul_snapshot), on the host where the module runs. The newest of each datacenter is read
        and verified before Consul is asked, which O(deadline) does not limit.
    type: path
  upgrade_to:
    description:
      - Versions of Consul, for example V(1.19). Says whether their servers would load the newest snapshot of O(snapshots), which is read for it.
    type: list
    elements: str
  deadline:
    description:
      - Seconds within which all datacenters are asked, at once. What is not answered by then is unknown, and the rest is shown.
      - Some thirty requests are sent to each datacenter one after another. Where a request takes 100 ms, 4 seconds are needed.
    type: float
    default: 1.2
  page:
    description:
      - Return RV(page), too.
    type: bool
    default: false
  fail_on:
    description:
      - Fail when there is a finding of this severity or worse, or when something is unknown. With V(never) the module only reports.
    type: str
    choices: [critical, warning, never]
    default: never
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
  - module: consulops.failover.consul_alert_check
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: Ask all datacenters that the agent knows
  consulops.failover.consul_estate_info:
    url: https://consul.example.com:8501
    token_file: /etc/consulops/estate.token
    expect:
      dc1: {servers: [consul1, consul2, consul3]}
  register: estate

- name: Say what to do first
  ansible.builtin.debug:
    msg: "{{ estate.first }}"
"""

RETURN = r"""
first:
  description: What to do first, as a sentence.
  returned: success
  type: str
  sample: "dc2: 2 of 3 servers alive in dc2: one more failure loses quorum. Bring the missing servers back before anything else is restarted."
steps:
  description: Everything that is wrong or unknown, the most urgent first. Silenced ones come last.
  returned: success
  type: list
  elements: dict
  contains:
    severity:
      description: V(critical), V(unknown) or V(warning).
      type: str
    datacenter:
      description: Where.
      type: str
    rule:
      description: The rule, "" for what is unknown.
      type: str
    sentence:
      description: What is wrong.
      type: str
    detail:
      description: More of it.
      type: str
    advice:
      description: What to do.
      type: str
    silenced_by:
      description: The silence of an alerting agent that covers it, "" for none.
      type: str
verdict:
  description: The worst of all datacenters. V(ok), V(warning), V(unknown) or V(critical).
  returned: success
  type: str
counts:
  description: The number of findings of each severity, and of what is unknown.
  returned: success
  type: dict
datacenters:
  description: What is known of each datacenter. What is null is not known, and C(not_known) says why.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name, or the address that was tried if nothing answered there.
      type: str
    verdict:
      description: The worst of its findings.
      type: str
    answered:
      description: Whether it answered at all.
      type: bool
    leader:
      description: Whether there is one, and its name.
      type: dict
    servers:
      description: Name, version, and whether it is alive and votes.
      type: list
      elements: dict
    versions:
      description: The versions of its servers.
      type: list
      elements: str
    tolerance:
      description: How many more servers may be lost. Below 0 quorum is lost.
      type: int
    alerts:
      description: The alerting agents, the alerts that receivers were told of and not of their end, and the silences in force.
      type: dict
    replications:
      description: Each replication into it, with lag, paused deletions and conflicts, as its agent published it.
      type: list
      elements: dict
    snapshots:
      description: Each policy of the snapshot agents, with the newest verified snapshot, the objective, destinations and the last rehearsal.
      type: list
      elements: dict
    drills:
      description: The last run of each drill, with its verdict and the recovery time that was measured.
      type: list
      elements: dict
    expiries:
      description: When certificates and the token expire.
      type: list
      elements: dict
    snapshot_file:
      description: The newest snapshot in O(snapshots).
      type: dict
    upgrade:
      description: Whether the servers of O(upgrade_to) would load it, or why that was left out.
      type: dict
    maintenance:
      description: What is in maintenance and was not judged.
      type: list
      elements: str
    not_known:
      description: Why a field is null, by its name.
      type: dict
    seconds:
      description: How long it took.
      type: float
table:
  description: The same as lines of text.
  returned: success
  type: list
  elements: str
page:
  description: The same as an HTML document that needs nothing else.
  returned: with O(page)
  type: str
seconds:
  description: How long everything took.
  returned: success
  type: float
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.estate_info import ESTATE_INFO


def main() -> None:
    run(ESTATE_INFO)


if __name__ == "__main__":
    main()

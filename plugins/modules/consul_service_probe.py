#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_service_probe
short_description: Look services up as clients do, and prove that they fail over
version_added: 1.3.0
description:
  - Looks up services and prepared queries by HTTP and by DNS, once or for some time, and says who answers, since when, how long nobody did, and
    when which datacenter took over.
  - An answer without an instance is not an answer. Consul gives it with the status 200.
  - An agent that reaches no leader of its datacenter is reported as that. Its look-ups fail, also those that would fail over.
  - Only reads. Each look-up has a thread of its own, so that one that hangs does not delay the others.
  - Run it with C(async) when a later task of the play makes the fault.
options:
  services:
    description: Names of services. An instance counts when all its checks pass.
    type: list
    elements: str
    default: []
  queries:
    description: Names of prepared queries, or names for which a template answers.
    type: list
    elements: str
    default: []
  agents:
    description:
      - Addresses of the agents to ask, in the form of O(url). The other connection options are the same for all. By default the one of O(url).
    type: list
    elements: str
  ways:
    description: How to look up.
    type: list
    elements: str
    choices: [http, dns]
    default: [http]
  dns_port:
    description: Port of the DNS of each agent.
    type: int
    default: 8600
  dns_host:
    description: Host of the DNS. By default the host of the agent's address. Mutually exclusive with O(agents).
    type: str
  dns_record:
    description: What to ask for. Only V(srv) says which datacenter an instance is in.
    type: str
    choices: [a, srv]
    default: srv
  dns_domain:
    description: Consul's domain, as its configuration C(domain) says.
    type: str
    default: consul
  duration:
    description:
      - How long to look up, for example V(60s). With V(0) once, or with O(expect.within) until everything is as expected.
      - A look-up that hangs may end later, at most by O(timeout).
    type: str
    default: "0"
  interval:
    description: From the beginning of one look-up to that of the next, for example V(500ms). Gaps are exact to this time.
    type: str
    default: 1s
  expect:
    description: What each look-up must give. The module fails when it does not, after it has looked up all the time, with RV(lookups).
    type: dict
    suboptions:
      datacenter:
        description: The datacenter from which answers come at the end. Without it, any.
        type: str
      within:
        description: The answers must come from there after this time, counted from the start, and until the end.
        type: str
      max_gap:
        description: The longest time without an answer, for example V(5s).
        type: str
extends_documentation_fragment:
  - consulops.failover.connection
  - consulops.failover.connection.attributes
attributes:
  check_mode:
    support: full
    details:
      - Changes nothing in any mode.
  diff_mode:
    support: none
notes:
  - By HTTP a look-up needs C(service "NAME" { policy = "read" }) and C(node_prefix "" { policy = "read" }), or a prepared query with a stored token.
    By DNS an agent uses its own token, not that of O(token).
  - By default Consul's DNS also answers from servers without a leader, with what they knew last. RV(agents) says whether there was one at the end.
seealso:
  - module: consulops.failover.consul_prepared_query
  - module: consulops.failover.consul_drill_fault
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: Who answers now
  consulops.failover.consul_service_probe:
    services: [web]
    queries: [web]
    ways: [http, dns]
  register: now

- name: After the fault, dc2 must answer within ten seconds
  consulops.failover.consul_service_probe:
    queries: [web]
    ways: [http, dns]
    expect:
      datacenter: dc2
      within: 10s

- name: Watch for a minute while something else happens
  consulops.failover.consul_service_probe:
    agents: ["http://10.0.0.11:8500", "http://10.0.0.12:8500"]
    queries: [web, api]
    duration: 60s
    interval: 200ms
    expect:
      max_gap: 8s
  async: 120
  poll: 0
  register: watched
"""

RETURN = r"""
started:
  description: When the first look-ups began. Times of RV(lookups) are seconds since then.
  returned: success, and when something was not as expected
  type: str
  sample: "2026-11-29T07:12:00Z"
seconds:
  description: How long it took.
  returned: success, and when something was not as expected
  type: float
agents:
  description:
    - For each agent whether it reached a leader of its datacenter at the end, as C(agent), C(leader) and C(problem). C(leader) is null when that is unknown.
  returned: success, and when something was not as expected
  type: list
  elements: dict
lookups:
  description: What was seen for each name, way and agent.
  returned: success, and when something was not as expected
  type: list
  elements: dict
  contains:
    kind:
      description: Whether a C(service) or a C(query) was looked up.
      type: str
    name:
      description: Its name.
      type: str
    way:
      description: Whether by C(http) or by C(dns).
      type: str
    agent:
      description: Address of the agent.
      type: str
    status:
      description:
        - How the last look-up ended. C(answered); C(empty), without an instance; C(not_found), without such a query; C(no_leader), the agent reaches no leader
          of its datacenter; or C(unknown).
      type: str
    answers:
      description: Whether there was an instance at the end. Null when that is unknown.
      type: bool
    datacenter:
      description: The datacenter that answered last. Null when nobody did, or when that is unknown.
      type: str
    nodes:
      description: The nodes of the last answer. With O(dns_record=a) their addresses.
      type: list
      elements: str
    since:
      description: Since when the last status and datacenter are the same.
      type: float
    problem:
      description: Why there was no answer at the end.
      type: str
    samples:
      description: Number of look-ups.
      type: int
    without_answer:
      description: Number of look-ups without an answer.
      type: int
    longest_gap:
      description: The longest time without an answer, in seconds.
      type: float
    gap_count:
      description: Number of times without an answer.
      type: int
    gaps:
      description: The first 100 of them, each with C(begin), C(seconds), C(is_over) and C(problem).
      type: list
      elements: dict
    change_count:
      description: How often the status or the datacenter changed. The first look-up counts as one.
      type: int
    changes:
      description: The first 100 of them, each with C(at), C(status), C(datacenter) and C(problem).
      type: list
      elements: dict
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.service_probe import SERVICE_PROBE


def main() -> None:
    run(SERVICE_PROBE)


if __name__ == "__main__":
    main()

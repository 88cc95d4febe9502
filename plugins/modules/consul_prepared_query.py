#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_prepared_query
short_description: Manage a prepared query, with which a service fails over to other datacenters
version_added: 1.3.0
description:
  - Creates, changes and deletes a prepared query of Consul. A query answers with the healthy instances of a service, and with those of
    another datacenter when the local one has none.
  - The query is made as the task describes it. Options that are not given are Consul's defaults, except for O(stored_token). Fields that
    this module does not know are kept.
  - Can also execute the query, explain what a template makes of a name, and plan what an execution would answer if the local datacenter
    had no instance.
  - Reads the query again after writing it, and fails when Consul has stored something else.
  - The token needs C(query "NAME" { policy = "write" }), and for the template for every name C(query_prefix "" { policy = "write" }).
    O(execute) and O(plan) show instances only to a token that may read the service and its nodes. See also the notes.
options:
  state:
    description: Whether the query is there.
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - Name of the query. Clients look it up as C(NAME.query.consul). Consul compares names without regard to case.
      - For a template, the beginning of the names that it is for. The empty name is the template for every name.
      - Required without O(id). With O(id) the query gets this name.
    type: str
  id:
    description:
      - ID of a query that is there. Consul gives the IDs, so a query cannot be created with one.
    type: str
  service:
    description: Name of the service. Required with O(state=present). A template may use C(${name.suffix}) or C(${match(1)}) in it.
    type: str
  tags:
    description: Tags that an instance must have, or, with V(!) in front, must not have. Their order does not matter.
    type: list
    elements: str
  near:
    description: Name of the node to which the nearest instances come first, V(_agent) for the agent that is asked, or V(_ip).
    type: str
  only_passing:
    description: Whether instances with a check that is V(warning) are left out too. Those with a V(critical) one always are.
    type: bool
  ignore_check_ids:
    description: IDs of checks that do not count.
    type: list
    elements: str
  node_meta:
    description: Metadata that the node of an instance must have. Values are text. Numbers and booleans are written as text.
    type: dict
  service_meta:
    description: Metadata that an instance must have, in the form of O(node_meta).
    type: dict
  connect:
    description: Whether only instances that take part in the service mesh are in the answer.
    type: bool
  peer:
    description: Name of the cluster peer from which the service was imported. Needs Consul 1.14.
    type: str
  sameness_group:
    description: Consul Enterprise. Sameness group whose members are asked, in place of O(failover).
    type: str
  service_namespace:
    description: Consul Enterprise. Namespace of the service.
    type: str
  service_partition:
    description: Consul Enterprise. Admin partition of the service.
    type: str
  failover:
    description: Where to look when the local datacenter has no instance.
    type: dict
    suboptions:
      nearest_n:
        description: Ask this number of the nearest datacenters first, by the network coordinates of the servers.
        type: int
      datacenters:
        description: Then ask these, in this order. Consul skips those that it does not know.
        type: list
        elements: str
      targets:
        description:
          - Ask these in this order, in place of O(failover.nearest_n) and O(failover.datacenters). Needs Consul 1.14.
          - An older Consul does not know it. Then the task fails, and nothing is changed.
        type: list
        elements: dict
        suboptions:
          peer:
            description: Name of a cluster peer.
            type: str
          datacenter:
            description: Name of a datacenter.
            type: str
          partition:
            description: Consul Enterprise. Admin partition.
            type: str
          namespace:
            description: Consul Enterprise. Namespace.
            type: str
  dns:
    description: How the query is answered by DNS.
    type: dict
    suboptions:
      ttl:
        description:
          - How long resolvers may keep the answer, for example V(10s). For so long a client may be sent to what has failed.
          - Consul takes units from V(ns) to V(h). A number alone means seconds.
        type: str
  template:
    description: Makes the query a template, which answers for all names that begin with O(name).
    type: dict
    suboptions:
      type:
        description: Kind of the template. Consul has one.
        type: str
        choices: [name_prefix_match]
        default: name_prefix_match
      regexp:
        description: Regular expression, as Go has them, that is applied to the whole name. Its groups are C(${match(1)}) and so on.
        type: str
      remove_empty_tags:
        description: Whether tags that are empty after groups were put in are left out.
        type: bool
  session:
    description: ID of a session. Consul deletes the query when the session ends.
    type: str
  stored_token:
    description:
      - SecretID that Consul stores with the query and uses to execute it, in place of the token of the client. Everyone who may look up the
        name then sees what that token sees.
      - Without this option the stored token stays as it is. An empty string removes it.
      - Consul shows it to tokens with C(acl = "write") only. For others it is unknown. Then it is written only together with another change, and
        a change without this option is refused, because it would take the token away.
    type: str
  update_stored_token:
    description: With V(always) a O(stored_token) that cannot be compared is written each time, and the task is changed each time.
    type: str
    choices: [when_known, always]
    default: when_known
  execute:
    description: Execute the query and return what it answers in RV(execution). Needs O(explain) for a template.
    type: bool
    default: false
  explain:
    description: Return in RV(explanation) which query answers for this name, and what a template makes of it.
    type: str
  plan:
    description:
      - Ask the local datacenter and each one that the query fails over to for instances, in Consul's order, and return in RV(plan) where the
        answer would come from. Needs O(explain) for a template.
    type: bool
    default: false
extends_documentation_fragment:
  - consulops.failover.connection
  - consulops.failover.connection.attributes
attributes:
  check_mode:
    support: full
    details:
      - A missing permission is reported in check mode too, where Consul says what the token may do.
  diff_mode:
    support: full
notes:
  - When Consul cannot say whether the token may read the name, whether the query exists is unknown, and the task fails.
  - Every client may execute a query of which it knows the name. What it sees is limited by C(service) and C(node) rules of its token, or of O(stored_token).
  - The instances of other datacenters are seen with the same token. It must be valid there, as replicated tokens are.
seealso:
  - module: consulops.failover.consul_alert_check
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: Let web fail over to dc2, then to dc3
  consulops.failover.consul_prepared_query:
    name: web
    service: web
    only_passing: true
    failover:
      datacenters: [dc2, dc3]
    dns:
      ttl: 5s

- name: Let every service fail over to the two nearest datacenters, and show what that means for web
  consulops.failover.consul_prepared_query:
    name: ""
    service: ${name.full}
    template:
      type: name_prefix_match
    failover:
      nearest_n: 2
    explain: web
    execute: true
    plan: true
  register: every_service

- name: Fail when nobody would answer for web without this datacenter
  ansible.builtin.assert:
    that:
      - every_service.plan.without_local.known
      - every_service.plan.without_local.datacenter is not none

- name: Delete a query
  consulops.failover.consul_prepared_query:
    name: web
    state: absent
"""

RETURN = r"""
id:
  description: ID of the query. Null when there is none.
  returned: success
  type: str
  sample: 54560818-f558-7827-3e7f-043b26766397
query:
  description:
    - The query in the form of the options. In check mode, as it would be. Null with O(state=absent).
    - Its C(stored_token) is never the token, but C(none), C(set), or C(hidden) where Consul does not show whether it is the given one.
  returned: success
  type: dict
execution:
  description: What Consul answers when the query is executed. Null in check mode when the query would have to be written first.
  returned: with O(execute)
  type: dict
  contains:
    answers:
      description: Whether there is an instance. Null when that is unknown.
      type: bool
    problem:
      description: Why there is no answer, or why it is unknown.
      type: str
    datacenter:
      description: The datacenter that was asked last.
      type: str
      sample: dc2
    failovers:
      description: Number of other datacenters that were asked.
      type: int
    service:
      description: Name of the service.
      type: str
    nodes:
      description: The instances, each with C(node), C(datacenter), C(service_id), C(address) and C(port).
      type: list
      elements: dict
explanation:
  description: The query that answers for the name, in the form of RV(query), with its C(id). Null when none does. With a C(problem) it is unknown.
  returned: with O(explain)
  type: dict
plan:
  description: Where the answer comes from. Null in check mode for a template that would have to be written first.
  returned: with O(plan)
  type: dict
  contains:
    steps:
      description:
        - The local datacenter and the others in Consul's order, each with C(datacenter), C(peer), C(healthy) and C(problem).
        - C(healthy) is the number of instances that the query would choose there, null when it is unknown. C(problem) then says why.
      type: list
      elements: dict
    now:
      description: Where the answer comes from now, as C(datacenter) and C(peer), both null when nobody answers. C(known) is false when that is unknown.
      type: dict
    without_local:
      description: The same without the instances of the local datacenter.
      type: dict
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.prepared_query import PREPARED_QUERY


def main() -> None:
    run(PREPARED_QUERY)


if __name__ == "__main__":
    main()

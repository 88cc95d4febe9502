#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_recovery_plan
short_description: Plans how a datacenter that lost the majority of its servers comes back
version_added: 1.3.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Decides from what M(consulops.failover.consul_raft_info) found on each server which servers are the new voters, what C(peers.json) says, and which server is
    started first. Changes nothing, and asks nobody.
  - Refuses where the datacenter has a leader, where a majority still has its data, or where it is not known of a server whether it is gone.
  - The playbook C(consulops.failover.recover_quorum) carries the plan out.
options:
  hosts:
    description:
      - The facts of each server of the datacenter by the name of its host, empty for one that does not answer.
    type: dict
    required: true
  addresses:
    description:
      - Addresses of the hosts, by which servers that do not answer are known.
    type: dict
    default: {}
  lost:
    description:
      - Names of hosts, node IDs and addresses of servers that never come back.
    type: list
    elements: str
    default: []
  confirm:
    description:
      - Name of the datacenter. Needed for a plan that is carried out, so not in check mode.
    type: str
attributes:
  check_mode:
    support: full
    description: Returns the plan without a confirmation.
  diff_mode:
    support: none
    description: There is nothing to compare.
seealso:
  - module: consulops.failover.consul_raft_info
"""

EXAMPLES = r"""
- name: Plan the recovery from what two servers said and one did not
  consulops.failover.consul_recovery_plan:
    hosts:
      s1: "{{ hostvars.s1.looked.facts }}"
      s2: "{{ hostvars.s2.looked.facts }}"
      s3: {}
    addresses: {s3: 10.0.0.3}
    lost: [s3]
    confirm: dc1
"""

RETURN = r"""
action:
  description: V(recover), V(finish) for a recovery that was stopped after there was a leader, or V(nothing).
  returned: success
  type: str
datacenter:
  description: The datacenter.
  returned: success
  type: str
survivors:
  description: Hosts of the servers with data, in the order in which they are started.
  returned: success
  type: list
  elements: str
fresh:
  description: Hosts without data, which join as new servers.
  returned: success
  type: list
  elements: str
indexes:
  description: Index of the last entry of each survivor.
  returned: success
  type: dict
ids:
  description: Node ID of each survivor, in a list.
  returned: success
  type: dict
peers_json:
  description: Content of C(raft/peers.json), the same on all survivors.
  returned: success
  type: str
sentences:
  description: The plan in words, with what may be lost.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.recovery_plan import RECOVERY_PLAN


def main() -> None:
    run(RECOVERY_PLAN)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_federation
short_description: Brings a lost datacenter back into its WAN federation, and verifies the federation
version_added: 1.3.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Looks at a WAN federation from each of its datacenters. What a datacenter does not say is unknown, and never counts as well.
  - O(state=planned) says whether the datacenter O(lost) is lost, whether O(snapshot) is of this federation, and what would be done. It changes nothing.
  - O(state=joined) has the other datacenters join the servers of O(lost) over the WAN, until they reach each of them.
  - O(state=verified) waits until each datacenter reaches each server, ACL replication of the secondary datacenters is healthy, they have the
    policies, roles and tokens of the primary datacenter, and all have the same active root certificate of Connect. It changes nothing, and is of use without a
    loss, too.
  - It restores nothing. The playbooks C(consulops.failover.recover_primary) and C(consulops.failover.recover_secondary) do all of it.
options:
  state:
    description:
      - How far to go.
    type: str
    choices: [planned, joined, verified]
    default: planned
  kind:
    description:
      - Whether O(lost) is the primary datacenter of the federation.
    type: str
    choices: [primary, secondary]
    default: primary
  servers:
    description:
      - The servers of O(lost). Keys are the names of their nodes, values the addresses at which the other datacenters join them over the WAN, with a
        port if it is not 8302. An empty value stands for the address that they remember.
    type: dict
    required: true
  snapshot:
    description:
      - RV(consulops.failover.consul_snapshot_info#module:snapshot) of the snapshot. Needed for O(state=planned).
      - With O(state=verified), ACL replication must have succeeded after it was restored, and with O(kind=primary) its root certificate must be the active one.
    type: dict
  confirm:
    description:
      - Name of the datacenter that is brought back. Without it RV(refusals) says so.
    type: str
  accept:
    description:
      - V(unknown_federation) accepts a snapshot of which nothing says whether it is of this federation.
    type: list
    elements: str
    choices: [unknown_federation]
    default: []
  remove_ghosts:
    description:
      - With O(state=joined), remove members of O(lost) that are not alive and are none of O(servers). Consul removes them by itself after three days.
    type: bool
    default: false
  wait:
    description:
      - For how long to wait until the servers are joined, or the federation is whole.
    type: str
    default: 120s
extends_documentation_fragment:
  - consulops.failover.connection
  - consulops.failover.connection.federation
  - consulops.failover.connection.attributes
attributes:
  check_mode:
    support: full
    description: Says whether servers would be joined.
  diff_mode:
    support: none
    description: The plan in words is in RV(sentences).
seealso:
  - module: consulops.failover.consul_snapshot_info
  - module: consulops.failover.consul_snapshot
"""

EXAMPLES = r"""
- name: Verify a federation of two datacenters
  consulops.failover.consul_federation:
    state: verified
    lost: {url: "https://consul.dc1.example.com:8501", datacenter: dc1}
    others:
      - {url: "https://consul.dc2.example.com:8501", datacenter: dc2}
    token_file: /root/operator.token
    servers: {s1: "", s2: "", s3: ""}
    wait: 0s
"""

RETURN = r"""
action:
  description: What is to be done. V(recover), or V(finish) where O(snapshot) was restored already.
  returned: O(state=planned)
  type: str
datacenter:
  description: Name of the datacenter that is brought back.
  returned: O(state=planned)
  type: str
primary:
  description: Name of the primary datacenter.
  returned: O(state=planned) and O(state=verified)
  type: str
ghosts:
  description: Members of O(lost) that are none of O(servers), with name, address and node ID.
  returned: O(state=planned)
  type: list
  elements: dict
refusals:
  description: Why it must not be carried out.
  returned: O(state=planned)
  type: list
  elements: str
restored_at:
  description: When O(snapshot) was restored, null if it was not.
  returned: O(state=planned)
  type: str
sentences:
  description: The plan, or what was verified, in words.
  returned: O(state=planned) and O(state=verified)
  type: list
  elements: str
datacenters:
  description: What each datacenter says. Its primary datacenter, members, number of ACL objects, and Connect's trust domain and root. Null is unknown,
    with the reason in C(unknown).
  returned: O(state=planned) and O(state=verified)
  type: dict
joined:
  description: The datacenters that joined servers of O(lost).
  returned: O(state=joined)
  type: list
  elements: str
removed:
  description: Members that were removed, and where.
  returned: O(state=joined)
  type: list
  elements: str
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.federation import FEDERATION


def main() -> None:
    run(FEDERATION)


if __name__ == "__main__":
    main()

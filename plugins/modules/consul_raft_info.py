#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_raft_info
short_description: Looks at a Consul server's Raft data, also when Consul does not run or has no leader
version_added: 1.3.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Says what the server where it runs has of its datacenter. That is the last entry of its Raft log, the servers that Raft knows, its node ID, and
    whether its agent names a leader.
  - Asks the agent where it answers, and reads the files in O(data_dir) else. C(raft.db) is read without a lock and without Consul's programs.
  - With O(voters), waits instead until the datacenter has a leader that answers a consistent read, and exactly these voters.
  - Needs no Python library on the host.
options:
  data_dir:
    description:
      - Consul's data directory.
    type: path
    default: /opt/consul
  unit:
    description:
      - The service of systemd that runs Consul.
    type: str
    default: consul.service
  url:
    description:
      - Address of the agent on this host.
    type: str
    default: http://127.0.0.1:8500
  token:
    description:
      - ACL token with C(agent:read) and C(operator:read), and C(key:read) for O(voters).
    type: str
  token_file:
    description:
      - File on the host with the token. Mutually exclusive with O(token).
    type: path
  ca_path:
    description:
      - File with the certificates of the authority that signed the agent's certificate.
    type: path
  record:
    description:
      - File with the record of a recovery, which is returned as it is.
    type: path
  watch:
    description:
      - Seconds for which the agent is watched. The module returns at once when the agent names a leader.
    type: float
    default: 0
  voters:
    description:
      - The voters to wait for. The keys are names for messages, the values are lists of node IDs or IP addresses of that server.
    type: dict
  healthy:
    description:
      - With O(voters), whether autopilot must call all servers healthy, too.
    type: bool
    default: false
  timeout:
    description:
      - Seconds to wait for O(voters).
    type: float
    default: 60
attributes:
  check_mode:
    support: full
    description: Changes nothing at all.
  diff_mode:
    support: none
    description: There is nothing to compare.
notes:
  - The Raft log of servers that keep it in C(raft/wal) is only read by Consul. Without the agent, what the newest
    Raft snapshot says is returned then, which is older.
seealso:
  - module: consulops.failover.consul_recovery_plan
"""

EXAMPLES = r"""
- name: Look at a server that is stopped
  become: true
  consulops.failover.consul_raft_info:
    data_dir: /opt/consul
  register: looked

- name: Show its last entry
  ansible.builtin.debug:
    msg: "{{ looked.facts.raft.index }} of term {{ looked.facts.raft.term }}"
"""

RETURN = r"""
facts:
  description: What was found, without O(voters).
  returned: without O(voters)
  type: dict
  contains:
    unit:
      description: State of the unit.
      type: str
    node_id:
      description: The server's node ID, an empty string where there is none.
      type: str
    datacenter:
      description: The datacenter as the agent or the server's notes of the WAN say it, an empty string where they do not.
      type: str
    raft:
      description: C(index) and C(term) of the last entry, the C(source) of them, which is agent, log, snapshot or none, and the C(servers) that Raft
        knows. The index is 0 where there is no data, and null where it cannot be read.
      type: dict
    agent:
      description: Whether the agent answers, and the leader that it names.
      type: dict
raft:
  description: The leader, the number of keys, the servers and whether autopilot calls them healthy.
  returned: with O(voters)
  type: dict
  sample: {"leader": "198.18.1.11:8300", "keys": 200, "servers": [], "healthy": true}
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.raft_info import RAFT_INFO


def main() -> None:
    run(RAFT_INFO)


if __name__ == "__main__":
    main()

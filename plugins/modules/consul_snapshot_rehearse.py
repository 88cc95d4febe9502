#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_snapshot_rehearse
short_description: Restore a Consul snapshot into a throw-away Consul, and compare
version_added: 1.3.0
description:
  - Proves that a snapshot restores. A Consul server of its own is started where it can reach nothing, the snapshot is restored into it,
    its state is read back and compared with the snapshot table by table. Everything of it is removed afterwards.
  - Fails when Consul does not load the snapshot, or has another state afterwards than the snapshot holds. Decoding, which
    M(consulops.failover.consul_snapshot) and M(consulops.failover.consul_snapshot_info) do, does not find all of that.
  - The isolation is a transient unit of systemd when the module runs as root on a host with systemd, with a network, a user and temporary
    files of its own and a memory limit. Elsewhere it is a network namespace with loopback alone and, as root, a user ID that nobody has.
    Where neither can be had, the module fails, says why, and restores nothing.
  - Sends no request to any of your Consul servers or agents.
options:
  path:
    description:
      - Snapshot file on the host where the module runs, encrypted or not.
      - Also an object store, C(s3://BUCKET/PREFIX/), C(gs://BUCKET/PREFIX/) or C(az://CONTAINER/PREFIX/), or a directory, together with
        O(at).
    type: path
    required: true
  datacenter:
    description:
      - With O(at), choose among the snapshots of this datacenter. Without it among all.
    type: str
  consul_binary:
    description:
      - The Consul to restore into, its path or its name in E(PATH). It should be of the version that your servers run. One of another
        version gives a warning; an older one that does not know what the snapshot holds is refused.
    type: str
    default: consul
  memory_limit:
    description:
      - End the rehearsal when its Consul has more memory. Bytes, or for example V(512M) or V(4G).
    type: str
    default: 2G
  time_limit:
    description:
      - End the rehearsal after this time. Seconds, or for example V(15m).
    type: str
    default: 15m
  limit:
    description:
      - How many records that differ to list by name. All are counted.
    type: int
    default: 100
extends_documentation_fragment:
  - consulops.failover.store
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - Looks for the Consul and the snapshot, fetches and decrypts it, and starts nothing.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: none
requirements:
  - requests
  - python-consul2 (or py-consul; not both, because they share one package name)
  - msgpack
  - obstore, for object stores
  - pyrage, for encrypted snapshots
  - a C(consul) program
notes:
  - It has no connection options, so it is not part of the action group C(consulops.failover.consul).
seealso:
  - module: consulops.failover.consul_snapshot
  - module: consulops.failover.consul_snapshot_info
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: Does the newest snapshot of the bucket restore?
  consulops.failover.consul_snapshot_rehearse:
    path: s3://consul-backups/dc1/
    at: latest
    datacenter: dc1
    store:
      region: eu-central-1
    identity_file: /root/operator.age
  become: true
  register: rehearsal

- name: How long would a restore take?
  ansible.builtin.debug:
    msg: "{{ rehearsal.seconds.restore }} s, with {{ rehearsal.consul.peak_bytes // 1048576 }} MB of memory"

- name: Rehearse a file in the Consul that an upgrade is going to install
  consulops.failover.consul_snapshot_rehearse:
    path: /var/backups/consul/before-the-upgrade.snap
    consul_binary: /opt/consul-1.19/consul
    memory_limit: 4G
  become: true
"""

RETURN = r"""
path:
  description: The snapshot.
  returned: success
  type: str
would_rehearse:
  description: Whether this is the answer of check mode, in which nothing was rehearsed.
  returned: success
  type: bool
verified:
  description: Whether every durable table of the throw-away Consul was what the snapshot holds. The module fails if not.
  returned: not in check mode
  type: bool
snapshot:
  description: What the snapshot holds.
  returned: not in check mode
  type: dict
  contains:
    datacenter:
      description: The datacenter of the snapshot.
      type: str
    index:
      description: Raft index.
      type: int
    records:
      description: Number of records in all.
      type: int
    digest:
      description: Logical digest over the durable tables.
      type: str
    consul_versions:
      description: Versions of the servers whose state it is, as their catalog names them.
      type: list
      elements: str
consul:
  description: The Consul that it was restored into.
  returned: always
  type: dict
  contains:
    binary:
      description: Its path.
      type: str
    version:
      description: Its version.
      returned: not in check mode
      type: str
    peak_bytes:
      description: How much memory it has had at most.
      returned: not in check mode
      type: int
  sample: {"binary": "/usr/bin/consul", "version": "1.8.7", "peak_bytes": 71303168}
isolation:
  description: What isolated it, V(a unit of systemd) or V(namespaces).
  returned: not in check mode
  type: str
tables:
  description: Every table, the largest first.
  returned: not in check mode
  type: list
  elements: dict
  contains:
    table:
      description: The table.
      type: str
    durable:
      description: Whether a restore must bring it back. Sessions, nodes that run an agent and Raft's own counters need not.
      type: bool
    expected:
      description: How many records the snapshot holds.
      type: int
    restored:
      description: How many records Consul has.
      type: int
    differing:
      description: How many records are not as the snapshot holds them.
      type: int
    written:
      description: How many records the server wrote or deleted by itself since, for example for a session that expired.
      type: int
  sample: [{"table": "KVS", "durable": true, "expected": 20000, "restored": 20000, "differing": 0, "written": 0}]
wrong:
  description: The records that differ, by table and name.
  returned: not in check mode
  type: list
  elements: dict
omitted:
  description: How many of them are not listed because of O(limit).
  returned: not in check mode
  type: int
migrated:
  description: How many records of each table Consul stores in another form because it is of another version, with the same meaning.
  returned: not in check mode
  type: dict
seconds:
  description: How long each part took.
  returned: not in check mode
  type: dict
  sample: {"decode": 0.4, "start": 1.6, "restore": 0.5, "read_back": 0.7}
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.snapshot_rehearse import REHEARSE


def main() -> None:
    run(REHEARSE)


if __name__ == "__main__":
    main()

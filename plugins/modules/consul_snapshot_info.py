#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_snapshot_info
short_description: Inspect and compare Consul snapshots, list a directory of them
version_added: 1.0.0
description:
  - Reads a Consul snapshot of any version from 1.0 on, also of Enterprise, and returns what it holds. Every record is
    decoded, so a file that this module accepts is complete.
  - Compares a snapshot with another one, or with the state that a datacenter is in now, table by table and record by
    record. Values are shown as digests.
  - Lists a directory of snapshots, newest first.
  - Sends no request to Consul unless O(compare_live) is set.
options:
  path:
    description:
      - Snapshot file to inspect, or directory of snapshots to list, on the host where the module runs.
      - Also a Raft snapshot on the disk of a Consul server, C(DATA_DIR/raft/snapshots/ID), or C(DATA_DIR/raft/snapshots), of which the
        newest usable one is read. Added in version 1.3.0.
      - Also an object store, C(s3://BUCKET/PREFIX/), C(gs://BUCKET/PREFIX/) or C(az://CONTAINER/PREFIX/). Its snapshots are listed by
        their manifests; one is inspected when O(at) chooses it or O(path) ends in its name. Added in version 1.3.0.
    type: path
    required: true
  kv_depth:
    description:
      - How many elements of a key's path make a prefix in C(kv). V(0) lists no prefixes.
    type: int
    default: 2
  kv_prefix:
    description:
      - List only prefixes below this one.
    type: str
    default: ""
  key:
    description:
      - Key to look up in the snapshot. Its value is returned as a digest unless O(show_value) is set.
    type: str
  show_value:
    description:
      - Return the value of O(key) itself. It then also appears in Ansible's output and logs.
    type: bool
    default: false
  compare_with:
    description:
      - Another snapshot file. C(comparison) holds what changed from O(path) to it.
      - Mutually exclusive with O(compare_live).
    type: path
  compare_live:
    description:
      - Compare with the state that the datacenter is in now. C(comparison) holds what changed since the snapshot.
        Reads a snapshot without writing it to a file, and needs the same rights as taking one.
    type: bool
    default: false
  stale:
    description:
      - With O(compare_live), let any server answer, not only the leader.
    type: bool
    default: false
  limit:
    description:
      - How many differences, and with O(restorable_in) how many records of each reason, to list by name. All are counted.
    type: int
    default: 100
  restorable_in:
    description:
      - Versions of Consul, for example V(1.16) or V(1.19.2). The result says for each whether its servers would load the snapshot as it
        is, and every reason why not. Servers load their own data by the same rules when they start after an upgrade.
      - The rules of 1.8 to 1.23 are known, where the last number of a version makes no difference. Any other version is refused.
    type: list
    elements: str
    version_added: 1.3.0
  verify:
    description:
      - When listing a directory, read every file again and compare its SHA-256 with its manifest.
    type: bool
    default: false
  stream_timeout:
    description:
      - With O(compare_live), seconds without data to wait while the server prepares its state.
    type: float
    default: 300.0
extends_documentation_fragment:
  - consulops.failover.store
  - consulops.failover.connection
  - consulops.failover.connection.attributes
attributes:
  check_mode:
    support: full
    details:
      - Changes nothing, with or without check mode.
  diff_mode:
    support: full
    details:
      - With O(compare_with) or O(compare_live), shows the records that differ, with digests of their values.
requirements:
  - msgpack
  - obstore, for object stores
  - pyrage, for encrypted snapshots
seealso:
  - module: consulops.failover.consul_snapshot
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: Which snapshots are in the bucket?
  consulops.failover.consul_snapshot_info:
    path: s3://consul-backups/dc1/
    store:
      region: eu-central-1

- name: What is in this snapshot, and who uses the space?
  consulops.failover.consul_snapshot_info:
    path: /var/backups/consul/consul-dc1-20261122T030000Z-4711.snap
    kv_depth: 1

- name: What changed since the snapshot of this morning?
  consulops.failover.consul_snapshot_info:
    url: https://consul.example.com:8501
    token_file: /etc/consulops/snapshot.token
    path: /var/backups/consul/morning.snap
    compare_live: true
  register: since_morning
  diff: true

- name: Did the snapshot hold this key, and with which value (as a digest)?
  consulops.failover.consul_snapshot_info:
    path: /var/backups/consul/morning.snap
    key: app/db/password

- name: Would the servers of these versions load this snapshot?
  consulops.failover.consul_snapshot_info:
    path: /var/backups/consul/morning.snap
    restorable_in: ["1.16", "1.19"]
  register: upgrade
  failed_when: upgrade.restorable_in | rejectattr('restorable') | length > 0

- name: Which snapshots are there, and are they still intact?
  consulops.failover.consul_snapshot_info:
    path: /var/backups/consul/
    verify: true
"""

RETURN = r"""
snapshot:
  description:
    - What the file holds.
  returned: when O(path) is a file or a Raft snapshot
  type: dict
  contains:
    path:
      description: The file.
      type: str
    datacenter:
      description: The datacenter of the snapshot.
      type: str
    consul_version:
      description: Version of the Consul servers.
      type: str
    servers:
      description: Names of the servers.
      type: list
      elements: str
    server_nodes:
      description: The nodes of the servers, by name. Servers that replace them need the same IDs to keep their names.
      type: list
      elements: dict
      version_added: 1.3.0
      contains:
        name:
          description: The name of the node.
          type: str
        id:
          description: The ID of the node, as in the file C(node-id) of the server's data directory. Empty when the snapshot has none.
          type: str
        address:
          description: The address of the node.
          type: str
    index:
      description: Raft index.
      type: int
    term:
      description: Raft term.
      type: int
    raft_id:
      description: Raft's ID of the snapshot.
      type: str
    records:
      description: Number of records in all.
      type: int
    size:
      description: Size of the decompressed state in bytes.
      type: int
    digest:
      description: Logical digest over the durable tables.
      type: str
    tables:
      description: Name, type number, count, bytes, digest and durability of each table, the largest first.
      type: list
      elements: dict
    connect_ca:
      description: The CA of Connect. Its secrets are in the snapshot, and never in this result.
      type: dict
      version_added: 1.3.0
      contains:
        trust_domain:
          description: The trust domain, which all datacenters of a federation share. Empty without a CA.
          type: str
        active_root:
          description: ID of the root certificate in use.
          type: str
        roots:
          description: IDs of all root certificates.
          type: list
          elements: str
    manifest:
      description: The manifest beside the file, null without one.
      type: dict
    problem:
      description: How the file contradicts its manifest, empty when it does not.
      type: str
  sample:
    datacenter: dc1
    index: 4711
    records: 20631
kv:
  description: Keys and bytes by prefix, the largest first.
  returned: when O(path) is a file or a Raft snapshot and O(kv_depth) is not V(0)
  type: list
  elements: dict
  sample: [{"prefix": "app/web/", "keys": 4000, "bytes": 1601200}]
key:
  description: The key that was looked up, null when the snapshot does not have it.
  returned: when O(key) is given
  type: dict
  contains:
    key:
      description: The key.
      type: str
    digest:
      description: Digest that stands for the value.
      type: str
    bytes:
      description: Length of the value.
      type: int
    flags:
      description: Flags of the key.
      type: int
    create_index:
      description: Raft index at which the key was created.
      type: int
    modify_index:
      description: Raft index at which the key was last written.
      type: int
    lock_index:
      description: How often the key was locked.
      type: int
    session:
      description: Session that holds the key, empty when none does.
      type: str
    value:
      description: The value as text, null when it is not UTF-8.
      returned: with O(show_value)
      type: str
    value_base64:
      description: The value in base64.
      returned: with O(show_value)
      type: str
comparison:
  description: How the other side differs from O(path).
  returned: with O(compare_with) or O(compare_live)
  type: dict
  contains:
    equal:
      description: Whether the durable tables are the same.
      type: bool
    digest:
      description: Logical digest of the other side.
      type: str
    index:
      description: Raft index of the other side.
      type: int
    datacenter:
      description: Datacenter of the other side.
      type: str
    tables:
      description: For each table, how many records were added, removed, changed and stayed the same.
      type: list
      elements: dict
    kv:
      description: How many keys were added, removed and changed below each prefix (the first element of the path).
      type: list
      elements: dict
    differences:
      description: The records that differ, each with the first 8 bytes of its BLAKE2b hash before and after.
      type: list
      elements: dict
    omitted:
      description: How many differences are not listed because of O(limit).
      type: int
raft_snapshot:
  description: The Raft snapshot that was read. Later entries of the server's log are not in it.
  returned: when O(path) is the directory of a Raft snapshot, or of several
  type: dict
  contains:
    path:
      description: Its directory.
      type: str
    index:
      description: Raft index up to which it reaches.
      type: int
    term:
      description: Raft term.
      type: int
    time:
      description: When the server made it, in UTC.
      type: str
    skipped:
      description: Why newer ones cannot be used, a sentence each.
      type: list
      elements: str
restorable_in:
  description: Whether servers of each requested version would load the snapshot as it is.
  returned: with O(restorable_in)
  type: list
  elements: dict
  contains:
    version:
      description: The version.
      type: str
    restorable:
      description: Whether everything is loaded and keeps its meaning.
      type: bool
    reasons:
      description: Why not, empty when it is restorable.
      type: list
      elements: dict
      contains:
        cause:
          description:
            - V(record_type) or V(config_kind), which the version does not know; V(field), a field that a record lacks;
              V(legacy_acl), a token whose rules the version ignores.
          type: str
        table:
          description: The table.
          type: str
        reason:
          description: One sentence with the first record.
          type: str
        count:
          description: How many records there are.
          type: int
        records:
          description: The records, each with its place in the snapshot, counted from 1, and its name.
          type: list
          elements: dict
        omitted:
          description: How many records are not listed because of O(limit), or because there are more than 1,000.
          type: int
  sample:
    - version: "1.19"
      restorable: false
      reasons:
        - cause: field
          table: ACLToken
          reason: "ACLToken, record 41 (#a5f7c0de '2016 deploy'): no AccessorID; Consul 1.15 and later cannot load it"
          count: 1
          records: [{number: 41, name: "#a5f7c0de '2016 deploy'"}]
          omitted: 0
snapshots:
  description: The snapshots of the directory, newest first.
  returned: when O(path) is a directory of snapshot files
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    time:
      description: When it was taken, in UTC.
      type: str
    age_seconds:
      description: How long ago that was.
      type: int
    datacenter:
      description: The datacenter, null without a manifest.
      type: str
    consul_version:
      description: Version of the Consul servers, null without a manifest.
      type: str
    index:
      description: Raft index, null without a manifest.
      type: int
    size:
      description: Size of the file in bytes.
      type: int
    digest:
      description: Logical digest, null without a manifest.
      type: str
    intact:
      description: Whether the file is what its manifest says; null when that was not verified.
      type: bool
    problem:
      description: What is wrong, empty when nothing is.
      type: str
    recipients:
      description: Of a store, for whom the snapshot is encrypted; empty with a passphrase, null when it is not encrypted.
      type: list
      elements: str
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.snapshot_info import SNAPSHOT_INFO


def main() -> None:
    run(SNAPSHOT_INFO)


if __name__ == "__main__":
    main()

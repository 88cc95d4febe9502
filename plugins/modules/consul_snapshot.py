#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_snapshot
short_description: Take verified snapshots of a Consul datacenter, and restore them safely
version_added: 1.0.0
description:
  - Saves the whole state of a Consul datacenter (keys, catalogue, sessions, ACLs, config entries, prepared queries,
    Connect CA) to a file, through Consul's own snapshot API.
  - The file is written, decompressed, hashed and decoded record by record in one pass. It takes its place only when
    every record has been read and both checksums are right, so an error page, a body that was cut short or a full disk
    never becomes a snapshot and never replaces one.
  - A manifest (O(path) plus C(.json)) is written beside it. It holds where, when and with which Consul version the
    snapshot was taken, the number of records, their size and a logical digest for each table, and the file's SHA-256.
  - The counts are compared with the live API, because Consul itself can leave records out of a snapshot.
  - Both files are readable by their owner only. A snapshot holds every ACL secret and the private key of Connect's CA
    in clear text.
  - With O(state=restored), brings a datacenter, or only some keys of it, back to what a snapshot holds. Compares first
    and changes nothing if nothing differs. Refuses what would crash a server or lock its operator out. Keeps a
    snapshot of the state before. Sends one restore request, never a second, and verifies the state after it.
options:
  path:
    description:
      - With O(state=saved), the file to write the snapshot to, on the host where the module runs. If it is a directory, or
        ends with V(/), a file named after O(name) is written into it. The directory must exist.
      - With O(state=restored), the snapshot file to restore.
      - Also an object store, C(s3://BUCKET/PREFIX/), C(gs://BUCKET/PREFIX/) or C(az://CONTAINER/PREFIX/). Nothing in it is ever
        overwritten. A snapshot is read back after it was stored, and counts only when it came back whole. To restore, O(at)
        chooses, or O(path) names the snapshot. Added in version 1.3.0.
    type: path
    required: true
  state:
    description:
      - V(saved) takes a snapshot.
      - V(restored) makes the datacenter hold what the snapshot in O(path) holds.
    type: str
    choices: [saved, restored]
    default: saved
  force:
    description:
      - Restore again although this snapshot was restored before and the datacenter was written to since.
      - Without it such a drift is reported and nothing is sent, so running a play twice does not undo what was written in
        between.
    type: bool
    default: false
  accept:
    description:
      - Refusals to accept. The restore is then done in spite of them.
      - V(unknown_types), record types that the servers' version does not restore. The leader crashes.
      - V(unknown_kinds), config entries of kinds that the servers do not know. The leader crashes.
      - V(incomplete_records), records that lack a field without which the servers' version cannot load them, for example a token
        without AccessorID in Consul 1.15 and later. The leader crashes. Added in version 1.3.0.
      - V(other_datacenter), a snapshot of another datacenter.
      - V(lost_token), ACLs are on and the token in use is not in the snapshot.
      - V(low_disk), there may not be enough disk space for the safety snapshot or the undo file.
      - V(attempted_before), this file was sent before and the outcome is not known. A note of that is kept beside the file and in
        O(safety_path).
      - V(locked_keys), with O(prefixes), keys that a session holds. Without it they are not written, and the task fails
        after all other keys were.
    type: list
    elements: str
    choices:
      - unknown_types
      - unknown_kinds
      - incomplete_records
      - other_datacenter
      - lost_token
      - low_disk
      - attempted_before
      - locked_keys
    default: []
  safety_path:
    description:
      - Directory for the snapshot that is taken before anything is restored; with O(prefixes), for the undo file. Without
        it, the directory of O(path). Required when O(path) is an object store.
    type: path
  leader_timeout:
    description:
      - Seconds to wait for a leader, before the restore and after it.
    type: float
    default: 60.0
  destroy_gone_sessions:
    description:
      - After the restore, destroy the sessions that no longer existed before it. They come back with the snapshot and would
        hold their locks without a holder. Sessions that delete their keys when they end are kept. In a new cluster, which has
        none of the snapshot's nodes, all sessions are kept.
    type: bool
    default: true
  touch_replicated:
    description:
      - After the restore, write and delete one object in each table that federated datacenters replicate (ACL policies,
        roles and tokens, config entries), because their replication waits for a write. Does nothing in a datacenter that
        is not federated.
      - The objects are called C(consulops-touch-...). No digest or comparison counts them; one that could not be deleted is
        named in a warning and deleted by the next restore.
    type: bool
    default: true
  prefixes:
    description:
      - Restore only the keys below these prefixes, by compare-and-set, and leave everything else as it is. V("") is the whole
        store. Needs only the right to read and write those keys.
      - Before the first key is written, what will be overwritten, deleted and created is in an undo file, a snapshot file that
        holds only that. To go back, restore the undo file with the same prefixes.
    type: list
    elements: str
  prune:
    description:
      - With O(prefixes), delete keys that the snapshot does not have.
      - Restoring an undo file deletes the keys that the restore created, and no others, with or without this.
    type: bool
    default: false
  plan_digest:
    description:
      - Restore only if the plan is still the one with this digest, which a run in check mode returned. It stands for the
        snapshot file and the datacenter; with O(prefixes), for the keys that are written, with value and flags, and the
        keys that are deleted.
      - A restore of another plan is refused and changes nothing.
    type: str
    version_added: 1.3.0
  limit:
    description:
      - How many records to list by name in C(loss) and in the diff. All are counted.
    type: int
    default: 100
  name:
    description:
      - Name of the file when O(path) is a directory. If there is a file of that name, the new one gets a number.
      - May hold V({datacenter}), V({time}) (UTC, as V(20261122T030000Z)), V({index}) and V({term}) (of Raft),
        V({version}) (of Consul) and V({node}) (of the agent that answered). Must end in V(.snap).
    type: str
    default: "consul-{datacenter}-{time}-{index}.snap"
  max_age:
    description:
      - Take no snapshot while there is one of the datacenter that is younger than this and still intact. Its file is
        read and hashed again to verify that.
      - Seconds, or for example V(15m), V(1h30m), V(2d). Without it every run takes a new snapshot.
    type: str
  stale:
    description:
      - Let any server answer, not only the leader. Works without a leader, takes load from it, and may miss the last
        writes.
    type: bool
    default: false
  cross_check:
    description:
      - What to do when the live API lists more objects than the snapshot holds, in tables that were not written to
        since.
      - V(fail) keeps nothing, V(warn) keeps the snapshot and warns, V(ignore) does not compare.
      - What could not be compared is returned in C(snapshot.unchecked) and is never counted as good.
    type: str
    choices: [fail, warn, ignore]
    default: warn
  on_shrink:
    description:
      - What to do when a table has lost more than O(max_shrink_percent) of its records since the snapshot before
        (the newest of the datacenter in the directory, or the file that would be replaced).
      - V(fail) keeps nothing, V(warn) keeps the snapshot and warns, V(ignore) does not compare.
    type: str
    choices: [fail, warn, ignore]
    default: fail
  max_shrink_percent:
    description:
      - How much smaller than before a table may be. Tables that had fewer than 20 records are not compared.
    type: float
    default: 20.0
  recipients:
    description:
      - Encrypt the snapshot with age for these public keys, those of age (C(age1...)) or SSH keys (C(ssh-ed25519 ...),
        C(ssh-rsa ...)). Any one of their identities opens it. It is encrypted before it leaves the host. O(path) must be an object
        store or a directory.
      - The manifest stays readable and says for whom the snapshot is encrypted.
      - To encrypt with a passphrase instead, set O(passphrase_file). All of the snapshot is held in memory then, so only one of at
        most 64 MiB is taken.
    type: list
    elements: str
    default: []
    version_added: 1.3.0
  stream_timeout:
    description:
      - Seconds without data to wait while the server prepares the snapshot and sends it. It writes the whole
        snapshot to its own disk before the first byte comes.
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
      - With O(state=saved), asks Consul for a leader and whether the token may take snapshots, checks the directory, and
        returns what would be written.
      - With O(state=restored), makes the same comparison and the same decision, and sends nothing.
  diff_mode:
    support: full
    details:
      - With O(state=saved), shows the counts and digests of the tables before and after; in check mode nothing, because
        what a snapshot would hold is only known when it is taken.
      - With O(state=restored), shows the records that change, with digests of their values.
requirements:
  - msgpack
  - obstore, for object stores
  - pyrage, for encrypted snapshots
seealso:
  - module: consulops.failover.consul_snapshot_info
  - name: Consul snapshot API
    description: What the module calls.
    link: https://developer.hashicorp.com/consul/api-docs/snapshot
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: Save the datacenter into a directory, at most once an hour
  consulops.failover.consul_snapshot:
    url: https://consul.example.com:8501
    token_file: /etc/consulops/snapshot.token
    path: /var/backups/consul/
    max_age: 1h

- name: Save every federated datacenter through one agent
  consulops.failover.consul_snapshot:
    datacenter: "{{ item }}"
    path: /var/backups/consul/
  loop: [dc1, dc2]

- name: Save before maintenance and fail on any doubt
  consulops.failover.consul_snapshot:
    path: /var/backups/consul/before-upgrade.snap
    cross_check: fail
    on_shrink: fail
  register: before_upgrade

- name: Bring the datacenter back to what it was before
  consulops.failover.consul_snapshot:
    state: restored
    path: /var/backups/consul/before-upgrade.snap

- name: Save into a bucket, encrypted for the operators and for the escrow key
  consulops.failover.consul_snapshot:
    path: s3://consul-backups/dc1/
    store:
      region: eu-central-1
      credentials_file: /etc/consulops/s3.credentials
    recipients:
      - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
      - "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMb3iTSvFVrQ6BWlvwqYHsxWUPLqBs7rXmVqCuyDrLHU escrow"
    max_age: 1h

- name: Bring the datacenter back to what it was at three o'clock
  consulops.failover.consul_snapshot:
    state: restored
    path: s3://consul-backups/dc1/
    at: "2026-11-22T03:00:00Z"
    store:
      region: eu-central-1
    identity_file: /root/operator.age
    safety_path: /var/backups/consul/

- name: Bring back only the keys of one application
  consulops.failover.consul_snapshot:
    state: restored
    path: /var/backups/consul/before-upgrade.snap
    prefixes: [app/web/]
  register: restored_keys

- name: Take that back
  consulops.failover.consul_snapshot:
    state: restored
    path: "{{ restored_keys.undo }}"
    prefixes: [app/web/]
"""

RETURN = r"""
action:
  description:
    - What was done. V(unchanged), the live state is what the snapshot holds. V(drifted), it was restored before and written
      to since. V(restored), it was restored. In check mode, V(restore) when it would be.
  returned: with O(state=restored)
  type: str
  sample: restored
loss:
  description: What a restore undoes, by table, by KV prefix and by name.
  returned: with O(state=restored), unless nothing differs
  type: dict
  contains:
    tables:
      description: For each table, records that are lost, rolled back and brought back.
      type: list
      elements: dict
    kv:
      description: The same for each KV prefix (the first element of the path).
      type: list
      elements: dict
    records:
      description: The records by table and name, with what happens to them.
      type: list
      elements: dict
    omitted:
      description: How many records are not listed because of O(limit).
      type: int
refusals:
  description: Names of the refusals, as O(accept) takes them.
  returned: when the restore is refused
  type: list
  elements: str
safety:
  description: The snapshot of the state before the restore.
  returned: when a restore was sent
  type: str
undo:
  description: >-
    The undo file, which holds what the restore of O(prefixes) overwrote, deleted and created. Restored with the same prefixes
    it brings back the values, flags and absences from before the restore, not the locks.
  returned: with O(prefixes), when keys were written
  type: str
  version_added: 1.3.0
  sample: /var/backups/consul/undo-restore-dc1-20261122T030000Z-4711.snap
plan_digest:
  description: Digest of the plan, as O(plan_digest) takes it.
  returned: with O(state=restored)
  type: str
  version_added: 1.3.0
verified:
  description: Whether the live state was read again and is what the snapshot holds.
  returned: when a restore was sent
  type: bool
wrong:
  description: Records that are not as the snapshot holds them after the restore.
  returned: when a restore was sent
  type: list
  elements: dict
migrated:
  description:
    - How many records of each table servers of another version than the snapshot's wrote in their own form. They mean the same, and
      are no difference.
  returned: when a restore was sent
  type: dict
  version_added: 1.3.0
written_since:
  description: Records that other clients wrote after the restore.
  returned: when a restore was sent
  type: list
  elements: dict
datacenter:
  description: The datacenter that is, or would be, restored.
  returned: with O(state=restored), without O(prefixes)
  type: str
destroyed_sessions:
  description: Sessions that were gone before the restore and were destroyed again.
  returned: when a restore was sent
  type: list
  elements: str
ghost_nodes:
  description: Nodes that came back with the snapshot and are not members of the datacenter now.
  returned: when a restore was sent
  type: list
  elements: str
ghost_commands:
  description: The commands that deregister them, for machines that will not come back.
  returned: when a restore was sent
  type: list
  elements: str
touched:
  description: The replicated tables that were touched.
  returned: when a restore was sent
  type: list
  elements: str
prefixes:
  description: For each prefix, keys created, updated, deleted, unchanged, kept, locked and in conflict.
  returned: with O(prefixes)
  type: list
  elements: dict
path:
  description: The snapshot file. In check mode with a directory, its name is still the pattern.
  returned: success
  type: str
  sample: /var/backups/consul/consul-dc1-20261122T030000Z-4711.snap
manifest:
  description: The manifest file.
  returned: with O(state=saved)
  type: str
  sample: /var/backups/consul/consul-dc1-20261122T030000Z-4711.snap.json
reason:
  description: Why it was or was not done.
  returned: success
  type: str
  sample: no snapshot is young enough
snapshot:
  description: The manifest's contents. In check mode, those of the existing snapshot.
  returned: with O(state=saved), when there is one
  type: dict
  contains:
    datacenter:
      description: The datacenter, from the snapshot itself.
      type: str
    time:
      description: When it was taken, in UTC.
      type: str
    consul_version:
      description: Version of the Consul servers, from the snapshot itself.
      type: str
    node:
      description: Name of the agent that answered, if the token may read it.
      type: str
    servers:
      description: Names of the servers of the datacenter.
      type: list
      elements: str
    index:
      description: Raft index of the snapshot.
      type: int
    term:
      description: Raft term of the snapshot.
      type: int
    raft_id:
      description: Raft's ID of the snapshot.
      type: str
    stale:
      description: Whether a server other than the leader could answer.
      type: bool
    size:
      description: Size of the file in bytes.
      type: int
    sha256:
      description: SHA-256 of the file.
      type: str
    digest:
      description: Logical digest over the durable tables. Equal for equal contents, whatever the Raft indexes.
      type: str
    tables:
      description: Name, type number, count, bytes, digest and durability of each table, the largest first.
      type: list
      elements: dict
    cross_checked:
      description: Whether the counts were compared with the live API.
      type: bool
    missing:
      description: What the live API lists and the snapshot does not hold.
      type: list
      elements: str
    unchecked:
      description: What could not be compared with the live API, and why.
      type: list
      elements: str
    collection_version:
      description: Version of this collection.
      type: str
    format:
      description: Version of the manifest's format.
      type: int
  sample:
    datacenter: dc1
    index: 4711
    size: 6570021
seconds:
  description: How long each part took, in seconds. Of a restore, safety_snapshot, plan, restore, leader, verify and post_restore.
  returned: when a snapshot was taken or restored
  type: dict
  sample: {"prepare": 0.4, "stream": 0.3, "cross_check": 0.1}
may_save:
  description: Whether Consul says that the token may take snapshots; null when the server cannot tell.
  returned: with O(state=saved) in check mode
  type: bool
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.snapshot import SNAPSHOT


def main() -> None:
    run(SNAPSHOT)


if __name__ == "__main__":
    main()

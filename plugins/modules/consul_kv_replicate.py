#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_kv_replicate
short_description: Copy keys from one Consul datacenter to another, safely
version_added: 1.1.0
description:
  - Makes the keys below some prefixes of a destination datacenter equal to those of a source, once. A second run changes nothing.
  - Compares values and flags, never indexes. It converges after a restore or a rebuild of either side, and repairs keys that
    were edited or deleted at the destination.
  - Reads both sides and decides before it writes anything. Refuses an empty source and deletions beyond a limit.
  - Writes by compare-and-set in transactions, then deletes. By default it deletes only keys that it wrote itself. Each deletion is
    first confirmed by the source's leader by the key's name, because a list filtered by ACLs cannot show that a key is gone.
  - Records what it wrote in a ledger below C(consulops/replication/) at the destination, and takes a lock there.
  - A key that cannot be written is named. The other keys are written, and the task fails at the end.
  - Values are never returned, and never shown unless O(diff_values) is on.
options:
  prefixes:
    description:
      - What to copy. An element is the name of a folder, for example V(app/), or a dictionary with the options below.
      - A name alone sets O(prefixes[].source). Both forms may be mixed in one list.
      - The notation of consul-replicate, as V(app/@dc1:copy/), is refused. Set O(source.datacenter) to V(dc1), O(prefixes[].source)
        to V(app/) and O(prefixes[].destination) to V(copy/) instead.
    type: list
    elements: raw
    required: true
    suboptions:
      source:
        description:
          - Folder at the source, with a slash at its end, or V("") for the whole store. A variable that is null is refused.
          - The folder V(consulops/) is reserved for this collection. It is never copied and never deleted.
        type: raw
        required: true
      destination:
        description:
          - Folder at the destination, with a slash at its end, or V("") for the whole store. The default is the source's folder.
        type: str
      include:
        description:
          - Copy only keys that match one of these globs. A glob is matched against the path below O(prefixes[].source).
          - V(*) and V(?) match within one element of the path, V(**) matches across elements, V([a-z]) and V([!a-z]) match one
            character.
          - A glob that names a folder matches everything below it. V(5) does not match V(50).
          - An empty list is refused, and so is a glob with more than three stars between two slashes.
        type: list
        elements: str
      exclude:
        description:
          - Leave keys that match one of these globs unchanged, on both sides. Takes precedence over O(prefixes[].include).
        type: list
        elements: str
      delete:
        description:
          - Like O(delete), for this prefix.
        type: str
        choices: [never, owned, all]
  name:
    description:
      - Name of this replication. Its ledger, state and lock are stored at the destination below C(consulops/replication/) and this
        name.
      - The default is the name of the source's datacenter. Tasks that copy different prefixes from one datacenter may share a name.
    type: str
  delete:
    description:
      - Which keys of the destination to delete when the source does not have them.
      - V(never) deletes nothing.
      - V(owned) deletes keys that this replication wrote and that are unchanged since. With O(on_conflict=overwrite) it also
        deletes keys that it wrote and others edited since.
      - V(all) deletes every key below the prefix that takes part.
    type: str
    choices: [never, owned, all]
    default: owned
  max_deletes:
    description:
      - Refuse the whole run when more keys than this would be deleted, in all prefixes together.
    type: int
    default: 100
  max_delete_percent:
    description:
      - Refuse the whole run when more than this percentage of a prefix's keys at the destination would be deleted. Up to five
        deletions in a prefix are always within this limit.
    type: float
    default: 10.0
  allow_empty_source:
    description:
      - Accept a prefix with no key at the source. Without it the run is refused, because a source that was wiped, a misspelt
        prefix and a wrong datacenter look the same.
    type: bool
    default: false
  on_conflict:
    description:
      - What to do with keys that others wrote at the destination. These differ from the source and from what this replication
        wrote last.
      - V(fail) leaves them, copies the other keys, deletes nothing, and fails the task with their names.
      - V(keep) leaves them and succeeds. It also leaves keys deleted that others deleted at the destination.
      - V(overwrite) overwrites them with what the source has.
      - A key that is missing at the destination is written again, except with V(keep).
    type: str
    choices: [fail, keep, overwrite]
    default: fail
  skip_locked:
    description:
      - Leave keys unchanged that are locks on either side. These are keys that a session holds, keys with the flags of Consul's locks
        and semaphores, and keys named V(.lock), V(vault/core/lock) or V(service/NAME/leader).
      - When off, their values and flags are copied. Sessions are never copied.
    type: bool
    default: true
  adopt:
    description:
      - Count keys as written by this replication that are equal on both sides already, for example because consul-replicate copied
        them.
    type: bool
    default: false
  accept:
    description:
      - Guards to pass.
      - V(other_source) allows a destination that was filled from another prefix or datacenter until now.
      - V(reversed) reverses the direction of an existing replication, as after a failover. It is needed once. The old direction is
        refused from then on.
    type: list
    elements: str
    choices: [other_source, reversed]
    default: []
  consistency:
    description:
      - How to read the source. With V(stale) any server may answer. Deletions are always confirmed by the leader.
    type: str
    choices: [default, consistent, stale]
    default: default
  max_stale:
    description:
      - With O(consistency=stale), the maximum age of an answer. An older answer is read again from the leader. Seconds, or for
        example V(500ms), V(2s), V(10m).
    type: str
    default: 2s
  verify_digest:
    description:
      - Read back what was written and compare it. Keys that others changed meanwhile are decided again, in up to three attempts.
    type: bool
    default: true
  batch_ops:
    description:
      - Operations in a transaction. V(auto) detects how many the servers accept (64 before Consul 1.14, 128 since).
    type: str
    default: auto
  concurrency:
    description:
      - Number of connections. At most four of them write and at most two read, because more only slow down other users of Consul.
    type: int
    default: 4
  lock_wait:
    description:
      - Seconds to wait for another run of this replication to end.
    type: float
    default: 60.0
  retry_timeout:
    description:
      - Seconds to retry while either side has no leader or does not answer, once the run has begun.
    type: float
    default: 15.0
  limit:
    description:
      - Maximum number of changes in the diff, and of keys in each list of the result. The counts are complete.
    type: int
    default: 100
  diff_values:
    description:
      - Show values in the diff instead of their digests. Keys often hold secrets.
    type: bool
    default: false
extends_documentation_fragment:
  - consulops.failover.connection
  - consulops.failover.connection.sides
  - consulops.failover.connection.attributes
attributes:
  check_mode:
    support: full
    details:
      - Reads both sides, decides and refuses as a normal run does, and writes nothing.
  diff_mode:
    support: full
    details:
      - Shows the keys that change with digests of their values, up to O(limit).
notes:
  - Each request is limited by O(timeout), and waiting by O(lock_wait) and O(retry_timeout). The run as a whole has no limit. The task
    keyword C(timeout) ends only Ansible's waiting; the module may continue in the background.
  - A run that is killed loses nothing. The next run continues.
  - The policies that the tokens need are in the guide, docs/replication.md.
seealso:
  - module: consulops.failover.consul_snapshot
  - name: Consul transactions
    description: The API that the module writes with.
    link: https://developer.hashicorp.com/consul/api-docs/txn
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: Keep two folders of dc2 equal to dc1, through one agent of the federation
  consulops.failover.consul_kv_replicate:
    url: https://consul.example.com:8501
    token_file: /etc/consulops/replicate.token
    source:
      datacenter: dc1
    destination:
      datacenter: dc2
    prefixes:
      - app/
      - source: config/
        exclude: ["local", "**/secret"]

- name: Copy between clusters that are not federated, into another folder
  consulops.failover.consul_kv_replicate:
    source:
      url: https://consul.east.example.com:8501
      token: "{{ east_token }}"
      ca_path: /etc/ssl/east.pem
    destination:
      url: https://consul.west.example.com:8501
      token: "{{ west_token }}"
      ca_path: /etc/ssl/west.pem
      client_cert: /etc/ssl/west-client.pem
    prefixes:
      - source: app/
        destination: from-east/app/
        delete: never

- name: Show what a run would do, key by key
  consulops.failover.consul_kv_replicate:
    source: {datacenter: dc1}
    destination: {datacenter: dc2}
    prefixes: [app/]
  check_mode: true
  diff: true

- name: After a failover, copy back from dc2 to dc1
  consulops.failover.consul_kv_replicate:
    source: {datacenter: dc2}
    destination: {datacenter: dc1}
    prefixes: [app/]
    on_conflict: overwrite
    accept: [reversed]
"""

RETURN = r"""
name:
  description: Name of the replication.
  returned: success
  type: str
  sample: dc1
source_datacenter:
  description: Name of the source's datacenter.
  returned: success
  type: str
  sample: dc1
destination_datacenter:
  description: Name of the destination's datacenter. Null when the token may not read it.
  returned: success
  type: str
  sample: dc2
unchecked:
  description: What could not be checked, and why.
  returned: success
  type: list
  elements: str
  sample: ["loops: the source's token may not read consulops/replication/"]
prefixes:
  description: What was done for each prefix, or in check mode would be done.
  returned: success, when not every key could be made equal, and when a run was interrupted
  type: list
  elements: dict
  contains:
    source:
      description: The prefix at the source.
      type: str
    destination:
      description: The prefix at the destination.
      type: str
    delete:
      description: Which keys may be deleted (never, owned or all).
      type: str
    source_keys:
      description: Number of keys of the source that take part.
      type: int
    destination_keys:
      description: Number of keys of the destination that took part before the run.
      type: int
    created:
      description: Number of keys that were created.
      type: int
    updated:
      description: Number of keys that were overwritten.
      type: int
    deleted:
      description: Number of keys that were deleted.
      type: int
    unchanged:
      description: Number of keys that were equal already.
      type: int
    kept:
      description: Number of keys that only the destination has and that were not deleted.
      type: int
    skipped_locked:
      description: Number of keys left unchanged because they are locks.
      type: int
    adopted:
      description: Number of equal keys that count as written by this replication from now on.
      type: int
    to_delete:
      description: Names of the keys that the source does not have and that this replication may delete, up to O(limit).
      type: list
      elements: str
    conflicts:
      description: Keys that others wrote at the destination and that were left unchanged, each with its reason, up to O(limit).
      type: list
      elements: dict
    unwritable:
      description: Keys that could not be written at the destination, each with its reason, up to O(limit).
      type: list
      elements: dict
    deferred_deletes:
      description:
        - Keys of RV(prefixes[].to_delete) that were not deleted, each with its reason, up to O(limit).
        - Deletions are deferred when not every key could be written, when keys are in conflict, and when the source's token may not
          confirm that they are gone.
      type: list
      elements: dict
    counts:
      description: The complete numbers of keys in RV(prefixes[].to_delete), RV(prefixes[].conflicts), RV(prefixes[].unwritable) and
        RV(prefixes[].deferred_deletes).
      type: dict
      contains:
        to_delete:
          description: Number of keys to delete.
          type: int
        conflicts:
          description: Number of keys in conflict.
          type: int
        unwritable:
          description: Number of keys that could not be written.
          type: int
        deferred_deletes:
          description: Number of deletions that were not made.
          type: int
    source_index:
      description: The highest X-Consul-Index of the source that was read.
      type: int
    digest:
      description: Digest of the source's keys that take part. It covers their names at the destination, values and flags.
      type: str
    verified:
      description: Whether every key of the source that takes part, locks excepted, was read at the destination and is equal. Keys that
        only the destination has do not count. False where the source's token sees only a part of the prefix.
      type: bool
    seconds:
      description: Time spent on this prefix.
      type: float
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.replicate import REPLICATE


def main() -> None:
    run(REPLICATE)


if __name__ == "__main__":
    main()

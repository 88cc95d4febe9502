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
  - Compares values and flags, never indexes, so it converges after a restore or a rebuild of either side and mends what was
    edited or deleted at the destination.
  - Reads and decides everything before it writes anything. Refuses a source that is empty, and deletions beyond a limit.
  - Writes by compare-and-set in transactions, then deletes. By default it deletes only what it wrote itself, and each key only
    after the source's leader confirmed by the key's own name that it is gone, which a list filtered by ACLs cannot do.
  - Keeps what it wrote in a compact ledger below C(consulops/replication/) at the destination, under a lock there.
  - A key that cannot be written is left out and named, the rest goes on, and the task fails in the end.
  - Values are never returned and never shown, unless O(diff_values) is on.
options:
  prefixes:
    description:
      - What to copy.
    type: list
    elements: dict
    required: true
    suboptions:
      source:
        description:
          - Folder at the source, with a slash at its end, or V("") for the whole store. A variable that is null is refused.
          - The folder V(consulops/) is this collection's own, never copied and never deleted.
        type: raw
        required: true
      destination:
        description:
          - Folder at the destination, by default the same one.
        type: str
      include:
        description:
          - Copy only keys that match one of these globs. A glob is matched against the path below O(prefixes[].source).
          - V(*) and V(?) stay within one element of the path, V(**) crosses them, V([a-z]) and V([!a-z]) are one character.
          - A glob that names a folder takes all that is below it, and V(5) never means V(50).
          - An empty list is refused, as is a glob with more than three stars between two slashes.
        type: list
        elements: str
      exclude:
        description:
          - Leave keys alone that match one of these globs, on both sides. Wins over O(prefixes[].include).
        type: list
        elements: str
      delete:
        description:
          - Like O(delete), for this prefix.
        type: str
        choices: [never, owned, all]
  name:
    description:
      - Name of this replication. What it owns, its state and its lock are kept under it at the destination.
      - Without it, the name of the source's datacenter. Tasks that copy different prefixes from one datacenter may share a name.
    type: str
  delete:
    description:
      - Which keys of the destination to delete when the source does not have them.
      - V(never) deletes nothing.
      - V(owned) deletes keys that this replication wrote and that still hold what it wrote. With O(on_conflict=overwrite) also
        those that it wrote and somebody edited since.
      - V(all) deletes every key below the prefix that takes part.
    type: str
    choices: [never, owned, all]
    default: owned
  max_deletes:
    description:
      - Change nothing at all when more keys than this would be deleted, over all prefixes.
    type: int
    default: 100
  max_delete_percent:
    description:
      - Change nothing at all when more than this part of a prefix's keys at the destination would be deleted. Up to five
        deletions in a prefix are not looked at.
    type: float
    default: 10.0
  allow_empty_source:
    description:
      - Accept a prefix with no key at the source. Without it nothing is changed, because a source that was wiped, a prefix that
        is misspelt and a wrong datacenter all look so.
    type: bool
    default: false
  on_conflict:
    description:
      - What to do with keys that somebody else wrote at the destination, so that they are neither the source's nor what this
        replication wrote last.
      - V(fail) leaves them, copies the rest, deletes nothing and fails the task, naming them.
      - V(keep) leaves them, also keys that were deleted there, and succeeds.
      - V(overwrite) lets the source win.
      - A key that is merely missing at the destination is written again, except with V(keep).
    type: str
    choices: [fail, keep, overwrite]
    default: fail
  skip_locked:
    description:
      - Leave keys alone that are locks on either side. These are keys that a session holds, keys with the flags of Consul's locks and
        semaphores, and keys named V(.lock), V(vault/core/lock) or V(service/NAME/leader).
      - Without it their values and flags are copied. Sessions never are.
    type: bool
    default: true
  adopt:
    description:
      - Count keys as written by this replication that were equal on both sides before it came, for example because
        consul-replicate copied them.
    type: bool
    default: false
  accept:
    description:
      - Refusals that you take upon yourself.
      - V(other_source), a destination that was filled from another prefix or datacenter until now.
      - V(reversed), the direction of an existing replication is turned round, as after a failover. Needed once. The old
        direction is refused from then on.
    type: list
    elements: str
    choices: [other_source, reversed]
    default: []
  consistency:
    description:
      - How to read the source. V(stale) lets any server answer. Before a key is deleted, the leader is always asked.
    type: str
    choices: [default, consistent, stale]
    default: default
  max_stale:
    description:
      - With O(consistency=stale), how old an answer may be before the leader is asked instead. Seconds, or for example V(500ms),
        V(2s), V(10m).
    type: str
    default: 2s
  verify_digest:
    description:
      - Read what was written again and compare it with what was meant. Keys that others changed meanwhile are decided again, up
        to three times.
    type: bool
    default: true
  batch_ops:
    description:
      - Operations in a transaction. V(auto) finds out how many the servers take (64 before Consul 1.14, 128 since).
    type: str
    default: auto
  concurrency:
    description:
      - How many connections to write over at once; at most two read. More than four only make other users of Consul wait longer.
    type: int
    default: 4
  lock_wait:
    description:
      - Seconds to wait for another run of this replication to end.
    type: float
    default: 60.0
  retry_timeout:
    description:
      - Seconds to keep on while either side has no leader or does not answer, once the run has begun.
    type: float
    default: 15.0
  limit:
    description:
      - How many changes to show in the diff, and how many keys to list by name in each list of the result. All are counted.
    type: int
    default: 100
  diff_values:
    description:
      - Show values in the diff, not only their digests. Keys often hold secrets.
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
      - Reads both sides, decides and refuses as a real run does, and writes nothing.
  diff_mode:
    support: full
    details:
      - Names the keys that change with digests of their values, up to O(limit).
notes:
  - Every request is bounded by O(timeout) and every wait by O(lock_wait) and O(retry_timeout), not the run as a whole. The task
    keyword C(timeout) ends only Ansible's waiting, the module may go on behind it.
  - A run that is killed loses nothing; the next one goes on.
  - The policies that the tokens need are in the guide, docs/replication.md.
seealso:
  - module: consulops.failover.consul_snapshot
  - name: Consul transactions
    description: What the module writes with.
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
      - source: app/
      - source: config/
        exclude: ["local", "**/secret"]

- name: Copy between clusters that do not know each other, into another folder
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

- name: See what a run would do, key by key
  consulops.failover.consul_kv_replicate:
    source: {datacenter: dc1}
    destination: {datacenter: dc2}
    prefixes: [{source: app/}]
  check_mode: true
  diff: true

- name: After a failover, copy back from dc2 to dc1
  consulops.failover.consul_kv_replicate:
    source: {datacenter: dc2}
    destination: {datacenter: dc1}
    prefixes: [{source: app/}]
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
  description: Where the keys came from.
  returned: success
  type: str
  sample: dc1
destination_datacenter:
  description: Where they went; null when the token may not know it.
  returned: success
  type: str
  sample: dc2
unchecked:
  description: What could not be checked, and why.
  returned: success
  type: list
  elements: str
prefixes:
  description: What was done, or would be in check mode, for each prefix.
  returned: success, when keys were left out, and when a run broke off
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
      description: Which keys may be deleted.
      type: str
    source_keys:
      description: Keys of the source that take part.
      type: int
    destination_keys:
      description: Keys of the destination that took part before.
      type: int
    created:
      description: Keys that were written new.
      type: int
    updated:
      description: Keys that were overwritten.
      type: int
    deleted:
      description: Keys that were deleted.
      type: int
    unchanged:
      description: Keys that were equal.
      type: int
    kept:
      description: Keys that only the destination has and that stay.
      type: int
    skipped_locked:
      description: Keys left alone because they are locks.
      type: int
    adopted:
      description: Equal keys that count as written by this replication from now on.
      type: int
    to_delete:
      description: Names of the keys to delete, the first of them.
      type: list
      elements: str
    conflicts:
      description: Keys that others wrote at the destination and that were left, with the reason, the first of them.
      type: list
      elements: dict
    unwritable:
      description: Keys that the destination cannot hold, with what it said, the first of them.
      type: list
      elements: dict
    deferred_deletes:
      description: Keys that were not deleted although the source does not have them, with the reason, the first of them.
      type: list
      elements: dict
    counts:
      description: How many to_delete, conflicts, unwritable and held back keys there are in all.
      type: dict
    source_index:
      description: The highest X-Consul-Index of the source that was read.
      type: int
    digest:
      description: Digest over the names at the destination, values and flags of the source's keys that take part.
      type: str
    verified:
      description: Whether every key that takes part, and is no lock, was seen to be equal, all that was written having been read again.
        Keys that only the destination has and that stay do not count.
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

#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_kv_reconcile
short_description: Decide about keys that a failed Consul datacenter wrote alone
version_added: 1.3.0
description:
  - After a failover the source is the new side, which was promoted, and the destination is the old side, which failed. The old side may
    have keys that were written there in its last moments or while it was cut off. A replication with
    O(consulops.failover.consul_kv_replicate#module:on_conflict=keep) leaves them.
  - Lists these keys with what happened to each, and decides by prefix which side wins. With no decision it only lists them.
  - Makes each decided key equal on both sides by compare-and-set. A key that somebody writes to in the meantime is planned again once, and
    then named.
  - The replication owns what is equal then. Its agent may run, and compares everything once more. A second run changes nothing.
  - Deletes only what it confirmed to be absent on the winning side by the key's name.
  - Values are never returned, and never shown unless O(diff_values) is on. O(export_path) keeps them in a file.
options:
  prefixes:
    description:
      - Which keys take part. The same list as the replication's, see M(consulops.failover.consul_kv_replicate).
      - An element is the name of a folder, for example V(app/), or a dictionary with the options below.
    type: list
    elements: raw
    required: true
    suboptions:
      source:
        description:
          - Folder at the source, with a slash at its end, or V("") for the whole store.
        type: raw
        required: true
      destination:
        description:
          - Folder at the destination, with a slash at its end, or V("") for the whole store. The default is the source's folder.
        type: str
      include:
        description:
          - Only keys that match one of these globs take part.
        type: list
        elements: str
      exclude:
        description:
          - Keys that match one of these globs take no part. Takes precedence over O(prefixes[].include).
        type: list
        elements: str
      delete:
        description:
          - Accepted, so that the list of a replication can be used as it is. It means nothing here.
        type: str
        choices: [never, owned, all]
  name:
    description:
      - Name of the replication, or of the agent's set, that copies from the source to the destination now.
      - By default it is found at the destination. It must be given as long as the replication has not compared the prefixes.
    type: str
  decisions:
    description:
      - Which side wins. The longest O(decisions[].prefix) that fits a key counts. Keys without a decision are reported.
    type: list
    elements: dict
    default: []
    suboptions:
      prefix:
        description:
          - The name of a folder with a slash at its end, or of a single key, as it is at the source. V("") is everything.
        type: str
        required: true
      wins:
        description:
          - V(new) gives the destination what the source has. A key that only the destination has is deleted there.
          - V(old) gives the source what the destination has. A key that was deleted at the destination is deleted at the source.
          - V(report) leaves the keys as they are on both sides.
          - With V(new) and V(old), keys that are equal already also belong to the replication afterwards.
        type: str
        choices: [new, old, report]
        required: true
  export_path:
    description:
      - File for the keys that diverged, with the values of both sides, on the host where the module runs. It is written before anything is changed.
      - Each line is a JSON object with C(key), C(kind), C(wins), C(time), C(new) and C(old). The last two have C(value) in base64 and C(flags), and
        are null for a side without the key.
      - The file has mode 0600 and is never overwritten. When no key diverged it is not written.
      - Keys often hold secrets.
    type: path
  fail_on_report:
    description:
      - Fail at the end when keys diverged and no side wins.
    type: bool
    default: false
  max_deletes:
    description:
      - Refuse the whole run when more keys than this would be deleted, on both sides and in all prefixes together.
    type: int
    default: 100
  max_delete_percent:
    description:
      - Refuse the whole run when more than this percentage of a prefix's keys on one side would be deleted. Up to five deletions in
        a prefix are always within this limit.
    type: float
    default: 10.0
  allow_empty_source:
    description:
      - Allow deletions where the side that wins has no key below the prefix. Without it the run is refused, because a side that was wiped
        looks the same.
    type: bool
    default: false
  skip_locked:
    description:
      - Leave out keys that are locks on either side, as M(consulops.failover.consul_kv_replicate) does.
    type: bool
    default: true
  batch_ops:
    description:
      - Operations in a transaction. V(auto) detects how many the servers accept (64 before Consul 1.14, 128 since).
    type: str
    default: auto
  concurrency:
    description:
      - Number of connections that read.
    type: int
    default: 4
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
      - Reads both sides, decides and refuses as a normal run does, and writes nothing, O(export_path) neither.
  diff_mode:
    support: full
    details:
      - Shows the keys that change, each with the datacenter where it changes and digests of the values, up to O(limit).
notes:
  - A run that is killed loses nothing. The next run continues, with another O(export_path).
  - Where an operator froze the replication, diverged keys are listed and nothing is changed. A replication that is not the active direction
    is refused.
  - The policies that the tokens need are in the guide, docs/replication.md.
seealso:
  - module: consulops.failover.consul_kv_replicate
author:
  - The consulops.failover founders (@consulops)
"""

EXAMPLES = r"""
- name: List what dc1 wrote alone before it failed, and keep the values of both sides
  consulops.failover.consul_kv_reconcile:
    source: {datacenter: dc2}
    destination: {datacenter: dc1}
    prefixes: [app/, config/]
    name: dc2-to-dc1
    export_path: /root/dc1-alone.jsonl
  register: alone

- name: The orders of dc1 win, dc2 wins for everything else in app/, and config/ must not have diverged
  consulops.failover.consul_kv_reconcile:
    source: {datacenter: dc2}
    destination: {datacenter: dc1}
    prefixes: [app/, config/]
    name: dc2-to-dc1
    decisions:
      - {prefix: app/, wins: new}
      - {prefix: app/orders/, wins: old}
      - {prefix: app/orders/next-id, wins: new}
    export_path: /root/dc1-before-reconciling.jsonl
    fail_on_report: true
"""

RETURN = r"""
name:
  description: Name of the replication.
  returned: success
  type: str
  sample: dc2-to-dc1
source_datacenter:
  description: Name of the datacenter of the new side.
  returned: success
  type: str
  sample: dc2
destination_datacenter:
  description: Name of the datacenter of the old side.
  returned: success
  type: str
  sample: dc1
keys:
  description: The keys that diverged, up to O(limit), with their names at the source.
  returned: success, when keys are left, and when a run was interrupted
  type: list
  elements: dict
  contains:
    key:
      description: Name of the key.
      type: str
    kind:
      description:
        - V(changed_old) was changed by the old side after it was copied, and the new side still has what was copied.
        - V(changed_both) was changed or created by both.
        - V(created_old) exists at the old side alone and was never copied.
        - V(deleted_old) was deleted by the old side, and the new side has it.
        - V(deleted_new) was deleted by the new side, and changed by the old side.
      type: str
    wins:
      description: Which side wins by the decisions (new, old or report).
      type: str
  sample: [{"key": "app/orders/17", "kind": "created_old", "wins": "old"}]
not_reconciled:
  description: Keys that could not be made equal, each with its reason, up to O(limit). The module fails then.
  returned: success, when keys are left, and when a run was interrupted
  type: list
  elements: dict
counts:
  description: The complete numbers of keys.
  returned: success, when keys are left, and when a run was interrupted
  type: dict
  contains:
    diverged:
      description: Number of keys that diverged when the run began.
      type: int
    reported:
      description: Number of those for which no side wins.
      type: int
    not_reconciled:
      description: Number of those that could not be made equal.
      type: int
    not_copied:
      description: Number of keys that did not diverge and that the replication has yet to copy or delete. It is 0 when the replication is
        up to date.
      type: int
export:
  description: The file that was written. Null when there is none.
  returned: success, when keys are left, and when a run was interrupted
  type: dict
  contains:
    path:
      description: Path of the file.
      type: str
    keys:
      description: Number of its lines.
      type: int
prefixes:
  description: What was found and done for each prefix, or in check mode would be done.
  returned: success, when keys are left, and when a run was interrupted
  type: list
  elements: dict
  contains:
    source:
      description: The prefix at the source.
      type: str
    destination:
      description: The prefix at the destination.
      type: str
    source_keys:
      description: Number of keys of the source that take part.
      type: int
    destination_keys:
      description: Number of keys of the destination that take part.
      type: int
    diverged:
      description: Number of keys that diverged.
      type: int
    kinds:
      description: Number of diverged keys of each kind.
      type: dict
    wins:
      description: Number of diverged keys for which the new side, the old side or none wins.
      type: dict
    written_at_source:
      description: Number of keys that were written at the source.
      type: int
    deleted_at_source:
      description: Number of keys that were deleted at the source.
      type: int
    written_at_destination:
      description: Number of keys that were written at the destination.
      type: int
    deleted_at_destination:
      description: Number of keys that were deleted at the destination.
      type: int
    made_owned:
      description: Number of keys that are equal and belong to the replication from now on.
      type: int
    not_copied:
      description: Number of keys that did not diverge and that the replication has yet to copy or delete.
      type: int
    skipped_locked:
      description: Number of keys left out because they are locks.
      type: int
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.reconcile import RECONCILE


def main() -> None:
    run(RECONCILE)


if __name__ == "__main__":
    main()

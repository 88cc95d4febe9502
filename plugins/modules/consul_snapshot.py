#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_snapshot
short_description: Take a verified snapshot of a Consul datacenter
version_added: 1.0.0
description:
  - Saves the whole state of a Consul datacenter (keys, catalogue, sessions, ACLs, config entries, prepared queries,
    Connect CA) to a file, through Consul's own snapshot API.
  - The file is written, decompressed, hashed and decoded record by record in one pass. It takes its place only when
    every record has been read and both checksums are right, so an error page, a body that was cut short or a full disk
    never become a snapshot, and never replace one.
  - A manifest (O(path) plus C(.json)) is written beside it. It holds where, when and by which Consul version the
    snapshot was made, the number of records, their size and a logical digest for each table, and the file's SHA-256.
  - The counts are compared with the live API, because Consul itself can leave records out of a snapshot.
  - Both files are readable by their owner only. A snapshot holds every ACL secret and the private key of Connect's CA
    in clear text.
options:
  path:
    description:
      - File to write the snapshot to, on the host where the module runs.
      - If it is a directory, or ends with V(/), a file named after O(name) is written into it.
      - The directory must exist.
    type: path
    required: true
  state:
    description:
      - V(saved) takes a snapshot.
    type: str
    choices: [saved]
    default: saved
  name:
    description:
      - Name of the file when O(path) is a directory.
      - May hold V({datacenter}), V({time}) (UTC, as V(20261122T030000Z)), V({index}) and V({term}) (of Raft),
        V({version}) (of Consul) and V({node}) (of the agent that was asked). Must end in V(.snap).
    type: str
    default: "consul-{datacenter}-{time}-{index}.snap"
  max_age:
    description:
      - Take no snapshot while there is one of the datacenter that is younger than this and still intact. Its file is
        read and hashed again to know that.
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
      - V(fail) keeps nothing, V(warn) keeps the snapshot and warns, V(ignore) does not look.
      - What could not be compared is returned in C(snapshot.unchecked) and is never counted as good.
    type: str
    choices: [fail, warn, ignore]
    default: warn
  on_shrink:
    description:
      - What to do when a table has lost more than O(max_shrink_percent) of its records since the snapshot before
        (the newest of the datacenter in the directory, or the file that would be replaced).
      - V(fail) keeps nothing, V(warn) keeps the snapshot and warns, V(ignore) does not look.
    type: str
    choices: [fail, warn, ignore]
    default: fail
  max_shrink_percent:
    description:
      - How much smaller than before a table may be. Tables that had fewer than 20 records are not looked at.
    type: float
    default: 20.0
  stream_timeout:
    description:
      - Seconds of silence to put up with while the server prepares the snapshot and sends it. It writes the whole
        snapshot to its own disk before the first byte comes.
    type: float
    default: 300.0
extends_documentation_fragment:
  - consulops.failover.connection
  - consulops.failover.connection.attributes
attributes:
  check_mode:
    support: full
    details:
      - Asks Consul for a leader and whether the token may take snapshots, looks at the directory, and says what would
        be written.
  diff_mode:
    support: full
    details:
      - Shows the counts and digests of the tables before and after, and never a value.
requirements:
  - msgpack
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

- name: Save before maintenance and refuse anything doubtful
  consulops.failover.consul_snapshot:
    path: /var/backups/consul/before-upgrade.snap
    cross_check: fail
    on_shrink: fail
  register: before_upgrade
"""

RETURN = r"""
path:
  description: The snapshot file. In check mode of a directory, the name has its pattern still in it.
  returned: success
  type: str
  sample: /var/backups/consul/consul-dc1-20261122T030000Z-4711.snap
manifest:
  description: The manifest file.
  returned: success
  type: str
  sample: /var/backups/consul/consul-dc1-20261122T030000Z-4711.snap.json
reason:
  description: Why a snapshot was taken, or was not.
  returned: success
  type: str
  sample: no snapshot is young enough
snapshot:
  description: The manifest's contents. In check mode, those of the snapshot that is there already.
  returned: when there is one
  type: dict
  contains:
    datacenter:
      description: The datacenter, as the snapshot itself says it.
      type: str
    time:
      description: When it was taken, in UTC.
      type: str
    consul_version:
      description: Version of the Consul servers, as the snapshot itself says it.
      type: str
    node:
      description: Name of the agent that was asked, if the token may know it.
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
      description: Raft's own name of the snapshot.
      type: str
    stale:
      description: Whether any server could answer.
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
      description: Version of the manifest's form.
      type: int
  sample:
    datacenter: dc1
    index: 4711
    size: 6570021
seconds:
  description: How long each part took, in seconds.
  returned: when a snapshot was taken
  type: dict
  sample: {"prepare": 0.4, "stream": 0.3, "cross_check": 0.1}
may_save:
  description: Whether Consul says that the token may take snapshots; null when the server cannot say.
  returned: in check mode
  type: bool
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.consulops.failover.plugins.module_utils._ansible import client_of, connection_spec, run
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import PermissionDenied
from ansible_collections.consulops.failover.plugins.module_utils._consul.units import parse_duration
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import save as saving
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.manifest import manifest_path
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.report import table_diff


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            path=dict(type="path", required=True),
            state=dict(type="str", choices=["saved"], default="saved"),
            name=dict(type="str", default="consul-{datacenter}-{time}-{index}.snap"),
            max_age=dict(type="str"),
            stale=dict(type="bool", default=False),
            cross_check=dict(type="str", choices=["fail", "warn", "ignore"], default="warn"),
            on_shrink=dict(type="str", choices=["fail", "warn", "ignore"], default="fail"),
            max_shrink_percent=dict(type="float", default=20.0),
            stream_timeout=dict(type="float", default=300.0),
            **connection_spec(),
        ),
        mutually_exclusive=[("token", "token_file")],
        supports_check_mode=True,
    )
    run(module, save)


def save(module: AnsibleModule) -> dict[str, t.Any]:
    options = module.params
    request = saving.Request(
        path=options["path"],
        name=options["name"],
        stale=options["stale"],
        max_age_s=None if options["max_age"] is None else parse_duration(options["max_age"], "max_age"),
        cross_check=options["cross_check"],
        on_shrink=options["on_shrink"],
        max_shrink_percent=options["max_shrink_percent"],
        stream_timeout_s=options["stream_timeout"],
    )
    now = time.time()
    with client_of(module) as client:
        plan = saving.plan(client, request, now)
        before = plan.entry.manifest if plan.entry else None
        target = plan.target / request.name if plan.is_directory else plan.target
        result: dict[str, t.Any] = {"changed": plan.save, "reason": plan.reason}
        if plan.save and not module.check_mode:
            saved = saving.save(client, request, plan, now)
            target, after = saved.path, saved.manifest
            result["seconds"] = {part: round(seconds, 3) for part, seconds in saved.seconds.items()}
            for warning in saved.warnings:
                module.warn(warning)
            result["diff"] = table_diff(before, after)
            result["snapshot"] = after.as_dict()
        elif before is not None:
            result["snapshot"] = before.as_dict()
        if plan.save and module.check_mode:
            result["may_save"] = saving.may_save(client)
            if result["may_save"] is False:
                raise PermissionDenied(f"{client.endpoint} would refuse. {saving.NEEDED_POLICY}.")
            result["diff"] = table_diff(before, None)
    result.update(path=str(target), manifest=str(manifest_path(target)))
    return result


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_failover
short_description: Lets one datacenter take over from another
version_added: 1.3.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Plans how a datacenter whose keys are replicated to another one is replaced by that one, promotes the other one, and verifies it.
  - O(state=planned) compares both datacenters, as far as the old one answers, and says what would be lost. It changes nothing.
  - O(state=promoted) ends the replication O(replication) in the new datacenter, whichever agent still runs it, and makes O(reversed_by) the active
    direction with the next generation. It refuses where too much would be lost, where keys are still written in the old datacenter, and where the new one
    is not well. Where that is done already it changes nothing.
  - O(state=finished) writes a key in the new datacenter and reads it at its leader, and notes how long the failover took.
  - O(state=rehearsed) only writes the outcome of a rehearsal, for the playbook C(consulops.failover.rehearse_failover).
  - O(source) is the old datacenter, which need not answer and must be named with O(source.datacenter). O(destination) is the new one.
  - The replication agents get the generation with their configuration. The playbook C(consulops.failover.failover) does all of it.
options:
  state:
    description:
      - How far to go.
    type: str
    choices: [planned, promoted, finished, rehearsed]
    default: planned
  replication:
    description:
      - Name of the replication that copies from the old to the new datacenter.
    type: str
    required: true
  reversed_by:
    description:
      - Name of the replication that copies from the new to the old datacenter.
    type: str
    required: true
  prefixes:
    description:
      - What O(replication) copies, as in M(consulops.failover.consul_kv_replicate).
    type: list
    elements: raw
    required: true
  skip_locked:
    description:
      - Leave out keys that are locks, as O(replication) does.
    type: bool
    default: true
  concurrency:
    description:
      - Number of requests at a time while keys are compared.
    type: int
    default: 4
  confirm:
    description:
      - Name of the datacenter that takes over. Needed for O(state=promoted).
    type: str
  max_loss:
    description:
      - Of how long the writes may be lost when the old datacenter does not answer, for example V(45s), or V(unknown) to accept whatever is lost.
      - Where both datacenters answer, keys that differ are waited for, and then count as a loss that is not known in seconds.
    type: str
    default: 10s
  quiet:
    description:
      - For how long no key may be written in the old datacenter, if it answers. Both must not accept writes. V(0s) does not look.
    type: str
    default: 5s
  wait:
    description:
      - For how long keys are waited for that are not copied yet.
    type: str
    default: 30s
  accept:
    description:
      - V(unhealthy) accepts a datacenter that takes over although servers of it are not healthy, or that is not known.
    type: list
    elements: str
    choices: [unhealthy]
    default: []
  allow_conflicts:
    description:
      - Whether the new datacenter may have keys that it wrote alone, which stay there. With V(false) they are a reason to refuse, for the way back after a
        failover, where M(consulops.failover.consul_kv_reconcile) decides about them first.
    type: bool
    default: true
  rehearsal:
    description:
      - The outcome of a rehearsal, which is written to C(consulops/drills/datacenter-failover) of the datacenter O(destination). The rules C(drill_failed) and
        C(drill_overdue) of M(consulops.failover.consul_alert_check) read it.
      - Needed for O(state=rehearsed).
    type: dict
    suboptions:
      passed:
        description:
          - Whether everything was as expected.
        type: bool
        required: true
      reasons:
        description:
          - What was not, as sentences.
        type: list
        elements: str
        default: []
extends_documentation_fragment:
  - consulops.failover.connection
  - consulops.failover.connection.sides
  - consulops.failover.connection.attributes
attributes:
  check_mode:
    support: full
    description: Returns the plan with the reasons for which it would be refused.
  diff_mode:
    support: none
    description: The plan in words is in RV(sentences).
seealso:
  - module: consulops.failover.consul_kv_replicate
"""

EXAMPLES = r"""
- name: Show what would be lost if dc2 took over from dc1
  consulops.failover.consul_failover:
    source: {url: "https://consul.dc1.example.com:8501", datacenter: dc1}
    destination: {url: "https://consul.dc2.example.com:8501"}
    token_file: /etc/consulops/failover.token
    replication: dc1-to-dc2
    reversed_by: dc2-to-dc1
    prefixes: [app/]
  register: plan

- name: Promote dc2
  consulops.failover.consul_failover:
    state: promoted
    source: {url: "https://consul.dc1.example.com:8501", datacenter: dc1}
    destination: {url: "https://consul.dc2.example.com:8501"}
    token_file: /etc/consulops/failover.token
    replication: dc1-to-dc2
    reversed_by: dc2-to-dc1
    prefixes: [app/]
    confirm: dc2
    max_loss: 60s
"""

RETURN = r"""
action:
  description: What is to be done. V(promote), V(finish) where the new datacenter has taken over, or V(nothing).
  returned: success
  type: str
generation:
  description: Number of the direction after the failover, for C(consul_replication_direction).
  returned: success
  type: int
old_datacenter:
  description: Name of the old datacenter.
  returned: success
  type: str
new_datacenter:
  description: Name of the new datacenter.
  returned: success
  type: str
loss:
  description: What the new datacenter may lack.
  returned: success
  type: dict
  contains:
    seconds:
      description: Of how long writes may be missing, null if that is not known.
      type: float
    keys:
      description: How many keys are missing or different, null if that is not known.
      type: int
    until:
      description: Everything that was written before that time is there, null if that is not known.
      type: str
refusals:
  description: Why it is not carried out.
  returned: success
  type: list
  elements: str
sentences:
  description: The plan in words.
  returned: success
  type: list
  elements: str
promoted_at:
  description: When the new datacenter was promoted.
  returned: when it was
  type: str
began_at:
  description: When the promotion began.
  returned: O(state=finished)
  type: str
finished_at:
  description: When the new datacenter was verified for the first time.
  returned: O(state=finished)
  type: str
took_seconds:
  description: Seconds from the begin of the promotion to the verification.
  returned: O(state=finished)
  type: float
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.failover import FAILOVER


def main() -> None:
    run(FAILOVER)


if __name__ == "__main__":
    main()

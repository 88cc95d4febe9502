#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_drill
short_description: Runs a failover drill on a Consul datacenter, and judges what its clients saw
version_added: 1.3.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Runs clients on a datacenter, makes the faults of O(drill) meanwhile, heals them, and judges the recorded history against what the drill expects.
  - Runs on the controller, in one process for the whole drill. It reaches each host of O(hosts) by one SSH connection of its own, through
    which it makes faults with the work of M(consulops.failover.consul_drill_fault) and reaches Consul's HTTP API on the host's loopback.
  - Each fault is healed at its end, also when the drill is interrupted or fails. A timer on the host heals it when this process is gone.
  - All keys that it writes are below one prefix, and are removed at the end.
  - Fails when the history is not valid, or when something that the drill expects was not met. The result is there all the same.
extends_documentation_fragment:
  - consulops.failover.connection
  - consulops.failover.connection.replica
options:
  url:
    description:
      - With O(hosts), the address of Consul's HTTP API as each host has it, V(http://127.0.0.1:8500) by default. Its port is forwarded through SSH.
      - Without O(hosts), the addresses of agents of one datacenter, with commas between them.
    type: str
  timeout:
    description:
      - Seconds that a client waits for an answer, so short that it asks another server soon. A drill may say another default.
    type: float
    default: 2.0
  confirm:
    description:
      - The name of the datacenter. Without it nothing is written and nothing is broken. Not needed in check mode.
    type: str
  history:
    description:
      - File on the controller to record to, which must not exist. It grows while the drill runs; C(consulops drill check) judges it again.
    type: path
    required: true
  drill:
    description:
      - The drill, as the files of the catalogue in the role P(consulops.failover.consul_drill#role) have it. Without it nothing is broken.
    type: dict
  hosts:
    description:
      - How to reach the hosts. All servers of the datacenter must be among them. Needed by drills with faults.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the host.
        type: str
        required: true
      ssh:
        description:
          - Words of the command that runs a program on the host, for example V([ssh, admin@consul1]). It must be OpenSSH's client or take its options.
        type: list
        elements: str
        required: true
      become:
        description: Words before a program that needs root, for example V([sudo, -n]). None for root itself.
        type: list
        elements: str
        default: []
      python:
        description: Python 3.9 or later on the host.
        type: str
        default: python3
  snapshot_path:
    description:
      - Directory on the controller for a snapshot that is taken and checked before the drill. Needed by drills that take the quorum away, or break disks.
      - A drill that expects C(snapshot_restores) needs it for another snapshot, which is taken after its load.
      - A snapshot needs a management token.
    type: path
  consul_binary:
    description:
      - Consul on the controller, by path or in E(PATH), that restores the snapshot of a drill that expects C(snapshot_restores), as
        M(consulops.failover.consul_snapshot_rehearse) does.
    type: str
    default: consul
  max_targets:
    description: How many hosts one fault may strike.
    type: int
    default: 3
  allow_quorum_loss:
    description: Whether a fault may take away more servers than the datacenter can lose.
    type: bool
    default: false
  stop_after_outage:
    description:
      - End the drill and heal when no change was acknowledged for so long, for example V(30s). By default faults last as long as the drill says.
    type: str
  window:
    description: Refuse the drill outside of this time of the day in UTC, for example V(22:00-05:30).
    type: str
  data_path:
    description:
      - Directory of Consul's data on the hosts, a file system of its own. Needed by drills that fill or freeze disks and name no path.
    type: str
  alert_listen:
    description:
      - Address and port on the controller, for example V(10.0.0.5:8497), at which the drill listens while it runs, as a webhook of the alerting agent.
        Needed by drills with C(alert). Whatever else arrives there is ignored.
    type: str
  replica_prefix:
    description:
      - Folder at O(replica) to which the keys below O(prefix) are copied, if it is another one than O(prefix).
    type: str
  query:
    description:
      - Name of a prepared query that fails over to another datacenter. Clients look it up while the drill runs. Needed by drills with
        C(query_answers), C(query_moves) or C(query_returns), or with the targets C(instances).
    type: str
  duration:
    description:
      - How long the clients run. By default as O(drill) says, else 15 seconds longer than its faults, or 30 seconds without faults.
    type: str
  workload:
    description: What the clients do, with commas between V(register), V(set) and V(lock). By default as O(drill) says, or all of them.
    type: str
  consistency:
    description: Consistency mode of reads. By default as O(drill) says, or V(default).
    type: str
    choices: [default, consistent, stale]
  clients:
    description: Number of clients, at most 100. By default as O(drill) says, or 12.
    type: int
  rate:
    description: Operations a second of all clients together, at most 2,000. By default as O(drill) says, or 120.
    type: float
  gaps:
    description: Whether pauses between operations are random or all the same. By default as O(drill) says, or V(exponential).
    type: str
    choices: [exponential, fixed]
  keys:
    description: Number of keys of the workload V(register). By default as O(drill) says, or 20.
    type: int
  settle:
    description: How long servers may take to catch up before their copies are read at the end. By default as O(drill) says, or V(10s).
    type: str
  prefix:
    description: Folder of keys for drills only.
    type: str
    default: consulops/drill/
  seed:
    description: Number from which operations, their times and the targets are chosen. Random by default.
    type: int
  junit:
    description: Write the verdicts to this file too, as JUnit XML.
    type: path
  report:
    description: Write the report to this file, which must not exist. It is one HTML file that needs nothing else.
    type: path
  publish:
    description:
      - Write the outcome to the key C(consulops/drills/NAME) of the datacenter, for the rules C(drill_failed) and C(drill_overdue) of
        M(consulops.failover.consul_alert_check). The token needs write access to it.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Makes all checks and shows targets, commands and expectations. Nothing is written or broken.
  diff_mode:
    support: none
    description: A drill leaves nothing that is different.
notes:
  - The token needs write access to the keys below O(prefix) and to sessions, and read access to agents and to C(operator).
  - A drill is refused when autopilot calls the datacenter unhealthy, when a fault, a timer or a packet filter of another drill is on a host, when another
    drill left keys, or when servers are missing in O(hosts).
  - A drill with the alert of a canary registers a node in the catalogue, whose name begins with C(consulops-drill-), and removes it at its end. The token
    needs write access to that node.
seealso:
  - module: consulops.failover.consul_drill_fault
  - module: consulops.failover.consul_snapshot_rehearse
"""

EXAMPLES = r"""
- name: Show what the drill would do
  consulops.failover.consul_drill: &leader_killed
    confirm: dc1
    history: /var/tmp/leader-killed.jsonl
    hosts:
      - {name: consul1, ssh: [ssh, admin@consul1.example.com], become: [sudo, -n]}
      - {name: consul2, ssh: [ssh, admin@consul2.example.com], become: [sudo, -n]}
      - {name: consul3, ssh: [ssh, admin@consul3.example.com], become: [sudo, -n]}
    drill:
      name: leader-killed
      title: The leader is killed
      faults:
        - {at: 4s, for: 6s * raft_multiplier, fault: killed, targets: leader}
      expect:
        gap_at_fault: 5s * raft_multiplier
        healthy_after: 10s * raft_multiplier
        leader: changes
  check_mode: true

- name: Kill the leader under load, and judge what the clients saw
  consulops.failover.consul_drill: *leader_killed
"""

RETURN = r"""
drill:
  description: Name of the drill.
  returned: success
  type: str
  sample: leader-killed
run:
  description: Name of this run, which is also that of its faults and of the folder of its keys.
  returned: success
  type: str
  sample: 20261129T015235Z-3a576b
datacenter:
  description: The datacenter.
  returned: success
  type: str
nodes:
  description: Nodes of the agents that clients used.
  returned: success
  type: list
  elements: str
seed:
  description: The seed. The same one makes the same operations.
  returned: success
  type: int
history:
  description: The file with the history.
  returned: when the drill was run
  type: str
snapshot:
  description: The snapshot that was taken before.
  returned: with O(snapshot_path), when the drill was run
  type: str
interrupted:
  description: Whether a signal ended the drill early.
  returned: when the drill was run
  type: bool
operations:
  description: Operations by workload, and by outcome. V(info) are those whose outcome is unknown.
  returned: when the drill was run
  type: dict
  sample: {"register": {"ok": 579, "fail": 43, "info": 42}}
latency_ms:
  description: Percentiles of latencies from the intended start, in milliseconds.
  returned: when the drill was run
  type: dict
  sample: {"p50": 18.8, "p90": 852.8, "p99": 1422.8, "max": 1591.9}
judgement:
  description: What C(consulops drill check) says of the history.
  returned: when the drill was run
  type: dict
  contains:
    passed:
      description: Whether everything that was expected is met.
      type: bool
    verdict:
      description: Verdict of the checkers on the history, V(valid), V(invalid) or V(unknown).
      type: str
    expectations:
      description: What was expected, what was measured in seconds or words, and the verdict, V(met), V(missed) or V(unknown).
      type: list
      elements: dict
    checks:
      description: Verdict, counts and violations of each checker.
      type: list
      elements: dict
    phases:
      description: Latencies and the longest time without an acknowledged operation, before, in and after faults.
      type: list
      elements: dict
    recovery:
      description: C(seconds) is the longest time without an acknowledged change after a fault or a healing (RTO), null where none was measured. Where
        C(recovered) is false the load ended first, and it was at least so long.
      type: dict
faults:
  description: Each fault, whom it would strike now, and the commands on their hosts.
  returned: in check mode
  type: list
  elements: dict
  sample:
    - fault: leader killed from 4 s to 10 s
      targets: [{"host": "consul1", "node": "consul1", "commands": ["systemctl kill -s KILL consul.service"]}]
expect:
  description: What the drill expects, as sentences.
  returned: in check mode
  type: list
  elements: str
raft_multiplier:
  description: C(performance.raft_multiplier) of the servers, by which times and objectives of drills are multiplied. None if it is unknown.
  returned: in check mode
  type: int
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_run import DRILL_RUN


def main() -> None:
    run(DRILL_RUN)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_drill_fault
short_description: Puts a fault on a host for a failover drill, and heals it
version_added: 1.3.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Puts one fault on the host where it runs, or heals it. A host has one fault at a time.
  - Before anything is broken, a script that heals everything is written below C(/run) and a transient timer of systemd is armed that runs it
    after O(heal_after). The host heals itself when the controller is dead or cut off.
  - Everything that a fault consists of is gone after a reboot. A unit that is enabled starts again then.
  - Sends no request to Consul, and does not check whether the datacenter can lose this host.
options:
  drill:
    description:
      - Name of the drill. A fault of another drill on the host is refused, and is not healed.
    type: str
    required: true
  state:
    description:
      - V(present) puts the fault on the host. V(absent) heals the fault of this drill, whichever it is, and proves that nothing of it is left.
    type: str
    choices: [present, absent]
    default: present
  fault:
    description:
      - V(isolated) drops packets from and to O(peers), by a packet filter of its own. V(killed) kills all processes of O(unit) and keeps systemd
        from starting it again. V(paused) stops them with SIGSTOP. V(stopped) stops the unit as C(systemctl stop) does.
      - V(disk_full) fills the file system of O(path), with a file that has no name, and keeps it full. V(disk_frozen) freezes it, as C(fsfreeze)
        does, so that all writing waits.
      - Required with O(state=present).
    type: str
    choices: [disk_frozen, disk_full, isolated, killed, paused, stopped]
  unit:
    description:
      - The service of systemd that is killed, paused or stopped. It must be active.
    type: str
    default: consul.service
  peers:
    description:
      - IP addresses of the hosts from which this one is isolated. Only for O(fault=isolated), which needs them.
      - The address from which Ansible's SSH connection comes is refused.
    type: list
    elements: str
  direction:
    description:
      - Whether an isolated host drops what comes from O(peers), V(in), what goes to them, V(out), or V(both).
    type: str
    choices: [both, in, out]
    default: both
  path:
    description:
      - The directory where a file system of its own is mounted, for example Consul's data directory. Only for O(fault=disk_full) and
        O(fault=disk_frozen), which need it.
      - Refused if it is not a mount point, or if its file system has something else that the host needs, for example C(/var/log).
    type: path
  leave_free:
    description:
      - How much is left free with O(fault=disk_full), in bytes or for example as V(64M). What is reserved for root counts as free.
    type: str
    default: "0"
  shared_disk:
    description:
      - Lets O(fault=disk_full) fill a file system that the host uses for more than O(path). The host heals itself then too, but Ansible, which
        writes its modules to the host, may fail there until it has.
    type: bool
    default: false
  heal_after:
    description:
      - Seconds after which the host heals itself, from 10 to 3600. They count from before the fault.
      - Required with O(state=present). A fault that is there already keeps its time.
    type: int
attributes:
  check_mode:
    support: full
    description: Makes the same checks, and shows the commands.
  diff_mode:
    support: full
    description: Shows the fault before and after.
notes:
  - Needs root and systemd on the host, and nftables for O(fault=isolated), fsfreeze for O(fault=disk_frozen).
  - An isolated host lets SSH to itself through from every address. The port is that of Ansible's SSH connection, 22 if there is none.
  - A unit with a watchdog (C(WatchdogSec)) is killed by systemd while it is paused.
"""

EXAMPLES = r"""
- name: Isolate this server from the others for a minute at most
  consulops.failover.consul_drill_fault:
    drill: isolate-leader
    fault: isolated
    peers: [192.0.2.12, 192.0.2.13]
    heal_after: 60
  become: true

- name: Heal it now, and prove that nothing is left
  consulops.failover.consul_drill_fault:
    drill: isolate-leader
    state: absent
  become: true

- name: Let all writing of Consul wait, as on a storage system that hangs
  consulops.failover.consul_drill_fault:
    drill: freeze-leader
    fault: disk_frozen
    path: /var/lib/consul
    heal_after: 60
  become: true

- name: Show what would be done to kill Consul
  consulops.failover.consul_drill_fault:
    drill: kill-leader
    fault: killed
    heal_after: 60
  become: true
  check_mode: true
"""

RETURN = r"""
fault:
  description: The fault in words.
  returned: when there is a fault, or was one
  type: str
  sample: consul.service is killed
commands:
  description: The commands that were run to change the host, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["systemctl kill -s STOP consul.service"]
started:
  description: When the fault began, by the clocks of the host, which are read right before the command that makes it.
  returned: when a fault was put on the host
  type: dict
  contains:
    time:
      description: The time in UTC.
      type: str
    unix_s:
      description: Seconds of the wall clock.
      type: float
    uptime_s:
      description: Seconds since the boot, which no change of the clock moves.
      type: float
    uptime_ns:
      description: The same in nanoseconds, C(CLOCK_BOOTTIME). Of RV(ended) it has steps of 10 milliseconds.
      type: int
  sample: {"time": "2026-11-28T22:40:00Z", "unix_s": 1795905600.123, "uptime_s": 86400.5, "uptime_ns": 86400500123456}
ended:
  description: When the last fault of this drill was healed, also if it was by the timer. Fields as in RV(started).
  returned: with O(state=absent), when it is known
  type: dict
proof:
  description: What was read from the host after it was healed. What is only there for some faults is there when this call has healed one.
  returned: with O(state=absent), not in check mode
  type: dict
  contains:
    marker:
      description: Whether there is a marker of a fault.
      type: bool
    timer:
      description: State of the timer that heals.
      type: str
    table:
      description: Whether the packet filter is there.
      type: bool
    disk_unit:
      description: State of the unit that keeps a file system full or frozen.
      type: str
    writable:
      description: Whether a file can be written in O(path). Only for faults of a file system.
      type: bool
    drop_in:
      description: Whether systemd is kept from starting the unit. Only for faults of a unit.
      type: bool
    stopped_processes:
      description: Processes of the unit that are stopped by a signal. Only for faults of a unit.
      type: list
      elements: int
    unit:
      description: State of the unit. Only for faults of a unit.
      type: str
  sample:
    marker: false
    timer: inactive
    table: false
    disk_unit: inactive
    drop_in: false
    stopped_processes: []
    unit: active
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_fault import DRILL_FAULT


def main() -> None:
    run(DRILL_FAULT)


if __name__ == "__main__":
    main()

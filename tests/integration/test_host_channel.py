# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection of a drill to a host: a real process behind a stand-in for ssh that runs the last of its words on this machine."""

from __future__ import annotations

import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GuardRefused
from ansible_collections.consulops.failover.plugins.module_utils._drill.drill_host import DrillHost
from ansible_collections.consulops.failover.plugins.module_utils._drill.fault_targets import Server
from ansible_collections.consulops.failover.plugins.module_utils._drill.host_channel import (
    HostAccess,
    HostChannel,
    HostLost,
    HostProgram,
)
from ansible_collections.consulops.failover.plugins.module_utils._tasks import host_program

SSH = '#!/bin/sh\nfor last; do :; done\necho $$ >> "{pids}"\nexec sh -c "exec $last"\n'


class Machine(t.NamedTuple):
    """A channel to this machine; ``pids`` has the process of each connection."""

    channel: HostChannel
    pids: Path

    def kill(self) -> None:
        subprocess.run(["kill", "-9", self.pids.read_text(encoding="ascii").split()[-1]], check=True)


@pytest.fixture
def machine(tmp_path: Path) -> t.Iterator[Machine]:
    pids, ssh = tmp_path / "pids", tmp_path / "ssh"
    ssh.write_text(SSH.format(pids=pids), encoding="utf-8")
    ssh.chmod(0o755)
    channel = HostChannel(HostAccess("one", (str(ssh),)), HostProgram(host_program.START, host_program.archive()))
    channel.open()
    yield Machine(channel, pids)
    channel.close()


def test_the_clock_of_a_host_is_mapped_to_that_of_the_drill(machine: Machine) -> None:
    host = DrillHost(Server("one", "n1", ""), machine.channel, time.monotonic_ns)
    before = time.monotonic_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    found = host.offset()
    after = time.monotonic_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert min(before, after) - found.error_ns - 1000 <= found.offset_ns <= max(before, after) + found.error_ns + 1000


def test_what_the_module_refuses_is_one_sentence_with_the_name_of_the_host(machine: Machine) -> None:
    options = {"drill": "d", "fault": "killed", "heal_after": 1}
    with pytest.raises(GuardRefused, match="^one: "):
        machine.channel.ask({"do": "fault", "options": options, "check_mode": True}, 20)
    assert isinstance(machine.channel.ask({"do": "clock"}, 5), int), "and the connection goes on"


def test_a_connection_that_is_lost_is_said_once_and_then_made_again(machine: Machine) -> None:
    machine.kill()
    with pytest.raises(HostLost, match="one: the connection ended"):
        machine.channel.ask({"do": "clock"}, 5)
    assert isinstance(machine.channel.ask({"do": "clock"}, 20), int)
    assert len(machine.pids.read_text(encoding="ascii").split()) == 2


def test_a_host_that_does_not_answer_is_given_up_in_time(machine: Machine) -> None:
    pid = machine.pids.read_text(encoding="ascii").split()[-1]
    subprocess.run(["kill", "-STOP", pid], check=True)
    began = time.monotonic()
    with pytest.raises(HostLost, match="one: no answer in time"):
        machine.channel.ask({"do": "clock"}, 0.5)
    assert time.monotonic() - began < 12, "also when the process has to be killed"
    assert isinstance(machine.channel.ask({"do": "clock"}, 20), int)


def test_threads_share_a_connection(machine: Machine) -> None:
    answers: list[int] = []

    def ask() -> None:
        answers.extend(machine.channel.ask({"do": "clock"}, 20) for _number in range(50))

    threads = [threading.Thread(target=ask) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 200 and len(machine.pids.read_text(encoding="ascii").split()) == 1

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: hosts boot, can be cut off, rebooted and powered off, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab.consul import ROOT, eventually
from tests.lab.hosts import Hosts, cgroups_of

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 22), 1)"
BOOT_ID = ("cat", "/proc/sys/kernel/random/boot_id")


def test_hosts_boot_lose_their_link_reboot_and_leave_nothing_behind(tmp_path: Path) -> None:
    with Hosts(tmp_path / "lab", ["one", "two"]) as lab:
        one, two = lab
        assert one.run("systemctl", "is-system-running").stdout == "running\n"
        assert one.run("hostname").stdout == "one\n"

        def reaches() -> bool:
            return one.run("python3", "-c", CONNECT, "two", check=False).returncode == 0

        eventually(reaches, what="one reaches two")
        two.cut()
        assert not reaches()
        two.heal()
        eventually(reaches, what="one reaches two again")
        two.unplug()
        assert not reaches()
        two.plug()
        eventually(reaches, what="one reaches two once more")

        before = one.run(*BOOT_ID).stdout
        one.run("touch", "/root/kept")
        one.reboot()
        assert one.run(*BOOT_ID).stdout != before and one.run("ls", "/root").stdout == "kept\n"
        one.kill()
        assert not one.is_running
        one.start()
        one.wait_boot()
        assert one.run("ls", "/root").stdout == "kept\n"

        named = subprocess.run(
            [lab.directory / "ssh", "two", "sudo", "hostname"], capture_output=True, text=True, check=True
        )
        assert named.stdout == "two\n"
        name, pids = lab.name, [host.pid for host in lab]
    for command in (["ip", "netns"], ["mount"], ["ps", "-eo", "args"]):
        assert name not in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not cgroups_of(f"{name}-*") and not Path("/run", name).exists()
    assert not (tmp_path / "lab" / "id").exists()


def test_another_process_can_take_a_lab_down(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.lab.hosts", "up", "--directory", str(tmp_path / "lab"), "--hosts", "one"]
    subprocess.run(command, cwd=ROOT, check=True)
    lab = Hosts.known(tmp_path / "lab")
    assert lab["one"].run("hostname").stdout == "one\n"
    lab.down()
    assert not lab["one"].is_running and not (tmp_path / "lab" / "state.json").exists()

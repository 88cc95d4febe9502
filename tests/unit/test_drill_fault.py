# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a drill's fault: what options are refused, the packet filter, and the script that heals."""

from __future__ import annotations

import errno
import os
import subprocess
import typing as t
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._drill.faults import (
    disk_fault,
    disk_filler,
    fault_plan,
)
from ansible_collections.consulops.failover.plugins.module_utils._drill.faults.fault_plan import Fault, make_fault
from hypothesis import given
from hypothesis import strategies as st

UNIT = "consul.service"
PEERS = ("192.0.2.2", "192.0.2.1", "2001:db8::1")


@pytest.mark.parametrize(
    ("drill", "fault", "unit", "peers", "sentence"),
    [
        ("a b", "killed", UNIT, (), "is not a name"),
        ("d\n", "killed", UNIT, (), "is not a name"),
        ("d", "killed", "consul", (), "not the name of a service"),
        ("d", "killed", "a;reboot.service", (), "not the name of a service"),
        ("d", "killed", "../x.service", (), "not the name of a service"),
        ("d", "paused", UNIT, ("192.0.2.1",), "peers are of the fault isolated"),
        ("d", "isolated", UNIT, (), "needs peers"),
        ("d", "isolated", UNIT, ("n2",), "is not an IP address"),
        ("d", "isolated", UNIT, ("127.0.0.1",), "is not the address of another host"),
        ("d", "isolated", UNIT, ("::",), "is not the address of another host"),
    ],
)
def test_what_cannot_be_a_fault_is_refused(
    drill: str, fault: str, unit: str, peers: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        make_fault(drill, fault, unit, peers, "both")


@pytest.mark.parametrize(("seconds", "is_valid"), [(9, False), (10, True), (3600, True), (3601, False)])
def test_a_fault_has_a_time_after_which_it_heals(seconds: int, is_valid: bool) -> None:
    if is_valid:
        fault_plan.check_heal_after(seconds)
    else:
        with pytest.raises(InvalidOption, match="between 10 and 3600"):
            fault_plan.check_heal_after(seconds)


def test_the_packet_filter_lets_ssh_through_before_it_drops() -> None:
    rules = fault_plan.packet_filter(make_fault("d", "isolated", UNIT, PEERS, "both"), 2222).splitlines()
    found = [line.strip() for line in rules if line.endswith(("accept", "drop"))]
    assert found == [
        "tcp dport 2222 accept",
        "ip saddr { 192.0.2.1, 192.0.2.2 } drop",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
        "ip6 saddr { 2001:db8::1 } drop",
        "tcp sport 2222 accept",
        "ip daddr { 192.0.2.1, 192.0.2.2 } drop",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
        "ip6 daddr { 2001:db8::1 } drop",
    ]


@pytest.mark.parametrize(("direction", "has_input", "has_output"), [("in", True, False), ("out", False, True)])
def test_one_direction_drops_in_one_chain(direction: str, has_input: bool, has_output: bool) -> None:
    rules = fault_plan.packet_filter(make_fault("d", "isolated", UNIT, PEERS, direction), 22)
    assert ("saddr" in rules, "daddr" in rules) == (has_input, has_output)


OPTIONS: dict[str, dict[str, t.Any]] = {"isolated": {"peers": PEERS}, "disk_frozen": {"path": "/data"}}
OPTIONS["disk_full"] = {"path": "/data", "leave_free": 4096}


@pytest.mark.parametrize("name", fault_plan.FAULTS)
def test_a_fault_is_read_back_from_its_marker_and_has_a_script_that_is_shell(name: str) -> None:
    fault = make_fault(
        **{"drill": "d", "fault": name, "unit": UNIT, "peers": (), "direction": "both", **OPTIONS.get(name, {})}
    )
    assert Fault.from_json(fault.to_json()) == fault
    subprocess.run(["sh", "-n"], input=fault_plan.heal_script(fault), text=True, check=True)


def test_the_order_of_peers_makes_no_other_fault() -> None:
    one = make_fault("d", "isolated", UNIT, PEERS, "both")
    assert one == make_fault("d", "isolated", UNIT, PEERS[::-1], "both")


@pytest.mark.parametrize(
    ("fault", "path", "leave_free", "sentence"),
    [
        ("disk_full", None, 0, "needs path"),
        ("disk_full", "data", 0, "not an absolute path"),
        ("disk_full", "/", 0, "not an absolute path"),
        ("disk_full", "/data/../etc", 0, "not an absolute path"),
        ("disk_full", "/data;reboot", 0, "not an absolute path"),
        ("disk_frozen", "/a b", 0, "not an absolute path"),
        ("disk_frozen", "/data\n", 0, "not an absolute path"),
        ("disk_frozen", "/data", 1, "leave_free is of the fault disk_full"),
        ("killed", "/data", 0, "path is of the faults"),
    ],
)
def test_options_that_make_no_fault_of_a_file_system_are_refused(
    fault: str, path: str | None, leave_free: int, sentence: str
) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        make_fault("d", fault, UNIT, (), "both", path, leave_free)


MOUNTS = disk_fault.parse_mounts(
    """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:20 / /run rw,nosuid shared:2 - tmpfs tmpfs rw
24 22 8:2 / /data rw,relatime shared:3 - xfs /dev/sda2 rw
25 22 8:1 /srv/bound /bound rw shared:1 - ext4 /dev/sda1 rw
26 22 8:3 / /var rw shared:4 master:1 - ext4 /dev/sda3 rw
27 22 8:4 / /read\\040only ro shared:5 - ext4 /dev/sda4 rw
28 22 8:5 / /covered rw - ext4 /dev/sda5 rw
29 28 0:21 / /covered rw - tmpfs tmpfs rw
30 22 0:30 /@consul /subvolume rw - btrfs /dev/sdb rw
31 22 0:30 /@home /home rw - btrfs /dev/sdb rw
32 22 0:31 / /nfs rw - nfs4 server:/x rw
"""
)
NEEDED = {name: name for name in ("/", "/home", "/run", "/var/log")}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/data", ""),
        ("/data/consul", "is not a mount point, and its file system, /data,"),
        ("/database", "is on the file system of /, which"),
        ("/bound", "is on the file system of /, which"),
        ("/var", "is on the file system of /var/log, which"),
        ("/var/lib/consul", "is on the file system of /var/log, which"),
        ("/subvolume", "is on the file system of /home, which"),
        ("/read only", "is mounted read-only"),
        ("/covered", "of the type tmpfs"),
    ],
)
@pytest.mark.parametrize("fault", disk_fault.FAULTS)
def test_a_file_system_that_the_host_needs_itself_is_refused(fault: str, path: str, sentence: str) -> None:
    found = disk_fault.refusal(fault, path, MOUNTS, NEEDED, allow_shared=False)
    assert sentence in found if sentence else not found
    assert ("shared_disk" in found) == (fault == "disk_full" and "file system" in found)


def test_a_file_system_that_cannot_be_frozen_is_refused() -> None:
    assert "of the type nfs4, and only" in disk_fault.refusal("disk_frozen", "/nfs", MOUNTS, NEEDED, allow_shared=False)
    assert not disk_fault.refusal("disk_full", "/nfs", MOUNTS, NEEDED, allow_shared=False)


@pytest.mark.parametrize(
    ("path", "is_allowed"), [("/var/lib/consul", True), ("/data/consul", True), ("/run", False), ("/read only", False)]
)
def test_a_shared_file_system_is_filled_when_that_is_allowed(path: str, is_allowed: bool) -> None:
    assert is_allowed == (not disk_fault.refusal("disk_full", path, MOUNTS, NEEDED, allow_shared=True))


@given(
    st.lists(st.sampled_from(["/", "/a", "/a/b", "/ab", "/a/b/c"]), max_size=6),
    st.sampled_from(["/a/b/c", "/ab/c", "/a"]),
)
def test_the_mount_of_a_path_is_its_nearest_mounted_parent(points: list[str], path: str) -> None:
    mounts = [disk_fault.Mount(str(number), point, "ext4", False) for number, point in enumerate(points)]
    parents = [path, *map(str, PurePosixPath(path).parents)]
    nearest = next((parent for parent in parents if parent in points), None)
    found = disk_fault.find_mount(path, mounts)
    assert (found.point if found else None) == nearest
    if found:
        assert int(found.device) == max(number for number, point in enumerate(points) if point == nearest)


def test_nothing_is_filled_further_than_what_is_to_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"blocks": 3_000_000}

    def allocate(_file: int, _offset: int, size: int) -> None:
        if size // 4096 > free["blocks"] - 7:  # what the file system needs itself
            raise OSError(errno.ENOSPC, "full")
        free["blocks"] -= size // 4096

    monkeypatch.setattr(os, "fstatvfs", lambda _file: SimpleNamespace(f_frsize=4096, f_bfree=free["blocks"]))
    monkeypatch.setattr(os, "posix_fallocate", allocate)
    size = disk_filler.fill(0, 0, 4096 * 1000)
    assert free["blocks"] == 1000 and size == 4096 * (3_000_000 - 1000)
    assert disk_filler.fill(0, size, 4096 * 1000) == size, "it is called again every second"
    disk_filler.fill(0, size, 0)
    assert free["blocks"] == 7

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans a fault of a file system: when it is refused, what puts it there, and what heals it. Pure.

A transient unit of systemd holds it: a process that has a large file without a name open, or a unit that thaws when it is stopped.
So it ends with the unit, and also when the host is shut down.
"""

from __future__ import annotations

import inspect
import posixpath
import re
import sys
import typing as t
from dataclasses import dataclass

from ..._consul.errors import InvalidOption
from . import disk_filler
from .fault_step import DIRECTORY, Step

FAULTS = ("disk_frozen", "disk_full")
UNIT = "consulops-drill-disk.service"
PROGRAM = f"{DIRECTORY}/disk"
ERROR = f"{DIRECTORY}/disk-error"
FROZEN = f"{DIRECTORY}/frozen"  # a file: this drill has frozen the file system, or was about to
FREEZABLE = ("btrfs", "ext2", "ext3", "ext4", "f2fs", "xfs")
IN_MEMORY = ("ramfs", "tmpfs")
# What systemd, its journal, SSH, Ansible and this module need to heal the fault.
HOST_DIRECTORIES = (
    *("/", "/boot", "/etc", "/home", "/root", "/run", "/tmp", "/usr"),
    *("/var", "/var/lib", "/var/lib/systemd", "/var/log", "/var/tmp"),
)
PATH = re.compile(r"(/[A-Za-z0-9._@:+-]+)+")  # nothing that a shell or systemd gives a meaning


@dataclass(frozen=True)
class Mount:
    """A mounted file system. ``device`` is the same for all mounts of one, also of its subvolumes and directories."""

    device: str
    point: str
    type: str
    is_read_only: bool


def parse_mounts(mountinfo: str) -> list[Mount]:
    """Return what /proc/self/mountinfo says. Source: proc_pid_mountinfo(5)."""
    found = []
    for line in mountinfo.splitlines():
        own, _dash, rest = line.partition(" - ")
        words, file_system = own.split(" "), rest.split(" ")
        point = re.sub(r"\\([0-7]{3})", _octal, words[4])
        options = {*words[5].split(","), *file_system[2].split(",")}
        found.append(Mount(words[2], point, file_system[0], "ro" in options))
    return found


def _octal(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))


def find_mount(path: str, mounts: t.Iterable[Mount]) -> Mount | None:
    """Return the mount on which an absolute path without symbolic links is. Of several on one point the last one counts."""
    found = None
    for mount in mounts:
        is_below = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if is_below and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def check_path(path: str | None, fault: str) -> str:
    """Return the path of a fault of a file system. Raises InvalidOption."""
    if path is None:
        raise InvalidOption(f"The fault {fault} needs path, a directory on the file system.")
    trimmed = path.rstrip("/")
    if not PATH.fullmatch(trimmed) or posixpath.normpath(trimmed) != trimmed:
        raise InvalidOption(
            f"path {path!r} is not an absolute path without '..', of letters, digits and the characters . _ @ : + -."
        )
    return trimmed


def refusal(
    fault: str, path: str, mounts: t.Sequence[Mount], host_directories: t.Mapping[str, str], allow_shared: bool
) -> str:
    """Return in one sentence why a file system cannot have the fault; "" if it can.

    ``host_directories`` has what must go on working, each with its path without symbolic links.
    """
    mount = find_mount(path, mounts)
    if mount is None:
        return f"The mount of {path} is not known"
    if mount.is_read_only:
        return f"{path} is mounted read-only"
    if fault == "disk_frozen" and mount.type not in FREEZABLE:
        return f"{path} is of the type {mount.type}, and only {', '.join(FREEZABLE)} can be frozen"
    if fault == "disk_full" and mount.type in IN_MEMORY:
        return f"{path} is of the type {mount.type}, so filling it would take the memory of the host"
    if allow_shared:
        return ""
    advice = "; shared_disk allows it" if fault == "disk_full" else ""
    shared = [name for name, real in host_directories.items() if _device(real, mounts) == mount.device]
    if shared:
        return f"{path} is on the file system of {', '.join(shared)}, which the host needs itself{advice}"
    if mount.point != path:
        return f"{path} is not a mount point, and its file system, {mount.point}, may hold more than Consul{advice}"
    return ""


def _device(path: str, mounts: t.Sequence[Mount]) -> str:
    mount = find_mount(path, mounts)
    return mount.device if mount else ""


def freeze_program(path: str) -> str:
    """Return the script that freezes a file system, or thaws it if this drill, and nobody else, has frozen it."""
    return f"""#!/bin/sh
# disk freeze | disk thaw
LC_ALL=C
export LC_ALL
if test "$1" = freeze; then
  touch {FROZEN}
  fsfreeze -f {path} && exit 0
  rm -f {FROZEN}
  exit 1
fi
test -e {FROZEN} || exit 0
found=$(fsfreeze -u {path} 2>&1) || case $found in
  *"Invalid argument"*) ;;  # it is not frozen
  *) echo "$found" >&2; exit 1 ;;
esac
rm -f {FROZEN}
"""


def put_steps(fault: str, path: str, leave_free: int) -> list[Step]:
    """Return what puts the fault there, in order. The last step makes the fault."""
    start = (
        *("systemd-run", "--quiet", f"--unit={UNIT}", f"--property=StandardError=file:{ERROR}"),
        f"--property=RequiresMountsFor={path}",  # stopped before the file system is unmounted
    )
    install = ("install", "-D", "-m", "644", "/dev/stdin", PROGRAM)
    if fault == "disk_full":
        python = (sys.executable or "/usr/bin/python3", "-I", "-S")
        command = (*start, "--property=Type=notify", *python, PROGRAM, path, str(leave_free))
        return [Step(install, inspect.getsource(disk_filler)), Step(command)]
    lasting = ("--property=Type=oneshot", "--property=RemainAfterExit=yes")
    thaw = f"--property=ExecStopPost=/bin/sh {PROGRAM} thaw"
    return [
        Step(install, freeze_program(path)),
        Step((*start, *lasting, thaw, "/bin/sh", PROGRAM, "freeze")),
    ]


def heal_steps(fault: str) -> list[str]:
    """Return the lines of the script that heals."""
    thaw = [f"test ! -e {PROGRAM} || /bin/sh {PROGRAM} thaw"] if fault == "disk_frozen" else []
    return [
        f"systemctl stop {UNIT} 2>/dev/null || test $? -eq 5",  # 5: there is no such unit
        *thaw,
        f"systemctl reset-failed {UNIT} 2>/dev/null || :",
        f"rm -f {PROGRAM} {ERROR}",
    ]

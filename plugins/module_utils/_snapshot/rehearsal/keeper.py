# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keeper of a rehearsal's Consul: a program of its own, which uses the standard library only (keeper_process.py runs it).

It enters namespaces, starts Consul there without any right, and waits for the end of its standard input, which comes when the process
that rehearses is done or dies, however it dies. Then it kills Consul and removes its directory.

It prints lines: ``ready PID`` when it is isolated, ``pid PID`` of Consul, which it starts after it has read a line, and ``ended
STATUS`` when that has ended by itself; or ``refused REASON``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import typing as t
from pathlib import Path

# Sources: sched.h, prctl.h, if.h and sockios.h of Linux
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
NOT_EXECUTED = 127
REASONS = {
    errno.EPERM: "the kernel does not let this user have namespaces (Operation not permitted)",
    errno.ENOSPC: "the limit of namespaces is reached (sysctl user.max_user_namespaces, user.max_net_namespaces)",
}

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run with the request as argument: JSON with ``directory``, the name of the ``config`` in it, ``command``, ``user`` (None: the
    current one) and ``enter``, whether to enter namespaces.
    """
    request = json.loads(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    awake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    pid = 0
    try:
        if request["enter"]:
            enter_namespaces(as_root=request["user"] is not None)
        if request["user"] is not None:
            for path in (request["directory"], f"{request['directory']}/{request['config']}"):
                os.chown(path, request["user"], request["user"])
        say(f"ready {os.getpid()}")
        if os.read(0, 64):
            pid = start(request)
            say(f"pid {pid}")
            wait(pid, awake)
    except OSError as error:
        say(f"refused {REASONS.get(error.errno or 0) or error.strerror}")
    finally:
        if pid:
            stop(pid)
        shutil.rmtree(request["directory"], ignore_errors=True)


def enter_namespaces(as_root: bool) -> None:
    """Enter a network namespace of its own, and of interprocess communication; without root by way of a user namespace."""
    user, group = os.getuid(), os.getgid()
    flags = CLONE_NEWNET | CLONE_NEWIPC
    if libc.unshare(flags if as_root else flags | CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if not as_root:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    set_loopback_up()


def set_loopback_up() -> None:
    """Set the loopback interface up: in a new namespace it is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        wanted = struct.pack("16sH14x", b"lo", 0)
        (flags_now,) = struct.unpack("16xH14x", fcntl.ioctl(control, SIOCGIFFLAGS, wanted))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags_now | IFF_UP))


def start(request: dict[str, t.Any]) -> int:
    """Start Consul without any right, and return its process ID."""
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        # Both while it may: Consul's user need not be able to reach the directory and the program by their paths.
        os.chdir(request["directory"])
        program = os.open(request["command"][0], os.O_PATH)
        os.set_inheritable(program, True)  # it may be a script, whose interpreter opens it by this descriptor
        connect_streams(program)
        become_harmless(request["user"], keeper)
        os.execve(program, request["command"], {"PATH": os.defpath, "HOME": ".", "TMPDIR": ".", "LANG": "C.UTF-8"})
    except OSError as error:
        os.write(2, f"it cannot be run: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_EXECUTED)


def become_harmless(user: int | None, keeper: int) -> None:
    """Become a user (None: stay), without groups, core dumps, and ways to gain rights; end with the keeper."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != keeper:
        os._exit(NOT_EXECUTED)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold the secrets of the snapshot
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def connect_streams(kept: int) -> None:
    """Connect the standard streams to nothing and to the log, and close everything else but one descriptor."""
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, kept)
    os.closerange(kept + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def wait(pid: int, awake: int) -> None:
    """Wait for the end of standard input; say meanwhile when the process ends."""
    watched = [0, awake]
    while True:
        readable = select.select(watched, [], [])[0]
        if 0 in readable and not os.read(0, 1024):
            return
        if awake in readable:
            os.read(awake, 1024)
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                status = found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status
                say(f"ended {status}")
                watched = [0]


def stop(pid: int) -> None:
    """Kill the process, which was not reaped yet, so its number is its own, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def say(line: str) -> None:
    """Print a line; nobody may be there to read it."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts a Consul in the isolation that can be had here: a transient unit of systemd, namespaces of our own, or where we run already.

As root on a host with systemd it is a transient unit with a network, a user, temporary files and a memory limit of its own. Elsewhere
our keeper enters a network namespace: with a user ID that nobody has as root, else by way of a user namespace. A process that a unit
has isolated already (the service of docs/rehearsals.md) starts Consul beside itself.
Sources: systemd.exec(5), systemd.resource-control(5), systemd-run(1), user_namespaces(7)
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import pwd
import random
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..._consul.private_file import os_errors_as
from . import isolation_check, keeper
from .errors import RehearsalRefused
from .isolated_consul import IsolatedConsul
from .server_config import CONFIG_NAME, LOG_NAME

UNIT, NAMESPACES, INSIDE = "a unit of systemd", "namespaces", "the unit that this runs in"
SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
DIRECTORY_PREFIX = ".consulops-rehearsal-"
UNIT_PLACE = (
    "/tmp/consulops-rehearsal"  # in the unit, whose /tmp is its own and on the disk; systemd removes it with the unit
)
# systemd gives these user IDs to units with DynamicUser; nobody else may use them (systemd's docs/UIDS-GIDS.md).
DYNAMIC_USERS = range(61184, 65520)

# The unit's main process ends with its standard input, and systemd kills whatever is left of the unit then.
SHELL_KEEPER = f"""umask 077
mkdir {UNIT_PLACE} && cd {UNIT_PLACE} && printf %s "$1" >{CONFIG_NAME} || exit 1
shift
echo "ready $$"
read -r _ || exit 1
export HOME={UNIT_PLACE} TMPDIR={UNIT_PLACE}
( "$@" >{LOG_NAME} 2>&1 & echo "pid $!"; wait "$!"; echo "ended $?" ) &
cat >/dev/null
"""
UNIT_PROPERTIES = (
    "DynamicUser=yes",
    "PrivateNetwork=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectProc=invisible",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "RemoveIPC=yes",
    "UMask=0077",
    "LimitCORE=0",
    "TasksMax=512",
    "OOMPolicy=continue",  # Consul alone is killed then, and its keeper says so
    "KillSignal=SIGKILL",
)


@dataclass(frozen=True)
class Launch:
    """What to start: the absolute path of Consul, its configuration, the directory for a private one, and the limits of the unit.

    ``is_isolated``: this process is in a unit that isolates it, which is checked.
    """

    binary: Path
    config: str
    scratch: Path
    memory_bytes: int
    time_s: float
    is_isolated: bool = False


def launch(request: Launch) -> IsolatedConsul:
    """Start the keeper of a Consul; nothing of Consul runs before ``start``. Raises RehearsalRefused and LocalFailure."""
    if request.is_isolated:
        own = os.getpid()
        problem = isolation_check.problem_of_network(own, is_ours=True) or isolation_check.problem_of_process(own)
        if problem:
            raise RehearsalRefused(
                f"The rehearsal is refused: it must run isolated, and {problem}: run it in the unit of docs/rehearsals.md."
            )
        return _with_own_keeper(request, INSIDE, enter=False, user=None)
    if os.geteuid() != 0:
        return _with_own_keeper(request, NAMESPACES, enter=True, user=None)
    if SYSTEMD.is_dir() and shutil.which("systemd-run"):
        return _in_a_unit(request)
    return _with_own_keeper(request, NAMESPACES, enter=True, user=_free_user())


def find_consul(given: str) -> Path:
    """Return the absolute path of a Consul that is given by path or is in PATH. Raises RehearsalRefused."""
    found = shutil.which(given)
    if found is None:
        raise RehearsalRefused(
            f"The rehearsal is refused: there is no program {given} to restore into: install Consul, or name it with consul_binary."
        )
    return Path(found).resolve()


def unit_command(request: Launch, name: str) -> list[str]:
    """Return the command that starts a Consul in a transient unit."""
    properties = [
        *UNIT_PROPERTIES,
        f"MemoryMax={request.memory_bytes}",
        "MemorySwapMax=0",
        f"RuntimeMaxSec={request.time_s + 60:g}",  # the rehearsal itself ends before
        # It may be in a place that the unit would not have, as /tmp.
        f"BindReadOnlyPaths={request.binary}",
    ]
    program = ("/bin/sh", "-c", SHELL_KEEPER, "keeper", request.config, *_agent(request.binary))
    return [
        *("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--service-type=exec", f"--unit={name}"),
        f"--description=consulops: rehearsal of a snapshot, process {os.getpid()}",
        *(word for one in properties for word in ("-p", one)),
        # systemd replaces variables in the words of a command, and a doubled $ by one.
        *(word.replace("$", "$$") for word in program),
    ]


def _in_a_unit(request: Launch) -> IsolatedConsul:
    command = unit_command(request, f"consulops-rehearsal-{secrets.token_hex(4)}")
    return IsolatedConsul(_piped(command), UNIT, lambda keeper_pid: Path(f"/proc/{keeper_pid}/root{UNIT_PLACE}"))


def _with_own_keeper(request: Launch, method: str, *, enter: bool, user: int | None) -> IsolatedConsul:
    """Start our keeper with a private directory, which it removes."""
    with contextlib.ExitStack() as stack:
        with os_errors_as(f"creating a directory in {request.scratch}"):
            directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX, dir=request.scratch))  # mode 0700
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            (directory / CONFIG_NAME).write_text(request.config, encoding="utf-8")
        words = {
            "directory": str(directory),
            "config": CONFIG_NAME,
            "command": _agent(request.binary),
            "user": user,
            "enter": enter,
        }
        process = _piped([sys.executable, "-I", "-S", "-c", inspect.getsource(keeper), json.dumps(words)])
        stack.pop_all()  # the keeper removes it
    return IsolatedConsul(process, method, lambda _keeper_pid: directory, shares_network=not enter)


def _agent(binary: Path) -> list[str]:
    return [str(binary), "agent", "-config-file", CONFIG_NAME]


def _piped(command: t.Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            start_new_session=True,  # what ends the group of this process does not end the keeper before it has tidied up
        )
    except OSError as error:
        raise RehearsalRefused(
            f"The rehearsal is refused: {shlex.quote(command[0])} cannot be run: {error.strerror}."
        ) from None


def _free_user() -> int:
    """Return a user ID that nobody has."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    return random.choice([number for number in DYNAMIC_USERS if number not in taken])

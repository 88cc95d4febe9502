# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of rehearsals share: the command as a process that a test can end, and what is left of a rehearsal."""

from __future__ import annotations

import socket
import subprocess
import sys
import typing as t
from pathlib import Path

from .agents import bare
from .consul import ROOT, consul_binary

# Runs a command where a unit of systemd would: in a network of its own, as a user without rights.
_IN_A_UNIT = """
import os, sys
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal import keeper
is_root = os.geteuid() == 0
keeper.enter_namespaces(as_root=is_root)
keeper.become_harmless(65534 if is_root else None, os.getppid())
os.execv(sys.argv[1], sys.argv[1:])
"""


def rehearsing(
    bundle: Path, *arguments: object, before: t.Sequence[str] = (), scratch: Path | None = None
) -> subprocess.Popen[str]:
    """Start ``consulops snapshot rehearse`` with the lab's Consul."""
    where = [] if scratch is None else ["--scratch-path", str(scratch)]
    words = ["snapshot", "rehearse", *map(str, arguments), "--consul-binary", consul_binary(), *where]
    return subprocess.Popen(
        [*before, sys.executable, "-I", str(bundle), *words],
        env=bare(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(process: subprocess.Popen[str], step: str) -> None:
    """Wait until the command says that a step begins."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip() == f"consulops: {step}":
            return
    raise AssertionError(f"the command ended before it was {step}")


def left(scratch: Path) -> list[str]:
    """Return what is left of a rehearsal: processes that run in the directory or name it, and files in it."""
    found = [str(path) for path in scratch.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace")
            place = str((process / "cwd").readlink())
        except OSError:
            continue
        if place.startswith(str(scratch)) or (str(scratch) in words and "CLONE_NEWNET" in words):
            found.append(f"{process.name}: {words[:80]!r} in {place}")
    return found


def connect_to_service(*words: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the rehearsal service in an isolation like that of its unit; return the other end of its connection, and its process."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _IN_A_UNIT, sys.executable, "-I", *words, "--consul-binary", consul_binary()],
            env={**bare(), "PYTHONPATH": str(ROOT / ".cache" / "collections")},
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
        )
    return ours, process

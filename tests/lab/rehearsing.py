# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of rehearsals share: the command as a process that a test can end, and what is left of a rehearsal."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

from .agents import bare
from .consul import ROOT, consul_binary

# Runs a command where a unit of systemd would: in a network of its own, as a user without rights. It is this user by another number,
# who can still read what this user can.
_IN_A_UNIT = """
import os, sys
from pathlib import Path
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal import keeper
user, group = os.getuid(), os.getgid()
assert keeper.libc.unshare(keeper.CLONE_NEWUSER | keeper.CLONE_NEWNET) == 0
for name, text in (("setgroups", "deny"), ("uid_map", f"65534 {user} 1"), ("gid_map", f"65534 {group} 1")):
    Path(f"/proc/self/{name}").write_text(text)
keeper.set_loopback_up()
keeper.libc.prctl(keeper.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
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


class RehearsalService:
    """The rehearsal service behind a socket, as systemd runs it for each connection: in an isolation like that of its unit."""

    def __init__(self, bundle: Path, path: Path, *, isolated: bool = True) -> None:
        self.path = path
        self.processes: list[subprocess.Popen[bytes]] = []
        self._command = [sys.executable, "-c", _IN_A_UNIT] if isolated else []
        words = ("snapshot", "rehearsal-service", "--consul-binary", consul_binary())
        self._command += [sys.executable, "-I", str(bundle), *words]
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _peer = self._listener.accept()
            except OSError:
                return
            with connection:
                self.processes.append(
                    subprocess.Popen(
                        self._command,
                        env={**bare(), "PYTHONPATH": str(ROOT / ".cache" / "collections")},
                        stdin=connection.fileno(),
                        stdout=subprocess.DEVNULL,
                    )
                )

    def __enter__(self) -> RehearsalService:
        return self

    def __exit__(self, *_args: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for process in self.processes:
            process.wait(30)

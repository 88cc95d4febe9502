# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a program with a document on its standard input: no shell, a time limit, and nothing of it left running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
import typing as t
from pathlib import Path

from ..._consul.errors import InvalidOption, LocalFailure

MAX_SHOWN_CHARACTERS = 300
MAX_KEPT_BYTES = 4096  # of what the program says
FIRST_POLL_S, LONGEST_POLL_S = 0.001, 0.05
DRAIN_S = 1.0  # after its end, for the rest of what it said


class ProgramFailed(LocalFailure):
    """A program could not be run, was killed after its time, or ended with another status than 0. ``status`` is None without one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ProgramRunner:
    """Runs one program, each process in a process group of its own. Several threads may run it at a time.

    ``command`` is the path of the program and its arguments. The environment has PATH, LANG and HOME of ``environ`` only.
    Construction raises InvalidOption that begins with ``where``.
    """

    def __init__(self, command: t.Sequence[str], timeout_s: float, environ: t.Mapping[str, str], where: str) -> None:
        if not command or not os.path.isabs(command[0]):  # noqa: PTH117  it may be empty text
            raise InvalidOption(f"{where}: a list is needed that begins with the absolute path of a program.")
        if not os.access(command[0], os.X_OK) or Path(command[0]).is_dir():
            raise InvalidOption(f"{where}: {command[0]} is not a program that can be run here.")
        self._command = list(command)
        self._timeout_s = timeout_s
        self._environ = {
            "PATH": environ.get("PATH") or os.defpath,
            **{name: environ[name] for name in ("LANG", "HOME") if name in environ},
        }
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._aborts = 0

    def run(self, document: bytes) -> None:
        """Run the program once. Raises ProgramFailed unless it ends with status 0."""
        program = self._command[0]
        with tempfile.TemporaryFile() as file:
            file.write(document)
            file.seek(0)
            status, said = self._run(file)
        shown = " ".join(said.decode("utf-8", "replace").split())[:MAX_SHOWN_CHARACTERS]
        if status is None:
            raise ProgramFailed(f"{program} did not end within {self._timeout_s:g} s and was killed. {shown}".rstrip())
        if status != 0:
            ending = f"was ended by signal {abs(status)}" if status < 0 else f"ended with status {status}"
            raise ProgramFailed(f"{program} {ending}: {shown or '(it said nothing)'}", status)

    def abort(self) -> None:
        """Kill the programs that run, and what they started."""
        with self._lock:
            self._aborts += 1
            for process in self._processes:
                _kill_group(process)

    def _run(self, file: t.IO[bytes]) -> tuple[int | None, bytes]:
        """Return the exit status, None after a timeout, and what the program wrote to standard error."""
        aborts_before = self._aborts
        try:
            process = subprocess.Popen(
                self._command,
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=self._environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ProgramFailed(f"{self._command[0]} cannot be run: {reason}.") from None
        with self._lock:
            self._processes.add(process)
            if self._aborts != aborts_before:  # it runs before Popen returns
                _kill_group(process)
        said = bytearray()
        reader = threading.Thread(target=_keep_start, args=(t.cast("t.IO[bytes]", process.stderr), said), daemon=True)
        reader.start()
        ended = _has_ended(process.pid, self._timeout_s)
        with self._lock:
            # What it left running too. The process itself is not reaped yet, so its number cannot be another group's.
            _kill_group(process)
            self._processes.discard(process)
        status = process.wait()
        reader.join(DRAIN_S)
        return status if ended else None, bytes(said)


def _has_ended(pid: int, within_s: float) -> bool:
    """Wait until a child process has ended, without reaping it; return False if it has not within the time."""
    deadline, pause_s = time.monotonic() + within_s, FIRST_POLL_S
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)  # there is no wait with a timeout that does not reap
        pause_s = min(2 * pause_s, LONGEST_POLL_S)
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _keep_start(pipe: t.IO[bytes], said: bytearray) -> None:
    """Read until the end, so that the program never waits, and keep the beginning."""
    with pipe:
        for piece in iter(lambda: os.read(pipe.fileno(), 65536), b""):
            said += piece[: max(0, MAX_KEPT_BYTES - len(said))]

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Program (type ``exec``): runs a command with the notification as JSON on its standard input.

Options: ``command`` (a list: the path of the program and its arguments; no shell is involved); ``timeout``, after which the
program and everything that it started is killed. Status 0 means delivered; 65 (EX_DATAERR) that the message can never be; any
other one that it is tried again. The environment has PATH, LANG and HOME only.
Source of 65: sysexits.h
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import typing as t
from pathlib import Path

from ..notification import Notification
from . import json_document
from .options import Options, spec
from .receiver import DeliveryFailed, Receiver, ReceiverContext

DATA_ERROR = 65
MAX_SHOWN_CHARACTERS = 300
MAX_KEPT_BYTES = 4096  # of what the program says
FIRST_POLL_S, LONGEST_POLL_S = 0.001, 0.05
DRAIN_S = 1.0  # after its end, for the rest of what it said

SPEC = spec(command={"type": "list", "elements": "str", "required": True})


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Program(Options(name, options, context), context)


class Program(Receiver):
    """Runs one process for each notification, in a process group of its own."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        self._command = options["command"]
        if not self._command or not os.path.isabs(self._command[0]):  # noqa: PTH117  it may be empty text
            raise options.invalid("command", "a list is needed that begins with the absolute path of a program.")
        if not os.access(self._command[0], os.X_OK) or Path(self._command[0]).is_dir():
            raise options.invalid("command", f"{self._command[0]} is not a program that can be run here.")
        self._timeout_s = options.duration_s("timeout")
        self._render = context.render
        self._environ = {
            "PATH": context.environ.get("PATH") or os.defpath,
            **{name: context.environ[name] for name in ("LANG", "HOME") if name in context.environ},
        }
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def send(self, notification: Notification) -> None:
        """Run the program once."""
        program = self._command[0]
        with tempfile.TemporaryFile() as document:
            document.write(json.dumps(json_document.content(notification, self._render(notification))).encode() + b"\n")
            document.seek(0)
            status, said = self._run(document)
        shown = " ".join(said.decode("utf-8", "replace").split())[:MAX_SHOWN_CHARACTERS]
        if status is None:
            raise DeliveryFailed(f"{program} did not end within {self._timeout_s:g} s and was killed. {shown}".rstrip())
        if status != 0:
            ending = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            raise DeliveryFailed(f"{program} {ending}: {shown or '(it said nothing)'}", permanent=status == DATA_ERROR)

    def abort(self) -> None:
        """Kill the program that runs, and what it started."""
        with self._lock:
            if self._process is not None:
                _kill_group(self._process)

    # -----------------------------------------------------------------------------------------------------------

    def _run(self, document: t.IO[bytes]) -> tuple[int | None, bytes]:
        """Return the exit status, None after a timeout, and what the program wrote to standard error."""
        try:
            process = subprocess.Popen(
                self._command,
                stdin=document,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=self._environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DeliveryFailed(f"{self._command[0]} cannot be run: {reason}.") from None
        assert process.stderr is not None
        with self._lock:
            self._process = process
        said = bytearray()
        reader = threading.Thread(target=_keep_start, args=(process.stderr, said), daemon=True)
        reader.start()
        ended = _has_ended(process.pid, self._timeout_s)
        with self._lock:
            # What it left running too. The process itself is not reaped yet, so its number cannot be another group's.
            _kill_group(process)
            self._process = None
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

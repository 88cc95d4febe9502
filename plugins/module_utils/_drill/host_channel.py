# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One SSH connection to a host for the whole of a drill: a program there answers requests, and Consul's HTTP port is forwarded.

OpenSSH makes the connection, so its configuration, its agent and jump hosts work as they do by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import socket
import subprocess
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass

from .._consul.errors import GuardRefused, LocalFailure

CONNECT_S = 15.0
STOP_S = 5.0
ATTEMPTS = 3  # to find a port that is still free when SSH takes it
# A connection of its own: through a shared one the forwarded port would stay open after the drill.
OPTIONS = (
    *("-T", "-S", "none", "-o", "BatchMode=yes", "-o", "ControlMaster=no"),
    *("-o", "ExitOnForwardFailure=yes", "-o", f"ConnectTimeout={CONNECT_S:.0f}"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
)


class HostLost(LocalFailure):
    """The connection to a host ended, or the host did not answer in time."""


@dataclass(frozen=True)
class HostAccess:
    """How a host is reached: ``ssh`` are the words of a command that runs a program there, which follows them.

    ``become`` are the words before a program that needs root, ``http_port`` is that of Consul on the host's ``http_address``.
    """

    name: str
    ssh: tuple[str, ...]
    become: tuple[str, ...] = ()
    python: str = "python3"
    http_address: str = "127.0.0.1"
    http_port: int = 8500


@dataclass(frozen=True)
class HostProgram:
    """What runs on hosts: Python's words for ``-c``, and what is sent to it first."""

    start: str
    archive: bytes


class HostChannel:
    """A connection, which is made by ``open`` and again by a request after it was lost. One request at a time, from any thread."""

    def __init__(self, access: HostAccess, program: HostProgram) -> None:
        self.access = access
        self.local_port = 0
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: t.IO[bytes] | None = None
        self._rest = b""
        self._mutex = threading.Lock()

    def open(self) -> None:
        """Connect, forward the port and start the program. Raises HostLost."""
        for attempt in range(1, ATTEMPTS + 1):
            self.local_port = self.local_port or _free_port()
            try:
                with self._mutex:
                    self._start()
                    self._exchange({"do": "clock"}, CONNECT_S + 5)
            except HostLost as error:
                self.close()
                if attempt == ATTEMPTS or "in use" not in str(error):
                    raise
                self.local_port = 0
            else:
                return

    def ask(self, request: t.Mapping[str, t.Any], within_s: float) -> t.Any:
        """Return the result of a request. Raises HostLost, and GuardRefused with the sentence of the program's refusal."""
        with self._mutex:
            if self._process is None:
                self._start()
            try:
                answer = self._exchange(request, within_s)
            except HostLost:
                self._stop()
                raise
        if "error" in answer:
            raise GuardRefused(f"{self.access.name}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """End the connection. A fault stays, and is healed by its timer."""
        with self._mutex:
            self._stop()

    # -----------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        access = self.access
        executable, *more = access.ssh
        forward = f"127.0.0.1:{self.local_port}:{access.http_address}:{access.http_port}"
        remote = shlex.join([*access.become, access.python, "-c", self._program.start])
        # The complaints of ssh go to a file: a pipe that nobody reads fills up.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        try:
            self._process = subprocess.Popen(
                [executable, *OPTIONS, "-L", forward, *more, remote],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                start_new_session=True,  # a signal for the drill is not for it: it still has to heal
            )
        except OSError as error:
            self._complaints.close()
            raise HostLost(f"{access.name}: {executable} cannot be run: {error.strerror or error}.") from error
        self._rest = b""
        self._write(self._program.archive)

    def _exchange(self, request: t.Mapping[str, t.Any], within_s: float) -> t.Any:
        self._write(json.dumps(request).encode() + b"\n")
        line = self._read_line(time.monotonic() + within_s)
        try:
            return json.loads(line)
        except ValueError:
            raise HostLost(f"{self.access.name}: the answer is not what was asked for: {line[:80]!r}.") from None

    @property
    def _stdin(self) -> t.IO[bytes]:
        return t.cast("t.IO[bytes]", t.cast("subprocess.Popen[bytes]", self._process).stdin)

    def _write(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            self._stdin.flush()
        except OSError:
            raise self._lost() from None

    def _read_line(self, deadline: float) -> bytes:
        output = t.cast("t.IO[bytes]", t.cast("subprocess.Popen[bytes]", self._process).stdout)
        while b"\n" not in self._rest:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([output], [], [], left_s)[0]:
                raise HostLost(f"{self.access.name}: no answer in time.")
            part = os.read(output.fileno(), 65536)
            if not part:
                raise self._lost()
            self._rest += part
        line, _end, self._rest = self._rest.partition(b"\n")
        return line

    def _lost(self) -> HostLost:
        process = t.cast("subprocess.Popen[bytes]", self._process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        complaints = t.cast("t.IO[bytes]", self._complaints)
        complaints.seek(0)
        lines = complaints.read().decode(errors="replace").strip().splitlines()
        return HostLost(f"{self.access.name}: the connection ended: {lines[-1] if lines else 'ssh said nothing'}.")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                t.cast("t.IO[bytes]", stream).close()
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        t.cast("t.IO[bytes]", self._complaints).close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])

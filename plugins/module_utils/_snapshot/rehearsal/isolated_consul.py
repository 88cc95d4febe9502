# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Consul that runs isolated, as long as this process wants it: started behind a gate, looked at from outside, and torn down.

Its keeper (keeper.py, or a shell in a systemd unit) tells over a pipe what happens, and ends with everything when the pipe to it is
closed, which the death of this process does too.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
import typing as t
from pathlib import Path

from . import isolation_check
from .errors import RehearsalRefused, RehearsalUnfinished
from .server_config import LOG_NAME, SOCKET_NAME

GATE_S = 30.0  # for the keeper to be isolated, and for Consul to be started: milliseconds, seconds on a busy machine
END_S = 2.0  # for the keeper to notice that Consul ended
STOP_S = 20.0
MAX_LOG_BYTES = 65536
MAX_SHOWN_CHARACTERS = 400


class IsolatedConsul:
    """A Consul behind a keeper that was started as ``process``; ``method`` says what isolates it.

    ``place`` returns the directory of Consul as this process reaches it, given the process ID of the keeper. ``shares_network``: this
    process is isolated too, in the same network. Use it in a ``with`` block, and ``start`` it there.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        method: str,
        place: t.Callable[[int], Path],
        *,
        shares_network: bool = False,
    ) -> None:
        self.method = method
        self.pid = 0
        self._process = process
        self._place = place
        self._shares_network = shares_network
        self._said = b""
        self._status: int | None = None
        self._is_silent = False  # the keeper has ended
        self._directory: int | None = None

    @property
    def url(self) -> str:
        """The address of its API. Through the open directory, because the path of a socket has at most 107 characters."""
        return f"unix:///proc/self/fd/{self._directory}/{SOCKET_NAME}"

    def start(self) -> None:
        """Start Consul once its network is isolated, and look at its rights.

        Raises RehearsalRefused when the isolation is not complete; nothing was given to Consul then.
        """
        keeper = int(self._expect("ready"))
        problem = isolation_check.problem_of_network(keeper, is_ours=self._shares_network)
        if problem:
            raise RehearsalRefused(f"The rehearsal is refused: it must not reach anything, and {problem}.")
        try:
            self._directory = os.open(self._place(keeper), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            t.cast("t.IO[bytes]", self._process.stdin).write(b"go\n")
        except OSError as error:
            raise RehearsalRefused(
                f"The rehearsal is refused: its isolation ({self.method}) ended: {error.strerror}."
            ) from None
        self.pid = int(self._expect("pid"))

    def check_rights(self) -> None:
        """Raise RehearsalRefused unless Consul, which answers by now, has no rights."""
        problem = isolation_check.problem_of_process(self.pid)
        if problem:
            raise RehearsalRefused(f"The rehearsal is refused: its Consul must have no rights, and {problem}.")

    def ended(self, within_s: float = 0.0) -> int | None:
        """Return the status with which Consul ended by itself, 128 and the signal's number after a signal; None if it runs."""
        if self._status is None:
            word, rest = self._line(time.monotonic() + within_s)
            if word == "ended":
                self._status = int(rest)
        return self._status

    def is_over(self, within_s: float) -> bool:
        """Return whether Consul has ended, or everything is being torn down; wait for it for some seconds."""
        return self.ended(within_s) is not None or self._is_silent

    def complaint(self) -> str:
        """Return what Consul said at the end: the line of its panic, else its last error or last line."""
        lines = [line.strip() for line in self._log().splitlines() if line.strip()]
        panics = [line for line in lines if line.startswith(("panic:", "fatal error:"))]
        failures = [line for line in lines if "[ERR" in line]
        found = (panics[:1] or failures[-1:] or lines[-1:] or ["it said nothing"])[0]
        return found[:MAX_SHOWN_CHARACTERS]

    def stop(self) -> None:
        """Let the keeper tear everything down, from any thread. ``close`` waits for it."""
        with contextlib.suppress(OSError):
            t.cast("t.IO[bytes]", self._process.stdin).close()

    def __enter__(self) -> IsolatedConsul:
        return self

    def __exit__(self, *_args: object) -> None:
        self.stop()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None

    def _expect(self, wanted: str) -> str:
        """Return what follows a word that the keeper must say next. Raises RehearsalRefused."""
        word, rest = self._line(time.monotonic() + GATE_S)
        if word == wanted:
            return rest
        if word == "refused":
            reason = rest
        elif word == "":
            reason = self._stderr() or "it does not answer"
        else:
            reason = f"it said {word} {rest}"
        raise RehearsalRefused(
            f"The rehearsal is refused: a Consul that can reach nothing cannot be started here, by {self.method}: "
            f"{reason.rstrip('.')}. Run it as root, or on a host whose kernel lets its users have namespaces; see docs/rehearsals.md."
        )

    def _line(self, deadline: float) -> tuple[str, str]:
        """Return the next line that the keeper says, as its first word and the rest; both are "" after its end or the deadline."""
        pipe = t.cast("t.IO[bytes]", self._process.stdout)
        while b"\n" not in self._said:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([pipe], [], [], left_s)[0]:
                return "", ""
            piece = os.read(pipe.fileno(), 4096)
            if not piece:
                self._is_silent = True
                return "", ""
            self._said += piece
        line, _newline, self._said = self._said.partition(b"\n")
        word, _space, rest = line.decode("utf-8", "replace").strip().partition(" ")
        return word, rest

    def _stderr(self) -> str:
        """Return the last line that the keeper wrote to standard error; it has ended, or is ended now."""
        self.stop()
        self._process.kill()
        text = t.cast("t.IO[bytes]", self._process.stderr).read().decode("utf-8", "replace")
        return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[:MAX_SHOWN_CHARACTERS]

    def _log(self) -> str:
        """Return the end of Consul's log."""
        if self._directory is None:
            return ""
        try:
            descriptor = os.open(LOG_NAME, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._directory)
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as stream:
            size = os.fstat(descriptor).st_size
            stream.seek(max(0, size - MAX_LOG_BYTES))
            return stream.read().decode("utf-8", "replace")


def not_started(consul: IsolatedConsul, reason: str) -> RehearsalUnfinished:
    """Return the error of a Consul that did not come up."""
    return RehearsalUnfinished(
        f"The Consul of the rehearsal did not start ({consul.method}): {reason.rstrip('.')}. Nothing is known of the snapshot."
    )

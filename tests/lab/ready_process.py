# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server of the Prometheus family: started, waited for, and killed by its pid, also when the tests are."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import typing as t
from pathlib import Path

import requests

from .consul import eventually

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


Started = t.TypeVar("Started", bound="ReadyProcess")


class ReadyProcess:
    """One process that answers ``/-/ready`` below ``url``. Its log is ``log`` in its directory."""

    def __init__(self, url: str, directory: Path, command: t.Sequence[str]) -> None:
        self.url = url
        self._log = directory / "log"
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self: Started) -> Started:
        return self.start()

    def __exit__(self, *_args: object) -> None:
        self.stop()

    def start(self: Started) -> Started:
        """Start it and wait until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        eventually(self._is_ready, 30)
        return self

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _is_ready(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._log.read_text()
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private directory of an agent: small files that must outlive its process."""

from __future__ import annotations

import fcntl
import os
import typing as t
from pathlib import Path

from .._consul.errors import LocalFailure
from .._consul.private_file import PRIVATE, PrivateFile, os_errors_as

# Source: StateDirectory= in systemd.exec(5)
_VARIABLE = "STATE_DIRECTORY"
_LOCK_FILE = ".lock"


class StateDirectory:
    """The files of an agent, each written whole or not at all. Without systemd there is no directory, which is an error at first use."""

    def __init__(self, environ: t.Mapping[str, str]) -> None:
        first = environ.get(_VARIABLE, "").partition(":")[0]
        self._path = Path(first) if first else None
        self._lock: int | None = None

    @property
    def path(self) -> Path:
        """The directory. Raises LocalFailure when there is none."""
        if self._path is None:
            raise LocalFailure(
                "The agent has no directory for its state: run it as a systemd service with StateDirectory, or set "
                f"{_VARIABLE} to a directory that only its user can read."
            )
        return self._path

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is none. Raises LocalFailure."""
        path = self.path / name
        with os_errors_as(f"reading {path}"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def try_to_own(self) -> bool:
        """Lock the directory for the life of this process. Return False while another process has it, and if it cannot be locked."""
        if self._lock is None and self._path is not None:
            try:
                descriptor = os.open(
                    self._path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE
                )
            except OSError:
                return False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            self._lock = descriptor
        return self._lock is not None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file. Raises LocalFailure; the file is then as it was."""
        path = self.path / name
        with PrivateFile(path.parent) as file:
            file.write(content)
            file.commit(path)

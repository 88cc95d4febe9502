# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A snapshot file as something to read records from."""

from __future__ import annotations

from pathlib import Path

from .._consul.private_file import os_errors_as


class SnapshotFile:
    """A snapshot file as a source; what the system says of it becomes a LocalFailure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with os_errors_as(f"reading {path}"):
            self._stream = path.open("rb", buffering=0)

    def read(self, size: int) -> bytes:
        with os_errors_as(f"reading {self._path}"):
            return self._stream.read(size) or b""

    def __enter__(self) -> SnapshotFile:
        return self

    def __exit__(self, *_args: object) -> None:
        self._stream.close()

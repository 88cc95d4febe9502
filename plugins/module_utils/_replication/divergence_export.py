# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file that keeps what both sides had before they were reconciled: JSON lines, mode 0600, never overwritten."""

from __future__ import annotations

import base64
import json
import os
import typing as t
from pathlib import Path

from .._consul.errors import GuardRefused
from .._consul.kv import Entry
from .._consul.private_file import PrivateFile, os_errors_as
from .divergence import Divergence


class DivergenceExport:
    """Collects keys beside the file, and puts them in place before anything is changed. Use it in a ``with`` block.

    ``time`` is written with each key. Raises LocalFailure.
    """

    def __init__(self, path: Path, time: str) -> None:
        self.path = path
        self.keys = 0
        self._time = time
        with os_errors_as(f"looking for {path}"):
            self.exists = os.path.lexists(path)  # since before this run
        self._file = PrivateFile(path.parent)

    def add(self, keys: t.Iterable[Divergence]) -> None:
        """Write keys to the file that is not in place yet."""
        for one in keys:
            self._file.write(self._line(one))
            self.keys += 1

    def put_in_place(self) -> None:
        """Make what was added durable under its name. Raises GuardRefused when there is such a file."""
        if not self._file.commit_new(self.path):
            raise GuardRefused(
                f"{self.path} exists and is not overwritten. Choose another export_path. Nothing was changed"
            )

    def append(self, keys: t.Sequence[Divergence]) -> None:
        """Write keys durably to the file that is in place: what they are was changed since they were added."""
        if not keys:
            return
        with os_errors_as(f"writing to {self.path}"):
            with self.path.open("ab") as file:
                for one in keys:
                    file.write(self._line(one))
                file.flush()
                os.fsync(file.fileno())
        self.keys += len(keys)

    def _line(self, one: Divergence) -> bytes:
        row = {
            "key": one.key,
            "kind": one.kind,
            "wins": one.wins,
            "time": self._time,
            "new": _side(one.new),
            "old": _side(one.old),
        }
        return json.dumps(row).encode() + b"\n"

    def __enter__(self) -> DivergenceExport:
        return self

    def __exit__(self, *_args: object) -> None:
        self._file.__exit__()


def _side(entry: Entry | None) -> dict[str, t.Any] | None:
    """Return what one side has of a key, None for nothing."""
    if entry is None:
        return None
    value = base64.b64encode(entry.value).decode()
    return {"key": entry.key, "value": value, "flags": entry.flags, "modify_index": entry.modify_index}

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the jobs and the endpoint of the replication agent share: the status of each set that this instance replicates."""

from __future__ import annotations

import threading
import typing as t
from dataclasses import replace

from .set_status import SetStatus


class Memory:
    """The status of each set. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._sets: dict[str, SetStatus] = {}

    def update(self, name: str, status: SetStatus) -> None:
        """Note the status of a set."""
        with self._mutex:
            self._sets[name] = replace(status)

    def forget(self, name: str) -> None:
        """Forget a set: this instance does not hold its lease any more."""
        with self._mutex:
            self._sets.pop(name, None)

    def sets(self) -> list[SetStatus]:
        """Return the status of every set of which this instance holds the lease, by name."""
        with self._mutex:
            return [self._sets[name] for name in sorted(self._sets)]

    def section(self) -> dict[str, t.Any]:
        """Return the section of the frame's status."""
        return {"sets": {one.name: one.as_json() for one in self.sets()}}

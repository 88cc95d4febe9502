# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the jobs and the endpoint of the snapshot agent share: the status of each policy that this instance works for,
and what waits of the others."""

from __future__ import annotations

import threading
import time
import typing as t

from ..._consul.snapshot_waiting import WaitingSnapshots
from .place_lock import PlaceLock
from .policy_status import PolicyStatus
from .rehearsal_status import RehearsalStatus


class Memory:
    """The status of each policy. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._policies: dict[str, PolicyStatus] = {}
        self._changes: dict[str, threading.Event] = {}
        self._rehearsals: dict[str, RehearsalStatus] = {}
        self._waiting: dict[str, WaitingSnapshots] = {}
        self._waiting_changes: dict[str, threading.Event] = {}
        self._place_locks: dict[str, PlaceLock] = {}

    def update(self, status: PolicyStatus) -> None:
        """Note the status of a policy."""
        with self._mutex:
            self._policies[status.name] = status
            self._change(status.name).set()

    def forget(self, name: str) -> None:
        """Forget a policy: another instance may work for it."""
        with self._mutex:
            self._policies.pop(name, None)

    def policy(self, name: str) -> PolicyStatus | None:
        """Return the status of a policy, None while this instance does not work for it."""
        with self._mutex:
            return self._policies.get(name)

    def changes(self, name: str) -> threading.Event:
        """Return the event that is set when the status of a policy was noted. Whoever waits for it clears it."""
        with self._mutex:
            return self._change(name)

    def set_rehearsal(self, name: str, status: RehearsalStatus | None) -> None:
        """Note what is known of a policy's rehearsals, None when this instance does not rehearse it."""
        with self._mutex:
            if status is None:
                self._rehearsals.pop(name, None)
            else:
                self._rehearsals[name] = status

    def rehearsal(self, name: str) -> RehearsalStatus | None:
        """Return what is known of a policy's rehearsals, None if this instance does not rehearse it."""
        with self._mutex:
            return self._rehearsals.get(name)

    def policies(self) -> list[PolicyStatus]:
        """Return the status of every policy that this instance works for, by name."""
        with self._mutex:
            return [self._policies[name] for name in sorted(self._policies)]

    def place_lock(self, name: str) -> PlaceLock:
        """Return the lock of a policy's waiting place."""
        with self._mutex:
            return self._place_locks.setdefault(name, PlaceLock())

    def set_waiting(self, name: str, found: WaitingSnapshots) -> None:
        """Note what waits of a policy while this instance does not hold its lease."""
        with self._mutex:
            self._waiting[name] = found
            self._waiting_change(name).set()

    def waiting(self, name: str) -> WaitingSnapshots | None:
        """Return what waits of a policy while this instance does not hold its lease, None if nobody has looked yet."""
        with self._mutex:
            return self._waiting.get(name)

    def waiting_changes(self, name: str) -> threading.Event:
        """Return the event that is set when what waits was noted. Whoever waits for it clears it."""
        with self._mutex:
            return self._waiting_change(name)

    def all_waiting(self) -> dict[str, WaitingSnapshots]:
        """Return what waits of each policy of which something does, by name, while this instance does not hold its lease."""
        with self._mutex:
            return {name: self._waiting[name] for name in sorted(self._waiting) if self._waiting[name].snapshots}

    def section(self) -> dict[str, t.Any]:
        """Return the section of the frame's status."""
        now = time.time()
        return {
            "policies": {one.name: one.as_json(now) for one in self.policies()},
            "waiting_on_standby": {name: one.as_json() for name, one in self.all_waiting().items()},
        }

    def _waiting_change(self, name: str) -> threading.Event:
        return self._waiting_changes.setdefault(name, threading.Event())

    def _change(self, name: str) -> threading.Event:
        return self._changes.setdefault(name, threading.Event())

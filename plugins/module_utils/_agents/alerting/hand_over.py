# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the holder of the lease should let another instance try: this host cannot reach receivers, or cannot write its files. Pure."""

from __future__ import annotations

import typing as t

from .delivery import ReceiverHealth

# These are written on this host, so that they work says nothing about its network.
LOCAL_TYPES = frozenset({"file", "prometheus", "syslog"})


class HandOver:
    """Counts how often in a row something of this host failed. ``limit`` is how often that may be."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._disk_failures = 0

    def reason(self, health: t.Mapping[str, ReceiverHealth], remote: t.Collection[str], disk_problem: str) -> str:
        """Return why another instance should try, "" if it should not. ``remote`` are the receivers that need the network.

        One receiver that fails may be its own fault, all that were tried are more likely that of this host.
        """
        self._disk_failures = self._disk_failures + 1 if disk_problem else 0
        if self._disk_failures >= self._limit:
            return disk_problem
        tried = {name: health[name] for name in sorted(remote) if name in health and _was_tried(health[name])}
        if tried and all(one.problem and one.failures_in_row >= self._limit for one in tried.values()):
            return f"No receiver can be reached from here: {', '.join(tried)}. {next(iter(tried.values())).problem}"
        return ""


def _was_tried(health: ReceiverHealth) -> bool:
    return bool(health.problem) or health.last_success is not None

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the faults of a drill need to know of its load while it runs."""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass

from .leader_watch import LeaderWatch
from .measurements import Measurements


@dataclass(frozen=True)
class RunningLoad:
    """The watchers and measurements of a load."""

    watches: t.Sequence[LeaderWatch]
    measured: Measurements

    @property
    def leader(self) -> str | None:
        """The address of Raft that most addresses name as the leader now; None if none names one."""
        named = Counter(watch.leader for watch in self.watches if watch.leader)
        return named.most_common(1)[0][0] if named else None

    @property
    def last_change_ns(self) -> int:
        """When a change was last acknowledged."""
        return self.measured.last_change_ns

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the clients of each workload do: the next operation, by a seeded generator, and how it is sent.

A workload belongs to one client, which has one operation open at most.
"""

from __future__ import annotations

import itertools
import random
import threading
import typing as t
from dataclasses import dataclass, field

from .._consul.client import Client
from .drill_space import DrillSpace


@dataclass(frozen=True)
class Answer:
    """What a successful operation returned; ``more`` are further fields of its line in the history."""

    value: t.Any
    index: int | None = None
    more: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One operation, ready to be sent to any address. ``send`` raises a ConsulError or DrillDisturbed.

    ``after_s`` is the pause before one that does not wait for the schedule.
    """

    f: str
    key: str
    value: t.Any
    send: t.Callable[[Client], Answer]
    is_read: bool = False
    after_s: float = 0.0


@dataclass(frozen=True)
class Shared:
    """What the clients of a drill share: the folder of keys, the consistency of reads, and numbers that are used once."""

    space: DrillSpace
    consistency: str
    keys: int
    clock_ns: t.Callable[[], int]  # the time of the history
    _numbers: t.Iterator[int] = field(default_factory=lambda: itertools.count(1))
    known: dict[str, tuple[int, int]] = field(default_factory=dict)  # a register's value at a ModifyIndex, as seen last
    acknowledged: list[int] = field(default_factory=lambda: [0])  # the highest index of an acknowledged addition
    sessions: list[str] = field(default_factory=list)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def unique(self) -> int:
        """Return a number that no other operation has. Consul does not count a write of the same value as a change."""
        return next(self._numbers)


class Workload(t.Protocol):
    """What one client does."""

    def next_call(self, chance: random.Random) -> Call:
        """Return the next operation."""

    def follow_up(self) -> Call | None:
        """Return an operation that must follow the last one soon, if there is one."""

    def on_unknown(self) -> None:
        """Forget what the last operation may have changed: its outcome is unknown."""

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an agent is to the run loop: something that is made when the lease is taken, and then does one round after another."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._config.validation import Spec
from .._consul.client import Client
from .._consul.lock import Lock


@dataclass(frozen=True)
class CycleResult:
    """How a round went: when to begin the next (seconds from now), a sentence for people, and numbers for metrics."""

    pause_s: float
    summary: str
    numbers: t.Mapping[str, float]


class Job(t.Protocol):
    """One term of office: nothing is remembered from another, so the first round is a look at everything."""

    def run_cycle(self) -> CycleResult:
        """Do one round. Raises an Error; the loop waits and asks again, for as long as the lease is held."""


@dataclass(frozen=True)
class AgentType:
    """One agent_type of agent: its own options, and the work of a term. ``start`` gets the lease, whose guard fences every write."""

    spec: Spec
    start: t.Callable[[Client, Lock, str, t.Mapping[str, t.Any]], Job]
    check: t.Callable[[t.Mapping[str, t.Any]], None]
    mutually_exclusive: tuple[tuple[str, ...], ...] = ()

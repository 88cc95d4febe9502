# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an agent type provides: its options, and a job that is created for each lease term and run in cycles."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._config.validation import Spec
from .._consul.client import Client
from .._consul.lock import Lock


@dataclass(frozen=True)
class CycleResult:
    """The result of one cycle: seconds until the next cycle starts, a summary for the user, and numbers for the metrics."""

    pause_s: float
    summary: str
    numbers: t.Mapping[str, float]


class Job(t.Protocol):
    """The work of one lease term. It keeps nothing from an earlier term, so its first cycle compares everything."""

    def run_cycle(self) -> CycleResult:
        """Run one cycle. Raises an Error; the run loop then waits and tries again while the lease is held."""


@dataclass(frozen=True)
class AgentType:
    """One type of agent.

    ``spec`` and ``mutually_exclusive`` describe its options, ``check`` raises InvalidOption for values that the spec
    cannot exclude. ``start`` gets a client, the lease (whose guard fences every write), the agent's name and its
    options, and returns the job of this lease term.
    """

    spec: Spec
    start: t.Callable[[Client, Lock, str, t.Mapping[str, t.Any]], Job]
    check: t.Callable[[t.Mapping[str, t.Any]], None]
    mutually_exclusive: tuple[tuple[str, ...], ...] = ()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a drill does: its workloads, rates and limits, and when each client means to start its operations. Pure."""

from __future__ import annotations

import itertools
import random
import typing as t
from dataclasses import dataclass

from .._consul.errors import InvalidOption
from .._consul.key_path import is_addressable
from .history import NS, WORKLOADS

GAPS = ("exponential", "fixed")

MAX_CLIENTS = (
    100  # each has a connection to every address; Consul closes the 201st of one (limits.http_max_conns_per_client)
)
MAX_RATE = 2000.0  # operations a second; one process does fewer
MAX_OPERATIONS = 1_000_000  # a key for each addition of the workload "set" stays in Consul until the end
MAX_KEYS = 10_000
MAX_DURATION_S = 86_400.0


@dataclass(frozen=True)
class DrillPlan:
    """The load of a drill. ``rate`` is in operations a second of all clients together; ``keys`` is how many registers there are.

    Construction raises InvalidOption.
    """

    workloads: tuple[str, ...]
    consistency: str
    duration_s: float
    clients: int
    rate: float
    keys: int
    gaps: str
    seed: int
    prefix: str

    def __post_init__(self) -> None:
        _check_workloads(self.workloads)
        _check_between("clients", self.clients, len(self.workloads), MAX_CLIENTS, "with one for each workload at least")
        _check_between("keys", self.keys, 1, MAX_KEYS)
        _check_between("rate", self.rate, 0.1, MAX_RATE, "operations a second of all clients together")
        _check_between("duration", self.duration_s, 1, MAX_DURATION_S, "seconds")
        if self.rate * self.duration_s > MAX_OPERATIONS:
            raise InvalidOption(
                f"rate {self.rate:g} for a duration of {self.duration_s:g} s makes {self.rate * self.duration_s:,.0f} operations: "
                f"a drill has at most {MAX_OPERATIONS:,}."
            )
        if not self.prefix.endswith("/") or not is_addressable(self.prefix):
            raise InvalidOption(f"prefix {self.prefix!r} is not a folder of keys: write for example consulops/drill/.")

    def workload_of(self, client: int) -> str:
        """Return the workload of a client, by its number: they take turns."""
        return self.workloads[client % len(self.workloads)]

    def intended_starts(self, client: int) -> t.Iterator[int]:
        """Give when a client means to start its operations, in nanoseconds since the load began, without end."""
        mean_s = self.clients / self.rate
        if self.gaps == "fixed":
            start_s = mean_s * client / self.clients  # clients are spread evenly
            number = 0
            while True:
                yield int((start_s + number * mean_s) * NS)
                number += 1
        chance = random.Random(f"{self.seed}/{client}/starts")
        start_s = 0.0
        while True:
            start_s += chance.expovariate(1 / mean_s)
            yield int(start_s * NS)

    def unsent(self, client: int, sent: int, until_ns: int) -> int:
        """Return how many operations a client meant to start before a moment, beyond the first ``sent``."""
        before = itertools.takewhile(lambda start_ns: start_ns < until_ns, self.intended_starts(client))
        return max(0, sum(1 for _start in before) - sent)


def _check_workloads(names: t.Sequence[str]) -> None:
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise InvalidOption(f"workload {unknown[0]!r} is unknown: choose from {', '.join(WORKLOADS)}.")
    if not names or len(set(names)) != len(names):
        raise InvalidOption(f"workload {','.join(names)!r}: name each one once, for example {','.join(WORKLOADS)}.")


def _check_between(option: str, value: float, least: float, most: float, unit: str = "") -> None:
    if not least <= value <= most:  # false for nan too
        raise InvalidOption(
            f"{option} is {value:g}: it must be between {least:,g} and {most:,g}{', ' if unit else ''}{unit}."
        )

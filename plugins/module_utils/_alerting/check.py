# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at an estate and judges it, once or until it is well; the module and the agent call this."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from .._consul import errors
from .._consul.client import Client
from .finding import Judgement
from .read import FAILING, Look, read
from .rules import judge
from .ruleset import Expected

POLL_S = 1.0  # what gossip and Raft say moves no index: they are looked at this often


@dataclass(frozen=True)
class Waiting:
    """How long to wait until a gate opens, and how long it must stay open, both in seconds."""

    wait_s: float = 0.0
    stable_for_s: float = 0.0

    def check(self) -> None:
        """Raise InvalidOption for times that cannot be meant."""
        for option, value in (("wait", self.wait_s), ("stable_for", self.stable_for_s)):
            if not 0 <= value < 1e7:  # false for nan too
                raise errors.InvalidOption(f"{option} is {value:g}: it must be a number of seconds, 0 or more.")
        if self.stable_for_s > self.wait_s:
            raise errors.InvalidOption(
                f"stable_for is {self.stable_for_s:g} s and wait {self.wait_s:g} s: nothing can stay well for longer than is waited."
            )


@dataclass(frozen=True)
class Outcome:
    """The last judgement, how many looks there were and how long they took in all (seconds)."""

    judgement: Judgement
    looks: int
    seconds: float


def look_at(clients: t.Sequence[Client], look: Look, expected: t.Mapping[str, Expected]) -> Judgement:
    """Read and judge every datacenter once."""
    judgement = Judgement()
    seen = set()
    for client in clients:
        reading = read(client, look, time.time())
        seen.add(reading.datacenter)
        judgement.add(judge(reading, look.rules, expected))
    judgement.findings = list(dict.fromkeys(judgement.findings))
    judgement.sort()
    return judgement


def wait_until_well(
    clients: t.Sequence[Client],
    look_of: t.Callable[[], Look],
    expected: t.Mapping[str, Expected],
    fail_on: str,
    waiting: Waiting,
) -> Outcome:
    """Look until nothing at or above ``fail_on`` is left and stays so, or time is up; return the last look."""
    started = time.monotonic()
    deadline = started + waiting.wait_s
    well_since: float | None = None
    looks = 0
    while True:
        judgement = look_at(clients, look_of(), expected)
        looks += 1
        now = time.monotonic()
        if judgement.fails(fail_on):
            well_since = None
        elif well_since is None:
            well_since = now
        if well_since is not None and now - well_since >= waiting.stable_for_s:
            return Outcome(judgement, looks, now - started)
        if now >= deadline:
            return Outcome(judgement, looks, now - started)
        _pause(clients[0], min(POLL_S, deadline - now))


def _pause(client: Client, seconds: float) -> None:
    """Wait until a check changes, or for some seconds."""
    asked = time.monotonic()
    try:
        index = client.get("/v1/health/state/any", {"filter": FAILING}, consistency="stale").index
        client.get(
            "/v1/health/state/any",
            {"filter": FAILING},
            consistency="stale",
            index=max(1, index),
            wait_s=max(0.01, seconds),
        )
    except errors.ConsulError:
        time.sleep(max(0.0, seconds - (time.monotonic() - asked)))

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
from .observe import ObserveOptions, ask_failing, observe
from .rules import judge
from .ruleset import Expected

SHORTEST_S = 0.1
POLL_S = 1.0  # what gossip and Raft say moves no index: they are looked at this often


@dataclass(frozen=True)
class GateTiming:
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
    """The last judgement, how many looks there were and how long they took in all (seconds).

    ``missing_s`` is how much longer everything would have had to stay well, 0 when that was long enough.
    """

    judgement: Judgement
    looks: int
    seconds: float
    missing_s: float = 0.0

    def is_closed(self, fail_on: str) -> bool:
        """Tell whether a gate is closed."""
        return self.judgement.fails(fail_on) or self.missing_s > 0


def judge_all(clients: t.Sequence[Client], look: ObserveOptions, expected: t.Mapping[str, Expected]) -> Judgement:
    """Read and judge every datacenter once."""
    judgement = Judgement()
    for client in clients:
        judgement.add(judge(observe(client, look, time.time()), look.rules, expected))
    judgement.sort()
    return judgement


def wait_for_gate(
    clients: t.Sequence[Client],
    look_of: t.Callable[[], ObserveOptions],
    expected: t.Mapping[str, Expected],
    fail_on: str,
    waiting: GateTiming,
) -> Outcome:
    """ObserveOptions until nothing at or above ``fail_on`` is left and stays so, or time is up; return the last look."""
    started = time.monotonic()
    deadline = started + waiting.wait_s
    well_since: float | None = None
    looks = 0
    while True:
        looking = time.monotonic()
        judgement = judge_all(clients, look_of(), expected)
        looks += 1
        now = time.monotonic()
        if judgement.fails(fail_on):
            well_since = None
        elif well_since is None:
            well_since = looking
        missing_s = 0.0 if well_since is None else max(0.0, waiting.stable_for_s - (now - well_since))
        if now >= deadline or (well_since is not None and not missing_s):
            return Outcome(judgement, looks, now - started, missing_s)
        _pause(clients[0], min(POLL_S, deadline - now))


def _pause(client: Client, seconds: float) -> None:
    """Wait until the checks that are not passing are others, or for some seconds.

    The index moves with every check, and with every output of a check that goes on passing.
    """
    deadline = time.monotonic() + seconds
    try:
        before = ask_failing(client)
        index = before.index
        while (left := deadline - time.monotonic()) > 0:
            response = ask_failing(client, max(1, index), max(0.01, left))
            if response.body != before.body:
                return
            index = response.index
            time.sleep(min(SHORTEST_S, max(0.0, deadline - time.monotonic())))
    except errors.ConsulError:
        time.sleep(max(0.0, deadline - time.monotonic()))

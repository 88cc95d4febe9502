# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Observes and judges datacenters, once or until a gate opens. The module and the command call this."""

from __future__ import annotations

import logging
import time
import typing as t
from dataclasses import dataclass, replace

from .._consul import errors
from .._consul.client import Client
from .expectation import Expected
from .finding import Judgement
from .judge import judge
from .observe import ObserveOptions, observe
from .reader import get_failing_checks

log = logging.getLogger("consulops")

MIN_PAUSE_S = 0.1
POLL_S = 1.0  # what gossip and Raft report moves no index, so it is polled


@dataclass(frozen=True)
class GateTiming:
    """How long to wait until a gate opens, and how long it must stay open, both in seconds."""

    wait_s: float = 0.0
    stable_for_s: float = 0.0

    def check(self) -> None:
        """Raise InvalidOption for times that cannot be used."""
        for option, value in (("wait", self.wait_s), ("stable_for", self.stable_for_s)):
            if not 0 <= value < 1e7:  # also false for NaN
                raise errors.InvalidOption(f"{option} is {value:g}: it must be a number of seconds, 0 or more.")
        if self.stable_for_s > self.wait_s:
            raise errors.InvalidOption(
                f"stable_for is {self.stable_for_s:g} s and wait is {self.wait_s:g} s: wait must be at least as long as stable_for."
            )


@dataclass(frozen=True)
class GateOutcome:
    """The judgement of the last attempt, the number of attempts, and how long they took together.

    ``missing_stable_s`` is how much longer nothing should have been wrong, 0 when that was long enough.
    """

    judgement: Judgement
    attempts: int
    duration_s: float
    missing_stable_s: float = 0.0

    def is_closed(self, fail_on: str) -> bool:
        """Return whether the gate is closed."""
        return self.judgement.fails(fail_on) or self.missing_stable_s > 0


def judge_all(clients: t.Sequence[Client], options: ObserveOptions, expected: t.Mapping[str, Expected]) -> Judgement:
    """Observe and judge every datacenter once."""
    options = replace(options, expected=expected)
    total = Judgement()
    for client in clients:
        judgement = judge(observe(client, options, time.time()), options.rules, expected)
        log.debug("alert check: %s judged %s: %s", client.endpoint, judgement.verdict, judgement.counts)
        total.extend(judgement)
    total.sort()
    return total


def wait_for_gate(
    clients: t.Sequence[Client],
    make_options: t.Callable[[], ObserveOptions],
    expected: t.Mapping[str, Expected],
    fail_on: str,
    timing: GateTiming,
) -> GateOutcome:
    """Judge until nothing of severity ``fail_on`` or worse is left and stays away, or until time is up.

    ``make_options`` is called for each attempt. Return the outcome of the last one.
    """
    started = time.monotonic()
    deadline = started + timing.wait_s
    open_since: float | None = None
    attempts = 0
    while True:
        attempt_started = time.monotonic()
        judgement = judge_all(clients, make_options(), expected)
        attempts += 1
        now = time.monotonic()
        if judgement.fails(fail_on):
            open_since = None
        elif open_since is None:
            open_since = attempt_started
        missing_s = 0.0 if open_since is None else max(0.0, timing.stable_for_s - (now - open_since))
        log.debug(
            "alert check: attempt %d is %s, %.1f s of stable_for missing, %.1f s left to wait",
            attempts,
            judgement.verdict,
            missing_s,
            deadline - now,
        )
        if now >= deadline or (open_since is not None and not missing_s):
            return GateOutcome(judgement, attempts, now - started, missing_s)
        _await_change(clients[0], min(POLL_S, deadline - now))


def _await_change(client: Client, at_most_s: float) -> None:
    """Wait until other checks than now are failing, for at most some seconds.

    Consul wakes a blocking query for every change of any check, also for a new output of one that goes on passing. So the answers are
    compared.
    """
    deadline = time.monotonic() + at_most_s
    try:
        before = get_failing_checks(client, consistency="stale")
        index = before.index
        while (left_s := deadline - time.monotonic()) > 0:
            response = get_failing_checks(client, consistency="stale", index=max(1, index), wait_s=max(0.01, left_s))
            if response.body != before.body:
                return
            index = response.index
            time.sleep(min(MIN_PAUSE_S, max(0.0, deadline - time.monotonic())))
    except errors.ConsulError as error:
        log.debug("alert check: waiting without a blocking query: %s", error)
        time.sleep(max(0.0, deadline - time.monotonic()))

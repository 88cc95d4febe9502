# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run loop: contend for the lease, work while it is held, stand by when it is lost, and never end on what can pass.

It runs in a thread of its own, because the process must be able to end while Consul hangs.
"""

from __future__ import annotations

import json
import logging
import threading
import time

from .._consul import errors
from .._consul.client import Client
from .._consul.lock import Lock
from .._consul.retry import BackOff
from .agent_config import AgentConfig
from .agent_type import Job
from .status import ACTIVE, Status

log = logging.getLogger("consulops")

SIGN_OF_LIFE_S = 5.0
STANDBY_S = 300.0  # how long one attempt on the lease lasts; it is renewed without a gap


class Loop:
    """One agent's loop under one configuration. ``start`` it, ``stop`` it, and make another one for a new configuration."""

    def __init__(self, config: AgentConfig, status: Status) -> None:
        self._config = config
        self._status = status
        self._reporter = status.configured(config.agent, config.name, config.lease.key)
        self._stopping = threading.Event()
        self._wake = threading.Event()  # stopped, or the lease was lost: no reason to sleep on
        self._back_off = BackOff(config.first_pause_s, config.longest_pause_s)
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self.last_sign_of_life = time.monotonic()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether the thread is there: it ends only when it is stopped, or by a mistake of ours."""
        return self._thread.is_alive()

    def stop(self, within_s: float) -> bool:
        """End and release the lease; False when it did not end in time, because Consul does not answer.

        What it was doing is then cut off by the end of the process, and Consul frees the lease after its TTL.
        """
        self._stopping.set()
        self._wake.set()
        # A standby has nothing to give back, and may be in the middle of a long question.
        self._thread.join(within_s if self._status.current.state == ACTIVE else min(within_s, 0.1))
        return not self._thread.is_alive()

    def join(self, within_s: float) -> None:
        """Wait for the end of a loop that was stopped."""
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with Client(self._config.connection) as client:
                    self._contend(client)
            except errors.Error as error:
                self._pause(error, holding=False)

    def _contend(self, client: Client) -> None:
        with self._lock(client) as lease:
            while not self._stopping.is_set():
                self._alive()
                self._wake.clear()
                if not lease.acquire(0):
                    self._reporter.standby()
                    self._back_off.reset()
                    if not lease.acquire(STANDBY_S):
                        continue
                if self._stopping.is_set():
                    return
                self._reporter.active(lease.fence, lease.session or "")
                if not self._serve(client, lease):
                    break
                if not self._stopping.is_set():
                    log.warning("the lease %s is lost", lease.key)
        if not self._stopping.is_set():
            # Failing here, it may work elsewhere: another one gets as long as the lease lives to take it.
            log.warning("handing the lease over after %d failures in a row", self._config.step_down_after_failures)
            self._sleep(self._config.lease.session_ttl_s)

    def _serve(self, client: Client, lease: Lock) -> bool:
        """Job for one term; return False when the lease should go to somebody else."""
        work = self._config.agent_type.start(client, lease, self._config.name, self._config.options)
        failures = 0
        while lease.held and not self._stopping.is_set():
            self._alive()
            try:
                pause_s = self._one_cycle(work)
                failures = 0
            except errors.Error as error:
                # A write that the guard refused says it before the lease itself notices.
                if isinstance(error, errors.Conflict) and not lease.confirm():
                    break
                # Without a leader nobody could take the lease; if there is one elsewhere, it is lost by its TTL.
                failures += not isinstance(error, errors.NoLeader)
                if failures >= self._config.step_down_after_failures:
                    self._reporter.failed(str(error), holding=False)
                    return False
                self._pause(error, holding=True)
                continue
            self._sleep(pause_s)
        return True

    def _one_cycle(self, work: Job) -> float:
        started = time.monotonic()
        done = work.run_cycle()
        self._reporter.worked(done, time.monotonic() - started, time.time())
        self._back_off.reset()
        return done.pause_s

    def _pause(self, error: errors.Error, *, holding: bool) -> None:
        self._reporter.failed(str(error), holding=holding)
        self._wake.clear()
        if not self._stopping.is_set():
            self._sleep(self._back_off.next_s())

    def _sleep(self, seconds: float) -> None:
        """Sleep until it is time or something wakes us: who sleeps as he was told is alive."""
        deadline = time.monotonic() + seconds
        while True:
            self._alive()
            left = deadline - time.monotonic()
            if left <= 0 or self._wake.wait(min(left, SIGN_OF_LIFE_S)):
                return

    def _alive(self) -> None:
        self.last_sign_of_life = time.monotonic()

    def _lock(self, client: Client) -> Lock:
        lease, status = self._config.lease, self._status.current
        holder = {"agent": self._config.agent, "name": self._config.name, "node": status.node}
        return Lock(
            client,
            lease.key,
            name=f"consulops {self._config.name}",
            value=json.dumps(holder).encode(),
            ttl_s=lease.session_ttl_s,
            lock_delay_s=lease.lock_delay_s,
            on_lost=self._wake.set,
            abandon=self._stopping,
        )

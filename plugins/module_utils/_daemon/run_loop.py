# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The run loop: contends for the lease, runs the agent's job while it holds it, and retries whatever may pass.

It has a thread of its own, so that the process can exit while Consul does not answer.
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
from .status import ACTIVE, StatusTracker

log = logging.getLogger("consulops")

HEARTBEAT_S = 5.0
STANDBY_S = 300.0  # the length of one attempt to acquire the lease; the next one follows at once
STANDBY_JOIN_S = 0.1  # a standby has no lease to release, and may be in a blocking query


class RunLoop:
    """The loop of one agent under one configuration. A new configuration gets a new run loop."""

    def __init__(self, config: AgentConfig, tracker: StatusTracker) -> None:
        self._config = config
        self._tracker = tracker
        self._reporter = tracker.configured(config.agent, config.name, config.lease.key)
        self._stopping = threading.Event()
        self._wake = threading.Event()  # set when the loop is stopped or the lease is lost
        self._back_off = BackOff(config.first_pause_s, config.longest_pause_s)
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self.last_heartbeat = time.monotonic()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread runs: it ends when it is stopped, or by a bug."""
        return self._thread.is_alive()

    def stop(self, within_s: float) -> bool:
        """Stop and release the lease. Returns False when this took longer than ``within_s``, because Consul does not answer.

        The request in flight is then aborted by the end of the process, and Consul releases the lease after its TTL.
        """
        self._stopping.set()
        self._wake.set()
        is_active = self._tracker.current.state == ACTIVE
        self._thread.join(within_s if is_active else min(within_s, STANDBY_JOIN_S))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with Client(self._config.connection) as client:
                    self._contend(client)
            except errors.Error as error:
                self._pause(error, holding=False)

    def _contend(self, client: Client) -> None:
        """Acquire the lease and serve lease terms, until the loop stops or the lease is given up."""
        with self._lock(client) as lease:
            while not self._stopping.is_set():
                self._heartbeat()
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
            # The cause may be on this host: wait for one TTL so that another instance can acquire the lease.
            log.warning("giving up the lease after %d failures in a row", self._config.step_down_after_failures)
            self._sleep(self._config.lease.session_ttl_s)

    def _serve(self, client: Client, lease: Lock) -> bool:
        """Run the job for one lease term. Returns False when the lease should go to another instance."""
        log.debug("lease term with fence %d begins", lease.fence)
        job = self._config.agent_type.start(client, lease, self._config.name, self._config.options)
        failures = 0
        while lease.held and not self._stopping.is_set():
            self._heartbeat()
            try:
                pause_s = self._run_cycle(job)
                failures = 0
            except errors.Error as error:
                # A write that the guard refused shows the loss of the lease before the lock itself notices it.
                if isinstance(error, errors.Conflict) and not lease.confirm():
                    break
                # Without a leader no instance could acquire the lease. If another partition has one, the TTL ends it.
                failures += not isinstance(error, errors.NoLeader)
                if failures >= self._config.step_down_after_failures:
                    self._reporter.failed(str(error), holding=False)
                    return False
                self._pause(error, holding=True)
                continue
            self._sleep(pause_s)
        return True

    def _run_cycle(self, job: Job) -> float:
        """Run one cycle and return the seconds until the next one."""
        started = time.monotonic()
        result = job.run_cycle()
        took_s = time.monotonic() - started
        log.debug("cycle done in %.3f s: %s; the next one in %.3f s", took_s, result.summary, result.pause_s)
        self._reporter.cycle_succeeded(result, took_s, time.time())
        self._back_off.reset()
        return result.pause_s

    def _pause(self, error: errors.Error, *, holding: bool) -> None:
        self._reporter.failed(str(error), holding=holding)
        self._wake.clear()
        if not self._stopping.is_set():
            pause_s = self._back_off.next_s()
            log.debug("trying again in %.3f s", pause_s)
            self._sleep(pause_s)

    def _sleep(self, seconds: float) -> None:
        """Sleep until the time is up or the loop is woken. Sleeping on schedule counts as alive."""
        deadline = time.monotonic() + seconds
        while True:
            self._heartbeat()
            left = deadline - time.monotonic()
            if left <= 0 or self._wake.wait(min(left, HEARTBEAT_S)):
                return

    def _heartbeat(self) -> None:
        self.last_heartbeat = time.monotonic()

    def _lock(self, client: Client) -> Lock:
        lease, status = self._config.lease, self._tracker.current
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

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lease: the Consul lock that makes one instance of an agent the holder, kept by a thread of its own.

A *required* lease decides whether its jobs run at all. With a *preferred* one they run on every instance and ask for
``standing``; what "unknown" means to them (Consul cannot tell) is their business.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import typing as t
from dataclasses import dataclass, replace

from .._consul import endpoint, errors, kv
from .._consul.client import Client
from .._consul.lock import Lock
from .._consul.retry import BackOff
from .._consul.session_node import session_node, with_node_rights
from .._consul.txn import Operation
from .lease_record import LeaseRecord
from .state_directory import StateDirectory
from .status import REQUIRED, LeaseStatus, Standing
from .status_board import Reporter, StatusBoard

log = logging.getLogger("consulops")

CONTEND_S = 300.0  # the length of one attempt to acquire the lease; the next one follows at once
CONFIRM_EVERY_S = 1.0  # a lease that ended while this process was frozen is noticed by the clock, without an event
AWAY_POLL_S = 1.0  # how often one that gave the lease up looks whether another has it
RELEASE_TIMEOUT_S = (
    0.3  # of the requests that end the session of a contender that was stopped in the middle of a request
)


@dataclass(frozen=True)
class LeaseSpec:
    """One lease of an agent: which lock, where, for whom. Equal specs are the same lease: a reload leaves it held.

    ``value`` is what the key contains while the lease is held, for people to read. ``session_ttl_s`` is the TTL of the Consul
    session, half of the time after which the lease is free. ``node`` is that of the session, None for the Consul agent's own or, if
    the lock is in another datacenter than that agent, one of the servers there.
    """

    key: str
    endpoint: endpoint.Endpoint
    session_name: str
    value: bytes
    session_ttl_s: int
    lock_delay_s: int
    name: str = "lease"
    policy: str = REQUIRED
    node: str | None = None


class Pace:
    """Pauses after failures, and how many of them in a row a holder may have; one object for all threads, changed by a reload."""

    def __init__(self, first_pause_s: float, longest_pause_s: float, step_down_after_failures: int) -> None:
        self.first_pause_s = first_pause_s
        self.longest_pause_s = longest_pause_s
        self.step_down_after_failures = step_down_after_failures

    def back_off(self) -> BackOff:
        """Return new pauses."""
        return BackOff(self.first_pause_s, self.longest_pause_s)


class Lease:
    """Contends for a lease from ``start`` to ``stop``. All methods may be called from any thread.

    ``on_end`` is called when the thread ends, which without a stop is a bug.
    """

    def __init__(
        self,
        spec: LeaseSpec,
        board: StatusBoard,
        pace: Pace,
        state: StateDirectory,
        on_end: t.Callable[[], None],
    ) -> None:
        self.spec = spec
        self._record = LeaseRecord(state, spec.name)
        self._status: Reporter[LeaseStatus] = board.add_lease(spec.name, spec.key, spec.policy)
        self._pace = pace
        self._back_off = pace.back_off()
        self._on_end = on_end
        self._listeners: list[t.Callable[[], None]] = []
        self._stopping = threading.Event()
        self._wake = threading.Event()  # set when the lease is stopped, lost or given up
        self._gives_up = False
        self._away_s = 0.0
        self._client: Client | None = None
        self._lock: Lock | None = None
        self._standing: Standing = "unknown"
        self._thread = threading.Thread(target=self._run, name=f"lease {spec.name}", daemon=True)

    # What jobs ask.

    @property
    def standing(self) -> Standing:
        """Whether this instance is the holder or on standby; unknown while Consul cannot tell."""
        return "holder" if self.held else "unknown" if self._standing == "holder" else self._standing

    @property
    def held(self) -> bool:
        """Whether this instance holds the lease, as far as it can know."""
        lock = self._lock
        return lock is not None and not self._gives_up and lock.held

    @property
    def fence(self) -> int:
        """A number that grows with every term, 0 while the lease is not held."""
        lock = self._lock
        return lock.fence if lock is not None else 0

    @property
    def session(self) -> str:
        """The Consul session of the current term."""
        lock = self._lock
        return (lock.session or "") if lock is not None else ""

    @property
    def guard(self) -> Operation:
        """The operation that makes a transaction fail when this session no longer holds the lease."""
        lock = self._lock
        return lock.guard if lock is not None else Operation("check-session", self.spec.key, session="")

    def confirm(self) -> bool:
        """Ask Consul whether the lease is still held. Raises a ConsulError."""
        lock = self._lock
        return lock is not None and lock.confirm() and self.held

    # What the supervisor and the runners of jobs do.

    def listen(self, listener: t.Callable[[], None]) -> None:
        """Call ``listener`` from now on, in any thread, whenever the standing may have changed."""
        self._listeners.append(listener)

    def unlisten(self, listener: t.Callable[[], None]) -> None:
        """Call it no more."""
        self._listeners.remove(listener)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def step_down_after_failures(self) -> int:
        """How many failures in a row a holder may have whose cause lies in this host."""
        return self._pace.step_down_after_failures

    def give_up(self, problem: str, away_s: float | None = None, after_failures: int | None = None) -> None:
        """Let another instance take the lease: release it, and stay away. The cause lies in this host.

        ``away_s`` is how long, by default one TTL; less when nobody holds the lease for one TTL. ``after_failures`` is how many there
        were in a row, by default the limit of all jobs.
        """
        failures = self.step_down_after_failures if after_failures is None else after_failures
        log.warning("giving up the lease after %d failures in a row: %s", failures, self.spec.key)
        self._away_s = away_s if away_s is not None else float(self.spec.session_ttl_s)
        self._status.failed(problem, standing="unknown", fence=0, session="")
        self._gives_up = True
        self._wake.set()

    @property
    def is_broken(self) -> bool:
        """Whether the thread ended by a bug."""
        return not self._thread.is_alive() and not self._stopping.is_set()

    def request_stop(self) -> None:
        """Begin to stop: a holder releases the lease, a contender is cut."""
        is_holder = self.held
        self._stopping.set()
        self._wake.set()
        if not is_holder:
            self.cut()

    def join(self, until: float) -> bool:
        """Wait until the lease is released or ``until`` (monotonic) is over; return whether it is. Its status disappears."""
        self._thread.join(max(0.0, until - time.monotonic()))
        is_released = not self._thread.is_alive()
        self._status.remove()
        return is_released

    def cut(self) -> None:
        """Cut the request in flight."""
        client = self._client
        if client is not None:
            client.abort()

    # The thread.

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    with Client(self.spec.endpoint) as client:
                        self._client = client
                        self._contend(client)
                except errors.Error as error:
                    self._fail(error)
        finally:
            self._change("unknown")
            self._on_end()

    def _contend(self, client: Client) -> None:
        """Acquire the lease and hold it, term after term, until it is stopped or given up. Raises an Error."""
        self._record.end_predecessor(client)
        lock = self._make_lock(client)
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                if not lock.acquire(0):
                    self._change("standby")
                    self._status.succeeded(standing="standby", fence=0, session="")
                    self._back_off = self._pace.back_off()
                    if not lock.acquire(CONTEND_S):
                        continue
                self._hold(lock)
                if self._gives_up:
                    break
        finally:
            self._lock = None
            self._release(lock)
        if self._gives_up and not self._stopping.is_set():
            self._wake.clear()
            self._stay_away(client)
        self._gives_up = False

    def _stay_away(self, client: Client) -> None:
        """Leave the lease to another instance. One that nobody takes, or that is free again, is not left alone for long."""
        self._change("unknown")
        until = time.monotonic() + self._away_s
        free_since = time.monotonic()
        while not self._stopping.wait(AWAY_POLL_S) and time.monotonic() < until:
            if time.monotonic() - free_since >= self.spec.session_ttl_s:
                return
            try:
                entries = kv.read_key(client, self.spec.key).entries
            except errors.ConsulError as error:
                log.debug("lease %s: %s", self.spec.key, error)
                continue
            if entries and entries[0].session:
                free_since = time.monotonic()
                if self._standing != "standby":
                    self._change("standby")
                    self._status.report(standing="standby")

    def _hold(self, lock: Lock) -> None:
        """Return when the lease is lost, given up, or to be released."""
        if self._stopping.is_set():
            return
        self._lock = lock
        self._back_off = self._pace.back_off()
        fence, session = lock.fence, lock.session or ""
        self._status.count("terms", standing="holder", fence=fence, session=session, problem="", failures_in_row=0)
        self._change("holder")
        while lock.held and not self._stopping.is_set() and not self._gives_up:
            self._wake.wait(CONFIRM_EVERY_S)
            self._wake.clear()
        if not self._stopping.is_set() and not self._gives_up:
            log.warning("the lease %s is lost", self.spec.key)
            self._status.report(standing="unknown", fence=0, session="", problem=f"The lease {self.spec.key} is lost.")
            self._change("unknown")

    def _release(self, lock: Lock) -> None:
        if not self._stopping.is_set() or self._client is None or not self._client.is_aborted:
            lock.release()
            return
        # What was cut may have taken the lock: without this the next instance would wait for the TTL.
        with Client(replace(self.spec.endpoint, timeout_s=RELEASE_TIMEOUT_S)) as client:
            lock.release(client)

    def _fail(self, error: errors.Error) -> None:
        if self._stopping.is_set():
            return
        self._change("unknown")
        self._status.failed(str(self._with_right(error)), standing="unknown", fence=0, session="")
        pause_s = self._back_off.next_s()
        log.debug("lease %s: trying again in %.3f s", self.spec.key, pause_s)
        self._stopping.wait(pause_s)

    def _with_right(self, error: errors.Error) -> errors.Error:
        """Return an error with the rule that the token lacks, if Consul denied a request."""
        if not isinstance(error, errors.PermissionDenied):
            return with_node_rights(error, self.spec.endpoint)
        needed = 'session_prefix ""' if "/v1/session/" in str(error) else f'key "{self.spec.key}"'
        return error.with_advice(after=f'The token needs {needed} {{ policy = "write" }}.')

    def _change(self, standing: Standing) -> None:
        self._standing = standing
        self._notify()

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    def _lost(self) -> None:
        self._wake.set()
        self._notify()

    def _make_lock(self, client: Client) -> Lock:
        spec = self.spec
        return Lock(
            client,
            spec.key,
            name=spec.session_name,
            value=spec.value,
            ttl_s=spec.session_ttl_s,
            lock_delay_s=spec.lock_delay_s,
            node=session_node(client) if spec.node is None else spec.node,
            on_lost=self._lost,
            on_session=functools.partial(self._record.note, spec.key),
            abandon=self._stopping,
        )

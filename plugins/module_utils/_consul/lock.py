# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lock on a key, held by a Consul session: leader election among several contenders.

The session has a TTL and is renewed from a thread. When no renewal succeeds for a TTL, the lock counts as lost before
Consul gives it to another contender (Consul waits for the lock delay as well).
Source: https://developer.hashicorp.com/consul/tutorials/developer-configuration/application-leader-elections
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import typing as t
from dataclasses import replace

from . import errors, kv
from .client import Client
from .lock_term import State, Term
from .txn import Operation
from .watch import Watch

log = logging.getLogger("consulops")

MIN_TTL_S = 10  # Consul's minimum
RENEWALS_PER_TTL = 3
DELAY_POLL_S = 0.2  # the end of a lock delay changes no key, so no query can wait for it


def _nothing(*_arguments: str) -> None:
    pass


class _Session(Term):
    """A term, and an event that is set when it is over."""

    def __init__(self, session: str, ttl_s: float, created_at: float) -> None:
        super().__init__(session, ttl_s, created_at)
        self.over = threading.Event()


class Lock:
    """One contender for ``key``. ``value`` is what the key contains while it is held, for people to read.

    ``held`` becomes False by itself when the session or the key is lost. Use ``with lock:`` or call ``release()``.
    ``node`` is the node of the session, needed when the client's agent is in another datacenter than the key.
    ``on_lost`` is called, from any thread, once for each held lock that is lost; not for one that is released.
    ``on_session`` is called with the ID of each new session, before it tries for the key. ``abandon`` is an event that ends an
    attempt to acquire the lock early. All methods may be called from any thread.
    """

    def __init__(
        self,
        client: Client,
        key: str,
        *,
        name: str,
        value: bytes = b"",
        ttl_s: int = 15,
        lock_delay_s: int = 15,
        node: str | None = None,
        on_lost: t.Callable[[], None] = _nothing,
        on_session: t.Callable[[str], None] = _nothing,
        abandon: threading.Event | None = None,
    ) -> None:
        if ttl_s < MIN_TTL_S:
            raise errors.InvalidOption(f"The session TTL is {ttl_s} s: Consul's minimum is {MIN_TTL_S} s.")
        self.key = key
        self._client = client
        self._name = name
        self._value = value
        self._ttl_s = ttl_s
        self._lock_delay_s = lock_delay_s
        self._node = node
        self._on_lost = on_lost
        self._on_session = on_session
        self._abandon = abandon or threading.Event()
        self._attempt = threading.Lock()  # one attempt to acquire at a time
        self._mutex = threading.Lock()  # guards what follows and the states of terms; never held during a request
        self._term: _Session | None = None
        self._releases = 0

    @property
    def held(self) -> bool:
        """Whether this contender holds the lock, as far as it can know."""
        with self._mutex:
            return self._term is not None and self._term.is_held(time.monotonic())

    @property
    def session(self) -> str | None:
        """The id of the current session, None before the first attempt and after a release."""
        with self._mutex:
            return None if self._term is None else self._term.session

    @property
    def fence(self) -> int:
        """The index at which the session took the key, 0 when it has not: it grows with every owner."""
        with self._mutex:
            return 0 if self._term is None else self._term.fence

    @property
    def guard(self) -> Operation:
        """The operation that makes a transaction fail when this session no longer has the lock, even if ``held`` is still True."""
        return Operation("check-session", self.key, session=self.session or "")

    def acquire(self, wait_s: float) -> bool:
        """Try for ``wait_s`` seconds (0: once); return whether the lock is held. A lock that is held already is confirmed.

        Raises a ConsulError; the lock is then not held, unless it was before.
        """
        deadline = time.monotonic() + wait_s
        if not self._attempt.acquire(timeout=max(0.0, wait_s)):
            return False
        try:
            term = self._usable_term()
            return term is not None and (self.held or self._contend(term, wait_s, deadline))
        finally:
            self._attempt.release()

    def confirm(self) -> bool:
        """Ask Consul whether the lock is still held, without waiting for the next renewal. Raises a ConsulError."""
        with self._mutex:
            term = self._term
            fence = 0 if term is None else term.fence
        if term is not None and fence and self._key_index(self._client, term.session) != fence:
            self._lose(term, "the key was deleted, rewritten or taken away")
        return self.held

    def release(self, client: Client | None = None) -> None:
        """Give the lock up and end the session. Never raises: when Consul does not answer, the TTL ends the session.

        ``client`` replaces the lock's own client, when that was aborted.
        """
        client = client or self._client
        with self._mutex:
            term, self._term = self._term, None
            self._releases += 1
            if term is not None:
                term.end()
        if term is None:
            return
        term.over.set()
        try:
            with contextlib.suppress(errors.ServerFailed):  # Consul has ended the session already
                client.consul.kv.put(self.key, self._value, release=term.session)
            client.consul.session.destroy(term.session)
            log.debug("lock %s: released session %s", self.key, term.session)
        except errors.ConsulError as error:
            log.debug("lock %s: not released, its session %s ends by its TTL: %s", self.key, term.session, error)

    def wait_lost(self, timeout_s: float) -> bool:
        """Wait until the lock is lost or released, for ``timeout_s`` seconds at most; return whether it is lost."""
        with self._mutex:
            term = self._term
        if term is None:
            return False
        term.over.wait(timeout_s)
        with self._mutex:
            return term.state is State.LOST

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_args: object) -> None:
        self.release()

    # -----------------------------------------------------------------------------------------------------------
    # Acquiring

    def _usable_term(self) -> _Session | None:
        """Return the current term if it is not over, or a new one; None when the lock was released meanwhile."""
        with self._mutex:
            term = self._term
            was_held = term is not None and term.state is State.HELD
        if term is not None and was_held:
            try:
                self._renew(self._client, term)
            except errors.NotFound:
                self._lose(term, "Consul has ended the session")
            if term.is_expired(time.monotonic()):
                self._lose(term, f"renewing took longer than its TTL of {self._ttl_s} s")
        with self._mutex:
            if term is not None and not term.is_over:
                return term
        return self._open_term(term)

    def _open_term(self, previous: _Session | None) -> _Session | None:
        """Create a session and start renewing it; None when the lock was released meanwhile."""
        with self._mutex:
            releases = self._releases
            if self._term is previous:
                self._term = None
        if previous is not None:
            # It may still hold the key, which was rewritten: no contender could take the key before its TTL.
            with contextlib.suppress(errors.ConsulError):
                self._client.consul.session.destroy(previous.session)
        endpoint = self._client.endpoint
        # A connection of its own, with a timeout that leaves time for another try within the TTL.
        renewing = Client(replace(endpoint, timeout_s=min(endpoint.timeout_s, self._ttl_s / RENEWALS_PER_TTL)))
        try:
            created_at = time.monotonic()
            term = _Session(self._create_session(), self._ttl_s, created_at)
        except errors.ConsulError:
            renewing.close()
            raise
        with self._mutex:
            is_released = self._releases != releases
            if not is_released:
                self._term = term
        if is_released:
            renewing.close()
            with contextlib.suppress(errors.ConsulError):
                self._client.consul.session.destroy(term.session)
            return None
        log.debug("lock %s: created session %s, TTL %d s", self.key, term.session, self._ttl_s)
        threading.Thread(target=self._keep_renewing, args=(renewing, term), name="lock", daemon=True).start()
        self._on_session(term.session)
        return term

    def _create_session(self) -> str:
        session = self._client.consul.session.create(
            name=self._name,
            node=self._node,
            # With a node of another datacenter only the TTL counts: that node's health says nothing about this process.
            checks=None if self._node is None else [],
            behavior="release",
            ttl=self._ttl_s,
            lock_delay=self._lock_delay_s,
        )
        if not isinstance(session, str) or not session:
            raise self._invalid("PUT", "/v1/session/create")
        return session

    def _contend(self, term: _Session, wait_s: float, deadline: float) -> bool:
        # Short queries, because a server that stopped responding is noticed only when a response is overdue.
        wait_each_s = max(1.0, min(wait_s, self._ttl_s / 2))
        watch = self._watch(wait_each_s)
        while not (term.over.is_set() or self._abandon.is_set()):
            if self._take(term):
                log.debug("lock %s: acquired by session %s, fence %d", self.key, term.session, term.fence)
                return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            # Attempts on a lock that is held would be useless writes: wait until it is free.
            while (holder := self._holder(watch)) is not None and time.monotonic() < deadline:
                log.debug("lock %s: held by session %s", self.key, holder)
                if term.over.is_set() or self._abandon.is_set():
                    return False
            if holder is None:
                # Free, but it was refused: the lock delay of the last owner is running.
                term.over.wait(min(left_s, DELAY_POLL_S))
                watch = self._watch(wait_each_s)
        return False

    def _take(self, term: _Session) -> bool:
        """Try to take the key once; return whether it is held by the term."""
        try:
            is_taken = self._client.consul.kv.put(self.key, self._value, acquire=term.session)
        except errors.ServerFailed:
            if term.over.is_set():  # the session was ended while the request was under way
                return False
            raise
        if not isinstance(is_taken, bool):
            raise self._invalid("PUT", f"/v1/kv/{self.key}")
        fence = self._key_index(self._client, term.session) if is_taken else 0
        if not fence:
            return False
        if self._mark_acquired(term, fence):
            return True
        if term.over.is_set():
            return False
        # It took so long that the session may have expired: it counts only after another renewal.
        try:
            self._renew(self._client, term)
        except errors.NotFound:
            self._lose(term, "Consul has ended the session")
        return self._mark_acquired(term, fence)

    def _mark_acquired(self, term: _Session, fence: int) -> bool:
        with self._mutex:
            return term.mark_acquired(fence, time.monotonic())

    def _watch(self, wait_s: float) -> Watch:
        return Watch(self._client, f"/v1/kv/{self.key}", wait_s=wait_s)

    def _holder(self, watch: Watch) -> str | None:
        """Wait for a change of the key while it is held; return the session that holds it now."""
        entries = kv.entries_of(watch.next().response)
        return entries[0].session or None if entries else None

    # -----------------------------------------------------------------------------------------------------------
    # Renewing

    def _keep_renewing(self, client: Client, term: _Session) -> None:
        with client:
            while not term.over.wait(self._ttl_s / RENEWALS_PER_TTL):
                try:
                    self._renew(client, term)
                except errors.NotFound:
                    self._lose(term, "Consul has ended the session")
                except errors.ConsulError as error:
                    log.debug("lock %s: renewing failed: %s", self.key, error)
                    if term.is_expired(time.monotonic()):
                        self._lose(term, f"no renewal succeeded for {self._ttl_s} s")

    def _renew(self, client: Client, term: _Session) -> None:
        """Renew the session once and check that it still has the key. Raises NotFound when Consul has ended the session."""
        with self._mutex:
            fence = term.fence
        sent_at = time.monotonic()
        found = client.consul.session.renew(term.session)
        if not isinstance(found, dict) or found.get("ID") != term.session:
            raise self._invalid("PUT", f"/v1/session/renew/{term.session}")
        if fence and self._key_index(client, term.session) != fence:
            # The key was deleted or rewritten: the session alone holds nothing.
            return self._lose(term, "the key was deleted, rewritten or taken away")
        with self._mutex:
            term.mark_renewed(sent_at)
        return None

    def _lose(self, term: _Session, reason: str) -> None:
        with self._mutex:
            is_loss = term.mark_lost()
        term.over.set()
        if is_loss:
            log.debug("lock %s: session %s lost it: %s", self.key, term.session, reason)
            self._on_lost()

    def _key_index(self, client: Client, session: str) -> int:
        """Return the index at which the session took the key, 0 when it does not have it."""
        entries = kv.read_key(client, self.key, consistency="consistent").entries
        return entries[0].modify_index if entries and entries[0].session == session else 0

    def _invalid(self, method: str, path: str) -> errors.InvalidResponse:
        line = self._client.request_line(method, path)
        return errors.InvalidResponse(f"{line}: the answer is not Consul's. Does something else listen there?")

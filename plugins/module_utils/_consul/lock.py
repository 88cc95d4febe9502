# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lock on a key, held by a Consul session: how one of many becomes the active one.

The session has a TTL and is renewed from a thread; when renewing fails for a TTL the lock counts as lost, before
Consul can give it to anybody else (it waits the lock delay on top).
Source: https://developer.hashicorp.com/consul/tutorials/developer-configuration/application-leader-elections
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from dataclasses import replace

from . import errors, kv
from .client import Client
from .txn import Operation
from .watch import Watch

MIN_TTL_S = 10  # Consul's own smallest
RENEWALS_PER_TTL = 3


def _nothing() -> None:
    pass


class Lock:
    """One contender for ``key``. ``value`` is what the key shows while it is held, for people to read.

    ``held`` turns False by itself when the session or the key is lost. Use ``with lock:`` or call ``release()``.
    ``node`` names a node to hang the session on when the agent asked is in another datacenter than the key.
    ``on_lost`` is called, from any thread, when the lock was lost; ``abandon`` ends an attempt to acquire it early.
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
        abandon: threading.Event | None = None,
    ) -> None:
        if ttl_s < MIN_TTL_S:
            raise errors.InvalidOption(f"The session TTL is {ttl_s} s: Consul takes {MIN_TTL_S} s at least.")
        self.key = key
        self.session: str | None = None
        self.fence = 0
        self._client = client
        self._name = name
        self._value = value
        self._ttl_s = ttl_s
        self._lock_delay_s = lock_delay_s
        self._node = node
        self._on_lost = on_lost
        self._abandon = abandon or threading.Event()
        self._good_until = 0.0  # a TTL after the last proof of life: also right after this process was frozen
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether this contender holds the lock, as far as it can know."""
        alive = not self._lost.is_set() and time.monotonic() < self._good_until
        return self.session is not None and self.fence > 0 and alive

    @property
    def guard(self) -> Operation:
        """The operation that makes a transaction fail when the lock is no longer ours, whatever this process believes."""
        return Operation("check-session", self.key, session=self.session or "")

    def acquire(self, wait_s: float) -> bool:
        """Try for ``wait_s`` seconds (0: once); return whether the lock is held. ``fence`` grows with every owner.

        Raises a ConsulError; the lock is then not held.
        """
        deadline = time.monotonic() + wait_s
        if self.session is None or self._lost.is_set():
            self._open_session()
        # Short, because a server that went silent is noticed only when an answer is overdue.
        wait_each_s = max(1.0, min(wait_s, self._ttl_s / 2))
        watch = Watch(self._client, f"/v1/kv/{self.key}", wait_s=wait_each_s)
        while not (self._lost.is_set() or self._abandon.is_set()):
            if self._client.consul.kv.put(self.key, self._value, acquire=self.session):
                self.fence = self._key_index(self._client, self.session)
                if self.fence:
                    return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            # An attempt on a lock that is held would be a write for nothing.
            while (holder := self._holder(watch)) is not None and time.monotonic() < deadline:
                if self._lost.is_set() or self._abandon.is_set():
                    return False
            if holder is None:
                # Free, and yet not given to us: the lock delay of the last owner is running, whose end changes no key.
                self._lost.wait(min(left, 0.2))
                watch = Watch(self._client, f"/v1/kv/{self.key}", wait_s=wait_each_s)
        return False

    def confirm(self) -> bool:
        """Ask Consul whether the lock is still held; no need to wait for the next renewal. Raises a ConsulError."""
        if self.fence and self._key_index(self._client, self.session) != self.fence:
            self._lose()
        return self.held

    def release(self) -> None:
        """Give the lock up and end the session. Never raises for a Consul that is gone: the TTL ends the session."""
        self._stop.set()
        session, self.session, self.fence = self.session, None, 0
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if session is None:
            return
        try:
            self._client.consul.kv.put(self.key, self._value, release=session)
            self._client.consul.session.destroy(session)
        except errors.ConsulError:
            self._lost.set()

    def wait_lost(self, timeout_s: float) -> bool:
        """Wait until the lock is lost or time is up; return whether it is lost."""
        return self._lost.wait(timeout_s)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_args: object) -> None:
        self.release()

    def _open_session(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
        if self.session is not None:
            # It may still hold the key, which somebody rewrote: nobody could take it before the TTL ends it.
            with contextlib.suppress(errors.ConsulError):
                self._client.consul.session.destroy(self.session)
        self.fence = 0
        self._lost.clear()
        self._stop.clear()
        self._good_until = time.monotonic() + self._ttl_s
        self.session = t.cast(
            str,
            self._client.consul.session.create(
                name=self._name,
                node=self._node,
                # With a node of another datacenter only the TTL counts: that node's health is not ours.
                checks=None if self._node is None else [],
                behavior="release",
                ttl=self._ttl_s,
                lock_delay=self._lock_delay_s,
            ),
        )
        self._thread = threading.Thread(target=self._renew, args=(self.session,), name="lock", daemon=True)
        self._thread.start()

    def _renew(self, session: str) -> None:
        every_s = self._ttl_s / RENEWALS_PER_TTL
        endpoint = self._client.endpoint
        # A connection of its own: a blocking query may hold the other one.
        with Client(replace(endpoint, timeout_s=min(endpoint.timeout_s, every_s))) as client:
            while not self._stop.wait(every_s):
                asked = time.monotonic()
                try:
                    client.consul.session.renew(session)
                    if self.fence and self._key_index(client, session) != self.fence:
                        # Somebody deleted or rewrote the key: the session alone holds nothing.
                        return self._lose()
                    self._good_until = asked + self._ttl_s
                except errors.NotFound:
                    return self._lose()
                except errors.ConsulError:
                    if time.monotonic() >= self._good_until:
                        return self._lose()
        return None

    def _lose(self) -> None:
        self._lost.set()
        self._on_lost()

    def _key_index(self, client: Client, session: str | None) -> int:
        """Return the index at which the session took the key (it grows with every owner), 0 when it has not got it."""
        entries = kv.read_key(client, self.key, consistency="consistent").entries
        return entries[0].modify_index if entries and entries[0].session == session else 0

    def _holder(self, watch: Watch) -> str | None:
        """Wait for a change of the key while somebody else holds it; return who holds it now."""
        entries = kv.entries_of(watch.next().response)
        return entries[0].session or None if entries else None

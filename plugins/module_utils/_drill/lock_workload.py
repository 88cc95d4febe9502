# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workload ``lock``: clients take a few locks and give them back; two must never hold one at the same time."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace

from .._consul import errors
from .._consul.client import Client
from .._consul.lock import MIN_TTL_S, RENEWALS_PER_TTL
from .._consul.txn import Operation
from .history import NS
from .outcome import NotAttempted
from .workload import Answer, Call, Shared

FOLDER = "lock/"

LOCKS = 3
LONGEST_HOLD_S = 0.2
MAX_RELEASES = 5  # attempts that failed, before the lock is left to the TTL
RELEASE_AGAIN_S = 0.2
LOCK_DELAY_S = 1  # after a session ended, not after a release; Consul's default of 15 s would keep the locks idle


@dataclass
class _Session:
    """A session, and until when Consul keeps it: at least a TTL after it was asked to."""

    name: str
    expires_ns: int


class LockWorkload:
    """The operations of one client on locks. A lock that it took is given back soon, whatever the schedule says.

    An acquired lock is certain until the release begins, and not longer than ``until`` says in the history: then Consul may have
    ended the session.
    """

    def __init__(self, shared: Shared, client_number: int) -> None:
        self._shared = shared
        self._client_number = client_number
        self._attempts = 0
        self._session: _Session | None = None
        self._held: Call | None = None  # the release of the lock that is held
        self._releases = 0

    def prepare(self, client: Client) -> None:
        """Make the first session. Raises a ConsulError where the token may not."""
        self._session = self._new_session(client)

    def next_call(self, chance: random.Random) -> Call:
        """Return an attempt to take any of the locks."""
        self._attempts += 1
        name = f"lock{chance.randrange(LOCKS)}"
        holder = f"client{self._client_number}-{self._attempts}"
        hold_s = chance.uniform(0, LONGEST_HOLD_S)

        def send(client: Client) -> Answer:
            session = self._ready_session(client)
            operation = Operation("lock", self._key(name), holder.encode(), session=session.name)
            written = self._shared.space.write(client, operation)
            self._held, self._releases = self._release(name, holder, session, hold_s), 0
            return Answer(holder, written.lock_index, {"until": session.expires_ns})

        return Call("acquire", name, holder, send)

    def follow_up(self) -> Call | None:
        """Return the release of a lock that is held; again, after a pause, when it has failed: the lock is still held then."""
        if self._held is not None and self._releases == MAX_RELEASES:
            self.on_unknown()
        if self._held is None:
            return None
        self._releases += 1
        return self._held if self._releases == 1 else replace(self._held, after_s=RELEASE_AGAIN_S)

    def on_unknown(self) -> None:
        """Leave the session to its TTL: it may hold a lock."""
        self._session = self._held = None

    def _release(self, name: str, holder: str, session: _Session, hold_s: float) -> Call:
        def send(client: Client) -> Answer:
            operation = Operation("unlock", self._key(name), holder.encode(), session=session.name)
            try:
                written = self._shared.space.write(client, operation)
            except errors.Conflict as error:
                # It was held, as Consul said, and is not any more: when that ended is unknown.
                raise errors.ServerFailed(str(error), 409, error.consul_message) from None
            self._held = None
            return Answer(holder, written.lock_index)

        return Call("release", name, holder, send, after_s=hold_s)

    def _ready_session(self, client: Client) -> _Session:
        """Return a session that lives for at least two thirds of its TTL. Raises NotAttempted."""
        now_ns = self._shared.clock_ns()
        try:
            if self._session is None:
                self._session = self._new_session(client)
            elif self._session.expires_ns - now_ns < MIN_TTL_S * NS * (RENEWALS_PER_TTL - 1) // RENEWALS_PER_TTL:
                client.put(f"/v1/session/renew/{self._session.name}")
                self._session.expires_ns = now_ns + MIN_TTL_S * NS
        except errors.ConsulError as error:
            if isinstance(error, errors.NotFound):
                self._session = None  # Consul has ended it
            raise NotAttempted(f"no session: {error}", error.status, error.consul_message) from None
        return self._session

    def _new_session(self, client: Client) -> _Session:
        asked_ns = self._shared.clock_ns()
        # Without checks only the TTL counts: a failure of the agent's node says nothing about this process.
        wanted = {
            "Name": "consulops drill",
            "TTL": f"{MIN_TTL_S}s",
            "LockDelay": f"{LOCK_DELAY_S}s",
            "Behavior": "release",
            "Checks": [],
        }
        body = json.dumps(wanted).encode()
        created: str = client.put("/v1/session/create", body=body).parse(lambda found: str(found["ID"]))
        with self._shared.mutex:
            self._shared.sessions.append(created)
        return _Session(created, asked_ns + MIN_TTL_S * NS)

    def _key(self, name: str) -> str:
        return self._shared.space.key(f"{FOLDER}{name}")

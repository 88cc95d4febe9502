# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The session with which an instance contends for a lease, on disk: after a crash the next process ends it, so nobody waits for its TTL."""

from __future__ import annotations

import json
import logging
import socket
import typing as t

from .._consul import kv
from .._consul.client import Client
from .._consul.errors import LocalFailure
from .state_directory import StateDirectory

log = logging.getLogger("consulops")


class LeaseRecord:
    """The record of one lease. Nothing is read or written while another process has the state directory, or without one."""

    def __init__(self, state: StateDirectory, lease: str) -> None:
        self._state = state
        self._file = f"{lease}.json"
        self._predecessor_ended = False

    def note(self, key: str, session: str) -> None:
        """Write down a session. A disk that fails is no reason not to contend: then the TTL ends the session after a crash."""
        if not self._state.try_to_own():
            return
        content = {"key": key, "session": session, "node": socket.gethostname()}
        try:
            self._state.write(self._file, json.dumps(content).encode())
        except LocalFailure as error:
            log.debug("the session of the lease %s is not noted: %s", key, error)

    def end_predecessor(self, client: Client) -> None:
        """End the session of a process of this instance that did not stop in order, once. Raises a ConsulError.

        Its key is released first: the lock delay applies to a session that ends while it holds its key.
        """
        if self._predecessor_ended or not self._state.try_to_own():
            return
        key, session = self._read()
        if session:
            entries = kv.read_key(client, key, consistency="consistent").entries
            if entries and entries[0].session == session:
                client.consul.kv.put(key, entries[0].value, release=session)
                log.info("the lease %s was held by an earlier process of this instance: it is free", key)
            client.consul.session.destroy(session)
        self._predecessor_ended = True

    def _read(self) -> tuple[str, str]:
        """Return key and session, "" if nothing usable is noted. A directory that was copied from another host says nothing."""
        try:
            found: t.Any = json.loads(self._state.read(self._file) or b"null")
        except (LocalFailure, ValueError):
            return "", ""
        if not isinstance(found, dict) or found.get("node") != socket.gethostname():
            return "", ""
        key, session = found.get("key"), found.get("session")
        return (key, session) if isinstance(key, str) and isinstance(session, str) and key and session else ("", "")

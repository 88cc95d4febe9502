# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watches which leader each address names, and records every change."""

from __future__ import annotations

import threading
import typing as t
from dataclasses import replace

from .._consul.client import Client
from .._consul.errors import ConsulError
from .history import LEADER
from .history_writer import HistoryWriter
from .open_loop import Node

EVERY_S = 0.2
TIMEOUT_S = 1.0
NO_LEADER = ""


class LeaderWatch:
    """The leader that one address names, as an address of Raft; NO_LEADER for none, None where it does not answer."""

    def __init__(self, node: Node, history: HistoryWriter, stop: threading.Event) -> None:
        self.leader: str | None = None
        self._node = node
        self._history = history
        self._stop = stop

    def run(self) -> None:
        """Ask until ``stop`` is set. Raises LocalFailure."""
        last: t.Any = ()
        with Client(replace(self._node.client.endpoint, timeout_s=TIMEOUT_S)) as client:
            while not self._stop.is_set():
                self.leader = leader_address(client)
                if self.leader != last:
                    last = self.leader
                    self._history.event(LEADER, {"node": self._node.name, "leader": self.leader})
                self._stop.wait(EVERY_S)


def leader_address(client: Client) -> str | None:
    """Return the address of Raft that an agent names as the leader, NO_LEADER for none; None where it does not answer so."""
    try:
        found = client.get("/v1/status/leader").json()
    except ConsulError:
        return None
    return found if isinstance(found, str) else None


def agreed(watches: t.Iterable[LeaderWatch]) -> str:
    """Return what the addresses that answer name, for people."""
    names = {watch.leader for watch in watches if watch.leader is not None}
    return " or ".join(sorted(name or "none" for name in names)) or "unknown"

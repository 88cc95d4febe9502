# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workload ``set``: each operation adds a number, as a key of its own; at the end every server's own copy is read."""

from __future__ import annotations

import random
import time

from .._consul import kv
from .._consul.client import Client
from .._consul.errors import TimedOut
from .._consul.key_path import key_path
from .._consul.retry import RetryPolicy
from .._consul.txn import Operation
from .drill_space import DrillDisturbed, DrillSpace
from .workload import Answer, Call, Shared

SET_NAME = "set"
FOLDER = "set/"


class SetWorkload:
    """The operations of one client on the set."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def next_call(self, chance: random.Random) -> Call:
        """Return an addition."""
        value = self._shared.unique()

        def send(client: Client) -> Answer:
            operation = Operation("set", self._shared.space.key(f"{FOLDER}{value}"))
            index = self._shared.space.write(client, operation).modify_index
            with self._shared.mutex:
                self._shared.acknowledged[0] = max(self._shared.acknowledged[0], index)
            return Answer(value, index)

        return Call("add", SET_NAME, value, send)

    def follow_up(self) -> None:
        """Nothing follows."""

    def on_unknown(self) -> None:
        """Nothing is remembered of an operation."""


def final_read(space: DrillSpace, least_index: int, within_s: float) -> Call:
    """Return a read of a server's own copy, once that has the change of ``least_index``; TimedOut when it has not ``within_s``."""
    folder = space.key(FOLDER)

    def send(client: Client) -> Answer:
        deadline = time.monotonic() + within_s

        def wait() -> None:
            _wait_for_index(client, folder, least_index, deadline)

        RetryPolicy(within_s).run(wait)  # the server may be starting
        found = kv.read_names(client, folder, consistency="stale")
        return Answer(sorted(_number(folder, name) for name in found.names), found.index)

    return Call("read", SET_NAME, None, send, is_read=True)


def _wait_for_index(client: Client, folder: str, least_index: int, deadline: float) -> None:
    """Wait until a server's own copy of a folder has the change of an index; a blocking query ends when it has."""
    while True:
        left_s = deadline - time.monotonic()
        query = {"keys": "", "separator": "/"}
        found = client.get(
            key_path(folder),
            query,
            consistency="stale",
            index=max(0, least_index - 1),
            wait_s=max(0.01, left_s),
            absent_ok=True,
        )
        if found.index >= least_index:
            return
        if left_s <= 0:
            raise TimedOut(f"{client.endpoint} has no change of index {least_index} yet, which Consul acknowledged.")


def _number(folder: str, name: str) -> int:
    try:
        return int(name[len(folder) :])
    except ValueError:
        raise DrillDisturbed(f"The key {name} was written by someone else during the drill.") from None

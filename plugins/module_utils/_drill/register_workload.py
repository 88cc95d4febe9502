# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workload ``register``: reads, writes and compare-and-sets of a few keys, each value written once only."""

from __future__ import annotations

import random

from .._consul import kv
from .._consul.client import Client
from .._consul.txn import Operation
from .drill_space import DrillDisturbed
from .workload import Answer, Call, Shared

_CHOICES = ("read", "read", "write", "cas")  # as many reads as changes


class RegisterWorkload:
    """The operations of one client on registers."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def next_call(self, chance: random.Random) -> Call:
        """Return a read, a write or a compare-and-set of any of the keys."""
        name = f"k{chance.randrange(self._shared.keys)}"
        choice = chance.choice(_CHOICES)
        if choice == "write":
            return self._write(name)
        seen = self._shared.known.get(name)
        return self.read(name) if choice == "read" or seen is None else self._cas(name, *seen)

    def follow_up(self) -> None:
        """Nothing follows."""

    def on_unknown(self) -> None:
        """Nothing is remembered of an operation."""

    def read(self, name: str, consistency: str | None = None) -> Call:
        """Return a read of a register, by default with the consistency of the drill."""
        key = self._key(name)

        def send(client: Client) -> Answer:
            entries = kv.read_key(client, key, consistency=consistency or self._shared.consistency).entries
            if not entries:
                return Answer(None)
            value, index = _number(key, entries[0].value), entries[0].modify_index
            self._note(name, value, index)
            return Answer(value, index)

        return Call("read", name, None, send, is_read=True)

    def _write(self, name: str) -> Call:
        value = self._shared.unique()

        def send(client: Client) -> Answer:
            operation = Operation("set", self._key(name), str(value).encode())
            written = self._shared.space.write(client, operation)
            self._note(name, value, written.modify_index)
            return Answer(value, written.modify_index)

        return Call("write", name, value, send)

    def _cas(self, name: str, old: int, old_index: int) -> Call:
        value = [old, self._shared.unique()]

        def send(client: Client) -> Answer:
            operation = Operation("cas", self._key(name), str(value[1]).encode(), index=old_index)
            written = self._shared.space.write(client, operation)
            self._note(name, value[1], written.modify_index)
            return Answer(value, written.modify_index)

        return Call("cas", name, value, send)

    def _key(self, name: str) -> str:
        return self._shared.space.key(f"register/{name}")

    def _note(self, name: str, value: int, index: int) -> None:
        with self._shared.mutex:
            if index > self._shared.known.get(name, (0, 0))[1]:
                self._shared.known[name] = (value, index)


def _number(key: str, value: bytes) -> int:
    try:
        return int(value)
    except ValueError:
        raise DrillDisturbed(
            f"The key {key} has a value that no client of the drill wrote, so the drill was ended."
        ) from None

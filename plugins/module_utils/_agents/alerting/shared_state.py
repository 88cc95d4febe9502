# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the instances of an agent share through Consul: what receivers were told, silences, and who the instances are.

``consulops/agents/NAME/notes`` (or parts of it, ``…/notes/PART``) and ``…/silences`` are written with compare-and-set,
``…/instances/NAME`` once. Nothing is written while nothing changes.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._consul import errors, kv, txn
from ..._consul.client import Client
from ..._consul.key_path import key_path


@dataclass(frozen=True)
class Value:
    """The value of a key and its ModifyIndex; the index is 0 for a key that does not exist."""

    content: bytes = b""
    index: int = 0


@dataclass(frozen=True)
class SharedState:
    """What is shared at one moment. ``notes`` are by the name of the part, "" if there is one only.

    ``index`` is for the next blocking query.
    """

    notes: t.Mapping[str, Value]
    silences: Value
    instances: frozenset[str]
    index: int

    @property
    def note_contents(self) -> dict[str, bytes]:
        """What is noted, by the name of the part."""
        return {name: value.content for name, value in self.notes.items()}


class Keys:
    """The keys of the agent with this name."""

    def __init__(self, name: str) -> None:
        self.prefix = f"consulops/agents/{name}/"
        self.notes = f"{self.prefix}notes"
        self.silences = f"{self.prefix}silences"
        self.events = f"{self.prefix}events"
        self.instances = f"{self.prefix}instances/"

    def note_part(self, name: str) -> str:
        """Return the key of a part of the notes."""
        return f"{self.notes}/{name}" if name else self.notes

    def name_of_part(self, key: str) -> str | None:
        """Return the name of the part of the notes that a key is, None for another key."""
        return "" if key == self.notes else key[len(self.notes) + 1 :] if key.startswith(f"{self.notes}/") else None

    def instance(self, name: str) -> str:
        """Return the key of an instance."""
        return f"{self.instances}{name}"


def read(client: Client, keys: Keys, *, index: int | None = None, wait_s: float | None = None) -> SharedState:
    """Read what is shared; with ``index`` a blocking query of at most ``wait_s`` seconds. Raises a ConsulError.

    A server that was just started gives, without ``consistent``, each state of its past while it replays its log, and nothing at
    first: an instance that believed it would tell again what was told in the last hour. Seen with Consul 1.8.7.
    """
    path, params = key_path(keys.prefix), {"recurse": ""}
    try:
        response = client.get(path, params, consistency="consistent", index=index, wait_s=wait_s, absent_ok=True)
    except errors.PermissionDenied as error:
        raise with_right(error, keys) from None
    entries = {} if response.status == 404 else {entry.key: entry for entry in kv.entries_of(response)}

    def value(key: str) -> Value:
        entry = entries.get(key)
        return Value() if entry is None else Value(entry.value, entry.modify_index)

    names = frozenset(key[len(keys.instances) :] for key in entries if key.startswith(keys.instances))
    parts = {name: value(key) for key in entries if (name := keys.name_of_part(key)) is not None}
    return SharedState(parts, value(keys.silences), names - {""}, response.index)


def with_right(error: errors.PermissionDenied, keys: Keys) -> errors.PermissionDenied:
    """Return an error with the rule that the token lacks: reading alone would not do."""
    return error.with_advice(after=f'The token needs key_prefix "{keys.prefix}" {{ policy = "write" }}.')


def write(client: Client, key: str, content: bytes, index: int, guard: txn.Operation | None = None) -> bool:
    """Write a key if its ModifyIndex is still ``index``. Return whether it was.

    ``guard`` makes it fail when the lease is lost. Raises a ConsulError.
    """
    done = txn.Writer(client, fence=guard).commit([txn.Operation("cas", key, content, index=index)])
    return not done.refused


def delete(client: Client, key: str, index: int, guard: txn.Operation | None = None) -> bool:
    """Delete a key if its ModifyIndex is still ``index``, as ``write`` writes it. Return whether it was. Raises a ConsulError."""
    return not txn.Writer(client, fence=guard).commit([txn.Operation("delete-cas", key, index=index)]).refused

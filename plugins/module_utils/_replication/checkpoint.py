# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads and writes what a replication stores at the destination, below ``consulops/replication/NAME/``.

``owned/00`` … ``owned/ff`` hold the ledger, and while a run writes many keys ``owned/part-0000`` … what was added to it.
``state`` holds the state (state.py), ``lock`` keeps two runs apart.
``status`` is for rules (_consul/replication_status.py).
"""

from __future__ import annotations

import typing as t

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.digest import SetDigest, kv_bytes
from .._consul.reserved_keys import REPLICATION_ROOT, replication_names
from .._consul.txn import Operation
from .ledger import InvalidLedger, Ledger
from .state import State, parse_state

_PART = "part-"


class Checkpoint(t.NamedTuple):
    """What a replication stored. ``version`` is a digest of all of it: two reads with one version saw the same."""

    state: State | None
    ledger: Ledger
    version: str


def folder(name: str) -> str:
    """Return the prefix below which a replication stores its state, ledger and lock."""
    return f"{REPLICATION_ROOT}{name}/"


def lock_key(name: str) -> str:
    """Return the key of the lock that keeps two runs of one replication apart."""
    return f"{folder(name)}lock"


def state_key(name: str) -> str:
    """Return the key of the state."""
    return f"{folder(name)}state"


def read_checkpoint(destination: Client, name: str) -> Checkpoint:
    """Read a replication's state and ledger. Raises InvalidLedger, whose sentence says what to delete, or a ConsulError."""
    try:
        kv.check_readable(destination, folder(name))
        entries = kv.read_shard(destination, folder(name)).entries
    except errors.PermissionDenied as error:
        needed = f'The destination\'s token needs key_prefix "{REPLICATION_ROOT}" {{ policy = "write" }}, where {folder(name)} is stored.'
        raise error.with_advice(after=needed) from None
    buckets: dict[int, bytes] = {}
    parts: dict[int, bytes] = {}
    state = None
    digest = SetDigest()
    for entry in entries:
        part = entry.key[len(folder(name)) :]
        if part not in ("lock", "status"):  # neither says what was replicated
            digest.add(kv_bytes(entry.key.encode(), entry.value, entry.flags))
        if part == "state":
            state = parse_state(entry.value, entry.key)
        elif part.startswith("owned/"):
            number = part[len("owned/") :]
            try:
                if number.startswith(_PART):
                    parts[int(number[len(_PART) :])] = entry.value
                else:
                    buckets[int(number, 16)] = entry.value
            except ValueError:
                raise InvalidLedger(f"{entry.key} is not a bucket of this collection. Delete it") from None
    try:
        return Checkpoint(state, Ledger(buckets, parts), digest.hexdigest())
    except InvalidLedger as error:
        raise InvalidLedger(
            f"{error}, below {folder(name)}owned/. Delete that folder: no key then counts as owned"
        ) from None


def read_states(client: Client) -> tuple[dict[str, State], list[str]]:
    """Return the states of all replications into a datacenter by name, and a sentence for each that cannot be read.

    Raises PermissionDenied or another ConsulError.
    """
    states: dict[str, State] = {}
    unreadable = []
    for name in replication_names(client):
        for entry in kv.read_key(client, state_key(name)).entries:
            try:
                states[name] = parse_state(entry.value, entry.key)
            except InvalidLedger as error:
                unreadable.append(str(error))
    return states, unreadable


def ledger_operations(name: str, ledger: Ledger) -> list[Operation]:
    """Return the operations that store the dirty buckets, which are then clean. The lock makes an index unnecessary."""
    operations: list[Operation] = []
    for number, data in ledger.take_dirty().items():
        key = f"{folder(name)}owned/{number:02x}"
        operations.append(Operation("set", key, data) if data else Operation("delete", key))
    return operations


def part_operation(name: str, ledger: Ledger) -> Operation:
    """Return the operation that stores what was added to the ledger as a part of its own. The buckets stay dirty."""
    number, data = ledger.take_part()
    return Operation("set", _part_key(name, number), data)


def intents_operation(name: str, data: bytes, number: int) -> Operation:
    """Return the operation that adds intents to a ledger without its lock, as a part (``ledger.intent_part``) that must be new.

    Whoever reads the ledger next makes them part of it. The number must be one that a run does not count to, and that is not used again.
    """
    return Operation("cas", _part_key(name, number), data)


def part_deletions(name: str, ledger: Ledger) -> list[Operation]:
    """Return the operations that delete all parts, which the ledger then no longer has. All buckets must have been stored."""
    return [Operation("delete", _part_key(name, number)) for number in ledger.take_parts()]


def _part_key(name: str, number: int) -> str:
    return f"{folder(name)}owned/{_PART}{number:04}"


def state_operation(name: str, state: State) -> Operation:
    """Return the operation that stores the state."""
    return Operation("set", state_key(name), state.as_json())

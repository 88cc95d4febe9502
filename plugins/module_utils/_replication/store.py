# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a replication keeps of itself in the destination's store, below ``consulops/replication/NAME/``.

``owned/00`` … ``owned/ff`` hold the ledger, ``state`` says from where to where it copies, ``lock`` keeps runs apart.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.kv import Operation
from .._consul.units import timestamp
from .ownership import BadLedger, Ledger
from .pair import RESERVED, Pair, overlaps

ROOT = f"{RESERVED}replication/"
FORMAT = 1
TICK_S = 0.001


@dataclass(frozen=True)
class State:
    """From where to where a replication copied last. ``prefixes`` is {destination prefix: source prefix}.

    ``ended`` is False while a run writes, and after one that died: what it had announced may not have been written.

    ``time`` (seconds) grows with every run that writes; of two that copy in a circle the newer one counts.
    """

    source: str
    prefixes: t.Mapping[str, str] = field(default_factory=dict)
    time: float = 0.0
    ended: bool = False

    def as_json(self) -> bytes:
        """Return the document; the time is there twice, for people too."""
        shown = {"updated": timestamp(self.time)}
        return json.dumps({"format": FORMAT, **vars(self), **shown}, indent=1, sort_keys=True).encode()


def state_of(value: bytes, key: str) -> State:
    """Return the state that a key holds. Raises BadLedger when it is none."""
    try:
        found = json.loads(value)
        if found["format"] != FORMAT:
            raise BadLedger(f"{key} was written in form {found['format']} by another version of this collection")
        return State(str(found["source"]), dict(found["prefixes"]), float(found["time"]), bool(found["ended"]))
    except (ValueError, LookupError, TypeError):
        raise BadLedger(f"{key} does not hold what this collection wrote; delete it to start anew") from None


def folder(name: str) -> str:
    """Return the prefix under which a replication keeps its own."""
    return f"{ROOT}{name}/"


def read_own(client: Client, name: str) -> tuple[State | None, Ledger]:
    """Read a replication's state and ledger. Raises BadLedger, whose sentence says what to do."""
    kv.check_readable(client, folder(name))
    buckets, state = {}, None
    for entry in kv.read_shard(client, folder(name)).entries:
        what = entry.key[len(folder(name)) :]
        if what == "state":
            state = state_of(entry.value, entry.key)
        elif what.startswith("owned/"):
            try:
                buckets[int(what[len("owned/") :], 16)] = entry.value
            except ValueError:
                raise BadLedger(f"{entry.key} is no bucket of this collection; delete it") from None
    try:
        return state, Ledger(buckets)
    except BadLedger as error:
        raise BadLedger(
            f"{error}, below {folder(name)}owned/. Delete that folder, and nothing counts as owned"
        ) from None


def read_states(client: Client) -> tuple[dict[str, State], list[str]]:
    """Return the states of all replications into a datacenter, by name, and why some could not be understood.

    Raises PermissionDenied.
    """
    kv.check_readable(client, ROOT)
    states: dict[str, State] = {}
    unreadable = []
    for key in kv.list_keys(client, ROOT, separator="/"):
        if key.endswith("/"):
            for entry in kv.read_key(client, f"{key}state").entries:
                try:
                    states[key[len(ROOT) : -1]] = state_of(entry.value, entry.key)
                except BadLedger as error:
                    unreadable.append(str(error))
    return states, unreadable


def ledger_operations(name: str, ledger: Ledger) -> list[Operation]:
    """Return what writes the buckets that changed. They are under the lock, so none needs an index."""
    operations = []
    for number, data in ledger.take_dirty().items():
        key = f"{folder(name)}owned/{number:02x}"
        operations.append(Operation("set", key, data) if data else Operation("delete", key))
    return operations


def state_operation(name: str, state: State) -> Operation:
    """Return what writes the state."""
    return Operation("set", f"{folder(name)}state", state.as_json())


def lock_key(name: str) -> str:
    """Return the key of the lock that keeps two runs of one replication apart."""
    return f"{folder(name)}lock"


def successor(old: State | None, source: str, pairs: t.Sequence[Pair], now: float, after: float = 0.0) -> State:
    """Return the state of a run: prefixes of earlier runs that this one does not touch stay. Pure.

    Its time is later than that of the state before, and than ``after``, whatever the clock says.
    """
    kept = dict(old.prefixes) if old is not None and old.source == source else {}
    ours = {pair.destination: pair.source for pair in pairs}
    kept = {there: here for there, here in kept.items() if not any(overlaps(there, mine) for mine in ours)}
    before = max(after, old.time if old is not None else 0.0)
    return State(source, {**kept, **ours}, max(now, before + TICK_S))


def moved_sources(old: State | None, pairs: t.Sequence[Pair]) -> list[str]:
    """Return sentences about destinations that were filled from another prefix before. Pure."""
    known = old.prefixes if old is not None else {}
    return [
        f"{pair.destination or 'the whole store'} was filled from {known[pair.destination]!r} until now, and shall be from {pair.source!r}"
        for pair in pairs
        if pair.destination in known and known[pair.destination] != pair.source
    ]


def circles(
    states: t.Mapping[str, State], source: str, destination: str, own: State | None, pairs: t.Sequence[Pair]
) -> tuple[list[str], float]:
    """Return sentences about replications that copy these very keys back, and when the last of them wrote. Pure.

    ``states`` are those at the source. One that is older than what this replication itself wrote last was turned round and
    does not count.
    """
    found = []
    newest = 0.0
    for name, state in sorted(states.items()):
        if state.source != destination or (own is not None and own.source == source and own.time > state.time):
            continue
        for there, here in state.prefixes.items():
            for pair in pairs:
                if overlaps(there, pair.source) and overlaps(here, pair.destination):
                    newest = max(newest, state.time)
                    found.append(
                        f"the replication {name!r} copies {here!r} of {state.source} to {there!r} of {source}, from where {pair} "
                        "would copy it back"
                    )
    return found, newest


def denied(error: errors.PermissionDenied, name: str) -> errors.PermissionDenied:
    """Return an error about our own keys with the rule that the destination's token needs."""
    return errors.PermissionDenied(
        f'{error} The destination\'s token needs key_prefix "{ROOT}" {{ policy = "write" }}, where {folder(name)} is kept.',
        error.status,
        error.said,
    )

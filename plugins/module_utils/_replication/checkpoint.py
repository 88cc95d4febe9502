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
from .._consul.digest import SetDigest, kv_bytes
from .._consul.kv import Operation
from .._consul.units import timestamp
from .ledger import InvalidLedger, Ledger
from .mapping import RESERVED, PrefixMapping, overlaps

ROOT = f"{RESERVED}replication/"
FORMAT = 1
TICK_S = 0.001
END_OF_TIME_S = 2.0**37  # the year 6325: a clock may be wrong, and what it says can still be shown


class Origin(t.NamedTuple):
    """From where a prefix of the destination was origin last, and when (seconds).

    The time grows with every run that writes there; of two that copy in a loop the newer one counts.
    """

    source: str
    time: float = 0.0


@dataclass(frozen=True)
class State:
    """From where to where a replication copies: ``source`` is a datacenter, ``prefixes`` those of the destination."""

    source: str
    prefixes: t.Mapping[str, Origin] = field(default_factory=dict)

    @property
    def time(self) -> float:
        """When it wrote last, 0 for never."""
        return max((origin.time for origin in self.prefixes.values()), default=0.0)

    def as_json(self) -> bytes:
        """Return the document; the time is there for people too."""
        prefixes = {prefix: origin._asdict() for prefix, origin in self.prefixes.items()}
        found = {"format": FORMAT, "source": self.source, "prefixes": prefixes, "updated": timestamp(self.time)}
        return json.dumps(found, indent=1, sort_keys=True).encode()


class Checkpoint(t.NamedTuple):
    """What a replication keeps of itself; ``version`` is a digest of all of it as it was read."""

    state: State | None
    ledger: Ledger
    version: str


def state_of(value: bytes, key: str) -> State:
    """Return the state that a key holds. Raises InvalidLedger when it is none."""
    try:
        found = json.loads(value)
        if found["format"] != FORMAT:
            raise InvalidLedger(
                f"{key} was written in form {found['format']!r} by another version of this collection. Use that version here, or "
                "delete the key, and loops are seen again after the next run"
            )
        return State(_text(found["source"]), {_text(prefix): _origin(row) for prefix, row in found["prefixes"].items()})
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InvalidLedger(f"{key} does not hold what this collection wrote; delete it to start anew") from None


def _origin(row: t.Mapping[str, t.Any]) -> Origin:
    moment = float(row["time"])
    if not 0 <= moment < END_OF_TIME_S:
        raise ValueError
    return Origin(_text(row["source"]), moment)


def _text(found: t.Any) -> str:
    if not isinstance(found, str):
        raise TypeError
    return found


def folder(name: str) -> str:
    """Return the prefix under which a replication keeps its own."""
    return f"{ROOT}{name}/"


def read_checkpoint(client: Client, name: str) -> Checkpoint:
    """Read a replication's state and ledger. Raises InvalidLedger, whose sentence says what to do."""
    kv.check_readable(client, folder(name))
    buckets, state = {}, None
    digest = SetDigest()
    for entry in kv.read_shard(client, folder(name)).entries:
        what = entry.key[len(folder(name)) :]
        if what != "lock":
            digest.add(kv_bytes(entry.key.encode(), entry.value, entry.flags))
        if what == "state":
            state = state_of(entry.value, entry.key)
        elif what.startswith("owned/"):
            try:
                buckets[int(what[len("owned/") :], 16)] = entry.value
            except ValueError:
                raise InvalidLedger(f"{entry.key} is no bucket of this collection; delete it") from None
    try:
        return Checkpoint(state, Ledger(buckets), digest.hexdigest())
    except InvalidLedger as error:
        raise InvalidLedger(
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
                except InvalidLedger as error:
                    unreadable.append(str(error))
    return states, unreadable


def ledger_operations(name: str, ledger: Ledger) -> list[Operation]:
    """Return what writes the buckets that changed. They are under the lock, so none needs an index."""
    operations: list[Operation] = []
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


def successor(
    old: State | None, source: str, mappings: t.Sequence[PrefixMapping], now: float, after: float = 0.0
) -> State:
    """Return the state of a run: prefixes of earlier runs that this one does not touch stay. Pure.

    Its time is later than that of the state before, and than ``after``, whatever the clock says.
    """
    kept = dict(old.prefixes) if old is not None and old.source == source else {}
    for mapping in mappings:
        kept = {there: origin for there, origin in kept.items() if not _takes_over(mapping, there)}
    moment = max(now, after + TICK_S, (old.time if old is not None else 0.0) + TICK_S)
    return State(source, {**kept, **{mapping.destination: Origin(mapping.source, moment) for mapping in mappings}})


def _takes_over(mapping: PrefixMapping, there: str) -> bool:
    """Tell whether a prefix of the destination belongs to a mapping, all of it."""
    return there.startswith(mapping.destination) and not mapping.leaves_out(there, mapping.destination)


def changed_sources(old: State | None, mappings: t.Sequence[PrefixMapping]) -> list[str]:
    """Return sentences about destinations that were origin from another prefix before. Pure."""
    found = []
    for mapping in mappings:
        for there, origin in sorted((old.prefixes if old is not None else {}).items()):
            if _takes_over(mapping, there):
                meant = mapping.to_source(there)
                if origin.source != meant:
                    found.append(
                        f"{_shown(there)} was origin from {origin.source!r} until now, and shall be from {meant!r}"
                    )
            elif mapping.destination.startswith(there) and mapping.destination not in (
                old.prefixes if old is not None else {}
            ):
                before = origin.source + mapping.destination[len(there) :]
                if before != mapping.source:
                    found.append(
                        f"{_shown(mapping.destination)} was origin from {before!r} until now, and shall be from {mapping.source!r}"
                    )
    return found


def _shown(prefix: str) -> str:
    return prefix or "the whole store"


def find_loops(
    states: t.Mapping[str, State], source: str, destination: str, own: State | None, mappings: t.Sequence[PrefixMapping]
) -> tuple[list[str], float]:
    """Return sentences about replications that copy these very keys back, and when the last of them wrote. Pure.

    ``states`` are those at the source. One that wrote there before this replication itself last did so was turned round and
    does not count.
    """
    found = []
    newest = 0.0
    for name, state in sorted(states.items()):
        for there, origin in sorted(state.prefixes.items() if state.source == destination else ()):
            for mapping in mappings:
                back = overlaps(there, mapping.source) and overlaps(origin.source, mapping.destination)
                if not back or mapping.leaves_out(there, mapping.source) or _last(own, source, mapping) > origin.time:
                    continue
                newest = max(newest, origin.time)
                found.append(
                    f"the replication {name!r} copies {origin.source!r} of {state.source} to {there!r} of {source}, from where "
                    f"{mapping} would copy it back"
                )
    return found, newest


def _last(own: State | None, source: str, mapping: PrefixMapping) -> float:
    """Return when this replication last wrote where a mapping does, 0 for never."""
    if own is None or own.source != source:
        return 0.0
    here = [
        origin.time
        for there, origin in own.prefixes.items()
        if overlaps(there, mapping.destination) and overlaps(origin.source, mapping.source)
    ]
    return max(here, default=0.0)


def denied(error: errors.PermissionDenied, name: str) -> errors.PermissionDenied:
    """Return an error about our own keys with the rule that the destination's token needs."""
    return errors.PermissionDenied(
        f'{error} The destination\'s token needs key_prefix "{ROOT}" {{ policy = "write" }}, where {folder(name)} is kept.',
        error.status,
        error.consul_message,
    )

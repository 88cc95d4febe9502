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
from .ownership import BadLedger, Ledger
from .pair import RESERVED, Pair, overlaps

ROOT = f"{RESERVED}replication/"
FORMAT = 1
TICK_S = 0.001
END_OF_TIME_S = 2.0**37  # the year 6325: a clock may be wrong, and what it says can still be shown


class Filled(t.NamedTuple):
    """From where a prefix of the destination was filled last, and when (seconds).

    The time grows with every run that writes there; of two that copy in a circle the newer one counts.
    """

    source: str
    time: float = 0.0


@dataclass(frozen=True)
class State:
    """From where to where a replication copies: ``source`` is a datacenter, ``prefixes`` those of the destination."""

    source: str
    prefixes: t.Mapping[str, Filled] = field(default_factory=dict)

    @property
    def time(self) -> float:
        """When it wrote last, 0 for never."""
        return max((filled.time for filled in self.prefixes.values()), default=0.0)

    def as_json(self) -> bytes:
        """Return the document; the time is there for people too."""
        prefixes = {prefix: filled._asdict() for prefix, filled in self.prefixes.items()}
        found = {"format": FORMAT, "source": self.source, "prefixes": prefixes, "updated": timestamp(self.time)}
        return json.dumps(found, indent=1, sort_keys=True).encode()


class Own(t.NamedTuple):
    """What a replication keeps of itself; ``version`` is a digest of all of it as it was read."""

    state: State | None
    ledger: Ledger
    version: str


def state_of(value: bytes, key: str) -> State:
    """Return the state that a key holds. Raises BadLedger when it is none."""
    try:
        found = json.loads(value)
        if found["format"] != FORMAT:
            raise BadLedger(
                f"{key} was written in form {found['format']!r} by another version of this collection. Use that version here, or "
                "delete the key, and circles are seen again after the next run"
            )
        return State(_text(found["source"]), {_text(prefix): _filled(row) for prefix, row in found["prefixes"].items()})
    except (ValueError, LookupError, TypeError, AttributeError):
        raise BadLedger(f"{key} does not hold what this collection wrote; delete it to start anew") from None


def _filled(row: t.Mapping[str, t.Any]) -> Filled:
    moment = float(row["time"])
    if not 0 <= moment < END_OF_TIME_S:
        raise ValueError
    return Filled(_text(row["source"]), moment)


def _text(found: t.Any) -> str:
    if not isinstance(found, str):
        raise TypeError
    return found


def folder(name: str) -> str:
    """Return the prefix under which a replication keeps its own."""
    return f"{ROOT}{name}/"


def read_own(client: Client, name: str) -> Own:
    """Read a replication's state and ledger. Raises BadLedger, whose sentence says what to do."""
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
                raise BadLedger(f"{entry.key} is no bucket of this collection; delete it") from None
    try:
        return Own(state, Ledger(buckets), digest.hexdigest())
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


def successor(old: State | None, source: str, pairs: t.Sequence[Pair], now: float, after: float = 0.0) -> State:
    """Return the state of a run: prefixes of earlier runs that this one does not touch stay. Pure.

    Its time is later than that of the state before, and than ``after``, whatever the clock says.
    """
    kept = dict(old.prefixes) if old is not None and old.source == source else {}
    for pair in pairs:
        kept = {there: filled for there, filled in kept.items() if not _takes_over(pair, there)}
    moment = max(now, after + TICK_S, (old.time if old is not None else 0.0) + TICK_S)
    return State(source, {**kept, **{pair.destination: Filled(pair.source, moment) for pair in pairs}})


def _takes_over(pair: Pair, there: str) -> bool:
    """Tell whether a prefix of the destination belongs to a pair, all of it."""
    return there.startswith(pair.destination) and not pair.leaves_out(there, pair.destination)


def moved_sources(old: State | None, pairs: t.Sequence[Pair]) -> list[str]:
    """Return sentences about destinations that were filled from another prefix before. Pure."""
    found = []
    for pair in pairs:
        for there, filled in sorted((old.prefixes if old is not None else {}).items()):
            if _takes_over(pair, there):
                meant = pair.to_source(there)
                if filled.source != meant:
                    found.append(
                        f"{_shown(there)} was filled from {filled.source!r} until now, and shall be from {meant!r}"
                    )
            elif pair.destination.startswith(there) and pair.destination not in (
                old.prefixes if old is not None else {}
            ):
                before = filled.source + pair.destination[len(there) :]
                if before != pair.source:
                    found.append(
                        f"{_shown(pair.destination)} was filled from {before!r} until now, and shall be from {pair.source!r}"
                    )
    return found


def _shown(prefix: str) -> str:
    return prefix or "the whole store"


def circles(
    states: t.Mapping[str, State], source: str, destination: str, own: State | None, pairs: t.Sequence[Pair]
) -> tuple[list[str], float]:
    """Return sentences about replications that copy these very keys back, and when the last of them wrote. Pure.

    ``states`` are those at the source. One that wrote there before this replication itself last did so was turned round and
    does not count.
    """
    found = []
    newest = 0.0
    for name, state in sorted(states.items()):
        for there, filled in sorted(state.prefixes.items() if state.source == destination else ()):
            for pair in pairs:
                back = overlaps(there, pair.source) and overlaps(filled.source, pair.destination)
                if not back or pair.leaves_out(there, pair.source) or _last(own, source, pair) > filled.time:
                    continue
                newest = max(newest, filled.time)
                found.append(
                    f"the replication {name!r} copies {filled.source!r} of {state.source} to {there!r} of {source}, from where "
                    f"{pair} would copy it back"
                )
    return found, newest


def _last(own: State | None, source: str, pair: Pair) -> float:
    """Return when this replication last wrote where a pair does, 0 for never."""
    if own is None or own.source != source:
        return 0.0
    here = [
        filled.time
        for there, filled in own.prefixes.items()
        if overlaps(there, pair.destination) and overlaps(filled.source, pair.source)
    ]
    return max(here, default=0.0)


def denied(error: errors.PermissionDenied, name: str) -> errors.PermissionDenied:
    """Return an error about our own keys with the rule that the destination's token needs."""
    return errors.PermissionDenied(
        f'{error} The destination\'s token needs key_prefix "{ROOT}" {{ policy = "write" }}, where {folder(name)} is kept.',
        error.status,
        error.said,
    )

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of a replication: which prefixes it fills and from where. Detects loops and changed sources. Pure."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from .._consul.units import timestamp
from .flow import Flow
from .ledger import InvalidLedger
from .mapping import PrefixMapping, display_prefix, overlaps

FORMAT = 1
TICK_S = 0.001
END_OF_TIME_S = 2.0**37  # the year 6325: a clock may be wrong, but its time must be one that can be displayed


class Origin(t.NamedTuple):
    """The source prefix that last filled a prefix of the destination, and when (Unix seconds).

    The time grows with every run that writes. Of two replications that form a loop, the newer one counts. ``upstream`` says from which
    datacenters keys of the source prefix come, and where in the prefix of the destination they arrive.
    """

    source: str
    time: float = 0.0
    upstream: tuple[Flow, ...] = ()


Upstream = t.Mapping[str, "tuple[Flow, ...]"]  # by destination prefix


@dataclass(frozen=True)
class State:
    """``source`` is the source's datacenter, ``prefixes`` the prefixes of the destination with their origins."""

    source: str
    prefixes: t.Mapping[str, Origin] = field(default_factory=dict)

    @property
    def time(self) -> float:
        """When this replication last wrote (Unix seconds), 0 for never."""
        return max((origin.time for origin in self.prefixes.values()), default=0.0)

    def as_json(self) -> bytes:
        """Return the stored document. ``updated`` is for human readers."""
        prefixes = {prefix: _row(origin) for prefix, origin in self.prefixes.items()}
        document = {"format": FORMAT, "source": self.source, "prefixes": prefixes, "updated": timestamp(self.time)}
        return json.dumps(document, indent=1, sort_keys=True).encode()


def parse_state(value: bytes, key: str) -> State:
    """Return the state that a key holds. Raises InvalidLedger when the value is not a state."""
    try:
        document = json.loads(value)
        if document["format"] != FORMAT:
            raise InvalidLedger(
                f"{key} was written in format {document['format']!r} by another version of this collection. Use that version, or "
                "delete the key: loops are then detected again after the next run"
            )
        prefixes = {_string(prefix): _origin(row) for prefix, row in document["prefixes"].items()}
        return State(_string(document["source"]), prefixes)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InvalidLedger(
            f"{key} does not hold what this collection wrote. Delete it: the next run writes it anew"
        ) from None


def _row(origin: Origin) -> dict[str, t.Any]:
    row: dict[str, t.Any] = {"source": origin.source, "time": origin.time}
    return {**row, "upstream": [flow._asdict() for flow in origin.upstream]} if origin.upstream else row


def _origin(row: t.Mapping[str, t.Any]) -> Origin:
    time = float(row["time"])
    if not 0 <= time < END_OF_TIME_S:
        raise ValueError
    upstream = (
        Flow(_string(flow["datacenter"]), _string(flow["prefix"]), _string(flow["arrives_at"]))
        for flow in row.get("upstream", ())
    )
    return Origin(_string(row["source"]), time, tuple(upstream))


def _string(value: t.Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def successor(
    previous: State | None,
    source: str,
    mappings: t.Sequence[PrefixMapping],
    now: float,
    after: float = 0.0,
    upstream: Upstream | None = None,
) -> State:
    """Return the state after a run. Prefixes of earlier runs that this one does not write to are kept.

    Its time (Unix seconds) is later than that of the previous state and than ``after``, whatever the clock ``now`` says. Without
    ``upstream`` that of the previous state stays.
    """
    if upstream is None:
        upstream = _recorded_upstream(previous, source, mappings)
    kept = dict(previous.prefixes) if previous is not None and previous.source == source else {}
    for mapping in mappings:
        kept = {prefix: origin for prefix, origin in kept.items() if not _covers(mapping, prefix)}
    time = max(now, after + TICK_S, (previous.time if previous is not None else 0.0) + TICK_S)
    made = {
        mapping.destination: Origin(mapping.source, time, upstream.get(mapping.destination, ())) for mapping in mappings
    }
    return State(source, {**kept, **made})


def _recorded_upstream(previous: State | None, source: str, mappings: t.Sequence[PrefixMapping]) -> Upstream:
    if previous is None or previous.source != source:
        return {}
    origins = ((mapping, previous.prefixes.get(mapping.destination)) for mapping in mappings)
    return {
        mapping.destination: origin.upstream
        for mapping, origin in origins
        if origin is not None and origin.source == mapping.source
    }


def is_recorded(
    state: State | None, source: str, mappings: t.Sequence[PrefixMapping], upstream: Upstream | None = None
) -> bool:
    """Return whether a state says of each mapping where its destination is filled from, so that the other side can see a loop.

    Without ``upstream`` it is not known, and what is recorded of it counts.
    """
    if state is None or state.source != source:
        return False
    for mapping in mappings:
        origin = state.prefixes.get(mapping.destination)
        if origin is None or origin.source != mapping.source:
            return False
        if upstream is not None and origin.upstream != upstream.get(mapping.destination, ()):
            return False
    return True


def _covers(mapping: PrefixMapping, destination_prefix: str) -> bool:
    """Return whether a mapping writes to all of a prefix of the destination."""
    return destination_prefix.startswith(mapping.destination) and not mapping.excludes_folder(
        destination_prefix, mapping.destination
    )


def changed_sources(previous: State | None, mappings: t.Sequence[PrefixMapping]) -> list[str]:
    """Return a sentence for each destination that was filled from another source prefix before."""
    known = previous.prefixes if previous is not None else {}
    sentences = []
    for mapping in mappings:
        for prefix, origin in sorted(known.items()):
            if _covers(mapping, prefix):
                filled, before, after = prefix, origin.source, mapping.to_source(prefix)
            elif mapping.destination.startswith(prefix) and mapping.destination not in known:
                filled, after = mapping.destination, mapping.source
                before = origin.source + mapping.destination[len(prefix) :]
            else:
                continue
            if before != after:
                sentences.append(
                    f"{display_prefix(filled)} was filled from {before!r} until now and would now be filled from {after!r}"
                )
    return sentences


class Direction(t.NamedTuple):
    """The names of the datacenters that a replication copies from and to."""

    source: str
    destination: str


def find_loops(
    source_states: t.Mapping[str, State],
    direction: Direction,
    previous: State | None,
    mappings: t.Sequence[PrefixMapping],
) -> tuple[list[str], float]:
    """Find replications that copy these very keys in the other direction.

    ``source_states`` are the states at the source by replication name, ``previous`` is that of this replication. Returns
    a sentence for each loop and when the newest of them last wrote (Unix seconds, 0 for none). A replication that last
    wrote before this one did was reversed and does not count. Loops through further datacenters are found by the ``upstream`` of the
    states.
    """
    sentences = []
    newest = 0.0
    for name, state in sorted(source_states.items()):
        if state.source != direction.destination:
            for _prefix, origin in sorted(state.prefixes.items()):
                ways = _ways_back(name, state.source, origin, direction, previous, mappings)
                newest = max(newest, origin.time) if ways else newest
                sentences += ways
            continue
        for prefix, origin, mapping in _copied_back(state, direction, previous, mappings):
            newest = max(newest, origin.time)
            sentences.append(
                f"the replication {name!r} copies {origin.source!r} of {state.source} to {prefix!r} of {direction.source}, and "
                f"{mapping} would copy it back"
            )
    return sentences, newest


def find_reversed(
    source_states: t.Mapping[str, State],
    direction: Direction,
    previous: State | None,
    mappings: t.Sequence[PrefixMapping],
) -> list[str]:
    """Return the names of the replications that copy these keys in the other direction, and that are reversed with the next run.

    The parameters are those of ``find_loops``.
    """
    return [
        name
        for name, state in sorted(source_states.items())
        if state.source == direction.destination and any(_copied_back(state, direction, previous, mappings))
    ]


def _copied_back(
    state: State, direction: Direction, previous: State | None, mappings: t.Sequence[PrefixMapping]
) -> t.Iterator[tuple[str, Origin, PrefixMapping]]:
    """Yield each prefix that a replication fills from the destination, with the mapping that would copy it back there."""
    for prefix, origin in sorted(state.prefixes.items()):
        for mapping in mappings:
            copies_back = overlaps(prefix, mapping.source) and overlaps(origin.source, mapping.destination)
            if not copies_back or mapping.excludes_folder(prefix, mapping.source):
                continue
            if _last_written(previous, direction.source, mapping) <= origin.time:
                yield prefix, origin, mapping


def _ways_back(
    name: str,
    through: str,
    origin: Origin,
    direction: Direction,
    previous: State | None,
    mappings: t.Sequence[PrefixMapping],
) -> list[str]:
    """Return a sentence for each mapping that would copy keys of the destination back to it, through a replication of the source."""
    sentences = []
    for mapping in mappings:
        for flow in origin.upstream:
            back = flow.through(mapping) if flow.datacenter == direction.destination else None
            if (
                back is None
                or not back.meets_itself
                or _last_written(previous, direction.source, mapping) > origin.time
            ):
                continue
            sentences.append(
                f"keys of {flow.prefix!r} of {direction.destination} come to {flow.arrives_at!r} of {direction.source} through "
                f"{through} (replication {name!r}), and {mapping} would copy them back"
            )
    return sentences


def upstream_of(
    source_states: t.Mapping[str, State], direction: Direction, mappings: t.Sequence[PrefixMapping]
) -> Upstream:
    """Return, by destination prefix, from which datacenters the keys come that the mappings read at the source.

    A replication from the destination does not count: it is the other direction, which was reversed or is a loop.
    """
    found: dict[str, tuple[Flow, ...]] = {}
    for mapping in mappings:
        flows = set()
        for state in source_states.values():
            if state.source == direction.destination:
                continue
            for prefix, origin in state.prefixes.items():
                for flow in (Flow(state.source, origin.source, prefix), *origin.upstream):
                    arriving = flow.through(mapping)
                    if arriving is not None and arriving.datacenter != direction.source:
                        flows.add(arriving)
        if flows:
            found[mapping.destination] = tuple(sorted(flows))
    return found


def _last_written(previous: State | None, source: str, mapping: PrefixMapping) -> float:
    """Return when this replication last wrote where a mapping writes (Unix seconds), 0 for never."""
    if previous is None or previous.source != source:
        return 0.0
    times = [
        origin.time
        for prefix, origin in previous.prefixes.items()
        if overlaps(prefix, mapping.destination) and overlaps(origin.source, mapping.source)
    ]
    return max(times, default=0.0)

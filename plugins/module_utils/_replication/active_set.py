# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds the replication that is active now, and what is known of what was copied between its two sides. Writes nothing."""

from __future__ import annotations

import typing as t

from .._consul import errors
from .._consul.client import Client
from .._consul.errors import GuardRefused, InvalidOption
from .._consul.reserved_keys import REPLICATION_ROOT
from . import preflight
from .checkpoint import folder, read_checkpoint, read_states
from .control import Control, read_control
from .direction import parse_direction
from .inheritance import Inheritance
from .ledger import InvalidLedger, Ledger
from .mapping import overlaps
from .request import ReplicationRequest
from .state import Direction, State, find_reversed


class ActiveSet(t.NamedTuple):
    """A replication that copies from ``source`` to ``destination``, which are names of datacenters.

    ``inheritance`` is what the direction that it reversed had copied, None once it has compared everything itself.
    """

    name: str
    source: str
    destination: str
    ledger: Ledger
    inheritance: Inheritance | None
    control: Control


def read_active_set(source: Client, destination: Client, request: ReplicationRequest) -> ActiveSet:
    """Read what is stored of a replication. Without a name it is the only one from the source to these prefixes.

    Raises GuardRefused for one that is not active, InvalidOption, InvalidLedger or a ConsulError.
    """
    source_name, destination_name = preflight.identify_datacenters(source, destination, request)
    if destination_name is None:
        raise InvalidOption(
            f"The token may not read the datacenter's name from {destination.endpoint}: set the destination's datacenter."
        )
    preflight.check_readable(source, destination, request)
    name = request.name or _only_name(destination, source_name, request)
    control = read_control(destination, name)
    if control.is_reversed:
        raise GuardRefused(
            f"The replication {name!r} is not the active direction: it is frozen by {control.frozen}. The source must be the "
            "side that is active now. Nothing was changed"
        )
    checkpoint = read_checkpoint(destination, name)
    state = checkpoint.state
    if state is not None and state.source != source_name:
        raise GuardRefused(
            f"{folder(name)} in {destination_name} belongs to a replication from {state.source}, and the source is {source_name}. "
            "Correct the name or the source. Nothing was changed"
        )
    reversed_names = _reversed_names(source, Direction(source_name, destination_name), state, request)
    inheritance = None
    if reversed_names:
        _check_not_active(source, reversed_names)
    if state is None:
        _check_known(destination, name, Direction(source_name, destination_name), request, reversed_names)
    if reversed_names:
        inheritance = Inheritance([read_checkpoint(source, one).ledger for one in reversed_names])
    return ActiveSet(name, source_name, destination_name, checkpoint.ledger, inheritance, control)


def _only_name(destination: Client, source_name: str, request: ReplicationRequest) -> str:
    """Return the name of the only replication from the source to one of the prefixes. Raises InvalidOption or a ConsulError."""
    names, unreadable = _names(destination, source_name, request)
    if len(names) != 1 or unreadable:
        found = f"found {', '.join(names)}" if names else "none has compared these prefixes yet"
        raise InvalidOption(
            f"Set name to that of the replication from {source_name} which is active now: {'; '.join([found, *unreadable])}."
        )
    return names[0]


def _names(destination: Client, source_name: str, request: ReplicationRequest) -> tuple[list[str], list[str]]:
    """Return the names of the replications from the source to one of the prefixes, and a sentence for each that cannot be read."""
    states, unreadable = read_states(destination)
    return [name for name, state in sorted(states.items()) if _fills(state, source_name, request)], unreadable


def _check_known(
    destination: Client,
    name: str,
    direction: Direction,
    request: ReplicationRequest,
    reversed_names: t.Sequence[str],
) -> None:
    """Raise GuardRefused for a replication that has stored nothing, unless it is one that reverses another. Raises a ConsulError."""
    others, _unreadable = _names(destination, direction.source, request)
    if others or not reversed_names:
        found = f"found are {', '.join(others)}" if others else "and none in the other direction either"
        raise GuardRefused(
            f"There is no replication {name!r} from {direction.source} to {direction.destination}; {found}. Correct the name or the "
            "prefixes. Nothing was changed"
        )


def _fills(state: State, source_name: str, request: ReplicationRequest) -> bool:
    return state.source == source_name and any(
        overlaps(prefix, mapping.destination) for prefix in state.prefixes for mapping in request.mappings
    )


def _reversed_names(
    source: Client, direction: Direction, state: State | None, request: ReplicationRequest
) -> list[str]:
    """Return the names of the replications that this one reverses and has not taken over from yet."""
    try:
        states, unreadable = read_states(source)
    except errors.PermissionDenied as error:
        needed = (
            f'The source\'s token needs key_prefix "{REPLICATION_ROOT}" {{ policy = "read" }}. Nothing was changed.'
        )
        raise error.with_advice(after=needed) from None
    if unreadable:
        raise InvalidLedger(f"In {direction.source}, {'; '.join(unreadable)}")
    return find_reversed(states, direction, state, request.mappings)


def _check_not_active(source: Client, names: t.Sequence[str]) -> None:
    """Raise GuardRefused when one of these is the active direction by the register at its destination, or a ConsulError."""
    for name in names:
        register = read_control(source, name).direction
        try:
            is_active = bool(register) and parse_direction(register).active == name
        except ValueError:
            is_active = False  # written by hand; its agent says so
        if is_active:
            raise GuardRefused(
                f"The replication {name!r} is the active direction, so its source is not the side that failed. Promote the other "
                "datacenter first, or exchange source and destination. Nothing was changed"
            )

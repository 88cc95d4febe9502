# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the replication agent: its sets, checked by themselves and against each other."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ..._config.connection_spec import connection_spec, side_spec
from ..._config.durations import duration
from ..._config.validation import Spec, validated
from ..._consul import endpoint
from ..._consul.endpoint import Endpoint
from ..._consul.errors import InvalidOption
from ..._replication.direction_taker import SetDirection
from ..._replication.follow_options import FollowOptions
from ..._replication.mapping import RESERVED, check_one_store, is_same_store
from ..._replication.request import NAME, ReplicationRequest
from ..._replication.set_graph import Edge, described, find_loop, find_overlap
from ..._tasks.replication_request import REQUEST_SPEC, make_request

PATH = "options"
MOST_WATCHES = 100  # Consul serves 200 connections for each address of a client (http_max_conns_per_client)

SET_SPEC: Spec = {
    "source": side_spec(),
    "destination": side_spec(),
    **REQUEST_SPEC,
    "wait": {"type": "str"},
    "verify_every": {"type": "str", "default": "15m"},
    "max_watches": {"type": "int", "default": 32},
    "heartbeat": {"type": "raw", "default": "off"},
    "reverses": {"type": "str"},
    "generation": {"type": "int"},
}

# Options of the module: they are known here only to say where they belong.
_OF_A_SET = frozenset({*SET_SPEC, *connection_spec()})
_OF_THE_MODULE = frozenset({"name", "verify_digest", "lock_wait", "limit", "diff_values"})

SPEC: Spec = {
    "sets": {"type": "dict"},
    **{name: {"type": "raw"} for name in sorted(_OF_A_SET | _OF_THE_MODULE)},
}


@dataclass(frozen=True)
class SetConfig:
    """One set. ``request`` has the set's name as the name of the replication. ``direction`` is None for one that reverses no other."""

    name: str
    source: Endpoint
    destination: Endpoint
    request: ReplicationRequest
    follow: FollowOptions
    direction: SetDirection | None = None


def make_sets(
    options: t.Mapping[str, t.Any], connection: t.Mapping[str, t.Any], environ: t.Mapping[str, str]
) -> tuple[SetConfig, ...]:
    """Return the sets of validated options. ``connection`` has the defaults for the connections of both sides.

    Raises InvalidOption that begins with the path of the option at fault.
    """
    _refuse_options_of_the_module(options)
    given = options["sets"]
    if not given:
        raise InvalidOption(f"{PATH}.sets: there is no set, so nothing would be replicated.")
    sets = tuple(_set(name, one, connection, environ, f"{PATH}.sets.{name}") for name, one in given.items())
    _check_together(sets)
    return sets


def _refuse_options_of_the_module(options: t.Mapping[str, t.Any]) -> None:
    for name, value in options.items():
        if value is None or name == "sets":
            continue
        if name == "name":
            advice = f"the name of a replication is that of its set, so write the other options below {PATH}.sets.NAME."
        elif name in _OF_THE_MODULE:
            advice = "the agent has no such option. The others go below options.sets.NAME."
        elif name in SET_SPEC:
            advice = f"this is an option of one set: write it below {PATH}.sets.NAME, where NAME is yours to choose."
        else:
            advice = (
                f"connection options go into connection, or for one side into {PATH}.sets.NAME.source or destination."
            )
        raise InvalidOption(f"{PATH}.{name}: {advice}")


def _set(
    name: str, given: t.Any, connection: t.Mapping[str, t.Any], environ: t.Mapping[str, str], path: str
) -> SetConfig:
    if not NAME.fullmatch(name):
        raise InvalidOption(
            f"{path}: {name!r} may contain letters, digits, dots, dashes and underscores only, at most 100 characters."
        )
    values = validated(SET_SPEC, given, path)
    source = _side(values["source"], connection, environ, f"{path}.source")
    destination = _side(values["destination"], connection, environ, f"{path}.destination")
    direction = _direction(name, values, path)
    if direction is not None and "reversed" not in values["accept"]:
        values["accept"] = [*values["accept"], "reversed"]  # that is what the direction is for, and it orders the two
    request = _at(path, lambda: make_request(values, name=name))
    if is_same_store(source, destination):
        _at(path, lambda: check_one_store(request.mappings))
    if not 1 <= values["max_watches"] <= MOST_WATCHES:
        raise InvalidOption(f"{path}.max_watches: {values['max_watches']} is not between 1 and {MOST_WATCHES}.")
    quiet_s, most_s = _wait(values["wait"], f"{path}.wait")
    follow = FollowOptions(
        quiet_s=quiet_s,
        longest_wait_s=most_s,
        verify_every_s=duration(values["verify_every"], f"{path}.verify_every", 1.0, 7 * 86400.0),
        max_watches=values["max_watches"],
        heartbeat_s=_heartbeat_s(values["heartbeat"], f"{path}.heartbeat"),
    )
    return SetConfig(name, source, destination, request, follow, direction)


def _side(
    given: t.Mapping[str, t.Any], connection: t.Mapping[str, t.Any], environ: t.Mapping[str, str], path: str
) -> Endpoint:
    return _at(path, lambda: endpoint.resolve(endpoint.with_defaults(given, connection), environ, late_token=True))


def _wait(text: str | None, path: str) -> tuple[float, float]:
    """Return the seconds of ``min:max``, as consul-replicate has it; ``min`` alone means four times as long at most."""
    if text is None:
        return 0.0, 0.0
    least, colon, most = text.partition(":")
    quiet_s = duration(least, path, 0.0, 3600.0)
    longest_s = duration(most, path, 0.0, 3600.0) if colon else 4 * quiet_s
    if longest_s < quiet_s:
        raise InvalidOption(f"{path}: {text!r} waits at most for less than it waits at least: write min:max.")
    return quiet_s, longest_s


def _direction(name: str, values: t.Mapping[str, t.Any], path: str) -> SetDirection | None:
    reverses, generation = values["reverses"], values["generation"]
    if reverses is None:
        if generation is not None:
            raise InvalidOption(f"{path}.generation: it belongs to a set that reverses another one: set reverses too.")
        return None
    if not NAME.fullmatch(reverses) or reverses == name:
        raise InvalidOption(f"{path}.reverses: {reverses!r} is not the name of the set of the other direction.")
    if generation is None or generation < 1:
        raise InvalidOption(
            f"{path}.generation: a set that reverses another one needs a number from 1 on, higher with each reversal."
        )
    return SetDirection(name, reverses, generation)


def _heartbeat_s(given: t.Any, path: str) -> float:
    """Return the seconds between two beats, 0 for ``off``: a source is only read unless somebody asks for more."""
    if given is False or given == "off":  # YAML reads off as false
        return 0.0
    if not isinstance(given, str):
        raise InvalidOption(f"{path}: {given!r} is neither off nor a duration such as 15s.")
    return duration(given, path, 1.0, 600.0)


def _check_together(sets: t.Sequence[SetConfig]) -> None:
    """Raise InvalidOption for sets that write to the same keys, or that copy keys back to where they came from."""
    edges = [
        Edge(one.name, _store(one.source), _store(one.destination), mapping)
        for one in sets
        for mapping in one.request.mappings
    ]
    both = find_overlap(edges)
    if both is not None:
        one, other = both
        raise InvalidOption(
            f"{PATH}.sets.{other.set_name}.prefixes: its destination {other.mapping.destination!r} overlaps "
            f"{one.mapping.destination!r}, where the set {one.set_name} writes: each would delete what the other writes."
        )
    loop = find_loop(edges)
    if loop is not None:
        raise InvalidOption(
            f"{PATH}.sets.{loop[0].set_name}.prefixes: keys would be copied in a loop: {described(loop)}, and back."
        )


def _store(one: Endpoint) -> t.Hashable:
    """Return what is equal for two connections that name the same store, as ``is_same_store`` has it."""
    return (one.base_url, one.socket_path, one.datacenter, one.namespace, one.partition)


def check_lease_key(key: str, default: str) -> None:
    """Raise InvalidOption for a lease key of one's own: each set has its lease beside its ledger, where nothing is replicated."""
    if key != default:
        raise InvalidOption(
            f"lease.key: {key!r} is not used: each set takes the lock {RESERVED}replication/SET/lock of its destination, which "
            "keeps the module and the agent apart too and is never replicated. Leave the option out."
        )


Value = t.TypeVar("Value")


def _at(path: str, make: t.Callable[[], Value]) -> Value:
    """Return what ``make`` makes; an InvalidOption that it raises begins with ``path`` afterwards."""
    try:
        return make()
    except InvalidOption as error:
        text = str(error)
        begins_with_option = re.split(r"[^a-z_]", text, maxsplit=1)[0] in _OF_A_SET
        raise InvalidOption(f"{path}{'.' if begins_with_option else ': '}{text}") from None

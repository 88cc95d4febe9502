# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares two records field by field as different versions of Consul store them.

Go writes every field of a struct, set or not. A field that one version knows and the other does not is therefore there
on one side only, and without a value it says nothing. A field that both sides have is compared exactly: nil and 0 are
two settings of a limit.
"""

from __future__ import annotations

import functools
import re
import typing as t

from .._consul._libraries import msgpack
from . import records

# Maps whose keys and values are a user's: compared exactly. Source: the map types in Consul's agent/structs.
_USER_MAPS = frozenset(
    (
        b"Add",
        b"Arguments",
        b"Config",
        b"Header",
        b"LegacyMeta",
        b"Meta",
        b"NodeMeta",
        b"ServiceMeta",
        b"Set",
        b"State",
        b"TaggedAddresses",
    )
)
# Fields of config entries whose keys are a user's and whose values are structs (service-resolver).
_MAPS_OF_STRUCTS = frozenset((b"Failover", b"Subsets"))
# Pointers of Go in config entries: nil says nothing, while 0 and a struct of nothing are settings. Source: agent/structs.
_POINTERS = frozenset(
    (
        b"Destination",
        b"JWT",
        b"LeastRequestConfig",
        b"Limits",
        b"LoadBalancer",
        b"MaxRequestHeadersKB",
        b"PassiveHealthCheck",
        b"PrioritizeByLocality",
        b"RateLimits",
        b"Redirect",
        b"RingHashConfig",
    )
)
_FIELDS = 4096  # names of fields to remember: there are some hundred, and those of users' maps
_GO_FIELD = re.compile(rb"[A-Z][A-Za-z0-9]*\Z")


def decoded(content: bytes) -> t.Any:
    """Return a record of its canonical bytes: maps as dicts, lists as tuples.

    Raises ValueError for a record whose maps have a field twice or one that is no text, or that is nested too deeply.
    """
    return _value(msgpack.unpackb(content[1:], raw=False, use_list=False, strict_map_key=False))


def without_unset(value: t.Any, other: t.Any, kind: int) -> t.Any:
    """Return a record of type ``kind`` without the fields that ``other`` does not have and that hold no value."""
    return _without_unset(value, other, kind, b"")


def equal_but_unset(before: t.Sequence[t.Any], after: t.Sequence[t.Any], kind: int) -> bool:
    """Return whether two sides hold the same records in any order, but for fields of one side that hold no value.

    The records of a side come from one server, so each has the fields of the first.
    """
    if len(before) != len(after) or not before:
        return False
    if len(before) == 1:
        return _is_equal(before[0], after[0], kind, b"")
    one = sorted(_packed(without_unset(record, after[0], kind)) for record in before)
    other = sorted(_packed(without_unset(record, before[0], kind)) for record in after)
    return one == other


def _is_equal(one: t.Any, other: t.Any, kind: int, field: bytes) -> bool:
    """Return what comparing without_unset() of both sides says, in half of the time."""
    if field not in _USER_MAPS:
        if isinstance(one, dict) and isinstance(other, dict):
            if not _is_struct(one, other, kind, field):
                return one.keys() == other.keys() and all(
                    _is_equal(inner, other[name], kind, b"") for name, inner in one.items()
                )
            return all(
                _is_equal(inner, other[name], kind, name) if name in other else is_unset(inner, name)
                for name, inner in one.items()
            ) and all(name in one or is_unset(inner, name) for name, inner in other.items())
        if isinstance(one, tuple) and isinstance(other, tuple):
            return len(one) == len(other) and all(_is_equal(*pair, kind, field) for pair in zip(one, other))
    if isinstance(one, bytes):
        return bool(one == other)
    return one is other or _packed(one) == _packed(other)


def is_unset(value: t.Any, field: bytes) -> bool:
    """Return whether a field holds no value: nil, false, 0, nothing, or a struct of nothing else."""
    if field in _POINTERS:
        return value is None
    if isinstance(value, dict) and field not in _USER_MAPS:
        return all(_is_go_field(name) and is_unset(inner, name) for name, inner in value.items())
    return not value


def _without_unset(value: t.Any, other: t.Any, kind: int, field: bytes) -> t.Any:
    if field in _USER_MAPS:
        return value
    if isinstance(value, dict) and isinstance(other, dict):
        if _is_struct(value, other, kind, field):
            return {
                name: _without_unset(inner, other[name], kind, name) if name in other else inner
                for name, inner in value.items()
                if name in other or not is_unset(inner, name)
            }
        return {
            name: _without_unset(inner, other[name], kind, b"") if name in other else inner
            for name, inner in value.items()
        }
    if isinstance(value, tuple) and isinstance(other, tuple) and len(value) == len(other):
        return tuple(_without_unset(one, two, kind, field) for one, two in zip(value, other))
    return value


def _is_struct(value: dict[t.Any, t.Any], other: dict[t.Any, t.Any], kind: int, field: bytes) -> bool:
    if kind == records.CONFIG_ENTRY and field in _MAPS_OF_STRUCTS:
        return False
    return all(_is_go_field(name) for name in (*value, *other))


@functools.lru_cache(maxsize=_FIELDS)
def _is_go_field(name: bytes) -> bool:
    return _GO_FIELD.match(name) is not None


def _value(value: t.Any) -> t.Any:
    """Undo what records.canonical() makes of maps and lists."""
    if not isinstance(value, tuple):
        return value
    tag, *items = value
    if tag == "list":
        return tuple(_value(item) for item in items)
    found = {_field(field): _value(inner) for field, inner in items}
    if len(found) != len(items):
        raise ValueError("a map has a field twice")
    return found


@functools.lru_cache(maxsize=_FIELDS)
def _field(packed: bytes) -> bytes:
    field = msgpack.unpackb(packed, raw=False, use_list=False)
    if not isinstance(field, bytes):
        raise ValueError("a map has a field that is no text")
    return field


def _packed(value: t.Any) -> bytes:
    """Return bytes that are equal for equal values of equal types: in Python false is 0, in Consul it is not."""
    return t.cast(bytes, msgpack.packb(_ordered(value), use_bin_type=True))


def _ordered(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {name: _ordered(inner) for name, inner in sorted(value.items())}
    return tuple(_ordered(item) for item in value) if isinstance(value, tuple) else value

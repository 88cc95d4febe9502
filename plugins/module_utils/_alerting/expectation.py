# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a datacenter should have, as the option ``expect`` declares it: servers, nodes and services. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._consul.errors import InvalidOption

KEYS = ("servers", "nodes", "services")
_NUMBER = re.compile("0*[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class Expected:
    """What one datacenter should have. A count of 0 means that nothing was declared.

    ``names`` and ``count`` are its servers, ``node_names`` and ``node_count`` all its nodes: node names, or only their number.
    ``services`` has the number of healthy instances that a service needs.
    """

    names: tuple[str, ...] = ()
    count: int = 0
    node_names: tuple[str, ...] = ()
    node_count: int = 0
    services: t.Mapping[str, int] = field(default_factory=dict)


def make_expected(options: t.Mapping[str, t.Any] | None) -> dict[str, Expected]:
    """Return what is expected of each datacenter.

    The form is ``{dc1: {servers: [s1, s2, s3], nodes: [n1, n2], services: {web: 2}}, dc2: {servers: 3, nodes: 20}}``. Raises
    InvalidOption.
    """
    expected = {}
    for datacenter, given in (options or {}).items():
        option = f"expect.{datacenter}"
        if not isinstance(given, dict) or not given or not set(given) <= set(KEYS):
            raise InvalidOption(
                f"{option} must be {{servers: [names]}} or {{servers: number}}; nodes takes the same, and services is "
                "{name: number}."
            )
        names, count = _names_or_number(given, "servers", option)
        node_names, node_count = _names_or_number(given, "nodes", option)
        expected[datacenter] = Expected(names, count, node_names, node_count, _services(given.get("services"), option))
    return expected


def _names_or_number(given: t.Mapping[str, t.Any], key: str, option: str) -> tuple[tuple[str, ...], int]:
    """Return the names, if there are any, and their number."""
    if key not in given:
        return (), 0
    value = given[key]
    if isinstance(value, list) and value and all(isinstance(name, str) and name for name in value):
        if len(set(value)) != len(value):
            raise InvalidOption(f"{option}.{key} names a {key[:-1]} twice.")
        return tuple(sorted(value)), len(value)
    if _NUMBER.fullmatch(str(value)):
        return (), int(str(value))
    raise InvalidOption(f"{option}.{key} {value!r} is neither a list of node names nor a number above 0.")


def _services(value: t.Any, option: str) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) and name for name in value):
        raise InvalidOption(f"{option}.services must be {{name: number of healthy instances}}.")
    for name, number in value.items():
        if not _NUMBER.fullmatch(str(number)):
            raise InvalidOption(f"{option}.services.{name} {number!r} is not a number above 0.")
    return {name: int(str(number)) for name, number in value.items()}

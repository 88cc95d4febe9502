# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes routes and inhibitions of the options ``route`` and ``inhibit``. Errors begin with the path of the key. Pure."""

from __future__ import annotations

import typing as t

from ..._config.durations import duration
from ..._config.validation import Spec, validated
from ..._consul.errors import InvalidOption
from .alert_match import AlertMatchers, alert_matchers, check_label
from .inhibition import InhibitRule
from .routing import EVERYTHING, Route

MAX_DEPTH = 20
_TEXTS = {"type": "list", "elements": "str"}
ROUTE_SPEC: Spec = {
    "receiver": {"type": "str"},
    "match": {"type": "raw"},
    "ignore": {"type": "raw"},
    "group_by": _TEXTS,
    "group_wait": {"type": "str"},
    "group_interval": {"type": "str"},
    "repeat_every": {"type": "str"},
    "mute_times": _TEXTS,
    "active_times": _TEXTS,
    "continue": {"type": "bool", "default": False},
    "routes": {"type": "list", "elements": "dict", "default": []},
}
INHIBIT_SPEC: Spec = {
    "source_match": {"type": "raw", "required": True},
    "target_match": {"type": "raw", "required": True},
    "equal": {"type": "list", "elements": "str", "default": []},
}


def make_route(
    given: t.Any, receivers: t.Collection[str], time_intervals: t.Collection[str], path: str = "route"
) -> Route:
    """Return the tree of routes. What a route does not set is that of the route above it. Raises InvalidOption."""
    values = validated(ROUTE_SPEC, given, path)
    if values["match"] is not None or values["ignore"] is not None:
        key = "match" if values["match"] is not None else "ignore"
        raise InvalidOption(f"{path}.{key}: the first route takes every alert, so it has no matchers.")
    if values["continue"]:
        raise InvalidOption(f"{path}.continue: the first route takes every alert, so nothing comes after it.")
    if values["receiver"] is None:
        raise InvalidOption(f"{path}.receiver: this option is required.")
    return _route(values, Route(values["receiver"]), _Names(receivers, time_intervals), path, 1)


class _Names(t.NamedTuple):
    """The names that routes may use."""

    receivers: t.Collection[str]
    time_intervals: t.Collection[str]


def _route(values: t.Mapping[str, t.Any], parent: Route, names: _Names, path: str, depth: int) -> Route:
    if depth > MAX_DEPTH:
        raise InvalidOption(f"{path}: routes are nested more than {MAX_DEPTH} deep.")
    receiver = values["receiver"] or parent.receiver
    if receiver not in names.receivers:
        known = ", ".join(sorted(names.receivers)) or "none"
        raise InvalidOption(f"{path}.receiver: there is no receiver {receiver!r}; there are {known}.")
    route = Route(
        receiver=receiver,
        path=path,
        matchers=AlertMatchers(
            alert_matchers(values["match"], f"{path}.match"), alert_matchers(values["ignore"], f"{path}.ignore")
        ),
        group_by=_group_by(values["group_by"], parent, path),
        group_wait_s=_time(values, "group_wait", parent.group_wait_s, path, 0),
        group_interval_s=_time(values, "group_interval", parent.group_interval_s, path, 1),
        repeat_every_s=_repeat(values, parent, path),
        mute_times=_intervals(values, "mute_times", parent.mute_times, names, path),
        active_times=_intervals(values, "active_times", parent.active_times, names, path),
        continues=values["continue"],
    )
    routes = []
    for number, given in enumerate(values["routes"]):
        place = f"{path}.routes[{number}]"
        child = validated(ROUTE_SPEC, given, place)
        if child["match"] is None and child["ignore"] is None:
            raise InvalidOption(f"{place}.match: this option is required: a route without it would take every alert.")
        routes.append(_route(child, route, names, place, depth + 1))
    return Route(**{**vars(route), "routes": tuple(routes)})


def _group_by(given: t.Sequence[str] | None, parent: Route, path: str) -> tuple[str, ...]:
    if given is None:
        return parent.group_by
    if EVERYTHING in given:
        if len(given) > 1:
            raise InvalidOption(
                f"{path}.group_by: {EVERYTHING!r} stands alone: each alert is then a message of its own."
            )
        return (EVERYTHING,)
    if len(set(given)) < len(given):
        raise InvalidOption(f"{path}.group_by: a label stands there twice.")
    return tuple(check_label(name, f"{path}.group_by[{number}]") for number, name in enumerate(given))


def _time(values: t.Mapping[str, t.Any], name: str, inherited_s: float, path: str, least_s: float) -> float:
    given = values[name]
    return inherited_s if given is None else duration(given, f"{path}.{name}", least_s)


def _repeat(values: t.Mapping[str, t.Any], parent: Route, path: str) -> float:
    if values["repeat_every"] == "never":
        return 0.0
    return _time(values, "repeat_every", parent.repeat_every_s, path, 60)


def _intervals(
    values: t.Mapping[str, t.Any], name: str, inherited: tuple[str, ...], names: _Names, path: str
) -> tuple[str, ...]:
    if values[name] is None:
        return inherited
    for number, interval in enumerate(values[name]):
        if interval not in names.time_intervals:
            known = ", ".join(sorted(names.time_intervals)) or "none"
            raise InvalidOption(f"{path}.{name}[{number}]: there is no time interval {interval!r}; there are {known}.")
    return tuple(values[name])


def make_inhibitions(given: t.Sequence[t.Any], path: str = "inhibit") -> tuple[InhibitRule, ...]:
    """Return the inhibitions of the configuration. Raises InvalidOption."""
    found = []
    for number, one in enumerate(given):
        place = f"{path}[{number}]"
        values = validated(INHIBIT_SPEC, one, place)
        found.append(
            InhibitRule(
                AlertMatchers(alert_matchers(values["source_match"], f"{place}.source_match")),
                AlertMatchers(alert_matchers(values["target_match"], f"{place}.target_match")),
                tuple(check_label(name, f"{place}.equal[{index}]") for index, name in enumerate(values["equal"])),
            )
        )
    return tuple(found)

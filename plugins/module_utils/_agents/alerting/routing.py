# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which receivers get an alert, and how its messages are grouped: a tree of routes, as Alertmanager has it. Pure."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from .alert_match import AlertMatchers, label
from .match_index import MatchIndex
from .notification import Alert

EVERYTHING = "..."  # in group_by: each alert is a group of its own; Alertmanager's word


@dataclass(frozen=True)
class Route:
    """One route; times in seconds. ``path`` is its place in the configuration.

    ``repeat_every_s`` of 0: no reminders. ``mute_times`` are names of time intervals in which nothing is sent; with ``active_times``
    nothing is sent outside them. With ``continues`` the routes after this one are tried too.
    """

    receiver: str
    path: str = "route"
    matchers: AlertMatchers = AlertMatchers()
    group_by: tuple[str, ...] = ("datacenter", "rule")
    group_wait_s: float = 5.0
    group_interval_s: float = 60.0
    repeat_every_s: float = 14400.0
    mute_times: tuple[str, ...] = ()
    active_times: tuple[str, ...] = ()
    continues: bool = False
    routes: tuple[Route, ...] = ()

    def all_routes(self) -> t.Iterator[Route]:
        """Return this route and all below it."""
        yield self
        for route in self.routes:
            yield from route.all_routes()

    def find(self, covers: t.Callable[[Route], bool]) -> list[Route]:
        """Return the routes that an alert takes; ``covers`` says of a route below this one whether it covers the alert."""
        found: list[Route] = []
        for route in self.routes:
            if covers(route):
                found += route.find(covers)
                if not route.continues:
                    break
        return found or [self]


class RouteTree:
    """A tree of routes. What was found out about an alert is kept. Not for several threads at a time."""

    def __init__(self, root: Route) -> None:
        self._root = root
        self._routes = list(root.all_routes())
        self._index = MatchIndex([route.matchers for route in self._routes])
        self._answers: dict[tuple[int, ...], list[Route]] = {}

    def destinations(self, alert: Alert) -> list[Route]:
        """Return the routes that an alert takes, one for each receiver: the first."""
        places = self._index.covering(alert)
        found = self._answers.get(places)
        if found is None:
            found = self._answers[places] = self._destinations(places)
        return list(found)

    def _destinations(self, places: tuple[int, ...]) -> list[Route]:
        covering = {id(self._routes[place]) for place in places}
        found: dict[str, Route] = {}
        for route in self._root.find(lambda one: id(one) in covering):
            found.setdefault(route.receiver, route)
        return list(found.values())


class Group(t.NamedTuple):
    """Alerts that are reported together to one receiver."""

    receiver: str
    labels: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """The group as one text."""
        return json.dumps([self.receiver, *map(list, self.labels)], separators=(",", ":"))


def group_of(route: Route, alert: Alert) -> Group:
    """Return the group in which an alert is reported by a route."""
    if EVERYTHING in route.group_by:
        return Group(route.receiver, (("alert", alert.key),))
    return Group(route.receiver, tuple((name, label(alert, name)) for name in route.group_by))


def group_of_id(text: str) -> Group:
    """Return the group of its ``id``. Raises ValueError, TypeError or LookupError for another text."""
    receiver, *labels = json.loads(text)
    return Group(str(receiver), tuple((str(name), str(value)) for name, value in labels))

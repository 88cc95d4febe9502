# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of many matchers cover an alert, without asking each of them: for silences, routes and inhibitions. Pure.

What a field says is compared with the patterns once for each value that occurs, and the answer for an alert is kept for all alerts
that say the same in the fields that matter. The answer is always that of ``AlertMatchers.covers``.
"""

from __future__ import annotations

import operator
import typing as t

from ..._alerting.match import METADATA_FIELDS, Matcher
from .alert_match import AlertFields, AlertMatchers
from .notification import Alert

MOST_KEPT = 50_000  # answers; then all are forgotten, because most of them are about alerts that are gone
_ATTRIBUTES = {"service": ("service", "service_name"), "check": ("check", "check_name")}

Key = tuple[t.Any, ...]


class MatchIndex:
    """The matchers of several silences, routes or rules, which it calls entries. Not for several threads at a time."""

    def __init__(self, entries: t.Sequence[AlertMatchers]) -> None:
        self._matchers = [matcher for entry in entries for matcher in (*entry.match, *entry.ignore)]
        self._entries = list(_masks(entries))
        fields = {name for matcher in self._matchers for name in matcher.fields}
        self._fields = [_FieldIndex(name, self._matchers) for name in sorted(fields) if name not in METADATA_FIELDS]
        self._with_metadata = [
            (1 << place, matcher) for place, matcher in enumerate(self._matchers) if matcher.metadata_keys
        ]
        self._key_of = _key_function(fields, {key for matcher in self._matchers for key in matcher.metadata_keys})
        self._answers: dict[Key, tuple[int, ...]] = {}

    def covering(self, alert: Alert) -> tuple[int, ...]:
        """Return the places of the entries that cover an alert, in ascending order."""
        key = self._key_of(alert)
        found = self._answers.get(key)
        if found is None:
            if len(self._answers) >= MOST_KEPT:
                self._answers.clear()
            found = self._answers[key] = self._covering(alert)
        return found

    def _covering(self, alert: Alert) -> tuple[int, ...]:
        seen = AlertFields(alert)
        matching = (1 << len(self._matchers)) - 1
        for field in self._fields:
            matching &= field.matching(seen.values(field.name))
        for bit, matcher in self._with_metadata:
            if matching & bit and not matcher.matches_metadata(seen):
                matching &= ~bit
        return tuple(
            place
            for place, (match, ignore) in enumerate(self._entries)
            if (match is None or matching & match) and not matching & ignore
        )


class _FieldIndex:
    """One field of all matchers: which of them accept a value, as bits."""

    def __init__(self, name: str, matchers: t.Sequence[Matcher]) -> None:
        self.name = name
        self._indifferent = 0
        self._named: dict[str, int] = {}
        self._patterns: list[tuple[int, Matcher]] = []
        for place, matcher in enumerate(matchers):
            if name not in matcher.fields:
                self._indifferent |= 1 << place
                continue
            names = matcher.exact_names(name)
            for text in names:
                self._named[text] = self._named.get(text, 0) | 1 << place
            if len(names) < len(matcher.patterns(name)):
                self._patterns.append((1 << place, matcher))
        self._known: dict[str, int] = {}

    def matching(self, values: t.Iterable[str]) -> int:
        """Return the matchers of which one pattern accepts one of the values, and those that do not use the field."""
        found = self._indifferent
        for value in values:
            known = self._known.get(value)
            if known is None:
                if len(self._known) >= MOST_KEPT:
                    self._known.clear()
                known = self._known[value] = self._accepting(value)
            found |= known
        return found

    def _accepting(self, value: str) -> int:
        found = self._named.get(value, 0)
        for bit, matcher in self._patterns:
            if any(pattern(value) for pattern in matcher.patterns(self.name)):
                found |= bit
        return found


def _masks(entries: t.Sequence[AlertMatchers]) -> t.Iterator[tuple[int | None, int]]:
    """Return, for each entry, the bits of its matchers (None: everything matches) and of those that it ignores."""
    place = 0
    for entry in entries:
        match = ((1 << len(entry.match)) - 1) << place
        place += len(entry.match)
        ignore = ((1 << len(entry.ignore)) - 1) << place
        place += len(entry.ignore)
        yield (match if entry.match else None), ignore


def _key_function(fields: t.Collection[str], metadata: t.Collection[tuple[str, str]]) -> t.Callable[[Alert], Key]:
    """Return a function that makes of an alert all that matchers with these fields and metadata can see."""
    names = [
        attribute for name in sorted(set(fields) - set(METADATA_FIELDS)) for attribute in _ATTRIBUTES.get(name, (name,))
    ]
    # Two attributes at least, so that the getter always returns a tuple.
    attributes = operator.attrgetter(*(names * 2 if len(names) == 1 else names or ("rule", "rule")))
    keys = sorted(metadata)
    if not keys:
        return attributes

    def key_of(alert: Alert) -> Key:
        found = tuple((alert.node_meta if kind == "node_meta" else alert.service_meta).get(key) for kind, key in keys)
        return (*attributes(alert), *found)

    return key_of

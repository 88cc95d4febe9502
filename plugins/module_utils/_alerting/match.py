# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which checks, nodes and services a rule is about: globs or regular expressions over their names, tags and metadata. Pure."""

from __future__ import annotations

import fnmatch
import re
import typing as t
from dataclasses import dataclass, field

from .._consul.errors import InvalidOption

FIELDS = ("node", "service", "check", "tags", "node_meta", "service_meta")
Pattern = t.Callable[[str], bool]


@dataclass(frozen=True)
class Subject:
    """What a finding is about. ``tags`` are the service's; metadata is {} where it was not asked for.

    ``check`` is the check's ID and ``title`` its name: people know it by either.
    """

    node: str = ""
    service: str = ""
    check: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    node_meta: t.Mapping[str, str] = field(default_factory=dict)
    service_meta: t.Mapping[str, str] = field(default_factory=dict)


class Matcher:
    """Holds when each field that is given holds; a list of patterns holds when one of them does."""

    def __init__(self, options: t.Mapping[str, t.Any], option: str) -> None:
        unknown = sorted(set(options) - set(FIELDS))
        if unknown:
            raise InvalidOption(f"{option}: {unknown[0]!r} is nothing to match by; there are {', '.join(FIELDS)}.")
        self._names = {
            name: _patterns(options[name], f"{option}.{name}")
            for name in ("node", "service", "check", "tags")
            if options.get(name) is not None
        }
        self._texts = {name: [str(text) for text in _listed(options[name])] for name in self._names}
        self._meta: dict[str, dict[str, list[Pattern]]] = {}
        for name in ("node_meta", "service_meta"):
            wanted = options.get(name)
            if wanted is None:
                continue
            if not isinstance(wanted, dict) or not wanted:
                raise InvalidOption(
                    f"{option}.{name} is a dictionary of metadata keys and patterns, for example {{team: dba}}."
                )
            self._meta[name] = {key: _patterns(value, f"{option}.{name}.{key}") for key, value in wanted.items()}
        if not self._names and not self._meta:
            raise InvalidOption(
                f"{option} is empty, and so would match everything: name at least one of {', '.join(FIELDS)}."
            )

    @property
    def needs(self) -> set[str]:
        """Which fields it looks at."""
        return {*self._names, *self._meta}

    def matches(self, subject: Subject) -> bool:
        """Tell whether a subject is meant."""
        for name, patterns in self._names.items():
            values = subject.tags if name == "tags" else (getattr(subject, name),)
            if name == "check":
                values = (subject.check, subject.title)
            if not any(pattern(value) for value in values for pattern in patterns):
                return False
        for name, wanted in self._meta.items():
            found = getattr(subject, name)
            if not all(key in found and any(one(found[key]) for one in patterns) for key, patterns in wanted.items()):
                return False
        return True

    def may_mean(self, service: str) -> bool:
        """Tell whether it could be about a service of which no instance is there to be looked at."""
        patterns = self._names.get("service")
        return patterns is None or any(pattern(service) for pattern in patterns)

    def exact(self, name: str) -> list[str]:
        """Return the values of one field that are names and no patterns: what must be there even if nobody knows it."""
        return [text for text in self._texts.get(name, []) if not text.startswith("re:") and not set(text) & set("*?[")]

    def names(self, name: str) -> list[Pattern]:
        """Return the patterns of one field."""
        return self._names.get(name, [])


def matchers(options: t.Any, option: str) -> list[Matcher]:
    """Return the matchers of an option that is one dictionary or a list of them. Raises InvalidOption."""
    listed = options if isinstance(options, list) else [] if options is None else [options]
    if not all(isinstance(one, dict) for one in listed):
        raise InvalidOption(f"{option} is a dictionary, or a list of dictionaries, of {', '.join(FIELDS)}.")
    return [Matcher(one, option) for one in listed]


def _patterns(value: t.Any, option: str) -> list[Pattern]:
    texts = _listed(value)
    if not texts:
        raise InvalidOption(f"{option} is an empty list, and so would match nothing.")
    return [_pattern(str(text), option) for text in texts]


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def _pattern(text: str, option: str) -> Pattern:
    if text.startswith("re:"):
        try:
            compiled = re.compile(text[3:])
        except re.error as error:
            raise InvalidOption(f"{option}: {text!r} is no regular expression ({error}).") from None
        return lambda value: compiled.search(value) is not None
    glob = re.compile(fnmatch.translate(text))
    return lambda value: glob.match(value) is not None

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which checks, nodes and services a rule applies to: globs or regular expressions over names, tags and metadata. Pure."""

from __future__ import annotations

import fnmatch
import re
import typing as t
from dataclasses import dataclass, field

from .._consul.errors import InvalidOption

FIELDS = ("node", "service", "check", "tags", "node_meta", "service_meta")
METADATA_FIELDS = ("node_meta", "service_meta")
_REGEX_PREFIX = "re:"
_GLOB_CHARACTERS = set("*?[")
Pattern = t.Callable[[str], bool]


@dataclass(frozen=True)
class Subject:
    """What a rule is applied to. ``tags`` are the service's; metadata is {} where it was not read.

    A check matches by ``check_id`` and by ``check_name``.
    """

    node: str = ""
    service: str = ""
    check_id: str = ""
    check_name: str = ""
    tags: tuple[str, ...] = ()
    node_meta: t.Mapping[str, str] = field(default_factory=dict)
    service_meta: t.Mapping[str, str] = field(default_factory=dict)

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of a field of which one must match."""
        return {
            "node": (self.node,),
            "service": (self.service,),
            "check": (self.check_id, self.check_name),
            "tags": self.tags,
        }[name]

    def metadata(self, name: str) -> t.Mapping[str, str]:
        """Return the metadata of the node or of the service."""
        return self.node_meta if name == "node_meta" else self.service_meta


class HasMetadata(t.Protocol):
    """What matchers of metadata are applied to."""

    def metadata(self, name: str) -> t.Mapping[str, str]:
        """Return the metadata of the node or of the service."""


class Matchable(HasMetadata, t.Protocol):
    """What a matcher is applied to."""

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of a field of which one must match."""


class Matcher:
    """Matches when each of its fields matches; a field matches when one of its patterns does."""

    def __init__(self, options: t.Mapping[str, t.Any], option: str, fields: t.Sequence[str] = FIELDS) -> None:
        unknown = sorted(set(map(str, options)) - set(fields))
        if unknown:
            raise InvalidOption(f"{option}: {unknown[0]!r} is not a field to match by; use {', '.join(fields)}.")
        self._patterns = {
            name: _patterns(options[name], f"{option}.{name}")
            for name in fields
            if name not in METADATA_FIELDS and options.get(name) is not None
        }
        self._texts = {name: [str(text) for text in _as_list(options[name])] for name in self._patterns}
        self._metadata: dict[str, dict[str, list[Pattern]]] = {}
        for name in METADATA_FIELDS:
            wanted = options.get(name)
            if wanted is None:
                continue
            if not isinstance(wanted, dict) or not wanted:
                raise InvalidOption(
                    f"{option}.{name} is a dictionary of metadata keys and patterns, for example {{team: dba}}."
                )
            self._metadata[name] = {key: _patterns(value, f"{option}.{name}.{key}") for key, value in wanted.items()}
        if not self._patterns and not self._metadata:
            raise InvalidOption(
                f"{option} is empty, and so would match everything: name at least one of {', '.join(fields)}."
            )

    @property
    def fields(self) -> set[str]:
        """The fields that it uses."""
        return {*self._patterns, *self._metadata}

    def matches(self, subject: Matchable) -> bool:
        """Return whether a subject matches."""
        for name, patterns in self._patterns.items():
            if not any(pattern(value) for value in subject.values(name) for pattern in patterns):
                return False
        return self.matches_metadata(subject)

    @property
    def metadata_keys(self) -> set[tuple[str, str]]:
        """The metadata that it uses: kinds (``node_meta``, ``service_meta``) and keys."""
        return {(name, key) for name, wanted in self._metadata.items() for key in wanted}

    def matches_metadata(self, subject: HasMetadata) -> bool:
        """Return whether the metadata of a subject matches, whatever its other fields say."""
        for name, wanted in self._metadata.items():
            metadata = subject.metadata(name)
            for key, patterns in wanted.items():
                if key not in metadata or not any(pattern(metadata[key]) for pattern in patterns):
                    return False
        return True

    def can_match_service(self, service: str) -> bool:
        """Return whether some instance of a service could match."""
        patterns = self._patterns.get("service")
        return patterns is None or any(pattern(service) for pattern in patterns)

    def exact_names(self, name: str) -> list[str]:
        """Return the values of a field that are names, not patterns: they are expected even if Consul does not know them."""
        return [
            text
            for text in self._texts.get(name, [])
            if not text.startswith(_REGEX_PREFIX) and not set(text) & _GLOB_CHARACTERS
        ]

    def patterns(self, name: str) -> list[Pattern]:
        """Return the patterns of a field."""
        return self._patterns.get(name, [])


def matchers(options: t.Any, option: str, fields: t.Sequence[str] = FIELDS) -> list[Matcher]:
    """Return the matchers of an option that is one dictionary or a list of them. Raises InvalidOption."""
    listed = [] if options is None else _as_list(options)
    if not all(isinstance(one, dict) for one in listed):
        raise InvalidOption(f"{option} is a dictionary, or a list of dictionaries, of {', '.join(fields)}.")
    return [Matcher(one, option, fields) for one in listed]


def _patterns(value: t.Any, option: str) -> list[Pattern]:
    texts = _as_list(value)
    if not texts:
        raise InvalidOption(f"{option} is an empty list, and so would match nothing.")
    if any(text is None or isinstance(text, (dict, list)) for text in texts):
        raise InvalidOption(f"{option} is a pattern, or a list of patterns.")
    return [_pattern(str(text), option) for text in texts]


def _as_list(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def _pattern(text: str, option: str) -> Pattern:
    if text.startswith(_REGEX_PREFIX):
        try:
            compiled = re.compile(text[len(_REGEX_PREFIX) :])
        except re.error as error:
            raise InvalidOption(f"{option}: {text!r} is not a regular expression ({error}).") from None
        return lambda value: compiled.search(value) is not None
    glob = re.compile(fnmatch.translate(text))
    return lambda value: glob.match(value) is not None

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is copied where: mappings of prefixes, and which of them cannot be meant. No I/O."""

from __future__ import annotations

import re
import typing as t

from .._consul import kv
from .._consul.digest import RESERVED_PREFIX
from .._consul.endpoint import Endpoint
from .._consul.errors import InvalidOption
from .patterns import Scope, check_patterns

RESERVED = RESERVED_PREFIX.decode()
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class PrefixMapping(t.NamedTuple):
    """One prefix at the source and where its keys go. ShardPair end with a slash or are "" (the whole store).

    ``delete`` is never, owned or all: which keys that the source does not have are deleted.
    """

    source: str
    destination: str
    scope: Scope
    delete: str = "owned"

    def to_destination(self, key: str) -> str:
        """Return a source key's name at the destination."""
        return key if self.source == self.destination else self.destination + key[len(self.source) :]

    def to_source(self, key: str) -> str:
        """Return a destination key's name at the source."""
        return key if self.source == self.destination else self.source + key[len(self.destination) :]

    @property
    def takes_every_key(self) -> bool:
        """Whether all keys below the prefixes take part: there are no patterns, and our own folder is not among them."""
        return bool(self.source and self.destination) and self.scope.holds_everything

    def takes_part(self, source_key: str) -> bool:
        """Tell whether a key is to be looked at; ``consulops/`` never is, on either side."""
        name = source_key[len(self.source) :]
        # Only the whole store has our own folder in it, and has no key for the folder itself.
        if not (self.source and self.destination) and (self._is_reserved(name) or not name):
            return False
        return self.scope.holds(name)

    def leaves_out(self, folder: str, prefix: str) -> bool:
        """Tell whether everything in a folder below one of the two prefixes is excluded."""
        name = folder[len(prefix) :].rstrip("/")
        return folder.startswith(prefix) and bool(name) and any(map(self.scope.excludes, (name, f"{name}/")))

    def _is_reserved(self, name: str) -> bool:
        return (self.source + name).startswith(RESERVED) or (self.destination + name).startswith(RESERVED)

    def __str__(self) -> str:
        shown = self.source or "the whole store"
        return shown if self.source == self.destination else f"{shown} → {self.destination or 'the whole store'}"


def make_mappings(prefixes: t.Sequence[t.Mapping[str, t.Any]], delete: str) -> list[PrefixMapping]:
    """Return the mappings of the option ``prefixes``; ``delete`` is for those that do not say. Raises InvalidOption."""
    if not prefixes:
        raise InvalidOption('prefixes is an empty list: name at least one, for example {source: "app/"}.')
    mappings = []
    for options in prefixes:
        source = options["source"]
        destination = source if options.get("destination") is None else options["destination"]
        include, exclude = options.get("include"), options.get("exclude") or ()
        if include is not None and not include:
            raise InvalidOption(
                "include is an empty list, with which nothing would be copied: leave it out to copy every key."
            )
        include = include or ()
        for prefix, side in ((source, "source"), (destination, "destination")):
            _check_prefix(prefix, side)
        check_patterns(include, source, "include")
        check_patterns(exclude, source, "exclude")
        mappings.append(PrefixMapping(source, destination, Scope(include, exclude), options.get("delete") or delete))
    _check_destinations(mappings)
    return mappings


def _check_prefix(prefix: t.Any, side: str) -> None:
    if not isinstance(prefix, str):
        raise InvalidOption(
            f"prefixes: the {side} is {'not set' if prefix is None else repr(prefix)}, and must be the name of a folder, as app/. "
            'For the whole store write "".'
        )
    if prefix == "/":
        raise InvalidOption(f'prefixes: the {side} is a slash, with which no key begins. For the whole store write "".')
    if _UNSPEAKABLE.search(prefix):
        raise InvalidOption(
            f"prefixes: the {side} {prefix!r} has a character in it that no address can carry: take the folder above."
        )
    if prefix and not prefix.endswith("/"):
        raise InvalidOption(
            f"prefixes: the {side} {prefix!r} could mean a key, a folder, or every name that begins so. Write {prefix + '/'!r} "
            "for the folder; for single keys take the folder above and name them in include."
        )
    if prefix.startswith(RESERVED):
        raise InvalidOption(f"prefixes: the {side} {prefix!r} is this collection's own and is never replicated.")
    if prefix and not kv.is_addressable(prefix):
        raise InvalidOption(
            f"prefixes: the {side} {prefix!r} cannot be asked for (//, /./ or /../ in it): take the folder above."
        )


def _check_destinations(mappings: t.Sequence[PrefixMapping]) -> None:
    for number, mapping in enumerate(mappings):
        for other in mappings[number + 1 :]:
            if overlaps(mapping.destination, other.destination):
                raise InvalidOption(
                    f"prefixes: the destinations of {mapping} and {other} overlap, so that each would delete what the other writes. "
                    "Separate them, or make them one prefix with include and exclude."
                )


def check_one_store(mappings: t.Sequence[PrefixMapping]) -> None:
    """Raise InvalidOption for mappings that cannot be copied within one and the same store: equal or circular ones."""
    for mapping in mappings:
        if mapping.source == mapping.destination:
            raise InvalidOption(
                f"prefixes: {mapping} is copied onto itself: source and destination are the same datacenter. Set source and "
                "destination to different ones, or give the prefix another destination."
            )
        for other in mappings:
            if overlaps(mapping.source, other.destination):
                raise InvalidOption(
                    f"prefixes: the destination of {other} overlaps the source of {mapping} in the same datacenter, so that keys "
                    "would be copied in a loop. Separate them."
                )


def overlaps(one: str, other: str) -> bool:
    """Tell whether two prefixes have keys in common."""
    return one.startswith(other) or other.startswith(one)


def is_same(source: Endpoint, destination: Endpoint) -> bool:
    """Tell whether two endpoints are one store for all that their options say."""
    fields = ("base_url", "socket_path", "datacenter", "namespace", "partition")
    return all(getattr(source, field) == getattr(destination, field) for field in fields)


def check_name(name: str) -> None:
    """Raise InvalidOption for a name of a replication that could not stand in the path of a key."""
    if not _NAME.fullmatch(name):
        raise InvalidOption(f"name {name!r} may hold letters, digits, dots, dashes and underscores only, at most 100.")

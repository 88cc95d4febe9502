# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prefix mappings: which prefix of the source is copied to which prefix of the destination. No I/O."""

from __future__ import annotations

import typing as t

from .._consul.digest import RESERVED_PREFIX
from .._consul.endpoint import Endpoint
from .._consul.errors import InvalidOption
from .patterns import Scope

RESERVED = RESERVED_PREFIX.decode()


class PrefixMapping(t.NamedTuple):
    """One prefix of the source and the prefix of the destination that its keys are copied to.

    Both prefixes end with a slash or are "" (the whole store). ``delete`` is never, owned or all: which keys of the
    destination are deleted when the source does not have them.
    """

    source: str
    destination: str
    scope: Scope
    delete: str = "owned"

    def to_destination(self, key: str) -> str:
        """Return the name at the destination of a key of the source."""
        return key if self.source == self.destination else self.destination + key[len(self.source) :]

    def to_source(self, key: str) -> str:
        """Return the name at the source of a key of the destination."""
        return key if self.source == self.destination else self.source + key[len(self.destination) :]

    @property
    def includes_every_key(self) -> bool:
        """Whether all keys below the prefixes take part: there are no patterns, and ``consulops/`` is not among them."""
        return bool(self.source and self.destination) and self.scope.matches_everything

    def includes(self, source_key: str) -> bool:
        """Return whether a key takes part. ``consulops/`` never does, on either side."""
        name = source_key[len(self.source) :]
        # Only the whole store contains the reserved folder, and only the whole store has no key for the folder itself.
        if not (self.source and self.destination) and (self._is_reserved(name) or not name):
            return False
        return self.scope.matches(name)

    def excludes_folder(self, folder: str, prefix: str) -> bool:
        """Return whether everything in a folder below ``prefix`` (one of the two of this mapping) is excluded."""
        name = folder[len(prefix) :].rstrip("/")
        return folder.startswith(prefix) and bool(name) and any(map(self.scope.excludes, (name, f"{name}/")))

    def _is_reserved(self, name: str) -> bool:
        return (self.source + name).startswith(RESERVED) or (self.destination + name).startswith(RESERVED)

    def __str__(self) -> str:
        source = display_prefix(self.source)
        return source if self.source == self.destination else f"{source} → {display_prefix(self.destination)}"


def display_prefix(prefix: str) -> str:
    """Return a prefix as messages show it."""
    return prefix or "the whole store"


def check_destinations(mappings: t.Sequence[PrefixMapping]) -> None:
    """Raise InvalidOption when two mappings write to overlapping prefixes: each would delete the other's keys."""
    for number, mapping in enumerate(mappings):
        for other in mappings[number + 1 :]:
            if overlaps(mapping.destination, other.destination):
                raise InvalidOption(
                    f"prefixes: the destinations of {mapping} and {other} overlap, so each would delete what the other writes. "
                    "Use separate destinations, or one prefix with include and exclude."
                )


def check_one_store(mappings: t.Sequence[PrefixMapping]) -> None:
    """Raise InvalidOption for mappings that cannot be copied within one datacenter: identical prefixes and loops."""
    for mapping in mappings:
        if mapping.source == mapping.destination:
            raise InvalidOption(
                f"prefixes: {mapping} is copied onto itself: source and destination are the same datacenter. Set source and "
                "destination to different datacenters, or give the prefix another destination."
            )
        for other in mappings:
            if overlaps(mapping.source, other.destination):
                raise InvalidOption(
                    f"prefixes: the destination of {other} overlaps the source of {mapping} in the same datacenter: keys would "
                    "be copied in a loop. Use separate prefixes."
                )


def overlaps(one: str, other: str) -> bool:
    """Return whether two prefixes have keys in common."""
    return one.startswith(other) or other.startswith(one)


def is_same_store(source: Endpoint, destination: Endpoint) -> bool:
    """Return whether the connection options of two endpoints name one and the same store."""
    fields = ("base_url", "socket_path", "datacenter", "namespace", "partition")
    return all(getattr(source, field) == getattr(destination, field) for field in fields)

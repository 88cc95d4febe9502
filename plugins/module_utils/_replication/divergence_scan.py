# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads both sides of a replication and finds what the old side wrote alone, prefix by prefix. Writes nothing but the export."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._consul import errors, key_path
from .._consul.client import Client
from .._consul.errors import GuardRefused
from .._consul.kv import Entry
from .._consul.retry import RetryPolicy
from .active_set import ActiveSet
from .delete_guards import PlannedDeletes, refusals
from .divergence import KINDS, NEW, OLD, REPORT, WINS, Decisions, Divergence, ShardDivergence, find_divergence
from .divergence_export import DivergenceExport
from .mapping import PrefixMapping
from .plan import Change, Counts, DiffLine, digest_text, value_text
from .request import ReplicationRequest
from .shard_reader import Reader, ShardRef
from .sides import Side, Sides


class Row(t.NamedTuple):
    """A diverged key as the result lists it."""

    key: str
    kind: str
    wins: str


@dataclass
class MappingDivergence:
    """What diverged in one mapping. ``refs`` are the shards with keys to reconcile, ``versions`` what these keys were, by name.

    ``deletes`` are names of keys that are to be deleted at the new and at the old side. ``equal`` and ``equal_again`` are those of
    ``ShardDivergence``.
    """

    mapping: PrefixMapping
    counts: Counts = field(default_factory=Counts)
    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    wins: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WINS, 0))
    refs: list[ShardRef] = field(default_factory=list)
    versions: dict[str, bytes] = field(default_factory=dict)
    deletes: dict[str, set[str]] = field(default_factory=lambda: {NEW: set(), OLD: set()})
    equal: list[bytes] = field(default_factory=list)
    equal_again: int = 0
    not_copied: int = 0

    @property
    def diverged(self) -> int:
        """How many keys diverged."""
        return sum(self.kinds.values())

    @property
    def to_write(self) -> int:
        """How many keys are to be written or deleted."""
        return len(self.versions)

    def add(self, ref: ShardRef, found: ShardDivergence) -> None:
        """Add what was found in a part of a shard."""
        self.counts.add(found.counts)
        self.equal += found.equal
        self.equal_again += found.equal_again
        self.not_copied += found.not_copied
        for one in found.keys:
            self.kinds[one.kind] += 1
            self.wins[one.wins] += 1
            if one.wins == REPORT:
                continue
            self.versions[one.key] = one.version
            if ref not in self.refs[-1:]:
                self.refs.append(ref)
            if one.winning is None:
                side = OLD if one.wins == NEW else NEW
                self.deletes[side].add(one.key if side == NEW else one.old_key)


class Scanner:
    """Finds what diverged, in whole prefixes or single keys. All methods raise a ConsulError.

    An answer that Consul filtered by ACLs raises Filtered, because a key that is hidden cannot be told from one that is absent.
    """

    def __init__(
        self,
        source: Client,
        destination: Client,
        request: ReplicationRequest,
        active: ActiveSet,
        decisions: Decisions,
    ) -> None:
        retry = RetryPolicy(request.retry_s)
        self.sides = Sides(Side(source, retry, request.consistency), Side(destination, retry), set())
        self.active = active
        self._reader = Reader(self.sides)
        self._request = request
        self._decisions = decisions
        self.limit = request.limit
        self.lines: list[DiffLine] = []
        self.rows: list[Row] = []

    def scan(self, mapping: PrefixMapping, export: DivergenceExport | None) -> MappingDivergence:
        """Read everything below a prefix; write what diverged to the export."""
        total = MappingDivergence(mapping)
        refs = self._reader.shards(mapping)
        workers = min(self._request.concurrency, len(refs))
        for parts in self._reader.read_all(mapping, refs, workers):
            for pair in parts:
                found = self._find(mapping, pair.source.entries, pair.destination.entries)
                found.keys = self.confirmed(mapping, found.keys)
                total.add(pair.ref, found)
                if export is not None:
                    export.add(found.keys)
                self._describe(found.keys)
        return total

    def read(self, mapping: PrefixMapping, ref: ShardRef) -> t.Iterator[list[Divergence]]:
        """Read one shard again, on both sides. Yields what diverged in each part of it."""
        for pair in self._reader.read(mapping, ref._replace(at_source=True, at_destination=True)):
            yield self._find(mapping, pair.source.entries, pair.destination.entries).keys

    def read_key(self, mapping: PrefixMapping, key: str) -> ShardDivergence:
        """Read one key of the source again, on both sides. Its name must be one that a request can carry."""
        source = self.sides.source.read_key(key).entries
        destination = self.sides.destination.read_key(mapping.to_destination(key)).entries
        return self._find(mapping, source, destination)

    def confirmed(self, mapping: PrefixMapping, keys: t.Sequence[Divergence]) -> list[Divergence]:
        """Confirm each absence at the leader by the key's own name; a key that exists after all is read again.

        A list does not say which keys ACLs hide from it. Raises PermissionDenied for a key that may not be read.
        """
        absent = {
            NEW: {one.key for one in keys if one.new is None},
            OLD: {one.old_key for one in keys if one.old is None},
        }
        present = {
            side: reader.existing_of(sorted(absent[side])) if absent[side] else set()
            for side, reader in ((NEW, self.sides.source), (OLD, self.sides.destination))
        }
        found: list[Divergence] = []
        for one in keys:
            exists = (one.new is None and one.key in present[NEW]) or (one.old is None and one.old_key in present[OLD])
            if not exists:
                found.append(one)
            elif key_path.is_addressable(one.key) and key_path.is_addressable(one.old_key):
                found += self.read_key(mapping, one.key).keys
        return found

    def _find(
        self, mapping: PrefixMapping, source: t.Sequence[Entry], destination: t.Sequence[Entry]
    ) -> ShardDivergence:
        ledger, inheritance = self.active.ledger, self.active.inheritance
        if inheritance is not None:
            inheritance.take_over(ledger, mapping, source, destination)
        return find_divergence(
            mapping, self._decisions, ledger, source, destination, skip_locked=self._request.policy.skip_locked
        )

    def _describe(self, keys: t.Iterable[Divergence]) -> None:
        """Keep rows and lines of the diff, up to the limit."""
        limit = self.limit
        describe = value_text if self._request.show_values else digest_text
        for one in keys:
            if len(self.rows) < limit:
                self.rows.append(Row(one.key, one.kind, one.wins))
            if one.wins == REPORT or len(self.lines) >= limit:
                continue
            side = self.active.destination if one.wins == NEW else self.active.source
            texts = [
                None if entry is None else describe(entry.value, entry.flags) for entry in (one.losing, one.winning)
            ]
            name = one.old_key if one.wins == NEW else one.key
            self.lines.append(DiffLine(f"{side} {name}", one.kind, texts[0], texts[1]))


def check_deletes(found: t.Sequence[MappingDivergence], active: ActiveSet, request: ReplicationRequest) -> None:
    """Raise GuardRefused when too much would be deleted on one of the sides, or all that a side has."""
    limits = request.limits
    reasons = []
    total = sum(len(one.deletes[side]) for one in found for side in (NEW, OLD))
    if total > limits.max_deletes:
        reasons.append(
            f"{total:,} keys would be deleted on both sides together, and max_deletes is {limits.max_deletes}"
        )
    for side, name, other in ((NEW, active.source, active.destination), (OLD, active.destination, active.source)):
        planned = []
        for one in found:
            if not one.deletes[side]:
                continue
            here, there = one.counts.source_keys, one.counts.destination_keys
            mapping = one.mapping
            if side == NEW:
                here, there = there, here
                mapping = mapping._replace(source=mapping.destination, destination=mapping.source)
            if not here and not limits.allow_empty_source:
                reasons.append(
                    f"{other} has no key below {mapping.source!r} that takes part, and {len(one.deletes[side]):,} keys would be deleted "
                    f"in {name}. If {other} is meant to be empty, set allow_empty_source"
                )
                continue
            counts = Counts(source_keys=1, destination_keys=there)
            deletes = [Change(key, "deleted", 0, b"") for key in sorted(one.deletes[side])]
            planned.append(PlannedDeletes(mapping, counts, deletes))
        percent_only = limits._replace(max_deletes=max(limits.max_deletes, total))
        reasons += [f"in {name}, {reason}" for reason in refusals(planned, percent_only)]
    if reasons:
        raise GuardRefused(f"{'; '.join(reasons)}. Nothing was changed")


def check_rights(sides: Sides, found: t.Sequence[MappingDivergence], active: ActiveSet) -> None:
    """Raise PermissionDenied when a token may not write below a prefix where keys are to be written, in check mode too."""
    for one in found:
        wanted = [
            (sides.destination.client, one.mapping.destination, active.destination, one.wins[NEW]),
            (sides.source.client, one.mapping.source, active.source, one.wins[OLD]),
        ]
        for client, prefix, datacenter, count in wanted:
            # A single denied key below a writable prefix is named when it is written.
            if count and client.may("key", "write", prefix) is False:
                raise errors.PermissionDenied(
                    f"The token may not write below {prefix!r} in {datacenter} ({client.endpoint}): it needs "
                    f'key_prefix "{prefix}" {{ policy = "write" }}. Nothing was changed.'
                )

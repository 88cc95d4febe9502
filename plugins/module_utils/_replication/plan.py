# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides what makes the destination's keys equal to the source's. Pure: compares values and flags, never indexes."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._consul import key_path
from .._consul.digest import SetDigest, kv_bytes, short_digest
from .._consul.kv import Entry
from .._consul.txn import Operation
from .ledger import EDITED, FOREIGN, OWNED, Ledger, fingerprint_of, fingerprint_of_hash, key_id
from .lock_keys import is_lock
from .mapping import PrefixMapping

Describe = t.Callable[[bytes, int], str]  # (value, flags) → text of the diff


class Policy(t.NamedTuple):
    """How to decide. ``on_conflict`` (fail, keep, overwrite) is for keys that others wrote at the destination."""

    on_conflict: str = "fail"
    skip_locked: bool = True
    adopt: bool = False


class Change(t.NamedTuple):
    """One key to write or delete at the destination. ``kind``: created, updated or deleted.

    ``at_index`` is the ModifyIndex that the key must still have at the destination, 0 for a key that must not exist.
    ``fingerprint`` (ledger.py) is that of the content to write, or for a deletion of the content to delete.
    """

    key: str
    kind: str
    at_index: int
    fingerprint: bytes
    value: bytes = b""
    flags: int = 0

    def operation(self) -> Operation:
        """Return the compare-and-set operation of this change."""
        if self.kind == "deleted":
            return Operation("delete-cas", self.key, index=self.at_index)
        return Operation("cas", self.key, self.value, self.flags, index=self.at_index)

    def __repr__(self) -> str:
        return f"Change({self.key!r}, {self.kind}, index={self.at_index}, {len(self.value)} bytes)"


class Problem(t.NamedTuple):
    """A key of the destination that is not made equal, and why."""

    key: str
    reason: str


class DiffLine(t.NamedTuple):
    """One change as the diff shows it. ``before`` and ``after`` are None where the key does not exist."""

    key: str
    kind: str
    before: str | None
    after: str | None


@dataclass
class Counts:
    """How many keys are in which state. ``kept``: only the destination has them, and they stay."""

    source_keys: int = 0
    destination_keys: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: int = 0
    skipped_locked: int = 0

    def add(self, other: Counts) -> None:
        """Add other counts to these."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


@dataclass
class ShardPlan:
    """What one shard needs. ``changes`` are to be written, ``to_delete`` to be deleted.

    ``adopted`` are fingerprints of equal keys that become owned because of the option adopt. ``equal_again`` are
    fingerprints of owned keys that others made equal, or that an interrupted run wrote without committing them. ``kept_keys`` are the
    names of those that only the destination has and that stay.
    """

    counts: Counts = field(default_factory=Counts)
    changes: list[Change] = field(default_factory=list)
    to_delete: list[Change] = field(default_factory=list)
    conflicts: list[Problem] = field(default_factory=list)
    unwritable: list[Problem] = field(default_factory=list)
    adopted: list[bytes] = field(default_factory=list)
    equal_again: list[bytes] = field(default_factory=list)
    kept_keys: list[str] = field(default_factory=list)
    digest: SetDigest = field(default_factory=SetDigest)
    lines: list[DiffLine] = field(default_factory=list)


def plan_shard(
    mapping: PrefixMapping,
    policy: Policy,
    ledger: Ledger,
    source: t.Iterable[Entry],
    destination: t.Iterable[Entry],
    describe: Describe | None = None,
) -> ShardPlan:
    """Compare one shard of both sides. With ``describe`` the changes are also returned as ``lines`` of the diff."""
    planner = _ShardPlanner(mapping, policy, ledger, describe)
    plan = planner.plan
    destination_entries = {}
    every_key = mapping.includes_every_key
    for entry in destination:
        # A name that is not UTF-8 arrives mangled and may stand for several keys: such keys are never touched.
        if key_path.REPLACEMENT not in entry.key and (every_key or mapping.includes(mapping.to_source(entry.key))):
            destination_entries[entry.key] = entry
        else:
            ledger.mark_seen(key_id(entry.key))
    plan.counts.destination_keys = len(destination_entries)
    for entry in source:
        key = mapping.to_destination(entry.key)
        if every_key or mapping.includes(entry.key):
            planner.source_key(entry, key, destination_entries.pop(key, None))
        else:
            ledger.mark_seen(key_id(key))
    for entry in destination_entries.values():
        planner.only_at_destination(entry)
    return plan


class _ShardPlanner:
    """Decides key by key and collects the decisions in ``plan``."""

    def __init__(self, mapping: PrefixMapping, policy: Policy, ledger: Ledger, describe: Describe | None) -> None:
        self.plan = ShardPlan()
        self._mapping = mapping
        self._policy = policy
        self._ledger = ledger
        self._describe = describe

    def source_key(self, entry: Entry, key: str, existing: Entry | None) -> None:
        """Decide about a key of the source. ``key`` is its name at the destination, ``existing`` what is there."""
        plan = self.plan
        plan.counts.source_keys += 1
        if key_path.REPLACEMENT in key:
            self._ledger.mark_seen(key_id(key))
            plan.unwritable.append(Problem(key, "its name is not UTF-8, which Consul's API cannot carry"))
            return
        if self._policy.skip_locked and is_lock(key, entry.key, entry, existing):
            self._ledger.mark_seen(key_id(key))
            plan.counts.skipped_locked += 1
            return
        fingerprint = fingerprint_of_hash(key, plan.digest.add(kv_bytes(key.encode(), entry.value, entry.flags)))
        self._ledger.mark_seen(fingerprint)
        if existing is None:
            self._missing(key, entry, fingerprint)
        elif existing.value == entry.value and existing.flags == entry.flags:
            plan.counts.unchanged += 1
            if not self._ledger.is_committed(fingerprint):
                self._equal(fingerprint)
        else:
            self._different(key, entry, existing, fingerprint)

    def only_at_destination(self, existing: Entry) -> None:
        """Decide about a key that the source does not have."""
        plan, delete = self.plan, self._mapping.delete
        self._ledger.mark_seen(key_id(existing.key))
        if delete == "never":
            self._keep(existing.key)
            return
        if self._policy.skip_locked and is_lock(existing.key, self._mapping.to_source(existing.key), existing):
            plan.counts.skipped_locked += 1
            return
        fingerprint = fingerprint_of(existing.key, existing.value, existing.flags)
        state = self._ledger.state(fingerprint)
        if delete == "all" or state == OWNED or (state == EDITED and self._policy.on_conflict == "overwrite"):
            plan.to_delete.append(Change(existing.key, "deleted", existing.modify_index, fingerprint))
            self._add_line(existing.key, "deleted", existing, None)
        elif state == EDITED:
            plan.conflicts.append(Problem(existing.key, "edited at the destination, and gone from the source"))
        else:
            self._keep(existing.key)

    def _keep(self, key: str) -> None:
        self.plan.counts.kept += 1
        self.plan.kept_keys.append(key)

    def _equal(self, fingerprint: bytes) -> None:
        if self._ledger.state(fingerprint) != FOREIGN:
            self.plan.equal_again.append(fingerprint)
        elif self._policy.adopt:
            self.plan.adopted.append(fingerprint)

    def _missing(self, key: str, entry: Entry, fingerprint: bytes) -> None:
        if self._policy.on_conflict == "keep" and self._ledger.was_committed(key_id(key)):
            self.plan.conflicts.append(Problem(key, "deleted at the destination"))
            return
        self.plan.counts.created += 1
        self.plan.changes.append(Change(key, "created", 0, fingerprint, entry.value, entry.flags))
        self._add_line(key, "created", None, entry)

    def _different(self, key: str, entry: Entry, existing: Entry, fingerprint: bytes) -> None:
        if self._policy.on_conflict != "overwrite":
            state = self._ledger.state(fingerprint_of(key, existing.value, existing.flags))
            if state != OWNED:
                reason = (
                    "edited at the destination" if state == EDITED else "not written by this replication, and different"
                )
                self.plan.conflicts.append(Problem(key, reason))
                return
        self.plan.counts.updated += 1
        self.plan.changes.append(Change(key, "updated", existing.modify_index, fingerprint, entry.value, entry.flags))
        self._add_line(key, "updated", existing, entry)

    def _add_line(self, key: str, kind: str, before: Entry | None, after: Entry | None) -> None:
        describe = self._describe
        if describe is not None:
            texts = [None if entry is None else describe(entry.value, entry.flags) for entry in (before, after)]
            self.plan.lines.append(DiffLine(key, kind, texts[0], texts[1]))


def digest_text(value: bytes, flags: int) -> str:
    """Describe a key's content without its value."""
    return f"digest {short_digest(value)}, {len(value)} bytes, flags {flags}"


def value_text(value: bytes, flags: int) -> str:
    """Describe a key's content with its value. Bytes that are not UTF-8 are written as a Python literal."""
    try:
        return f"{value.decode()} (flags {flags})"
    except UnicodeDecodeError:
        return f"{value!r} (flags {flags})"

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides what it takes to make the destination's keys equal to the source's. Pure: compares values and flags, never indexes."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._consul import kv
from .._consul.digest import SetDigest, kv_bytes, short_digest
from .._consul.kv import Entry, Operation
from .ledger import EDITED, FOREIGN, OURS, Ledger, fingerprint_of, fingerprint_of_hash, key_id
from .mapping import PrefixMapping

LOCK_FLAGS = {
    0x2DDCCBC058A50C18,  # LockFlagValue in Consul's api/lock.go
    0xE0F69A2BAA414DE0,  # SemaphoreFlagValue in Consul's api/semaphore.go
}
# How Consul's own client (consul lock, semaphores), Vault and the leader election tutorial name their lock keys.
_LOCK_NAMES = re.compile(r"(?:.*/)?\.lock|vault/core/lock|service/[^/]+/leader", re.DOTALL)


class Policy(t.NamedTuple):
    """How to decide. ``on_conflict`` (fail, keep, overwrite) is about keys that somebody else wrote at the destination."""

    on_conflict: str = "fail"
    skip_locked: bool = True
    adopt: bool = False


class Change(t.NamedTuple):
    """One key to write or delete at the destination. ``kind``: created, updated or deleted.

    ``at_index`` is the destination's ModifyIndex that it must still have, 0 for none; ``fingerprint`` (ownership.py) stands for what will
    be there, for a deletion for what is there.
    """

    key: str
    kind: str
    at_index: int
    fingerprint: bytes
    value: bytes = b""
    flags: int = 0

    def operation(self) -> Operation:
        """Return the compare-and-set that does it."""
        if self.kind == "deleted":
            return Operation("delete-cas", self.key, index=self.at_index)
        return Operation("cas", self.key, self.value, self.flags, index=self.at_index)

    def __repr__(self) -> str:
        return f"Change({self.key!r}, {self.kind}, index={self.at_index}, {len(self.value)} bytes)"


class Problem(t.NamedTuple):
    """A key at the destination that is not made equal, and why."""

    key: str
    reason: str


class DiffLine(t.NamedTuple):
    """One change as a person is shown it; ``before`` and ``after`` are None ref there is no key."""

    key: str
    kind: str
    before: str | None
    after: str | None


@dataclass
class Counts:
    """How many keys were found in which state."""

    source_keys: int = 0
    destination_keys: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: int = 0
    skipped_locked: int = 0

    def add(self, other: Counts) -> None:
        """Add another counts to this one."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


@dataclass
class ShardPlan:
    """What a shard takes. ``changes`` write, ``to_delete`` are to be deleted; ``adopted`` were equal before this came.

    ``equal_again`` are ours and were made equal by somebody else, or by a run that died before it could note it. Both are fingerprints.
    """

    counts: Counts = field(default_factory=Counts)
    changes: list[Change] = field(default_factory=list)
    to_delete: list[Change] = field(default_factory=list)
    conflicts: list[Problem] = field(default_factory=list)
    unwritable: list[Problem] = field(default_factory=list)
    adopted: list[bytes] = field(default_factory=list)
    equal_again: list[bytes] = field(default_factory=list)
    digest: SetDigest = field(default_factory=SetDigest)
    lines: list[DiffLine] = field(default_factory=list)


def plan_shard(
    mapping: PrefixMapping,
    policy: Policy,
    ledger: Ledger,
    source: t.Iterable[Entry],
    destination: t.Iterable[Entry],
    show: t.Callable[[bytes, int], str] | None = None,
) -> ShardPlan:
    """Compare one shard of both sides. With ``show`` (value, flags → text) the changes are described in ``lines``."""
    plan = ShardPlan()
    decide = _Decider(mapping, policy, ledger, plan, show)
    live = {}
    every = mapping.takes_every_key
    for entry in destination:
        # A name that is not UTF-8 cannot be told from others like it: such keys are nobody's to touch.
        if kv.REPLACEMENT not in entry.key and (every or mapping.takes_part(mapping.to_source(entry.key))):
            live[entry.key] = entry
        else:
            ledger.mark_seen(key_id(entry.key))
    plan.counts.destination_keys = len(live)
    for entry in source:
        key = mapping.to_destination(entry.key)
        if every or mapping.takes_part(entry.key):
            decide.source_key(entry, key, live.pop(key, None))
        else:
            ledger.mark_seen(key_id(key))
    for entry in live.values():
        decide.only_at_destination(entry)
    return plan


class _Decider:
    def __init__(
        self,
        mapping: PrefixMapping,
        policy: Policy,
        ledger: Ledger,
        plan: ShardPlan,
        show: t.Callable[[bytes, int], str] | None,
    ) -> None:
        self._mapping = mapping
        self._policy = policy
        self._ledger = ledger
        self._plan = plan
        self._show = show

    def source_key(self, entry: Entry, key: str, there: Entry | None) -> None:
        """Decide about a key that the source has; ``key`` is its name at the destination, ``there`` what that has."""
        plan, policy = self._plan, self._policy
        plan.counts.source_keys += 1
        if kv.REPLACEMENT in key:
            self._ledger.mark_seen(key_id(key))
            plan.unwritable.append(Problem(key, "its name is not UTF-8, which Consul's API does not carry"))
            return
        if policy.skip_locked and _is_lock(key, entry.key, entry, there):
            self._ledger.mark_seen(key_id(key))
            plan.counts.skipped_locked += 1
            return
        fingerprint = fingerprint_of_hash(key, plan.digest.add(kv_bytes(key.encode(), entry.value, entry.flags)))
        self._ledger.mark_seen(fingerprint)
        if there is None:
            self._missing(key, entry, fingerprint)
        elif there.value == entry.value and there.flags == entry.flags:
            plan.counts.unchanged += 1
            if not self._ledger.is_committed(fingerprint):
                self._equal(fingerprint)
        else:
            self._different(key, entry, there, fingerprint)

    def only_at_destination(self, there: Entry) -> None:
        """Decide about a key that the source does not have."""
        plan, delete = self._plan, self._mapping.delete
        self._ledger.mark_seen(key_id(there.key))
        if delete == "never":
            plan.counts.kept += 1
            return
        if self._policy.skip_locked and _is_lock(there.key, self._mapping.to_source(there.key), there):
            plan.counts.skipped_locked += 1
            return
        fingerprint = fingerprint_of(there.key, there.value, there.flags)
        state = self._ledger.state(fingerprint)
        if delete == "all" or state == OURS or (state == EDITED and self._policy.on_conflict == "overwrite"):
            plan.to_delete.append(Change(there.key, "deleted", there.modify_index, fingerprint))
            self._line(there.key, "deleted", there, None)
        elif state == EDITED:
            plan.conflicts.append(Problem(there.key, "edited at the destination, and gone from the source"))
        else:
            plan.counts.kept += 1

    def _equal(self, fingerprint: bytes) -> None:
        if self._ledger.state(fingerprint) != FOREIGN:
            self._plan.equal_again.append(fingerprint)
        elif self._policy.adopt:
            self._plan.adopted.append(fingerprint)

    def _missing(self, key: str, entry: Entry, fingerprint: bytes) -> None:
        if self._policy.on_conflict == "keep" and self._ledger.was_committed(key_id(key)):
            self._plan.conflicts.append(Problem(key, "deleted at the destination"))
            return
        self._plan.counts.created += 1
        self._plan.changes.append(Change(key, "created", 0, fingerprint, entry.value, entry.flags))
        self._line(key, "created", None, entry)

    def _different(self, key: str, entry: Entry, there: Entry, fingerprint: bytes) -> None:
        if self._policy.on_conflict != "overwrite":
            state = self._ledger.state(fingerprint_of(key, there.value, there.flags))
            if state != OURS:
                reason = (
                    "edited at the destination" if state == EDITED else "not written by this replication, and different"
                )
                self._plan.conflicts.append(Problem(key, reason))
                return
        self._plan.counts.updated += 1
        self._plan.changes.append(Change(key, "updated", there.modify_index, fingerprint, entry.value, entry.flags))
        self._line(key, "updated", there, entry)

    def _line(self, key: str, kind: str, before: Entry | None, after: Entry | None) -> None:
        show = self._show
        if show is not None:
            texts = [None if entry is None else show(entry.value, entry.flags) for entry in (before, after)]
            self._plan.lines.append(DiffLine(key, kind, texts[0], texts[1]))


def _is_lock(key: str, source_key: str, entry: Entry, there: Entry | None = None) -> bool:
    """Tell whether a key is a lock on either side: it is held, has the flags of one, or a name of one."""
    if entry.session or entry.flags in LOCK_FLAGS:
        return True
    if there is not None and (there.session or there.flags in LOCK_FLAGS):
        return True
    return _names_a_lock(key) or (source_key is not key and _names_a_lock(source_key))


def _names_a_lock(name: str) -> bool:
    return name.endswith(("lock", "leader")) and _LOCK_NAMES.fullmatch(name) is not None


def digest_text(value: bytes, flags: int) -> str:
    """Describe what a key holds without showing it."""
    return f"digest {short_digest(value)}, {len(value)} bytes, flags {flags}"


def value_text(value: bytes, flags: int) -> str:
    """Describe what a key holds, value and all; bytes that are no text as Python writes them."""
    try:
        return f"{value.decode()} (flags {flags})"
    except UnicodeDecodeError:
        return f"{value!r} (flags {flags})"

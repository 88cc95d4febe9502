# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the old side of a reversed replication wrote alone, key by key, and which side wins. Pure.

The old side is the destination: the datacenter that failed and was copied from before. The new side is the source, which was promoted.
"""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, field

from .._consul.digest import kv_bytes
from .._consul.errors import InvalidOption
from .._consul.kv import Entry
from .ledger import Ledger, fingerprint_of
from .mapping import PrefixMapping, overlaps
from .plan import Counts, Policy, plan_shard

CHANGED_BOTH = "changed_both"
CHANGED_OLD = "changed_old"
CREATED_OLD = "created_old"
DELETED_OLD = "deleted_old"
DELETED_NEW = "deleted_new"
KINDS = (CHANGED_BOTH, CHANGED_OLD, CREATED_OLD, DELETED_OLD, DELETED_NEW)

NEW, OLD, REPORT = "new", "old", "report"
WINS = (NEW, OLD, REPORT)


class Decisions:
    """Which side wins, by name at the new side. A name that ends with a slash is a folder, "" is everything, any other is one key.

    The longest one that fits a key counts; without any the key is reported. Raises InvalidOption for a name that is given twice.
    """

    def __init__(self, decisions: t.Iterable[tuple[str, str]] = ()) -> None:
        self._wins: dict[str, str] = {}
        for number, (prefix, wins) in enumerate(decisions):
            if prefix in self._wins:
                raise InvalidOption(f"decisions[{number}]: {prefix!r} is decided twice. Keep one of the two.")
            self._wins[prefix] = wins

    def check(self, mappings: t.Sequence[PrefixMapping]) -> None:
        """Raise InvalidOption for a decision about keys that do not take part."""
        for number, prefix in enumerate(self._wins):
            is_folder = not prefix or prefix.endswith("/")
            if not any(
                overlaps(prefix, one.source) if is_folder else prefix.startswith(one.source) and one.includes(prefix)
                for one in mappings
            ):
                raise InvalidOption(
                    f"decisions[{number}]: {prefix!r} concerns no key of the prefixes. Write the name of a folder with a slash at its "
                    "end, or of a key, as it is at the source."
                )

    def winner(self, key: str) -> str:
        """Return NEW, OLD or REPORT for a key of the new side."""
        wins = self._wins
        if not wins:
            return REPORT
        if key in wins:
            return wins[key]
        end = key.rfind("/")
        while end != -1:
            if key[: end + 1] in wins:
                return wins[key[: end + 1]]
            end = key.rfind("/", 0, end)
        return wins.get("", REPORT)


class Divergence(t.NamedTuple):
    """One key that the two sides do not have alike because of what the old side did. ``new`` and ``old`` are what they have.

    ``key`` is its name at the new side, ``old_key`` that at the old side. ``wins`` is NEW, OLD or REPORT.
    """

    key: str
    old_key: str
    kind: str
    wins: str
    new: Entry | None
    old: Entry | None

    @property
    def winning(self) -> Entry | None:
        """What the key is to have on both sides, None for no key. It must not be called for REPORT."""
        return self.new if self.wins == NEW else self.old

    @property
    def losing(self) -> Entry | None:
        """What is to be replaced or deleted."""
        return self.old if self.wins == NEW else self.new

    @property
    def version(self) -> bytes:
        """A digest of what both sides have: two reads with one version saw the same."""
        found = hashlib.blake2b(digest_size=16)
        for entry in (self.new, self.old):
            found.update(b"-" if entry is None else kv_bytes(b"", entry.value, entry.flags) + b"+")
        return found.digest()

    def fingerprint(self) -> bytes | None:
        """Return the fingerprint of the winning content for the ledger at the old side, None for a deletion."""
        entry = self.winning
        return None if entry is None else fingerprint_of(self.old_key, entry.value, entry.flags)

    def __repr__(self) -> str:
        return f"Divergence({self.key!r}, {self.kind}, {self.wins} wins)"


@dataclass
class ShardDivergence:
    """What one shard has. ``not_copied`` counts keys that the replication has yet to write or delete.

    ``equal`` are fingerprints of keys that are equal and not owned, below prefixes with a winner; ``equal_again`` counts those that
    become owned by the next comparison anyway.
    """

    counts: Counts = field(default_factory=Counts)
    keys: list[Divergence] = field(default_factory=list)
    equal: list[bytes] = field(default_factory=list)
    equal_again: int = 0
    not_copied: int = 0


def find_divergence(
    mapping: PrefixMapping,
    decisions: Decisions,
    ledger: Ledger,
    source: t.Sequence[Entry],
    destination: t.Sequence[Entry],
    *,
    skip_locked: bool = True,
) -> ShardDivergence:
    """Return what diverged in one shard. ``ledger`` is that of the replication to the old side, with what it inherited."""
    # With "owned" a key that others deleted or wrote is one that was copied before, and one that is kept never was.
    owned = mapping._replace(delete="owned")
    plan = plan_shard(owned, Policy("keep", skip_locked, adopt=True), ledger, source, destination)
    ledger.clear_seen()
    found = ShardDivergence(
        plan.counts, equal_again=len(plan.equal_again), not_copied=len(plan.changes) + len(plan.to_delete)
    )
    names = [*(problem.key for problem in plan.conflicts), *plan.kept_keys]
    if names:
        wanted = set(names)
        at_old = {entry.key: entry for entry in destination if entry.key in wanted}
        at_new = {key: entry for entry in source if (key := mapping.to_destination(entry.key)) in wanted}
        kept = set(plan.kept_keys)
        for name in sorted(wanted):
            new, old = at_new.get(name), at_old.get(name)
            key = mapping.to_source(name)
            kind = CREATED_OLD if name in kept else _kind(name, new, old, ledger)
            found.keys.append(Divergence(key, name, kind, decisions.winner(key), new, old))
    if plan.adopted:
        by_id = {fingerprint_of(mapping.to_destination(one.key), one.value, one.flags): one.key for one in source}
        found.equal = [one for one in plan.adopted if decisions.winner(by_id[one]) != REPORT]
    return found


def _kind(name: str, new: Entry | None, old: Entry | None, ledger: Ledger) -> str:
    """Return the kind of a key that is in conflict. ``name`` is that at the old side."""
    if old is None:
        return DELETED_OLD
    if new is None:
        return DELETED_NEW
    is_as_copied = ledger.is_committed(fingerprint_of(name, new.value, new.flags))
    return CHANGED_OLD if is_as_copied else CHANGED_BOTH

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a replication knows when it begins to copy in the direction that was reversed: what the other direction had copied. Pure.

The destination was the source until now. A key that still has what was copied from it may be overwritten and deleted as if this
replication had written it. One that changed there after that is a conflict: nobody else has what was written.
"""

from __future__ import annotations

import typing as t

from .._consul import key_path
from .._consul.kv import Entry
from .ledger import Ledger, fingerprint_of, key_id, prefix_id
from .mapping import PrefixMapping


class Inheritance:
    """The ledgers of the replications that are reversed, read at the source, where they wrote.

    Records of the replication's own ledger are from before the other direction was active, so those of the ledgers replace them.
    """

    def __init__(self, ledgers: t.Sequence[Ledger]) -> None:
        self._ledgers = ledgers

    def take_over(
        self,
        ledger: Ledger,
        mapping: PrefixMapping,
        source: t.Iterable[Entry],
        destination: t.Iterable[Entry],
    ) -> None:
        """Record in the ledger what is known of the keys of one shard. It is then as if this replication had copied them."""
        prefix = prefix_id(mapping.destination)
        source = list(source)
        at_source = {entry.key: entry for entry in source}
        existing = set()
        for entry in destination:
            existing.add(entry.key)
            name = mapping.to_source(entry.key)
            if key_path.REPLACEMENT in entry.key or not mapping.includes(name):
                continue
            fingerprint = fingerprint_of(entry.key, entry.value, entry.flags)
            if self._has_copied(fingerprint_of(name, entry.value, entry.flags)):
                ledger.commit([fingerprint], prefix)
            elif ledger.is_intended(fingerprint):
                pass  # both sides were given this content when they were reconciled
            elif self._has_copied_other(name):
                ledger.commit([self._copied_before(name, entry.key, at_source.get(name), entry)], prefix)
            else:
                ledger.forget(entry.key)
        for entry in source:
            key = mapping.to_destination(entry.key)
            if key in existing or key_path.REPLACEMENT in key or not mapping.includes(entry.key):
                continue
            if self._has_copied_other(entry.key):  # deleted at the destination
                ledger.commit([self._copied_before(entry.key, key, entry, entry)], prefix)
            else:
                ledger.forget(key)

    def _copied_before(self, name: str, key: str, at_source: Entry | None, other: Entry) -> bytes:
        """Return the fingerprint at the destination of what was copied, if the source still has it, else one that nothing has.

        It is not that of ``other``.
        """
        if at_source is not None and self._has_copied(fingerprint_of(name, at_source.value, at_source.flags)):
            return fingerprint_of(key, at_source.value, at_source.flags)
        return fingerprint_of(key, other.value + b"\0", other.flags)

    def _has_copied(self, fingerprint: bytes) -> bool:
        return any(one.is_committed(fingerprint) for one in self._ledgers)

    def _has_copied_other(self, key: str) -> bool:
        return any(one.was_committed(key_id(key)) for one in self._ledgers)

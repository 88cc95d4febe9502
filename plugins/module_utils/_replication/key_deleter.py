# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deletes the keys of one mapping that the source's leader confirmed to be gone, if they are unchanged at the destination."""

from __future__ import annotations

import functools
import logging
import typing as t

from .._consul import key_path, kv, txn
from .ledger import fingerprint_of
from .outcome import MappingOutcome
from .plan import Change, Problem
from .prepare import confirm
from .prepared import MappingPlan
from .run_context import ATTEMPTS, RunContext

log = logging.getLogger("consulops")

Deletions = dict[str, Change]  # by name at the destination


class KeyDeleter:
    """Deletes what a plan contains and counts it in the outcome. Raises a ConsulError when the run cannot go on."""

    def __init__(self, context: RunContext, plan: MappingPlan, outcome: MappingOutcome) -> None:
        self._context = context
        self._plan = plan
        self._outcome = outcome

    def delete(self) -> None:
        """Delete what is confirmed to be gone from the source. Keys that others wrote to are decided again."""
        plan, outcome = self._plan, self._outcome
        confirm(self._context.sides, plan)
        if plan.unconfirmed:
            outcome.deferred_deletes += [Problem(deletion.key, plan.unconfirmed) for deletion in plan.to_delete]
            return
        remaining = {deletion.key: deletion for deletion in plan.to_delete}
        for attempt in range(1, ATTEMPTS + 1):
            stale = self._send(remaining)
            gone = self._gone(remaining.keys() - stale)
            for key in gone:
                self._context.ledger.forget(key)
            outcome.deleted += len(gone)
            log.debug("%s: attempt %d deleted %d of %d keys", plan.mapping, attempt, len(gone), len(remaining))
            remaining = self._decide_again({key: remaining[key] for key in remaining if key not in gone})
            if not remaining:
                return
        outcome.conflicts += [Problem(key, f"written to by others in {ATTEMPTS} attempts") for key in remaining]

    def _send(self, remaining: Deletions) -> set[str]:
        """Send deletions. Returns the keys that others wrote to. Keys that may not be deleted leave ``remaining``."""
        operations = [deletion.operation() for deletion in remaining.values()]
        # Safe to repeat: deleting a key that does not exist succeeds.
        commit = functools.partial(self._context.writer.commit, operations)
        refused = self._context.sides.destination.retry.run(commit).refused
        for refusal in refused:
            if txn.STALE not in refusal.reason:
                self._outcome.unwritable.append(Problem(refusal.operation.key, refusal.reason))
                del remaining[refusal.operation.key]
        return {refusal.operation.key for refusal in refused}

    def _gone(self, keys: t.AbstractSet[str]) -> set[str]:
        """Return the keys that no longer exist at the destination."""
        gone = set(keys)
        if self._context.request.verify and gone:
            gone -= self._context.sides.destination.existing_of(sorted(gone))
        return gone

    def _decide_again(self, changed: Deletions) -> Deletions:
        """Read keys again that others wrote to. One with the same content is deleted, one that was edited is a conflict."""
        remaining = {}
        for key, deletion in changed.items():
            if not key_path.is_addressable(key):
                reason = "written to by others, and its name cannot be requested from Consul"
                self._outcome.conflicts.append(Problem(key, reason))
                continue
            entries = self._context.sides.destination.read_key(key).entries
            if not entries:
                self._context.ledger.forget(key)
            elif _fingerprint(entries[0]) == deletion.fingerprint and not entries[0].session:
                remaining[key] = deletion._replace(at_index=entries[0].modify_index)
            else:
                self._outcome.conflicts.append(Problem(key, "edited at the destination, and gone from the source"))
        return remaining


def _fingerprint(entry: kv.Entry) -> bytes:
    return fingerprint_of(entry.key, entry.value, entry.flags)

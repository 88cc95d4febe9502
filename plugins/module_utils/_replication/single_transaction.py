# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes a few changes in one transaction with the ledger and the state, so that a followed change is one transaction and not two.

All of it is written or nothing. So no intent is needed: the ledger can say at once that the keys are committed.
"""

from __future__ import annotations

import logging
import typing as t

from .._consul import errors, key_path
from .._consul.retry import is_transient
from .._consul.txn import Operation
from .checkpoint import ledger_operations
from .group_sender import Group
from .ledger import prefix_id
from .outcome import MappingOutcome
from .plan import Change
from .prepared import MappingPlan
from .run_context import RunContext

MOST_KEYS = 16  # so many are read back key by key

log = logging.getLogger("consulops")


def can_be_single(context: RunContext, plans: t.Sequence[MappingPlan]) -> bool:
    """Return whether plans have a few keys to write, and none to delete: deletions come after everything was written."""
    changes = [work.changes for plan in plans for work in plan.work]
    count = sum(len(one or ()) for one in changes)
    if not 0 < count <= MOST_KEYS or None in changes or any(plan.to_delete for plan in plans):
        return False
    # Each key may have a bucket of its own. The state and what the caller adds need room too.
    return len(context.ledger.dirty) + 2 * count + 4 <= context.writer.room and not context.ledger.parts


def write_single(
    context: RunContext,
    plans: t.Sequence[MappingPlan],
    outcomes: t.Sequence[MappingOutcome],
    more: t.Callable[[], t.Sequence[Operation]],
) -> bool:
    """Write all changes, the ledger and ``more`` in one transaction; return False when nothing is known to be written.

    Then ledger and outcomes are as before, and the changes have to be written in the other way. ``more`` is called when the outcomes
    are counted. Raises a ConsulError when the run cannot go on.
    """
    changes = [(plan, outcome, _changes_of(plan)) for plan, outcome in zip(plans, outcomes)]
    ledger = context.ledger
    kept = ledger.keep({change.fingerprint[0] for _plan, _outcome, some in changes for change in some} | ledger.dirty)
    before = [(outcome.created, outcome.updated) for outcome in outcomes]
    for plan, outcome, some in changes:
        ledger.commit((change.fingerprint for change in some), prefix_id(plan.mapping.destination))
        outcome.created += sum(change.kind == "created" for change in some)
        outcome.updated += sum(change.kind != "created" for change in some)
    operations = [change.operation() for _plan, _outcome, some in changes for change in some]
    is_written = False
    try:
        is_written = context.writer.commit_whole([*operations, *ledger_operations(context.name, ledger), *more()])
    except errors.ConsulError as error:
        if not is_transient(error):
            raise
        log.debug("it is not known whether %d keys were written: %s", len(operations), error)
    if not is_written:
        ledger.restore(kept)
        for outcome, (created, updated) in zip(outcomes, before):
            outcome.created, outcome.updated = created, updated
    return is_written


def changed_since(context: RunContext, plan: MappingPlan, outcome: MappingOutcome) -> Group:
    """Return the keys that others wrote to after ``write_single``; they no longer count as written. Raises a ConsulError."""
    group: Group = {}
    if not context.request.verify:
        return group
    for work in plan.work:
        for change in work.changes or ():
            if not key_path.is_addressable(change.key):
                continue
            entries = context.sides.destination.read_key(change.key).entries
            if not entries or (entries[0].value, entries[0].flags) != (change.value, change.flags):
                group[change.key] = (change, work.ref)
    for change, _ref in group.values():
        outcome.created -= change.kind == "created"
        outcome.updated -= change.kind != "created"
    return group


def _changes_of(plan: MappingPlan) -> list[Change]:
    return [change for work in plan.work for change in work.changes or ()]

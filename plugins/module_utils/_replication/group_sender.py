# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends a group of changes and reads it back. Knows no ledger, so that the next group can be planned meanwhile."""

from __future__ import annotations

import logging
import typing as t
from dataclasses import dataclass, field

from .._consul import errors, txn
from .._consul.retry import is_transient
from .._consul.txn import Operation
from .mapping import PrefixMapping
from .plan import Change, Problem
from .run_context import RunContext
from .shard_reader import ShardRef

log = logging.getLogger("consulops")

Group = dict[str, tuple[Change, ShardRef]]  # by name at the destination


@dataclass
class SentGroup:
    """What became of a group: the keys that have the content that was to be written, and those that Consul refused.

    ``stored_ledger`` is False when it is not known whether what was sent of the ledger was stored.
    """

    written: list[str] = field(default_factory=list)
    unwritable: list[Problem] = field(default_factory=list)
    stored_ledger: bool = True


def send_group(
    context: RunContext, mapping: PrefixMapping, group: Group, ledger: t.Sequence[Operation], *, joined: bool
) -> SentGroup:
    """Store the intents of a group, write it, and read it back. Raises a ConsulError when the run cannot go on.

    ``ledger`` are the operations that store the intents. ``joined``: they are in one transaction with the changes.
    """
    sent = SentGroup()
    if ledger and not joined:
        context.store(ledger)
        ledger = ()
    unsure = _send(context, mapping, group, ledger, sent)
    refused = {problem.key for problem in sent.unwritable}
    if context.request.verify:
        sent.written = _read_back(context, mapping, group, refused)
    else:
        sent.written = [key for key in group if key not in unsure and key not in refused]
        if unsure:
            sent.written += _read_back(context, mapping, {key: group[key] for key in unsure}, refused)
    return sent


def _send(
    context: RunContext, mapping: PrefixMapping, group: Group, ledger: t.Sequence[Operation], sent: SentGroup
) -> set[str]:
    """Send the changes. Returns the keys that may not have been written."""
    operations = [*ledger, *(change.operation() for change, _ref in group.values())]
    try:
        refused = context.send(operations)
    except errors.ConsulError as error:
        if not is_transient(error):
            raise
        sent.stored_ledger = not ledger
        log.debug("%s: it is not known whether %d keys were written: %s", mapping, len(group), error)
        destination = context.sides.destination
        destination.retry.run(destination.client.check_leader)
        return set(group)
    unsure = set()
    for refusal in refused:
        key = refusal.operation.key
        if key not in group:
            raise errors.Rejected(f"{key} could not be written: {refusal.reason}.")
        if txn.STALE in refusal.reason or "doesn't exist" in refusal.reason:
            unsure.add(key)
        else:
            sent.unwritable.append(Problem(key, refusal.reason))
    return unsure


def _read_back(context: RunContext, mapping: PrefixMapping, group: Group, refused: t.Container[str]) -> list[str]:
    """Return the keys that have the content that was to be written."""
    written = []
    refs = list(dict.fromkeys(ref for key, (_change, ref) in group.items() if key not in refused))
    for shard in context.reader.read_destination(mapping, refs, context.request.concurrency):
        for entry in shard.entries:
            wanted = group.get(entry.key)
            if wanted is None or entry.key in refused:
                continue
            if (entry.value, entry.flags) == (wanted[0].value, wanted[0].flags):
                written.append(entry.key)
    return written

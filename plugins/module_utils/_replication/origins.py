# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stores where a destination is filled from before its first key is written, so that two replications that begin a loop notice it."""

from __future__ import annotations

from .._consul import errors
from .._consul.client import Client
from .._consul.txn import Operation
from . import preflight
from .checkpoint import state_key, state_operation
from .prepared import PreparedReplication
from .run_context import RunContext
from .state import is_recorded, successor


def record_origins(context: RunContext, prepared: PreparedReplication, source: Client, now: float) -> None:
    """Store the state of a replication if the destination has none for its prefixes or another upstream; look for loops once more.

    Of two replications that begin a loop at the same time each has stored this before it looks, so at least one sees the other. What
    is stored is taken back then: it must not look like a reversal. ``now`` in Unix seconds. Raises GuardRefused or a ConsulError.
    """
    before, mappings = prepared.checkpoint.state, context.request.mappings
    if is_recorded(before, prepared.source, mappings, prepared.upstream):
        return
    state = successor(before, prepared.source, mappings, now, prepared.reversed_after, prepared.upstream)
    context.save_ledger(state)
    direction = (prepared.source, prepared.destination)
    try:
        preflight.check_direction(source, context.name, direction, before, context.request)
    except errors.GuardRefused:
        key = state_key(context.name)
        context.send([Operation("delete", key) if before is None else state_operation(context.name, before)])
        raise
    prepared.checkpoint = prepared.checkpoint._replace(state=state)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the steps of one run share: the sides, the ledger, and sending transactions that check the lock."""

from __future__ import annotations

import logging
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .._consul import errors, txn
from .._consul.txn import Operation
from . import checkpoint
from .ledger import Ledger
from .request import ReplicationRequest
from .shard_reader import Reader
from .sides import Sides
from .state import State

ATTEMPTS = 3  # for a key that others write to at the same time
MAX_WRITERS = 4  # more connections only make other users of Consul wait longer (measured)
# Of the ledger that are stored with the intents of a group. For more there is a part, which a server with a small limit may refuse.
MOST_BUCKETS = 192

log = logging.getLogger("consulops")


@dataclass(frozen=True)
class RunContext:
    """``name`` is that of the replication. Every transaction of ``writer`` checks the lock.

    With ``joins_intents`` a few changes and their intents are one transaction, which saves a replication that follows its source time.
    """

    name: str
    request: ReplicationRequest
    sides: Sides
    reader: Reader
    ledger: Ledger
    writer: txn.Writer
    joins_intents: bool = False

    def send(self, operations: t.Sequence[Operation]) -> list[txn.Refusal]:
        """Send operations over several connections. Returns those that Consul refused. Raises a ConsulError."""
        started = time.monotonic()
        writers = min(self.request.concurrency, MAX_WRITERS)
        # A connection gets at least one full transaction.
        size = max(self.writer.room, -(-len(operations) // writers))
        parts = [operations[start : start + size] for start in range(0, len(operations), size)]
        with ThreadPoolExecutor(writers, thread_name_prefix="write") as pool:
            results = list(pool.map(self.writer.commit, parts))
        refused = [refusal for result in results for refusal in result.refused]
        log.debug(
            "sent %d operations in %d transactions over %d connections, %d refused, in %.3f s",
            len(operations),
            sum(result.transactions for result in results),
            len(parts),
            len(refused),
            time.monotonic() - started,
        )
        return refused

    def intent_operations(self) -> list[Operation]:
        """Return the operations that store the intents which are new, with as little else as possible."""
        if len(self.ledger.dirty) > MOST_BUCKETS:
            return [checkpoint.part_operation(self.name, self.ledger)]
        return self.ledger_operations()

    def ledger_operations(self) -> list[Operation]:
        """Return the operations that store the buckets that changed, which then count as stored."""
        return checkpoint.ledger_operations(self.name, self.ledger)

    def save_ledger(self, state: State | None = None, more: t.Sequence[Operation] = ()) -> None:
        """Store the buckets that changed, and the state and ``more`` when they are given. Raises a ConsulError."""
        operations = [*more] if state is None else [*more, checkpoint.state_operation(self.name, state)]
        buckets = self.ledger_operations()
        if self.ledger.parts:
            self.store(buckets)  # several connections keep no order, and without the buckets the parts are needed
            buckets = checkpoint.part_deletions(self.name, self.ledger)
        self.store([*operations, *buckets])

    def store(self, operations: t.Sequence[Operation]) -> None:
        """Write what the replication stores for itself. Raises a ConsulError."""
        refused = self.sides.destination.retry.run(lambda: self.send(operations))
        if refused:
            raise errors.Rejected(f"{refused[0].operation.key} could not be written: {refused[0].reason}.")

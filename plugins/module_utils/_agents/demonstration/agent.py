# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demonstration agent: it only shows which instance is active, by writing a journal into KV while it holds the lease.

The entries, in the order of their indexes, prove that there were never two writers at once. It is for testing an
installation before an agent with real work depends on it.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass

from ..._config.validation import Spec
from ..._consul import kv, txn
from ..._consul.errors import InvalidOption
from ..._consul.units import parse_duration
from ..._daemon.agent_type import AgentType, Plan, Setup
from ..._daemon.job import CONNECTION, Context, Job

log = logging.getLogger("consulops")

MAX_DELETES_PER_CYCLE = 30  # with the new entry and the session check they fit into one transaction of 64 operations

SPEC: Spec = {
    "interval": {"type": "str", "default": "1s"},
    "keep": {"type": "int", "default": 1000},
}


@dataclass(frozen=True)
class Options:
    """The options: seconds between two entries, and how many entries to keep."""

    interval_s: float
    keep: int


def plan(setup: Setup) -> Plan:
    """Return what runs: one job, under the required lease. Raises InvalidOption when a value is out of range."""
    interval_s = parse_duration(setup.options["interval"], "options.interval")
    if not 0.05 <= interval_s <= 3600:
        raise InvalidOption(f"options.interval: {setup.options['interval']} is not between 50 ms and one hour.")
    if setup.options["keep"] < 1:
        raise InvalidOption(f"options.keep: {setup.options['keep']} is less than 1.")
    options = Options(interval_s, setup.options["keep"])
    job = Job("journal", lambda context: write_journal(context, options), options, lease=setup.lease.name)
    return Plan({CONNECTION: setup.connection}, (job,), (setup.lease,))


def write_journal(context: Context, options: Options) -> None:
    """Write an entry in every interval, until the lease term ends or the agent stops."""
    journal = Journal(context, options)
    while not context.stopping.is_set():
        started = time.monotonic()
        numbers = journal.write_entry()
        context.report(journal.summary, numbers, took_s=time.monotonic() - started)
        context.pause(options.interval_s)


class Journal:
    """The journal: each call writes one entry and deletes the oldest ones beyond ``keep``."""

    def __init__(self, context: Context, options: Options) -> None:
        self._prefix = f"consulops/agents/{context.name}/journal/"
        self._keep = options.keep
        self._fence, self._session = context.lease.fence, context.lease.session
        client = context.client()
        self._writer = txn.Writer(client, fence=context.lease.guard)
        self._keys = [key for key in kv.list_keys(client, self._prefix) if key != self._prefix]
        self._written = self._last_number()

    @property
    def summary(self) -> str:
        """What was done last."""
        return f"wrote entry {self._written} of this lease term"

    def write_entry(self) -> dict[str, float]:
        """Write one entry in a transaction that fails unless the lease is still held; return numbers for the metrics."""
        self._written += 1
        # The names sort in the order of writing, because the fence grows with every holder.
        key = f"{self._prefix}{self._fence:020d}-{self._written:010d}"
        entry = {"session": self._session, "fence": self._fence, "number": self._written, "time": time.time()}
        expired = self._keys[: max(0, len(self._keys) + 1 - self._keep)][:MAX_DELETES_PER_CYCLE]
        operations = [txn.Operation("set", key, json.dumps(entry).encode())]
        self._writer.commit([*operations, *(txn.Operation("delete", name) for name in expired)])
        log.debug("wrote %s, deleted %d expired entries", key, len(expired))
        self._keys = [*self._keys[len(expired) :], key]
        return {"journal_entries": len(self._keys), "journal_written": self._written}

    def _last_number(self) -> int:
        """Return the number of the last entry of this lease term: after a failure its job begins again."""
        beginning = f"{self._prefix}{self._fence:020d}-"
        numbers = [key[len(beginning) :] for key in self._keys if key.startswith(beginning)]
        return max((int(number) for number in numbers if number.isdecimal()), default=0)


DEMONSTRATION = AgentType(SPEC, plan)

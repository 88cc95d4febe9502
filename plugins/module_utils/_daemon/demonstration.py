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
import typing as t

from .._config.validation import Spec
from .._consul import kv, txn
from .._consul.client import Client
from .._consul.errors import InvalidOption
from .._consul.lock import Lock
from .._consul.units import parse_duration
from .agent_type import AgentType, CycleResult, Job

log = logging.getLogger("consulops")

MAX_DELETES_PER_CYCLE = 30  # with the new entry and the session check they fit into one transaction of 64 operations

SPEC: Spec = {
    "interval": {"type": "str", "default": "1s"},
    "keep": {"type": "int", "default": 1000},
}


def check(options: t.Mapping[str, t.Any]) -> None:
    """Raise InvalidOption when a value is out of range."""
    if not 0.05 <= parse_duration(options["interval"], "options.interval") <= 3600:
        raise InvalidOption(f"options.interval: {options['interval']} is not between 50 ms and one hour.")
    if options["keep"] < 1:
        raise InvalidOption(f"options.keep: {options['keep']} is less than 1.")


class Journal:
    """The journal of one lease term: each cycle writes one entry and deletes the oldest ones beyond ``keep``."""

    def __init__(self, client: Client, lease: Lock, name: str, options: t.Mapping[str, t.Any]) -> None:
        self._prefix = f"consulops/agents/{name}/journal/"
        self._interval_s = parse_duration(options["interval"], "options.interval")
        self._keep = int(options["keep"])
        self._lease = lease
        self._writer = txn.Writer(client, fence=lease.guard)
        self._client = client
        self._keys: list[str] | None = None
        self._written = 0

    def run_cycle(self) -> CycleResult:
        """Write one entry in a transaction that fails unless the lease is still held."""
        if self._keys is None:
            self._keys = [key for key in kv.list_keys(self._client, self._prefix) if key != self._prefix]
        self._written += 1
        # The names sort in the order of writing, because the fence grows with every holder.
        key = f"{self._prefix}{self._lease.fence:020d}-{self._written:010d}"
        entry = {
            "session": self._lease.session,
            "fence": self._lease.fence,
            "number": self._written,
            "time": time.time(),
        }
        expired = self._keys[: max(0, len(self._keys) + 1 - self._keep)][:MAX_DELETES_PER_CYCLE]
        operations = [txn.Operation("set", key, json.dumps(entry).encode())]
        self._writer.commit([*operations, *(txn.Operation("delete", name) for name in expired)])
        log.debug("wrote %s, deleted %d expired entries", key, len(expired))
        self._keys = [*self._keys[len(expired) :], key]
        return CycleResult(
            self._interval_s,
            f"wrote entry {self._written} of this lease term",
            {"journal_entries": len(self._keys), "journal_written": self._written},
        )


def _start(client: Client, lease: Lock, name: str, options: t.Mapping[str, t.Any]) -> Job:
    return Journal(client, lease, name, options)


AGENT_TYPE = AgentType(SPEC, _start, check)

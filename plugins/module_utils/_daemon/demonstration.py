# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent that does nothing but show who is the active one: it keeps a journal in KV, of which only its holder may write.

Read in the order of their indexes, the entries prove that there were never two writers. It is for trying out an
installation before the agents that matter rely on it.
"""

from __future__ import annotations

import json
import time
import typing as t

from .._config.validation import Spec
from .._consul import kv, txn
from .._consul.client import Client
from .._consul.errors import InvalidOption
from .._consul.lock import Lock
from .._consul.units import parse_duration
from .agent_type import AgentType, CycleResult, Job

SPEC: Spec = {
    "interval": {"type": "str", "default": "1s"},
    "keep": {"type": "int", "default": 1000},
}


def check(options: t.Mapping[str, t.Any]) -> None:
    """Raise InvalidOption when the options cannot be used."""
    if not 0.05 <= parse_duration(options["interval"], "options.interval") <= 3600:
        raise InvalidOption(f"options.interval: {options['interval']} is not between 50 ms and an hour.")
    if options["keep"] < 1:
        raise InvalidOption(f"options.keep: {options['keep']} is less than 1.")


class Journal:
    """One term: an entry each round, the oldest entries deleted."""

    def __init__(self, client: Client, lease: Lock, name: str, options: t.Mapping[str, t.Any]) -> None:
        self._prefix = f"consulops/agents/{name}/journal/"
        self._interval_s = parse_duration(options["interval"], "options.interval")
        self._keep = int(options["keep"])
        self._lease = lease
        self._writer = txn.Writer(client, fence=lease.guard)
        self._client = client
        self._known: list[str] | None = None
        self._written = 0

    def run_cycle(self) -> CycleResult:
        """Write one entry under the guard of the lease."""
        if self._known is None:
            self._known = [key for key in kv.list_keys(self._client, self._prefix) if key != self._prefix]
        self._written += 1
        # Names sort as they are written: the fence grows with every holder.
        key = f"{self._prefix}{self._lease.fence:020d}-{self._written:010d}"
        entry = {
            "session": self._lease.session,
            "fence": self._lease.fence,
            "number": self._written,
            "time": time.time(),
        }
        old = self._known[: max(0, len(self._known) + 1 - self._keep)][:30]
        operations = [txn.Operation("set", key, json.dumps(entry).encode())]
        self._writer.commit([*operations, *(txn.Operation("delete", name) for name in old)])
        self._known = [*self._known[len(old) :], key]
        return CycleResult(
            self._interval_s,
            f"wrote entry {self._written} of this term",
            {"journal_entries": len(self._known), "journal_written": self._written},
        )


def _start(client: Client, lease: Lock, name: str, options: t.Mapping[str, t.Any]) -> Job:
    return Journal(client, lease, name, options)


AGENT_TYPE = AgentType(SPEC, _start, check)

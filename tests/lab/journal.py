# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A journal in KV that probe agents write under the guard of their lease. Its order shows whether two ever wrote at once."""

from __future__ import annotations

import base64
import json
import typing as t

import requests
from ansible_collections.consulops.failover.plugins.module_utils._consul import txn
from ansible_collections.consulops.failover.plugins.module_utils._daemon.job import Context

if t.TYPE_CHECKING:
    from .consul import Datacenter

EVERY_S = 0.05


def write_journal(context: Context, _argument: str) -> None:
    """Write an entry in every interval, in transactions that fail unless the lease is still held. A job of the probe agent."""
    fence, session = context.lease.fence, context.lease.session
    writer = txn.Writer(context.client(), fence=context.lease.guard)
    written = int(context.memory.get(f"written in term {fence}", 0))
    while not context.stopping.is_set():
        written += 1
        context.memory[f"written in term {fence}"] = written
        entry = {"session": session, "fence": fence, "number": written}
        # The names sort in the order of writing, because the fence grows with every term.
        key = f"consulops/agents/{context.name}/journal/{fence:020d}-{written:010d}"
        writer.commit([txn.Operation("set", key, json.dumps(entry).encode())])
        context.report(f"wrote entry {written} of this lease term")
        context.pause(EVERY_S)


class Journal:
    """Reads the journal of the agents of one name."""

    def __init__(self, datacenter: Datacenter, name: str) -> None:
        self._path = f"/v1/kv/consulops/agents/{name}/journal/?recurse&consistent"
        self._datacenter = datacenter

    def sessions(self) -> list[str]:
        """Return the session of every entry, in the order of Consul's indexes; [] before the first entry."""
        try:
            entries = self._datacenter.get(self._path)
        except requests.HTTPError as error:
            if error.response.status_code != 404:
                raise
            return []
        ordered = sorted(entries, key=lambda entry: int(entry["CreateIndex"]))
        return [json.loads(base64.b64decode(entry["Value"]))["session"] for entry in ordered]

    def writers(self) -> list[str]:
        """Return the sessions in the order of their lease terms; AssertionError if one wrote after the next had begun."""
        sessions = self.sessions()
        turns = [session for number, session in enumerate(sessions) if number == 0 or sessions[number - 1] != session]
        assert len(turns) == len(set(turns)), f"two writers at once: {turns}"
        return turns

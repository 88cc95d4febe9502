# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What replications into a datacenter have stored there about themselves, for people and rules that cannot ask the agent."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from .._consul import kv
from .._consul.client import Client
from .._consul.replication_status import ReplicationStatus, parse_status, status_key
from .._consul.reserved_keys import replication_names
from .._consul.units import timestamp
from . import control
from .checkpoint import lock_key, state_key
from .follow_record import FollowRecord, parse_record, record_key
from .ledger import InvalidLedger

RUNNING, STOPPED, FROZEN = "running", "stopped", "frozen"


@dataclass(frozen=True)
class PublishedSet:
    """One replication as its destination knows it.

    ``holder`` says who holds its lock, "" for nobody. ``record`` is None for one that no agent follows, or that cannot be read
    (``problem`` says why). ``status`` is what its agent published last, None for nothing that can be read.
    """

    name: str
    holder: str
    control: control.Control
    record: FollowRecord | None
    status: ReplicationStatus | None = None
    problem: str = ""

    @property
    def state(self) -> str:
        """Whether somebody writes."""
        return FROZEN if self.control.frozen is not None else RUNNING if self.holder else STOPPED

    def as_json(self) -> dict[str, t.Any]:
        """Return everything as plain data, with the names of the agent's own status."""
        paused = self.record.paused if self.record is not None else ()
        found = self.status
        problem = self.problem or (f"deletions are paused: {'; '.join(paused)}" if paused else "")
        return {
            "state": self.state,
            "lag_s": found.lag_s if found else None,
            "lag_source": found.lag_source if found else None,
            "pending": found.pending if found else None,
            "behind_since": timestamp(found.behind_since) if found and found.behind_since is not None else None,
            "published_at": timestamp(found.at) if found else None,
            "holder": self.holder,
            "frozen": self.control.frozen,
            "problem": problem or (found.problem if found else ""),
            "paused_deletes": {
                "count": found.paused_deletes if found else None,
                "digest": found.plan if found else "",
                "reasons": list(paused),
                "acknowledged": self.control.acknowledged,
            },
            "conflicts": {"count": found.conflicts if found else None},
            "unwritable": {"count": found.unwritable if found else None},
            "unreadable": {"count": found.unreadable if found else None},
            "verification": None
            if found is None
            else {
                "at": timestamp(found.verified_at),
                "equal": found.is_equal,
                "source_keys": found.source_keys,
                "destination_keys": found.destination_keys,
            },
        }


def published_sets(destination: Client) -> list[PublishedSet]:
    """Return every replication that stored something, by name. Raises a ConsulError."""
    return [_published(destination, name) for name in sorted(replication_names(destination))]


def _published(destination: Client, name: str) -> PublishedSet:
    record, problem = None, ""
    for entry in kv.read_key(destination, record_key(name)).entries:
        try:
            record = parse_record(entry.value, entry.key)
        except InvalidLedger as error:
            problem = str(error)
    status, not_read = read_status(destination, name)
    locks = kv.read_key(destination, lock_key(name)).entries
    holder = _holder(locks[0].value) if locks and locks[0].session else ""
    if record is None and not problem and not kv.read_key(destination, state_key(name)).entries:
        problem = "nothing was replicated yet"
    return PublishedSet(name, holder, control.read_control(destination, name), record, status, problem or not_read)


def read_status(destination: Client, name: str) -> tuple[ReplicationStatus | None, str]:
    """Return what a replication published last, None for nothing, and why it cannot be read. Raises a ConsulError."""
    for entry in kv.read_key(destination, status_key(name)).entries:
        try:
            return parse_status(entry.value), ""
        except ValueError:
            return None, f"{entry.key} does not hold what the replication agent writes"
    return None, ""


def _holder(value: bytes) -> str:
    """Return who holds the lock: an agent writes a document, a single run a sentence."""
    text = value.decode("utf-8", "replace")[:200]
    try:
        document = json.loads(text)
        return f"{document['name']} on {document['node']}"
    except (ValueError, LookupError, TypeError):
        return text or "unknown"

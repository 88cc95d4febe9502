# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the snapshot file and the live state, each once, and decides whether a restore is needed and allowed.

Changes nothing in Consul. The reading of the live state is kept as the safety snapshot if the restore is done; the index
of the file goes on to restore.py, which compares the restored state with it, and refuses to send any other file.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul import errors
from .._consul._libraries import require
from .._consul.client import Client
from .._consul.reserved_keys import RECEIPT_KEY
from .._consul.retry import RetryPolicy
from .._consul.units import positive_seconds
from . import live_snapshot, records, restore_attempt, restore_plan
from .compare import Comparer, Comparison
from .index import SnapshotIndex, index_snapshot
from .manifest import Manifest, of_summary
from .restore_plan import Decision, Receipt, RestoreFacts
from .safety_copy import SafetyCopy
from .sources import HashingSource, SnapshotFile
from .summary import Summary, summarize
from .undo_file import UNDO_KEY, is_undo_file, read_undoable

log = logging.getLogger("consulops")

LEADER_PAUSE_S = 0.25  # a restore is verified as soon as there is a leader
ROOM_FACTOR = 2  # times the size of the live snapshot must be free for the safety snapshot


@dataclass(frozen=True)
class RestoreRequest:
    """What to restore and how. ``accept`` names the refusals that the user accepts (restore_plan.py)."""

    path: Path
    safety_path: Path
    force: bool = False
    accept: tuple[str, ...] = ()
    leader_timeout_s: float = 60.0
    stream_timeout_s: float = 300.0
    destroy_gone_sessions: bool = True
    touch_replicated: bool = True


@dataclass(frozen=True)
class PreparedRestore:
    """What was read and decided before anything was changed.

    ``index`` is that of the snapshot file. ``comparer`` compared the live state with it; ``comparison`` is its result in
    check mode and for a drift, else None. ``safety`` is the copy of the live state (None in check mode), which
    ``manifest`` describes; the end of the ``with`` block discards a copy that was not needed. ``gone_sessions``: sessions
    of the snapshot that ended since. ``agent_nodes``: nodes of the snapshot that run a Consul agent.
    """

    facts: RestoreFacts
    decision: Decision
    index: SnapshotIndex
    comparer: Comparer
    comparison: Comparison | None
    safety: SafetyCopy | None
    manifest: Manifest
    gone_sessions: tuple[str, ...]
    agent_nodes: frozenset[str]

    def __enter__(self) -> PreparedRestore:
        return self

    def __exit__(self, *_args: object) -> None:
        if self.safety is not None:
            self.safety.__exit__()


def prepare(client: Client, request: RestoreRequest, now: float, *, check: bool) -> PreparedRestore:
    """Read the file and the live state and decide. With ``check`` nothing is written, else a copy of the live state.

    Use the result in a ``with`` block. Raises BadSnapshot, LocalFailure or a ConsulError.
    """
    require("msgpack")
    positive_seconds(request.stream_timeout_s, "stream_timeout")
    positive_seconds(request.leader_timeout_s, "leader_timeout")
    if not request.safety_path.is_dir():
        raise errors.LocalFailure(
            f"The directory {request.safety_path} for the safety snapshot does not exist: create it."
        )
    file_side, live_side = _SideFacts(client.endpoint.token), _SideFacts(client.endpoint.token)
    with SnapshotFile(request.path) as stream_of_file:
        file_source = HashingSource(stream_of_file)
        index = index_snapshot(file_source, str(request.path), as_of=now, on_record=file_side.add, on_keys=_is_noted)
    if is_undo_file(index.summary.meta):
        names = ", ".join(map(repr, read_undoable(file_side.undo).prefixes))
        raise errors.GuardRefused(
            f"{request.path} is the undo file of a restore of keys and not a whole snapshot. Nothing was changed. Name its "
            f"prefixes: {names}"
        )
    wait_for_leader(client, request.leader_timeout_s)
    comparer = Comparer(index, as_of=now)
    free_bytes = shutil.disk_usage(request.safety_path).free
    with contextlib.ExitStack() as stack:
        safety = None if check else stack.enter_context(SafetyCopy(request.safety_path))
        with live_snapshot.open_stream(client, stale=False, timeout_s=request.stream_timeout_s) as stream:
            live_source = HashingSource(stream, copy_to=safety)
            live = summarize(
                live_source,
                live_snapshot.name_of(client),
                as_of=now,
                on_record=live_side.add,
                on_keys=_is_noted,
                sink=comparer,
            )
        agent = client.whoami()
        uses_acl = client.endpoint.token is not None and live_side.has_tokens
        is_equal = index.summary.digest == live.digest
        is_migrated = not is_equal and comparer.result(live).equal and not comparer.result(live).before_is_newer
        facts = RestoreFacts(
            file=index.summary,
            file_sha256=file_source.sha256,
            live=live,
            datacenter=client.endpoint.datacenter or agent.datacenter or live.datacenter,
            attempted=restore_attempt.attempted_at(request.path, request.safety_path, file_source.sha256),
            receipt=live_side.receipt,
            token_in_file=file_side.has_our_token if uses_acl else None,
            refused_kinds=() if is_equal or is_migrated else _refused_kinds(client, index.summary, live),
            free_bytes=free_bytes,
            needed_bytes=ROOM_FACTOR * live_source.size,
            is_migrated=is_migrated,
            agent_version=agent.version,
        )
        decision = restore_plan.decide(facts, force=request.force, accept=request.accept)
        log.debug("restore of %s to %s: %s (%s)", request.path, client.endpoint, decision.action, decision.reason)
        is_listed = decision.action == "drifted" or (check and decision.action != "unchanged")
        stack.pop_all()  # the copy is the caller's now
        return PreparedRestore(
            facts=facts,
            decision=decision,
            index=index,
            comparer=comparer,
            comparison=comparer.result(live) if is_listed else None,
            safety=safety,
            manifest=of_summary(
                live,
                time=now,
                node=agent.node,
                stale=False,
                size=live_source.size,
                sha256=live_source.sha256,
                safety=True,
            ),
            gone_sessions=_gone_sessions(file_side, live_side),
            agent_nodes=frozenset(file_side.agent_nodes),
        )


def wait_for_leader(client: Client, timeout_s: float) -> None:
    """Wait until a consistent read is answered. Raises the last ConsulError when the time is up."""
    started = time.monotonic()
    RetryPolicy(timeout_s, longest_pause_s=LEADER_PAUSE_S).run(client.check_leader)
    log.debug("a leader of %s answered after %.3f s", client.endpoint, time.monotonic() - started)


def _refused_kinds(client: Client, in_file: Summary, live: Summary) -> tuple[str, ...]:
    """Ask the servers about each kind of config entry that the live state does not have."""
    refused = []
    for kind in sorted(set(in_file.config_kinds) - set(live.config_kinds)):
        try:
            client.get(f"/v1/config/{kind}", absent_ok=True, partial_ok=True)
        except (errors.Rejected, errors.ServerFailed) as error:
            if "invalid config entry kind" not in error.consul_message.lower():
                raise
            refused.append(kind)
    return tuple(refused)


def _gone_sessions(in_file: _SideFacts, live: _SideFacts) -> tuple[str, ...]:
    """Return the sessions that ended since the snapshot and may be destroyed again after the restore.

    None when the cluster has no node of the snapshot: it is a new one, the sessions never ended and their holders may be
    alive. Never a session that deletes its keys when it ends: it would delete what was just restored.
    """
    if not in_file.node_ids & live.node_ids:
        return ()
    return tuple(sorted(in_file.sessions - live.sessions - in_file.deleting_sessions))


def _is_noted(key: bytes) -> bool:
    return key in (RECEIPT_KEY.encode(), UNDO_KEY)


class _SideFacts:
    """What is noted of one side while its records are read. A token's secret is compared and not kept."""

    def __init__(self, token: str | None) -> None:
        self.sessions: set[str] = set()
        self.deleting_sessions: set[str] = set()
        self.node_ids: set[str] = set()
        self.agent_nodes: set[str] = set()
        self.receipt: Receipt | None = None
        self.undo = b""
        self.has_tokens = False
        self.has_our_token = False
        self._token = token.encode() if token else None

    def add(self, table: str, kind: int, record: t.Any, _size: int) -> None:
        if kind == records.KVS and record[b"Key"] == UNDO_KEY:
            self.undo = record.get(b"Value") or b""
        elif kind == records.KVS:
            self.receipt = restore_plan.read_receipt(record.get(b"Value") or b"")
        elif kind == records.SESSION:
            self.sessions.add(records.text(record.get(b"ID")))
            if record.get(b"Behavior") == b"delete":
                self.deleting_sessions.add(records.text(record.get(b"ID")))
        elif kind == records.ACL_TOKEN:
            self.has_tokens = True
            self.has_our_token = self.has_our_token or record.get(b"SecretID") == self._token
        elif table == records.AGENT_TABLE:
            self.agent_nodes.add(records.text(record[b"Node"]))
            self.node_ids.add(records.text(record.get(b"ID")))

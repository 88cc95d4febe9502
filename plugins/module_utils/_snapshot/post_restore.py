# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done after a restore: a receipt, sessions that had ended, replicated tables, nodes that are no longer members."""

from __future__ import annotations

import logging
import typing as t
from dataclasses import dataclass

from .._consul import errors, txn
from .._consul.client import Client
from .._consul.reserved_keys import RECEIPT_KEY
from .._consul.units import timestamp
from .restore_plan import Receipt, RestoreFacts
from .touch_replicated import touch_tables

log = logging.getLogger("consulops")


@dataclass(frozen=True)
class PostRestore:
    """Sessions destroyed, replicated tables touched, and nodes of the snapshot that are not members now."""

    destroyed_sessions: tuple[str, ...]
    touched: tuple[str, ...]
    ghost_nodes: tuple[str, ...]
    warnings: tuple[str, ...]


def leave_receipt(client: Client, facts: RestoreFacts, now: float) -> list[str]:
    """Write the receipt of the restore into KV; return warnings."""
    receipt = Receipt(facts.file.digest, facts.file_sha256, timestamp(now), facts.file.meta.index)
    try:
        txn.Writer(client).commit([txn.Operation("set", RECEIPT_KEY, receipt.as_bytes())])
    except errors.ConsulError as error:
        return [
            f"the receipt {RECEIPT_KEY} could not be written ({error}): a second run cannot tell newer writes from a "
            "state that was never restored, and would restore again"
        ]
    return []


def run(
    client: Client, *, gone_sessions: t.Sequence[str], touch_replicated: bool, agent_nodes: frozenset[str]
) -> PostRestore:
    """Do what follows a restore. What fails becomes a warning: the restore itself is done."""
    warnings: list[str] = []
    destroyed: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    ghosts: tuple[str, ...] = ()
    try:
        destroyed = _destroy_sessions(client, gone_sessions, warnings)
        if touch_replicated:
            touched = touch_tables(client, warnings)
        ghosts = _ghost_nodes(client, agent_nodes)
    except errors.ConsulError as error:
        warnings.append(f"the restore is done, but not all of what follows it could be done ({error})")
    log.debug("after the restore: %d sessions destroyed, touched %s, ghosts %s", len(destroyed), touched, ghosts)
    return PostRestore(destroyed, touched, ghosts, tuple(warnings))


def _destroy_sessions(client: Client, sessions: t.Sequence[str], warnings: list[str]) -> tuple[str, ...]:
    """Destroy sessions that had ended before the restore: they came back with it and hold locks without a holder."""
    destroyed = []
    for session in sessions:
        try:
            client.put(f"/v1/session/destroy/{session}")
            destroyed.append(session)
        except errors.ConsulError as error:
            warnings.append(f"session {session} was gone before the restore and could not be destroyed again ({error})")
    return tuple(destroyed)


def _ghost_nodes(client: Client, agent_nodes: frozenset[str]) -> tuple[str, ...]:
    """Return the nodes of the snapshot that had an agent and are not members of the datacenter now."""
    if client.endpoint.datacenter and client.endpoint.datacenter != client.whoami().datacenter:
        return ()  # only an agent of the datacenter itself knows its members
    try:
        members = client.get("/v1/agent/members").parse(lambda rows: {str(row["Name"]) for row in rows})
    except errors.ConsulError as error:
        log.debug("the members could not be read, so no node is reported as gone: %s", error)
        return ()
    return tuple(sorted(agent_nodes - members)) if members else ()

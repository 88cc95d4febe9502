# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restores a whole datacenter from a snapshot: compares, refuses what would destroy, sends ONE request, proves it.

A restore is never sent twice: a snapshot that makes the leader panic once is survived, a second time it is not,
because Raft keeps two snapshots and both would then be the bad one (seen on 1.8.7).
Source: https://developer.hashicorp.com/consul/api-docs/snapshot
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .._consul import errors, txn
from .._consul._libraries import require
from .._consul.client import Client
from .._consul.errors import GuardRefused, NotConverged
from .._consul.private_file import PrivateFile, os_errors_as
from .._consul.units import positive_seconds, timestamp
from . import records, restore_plan, save
from .archive import CHUNK, Source
from .compare import Comparison
from .inspect import compare_files, compare_with_live
from .restore_plan import RECEIPT_KEY, Decision, Receipt, RestoreFacts, Verification
from .snapshot_file import SnapshotFile
from .summary import Summary, summarize

SAFETY_NAME = "before-restore-{datacenter}-{time}-{index}.snap"
LEADER_POLL_S = 0.2
ROOM_FACTOR = 2  # a gzipped snapshot is smaller than its state; twice that leaves room for others


class RestoreUncertain(errors.ConsulError):
    """The restore request was sent and its outcome is not known."""


@dataclass(frozen=True)
class RestoreRequest:
    """What was asked for. ``accept`` names refusals that a person takes upon himself (restore_plan.OVERRIDES)."""

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
    """What was found and decided before anything was touched. ``comparison``: from the snapshot to the live state."""

    facts: RestoreFacts
    decision: Decision
    comparison: Comparison | None
    gone_sessions: tuple[str, ...]
    agents: frozenset[str]


@dataclass(frozen=True)
class Restored:
    """The outcome. ``lost`` compares the snapshot with the state before; ``verification`` with the state after."""

    safety: Path
    lost: Comparison
    verification: Verification
    seconds: t.Mapping[str, float]
    destroyed_sessions: tuple[str, ...] = ()
    ghost_nodes: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def prepare(client: Client, request: RestoreRequest, now: float, *, compare_now: bool) -> PreparedRestore:
    """Read the file and the live state and decide. Changes nothing.

    ``compare_now`` reads the live state a second time to list the differences (check mode; a drift always does).
    Raises BadSnapshot, LocalFailure or a ConsulError.
    """
    require("msgpack")
    positive_seconds(request.stream_timeout_s, "stream_timeout")
    positive_seconds(request.leader_timeout_s, "leader_timeout")
    if not request.safety_path.is_dir():
        raise errors.LocalFailure(
            f"The directory {request.safety_path} for the safety snapshot does not exist: create it."
        )
    file_side = _SideFacts(client.endpoint.token)
    with SnapshotFile(request.path) as stream_of_file:
        hashed = _Hashed(stream_of_file)
        in_file = summarize(hashed, str(request.path), as_of=now, on_record=file_side.add, on_keys=_is_receipt)
    sha256 = hashed.hash.hexdigest()
    wait_for_leader(client, request.leader_timeout_s)
    live_side = _SideFacts(client.endpoint.token)
    with save.open_live(client, stale=False, timeout_s=request.stream_timeout_s) as stream:
        counted = _Hashed(stream)
        name = f"the answer of {client.endpoint}"
        live = summarize(counted, name, as_of=now, on_record=live_side.add, on_keys=_is_receipt)
    uses_acl = client.endpoint.token is not None and live_side.has_tokens
    facts = RestoreFacts(
        file=in_file,
        file_sha256=sha256,
        live=live,
        datacenter=client.endpoint.datacenter or client.whoami().datacenter or live.datacenter,
        attempted=_attempted(request, sha256),
        receipt=live_side.receipt,
        token_in_file=file_side.has_our_token if uses_acl else None,
        refused_kinds=_refused_kinds(client, in_file, live) if in_file.digest != live.digest else (),
        free_bytes=shutil.disk_usage(request.safety_path).free,
        needed_bytes=ROOM_FACTOR * counted.size,
    )
    decision = restore_plan.decide(facts, force=request.force, accept=request.accept)
    comparison = None
    if decision.action == "drifted" or (compare_now and decision.action != "unchanged"):
        comparison = compare_with_live(request.path, client, as_of=now, stale=False, timeout_s=request.stream_timeout_s)
    return PreparedRestore(
        facts, decision, comparison, _gone_sessions(file_side, live_side), frozenset(file_side.agents)
    )


def perform(client: Client, request: RestoreRequest, prepared: PreparedRestore, now: float) -> Restored:
    """Do what was decided: safety snapshot, one request, leader, proof, receipt, and what helps afterwards.

    Raises RestoreUncertain when the outcome of the request is not known, and what prepare() raises.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "safety_snapshot"):
        safety = _save_safety(client, request, now)
    with _timed(seconds, "plan"):
        lost = compare_files(request.path, safety, as_of=now)
    with PrivateFile(request.safety_path) as marker:
        marker.write(f"{timestamp(now)}\n".encode())
        marker.commit(_marker(request, prepared.facts.file_sha256))
    with _timed(seconds, "restore"):
        try:
            _send(client, request, prepared, safety)
        except RestoreUncertain:
            raise
        except errors.Error:
            clear_attempt(request, prepared)  # refused: nothing was restored
            raise
    try:
        return _verify_and_clean_up(client, request, prepared, now, safety, lost, seconds)
    except errors.PermissionDenied as error:
        raise NotConverged(_TOKEN_GONE.format(error=error, safety=safety)) from None
    except errors.Error as error:
        raise NotConverged(
            f"The restore was accepted, but it could not be verified: {error} Look at the servers' logs and run it again "
            f"to compare. The state before is in {safety}"
        ) from None
    except KeyboardInterrupt:
        raise NotConverged(
            f"Interrupted after the restore was done and before it was verified. Run it again to compare. The state before is in {safety}"
        ) from None


def _verify_and_clean_up(
    client: Client,
    request: RestoreRequest,
    prepared: PreparedRestore,
    now: float,
    safety: Path,
    lost: Comparison,
    seconds: dict[str, float],
) -> Restored:
    """Wait for a leader, prove the state, leave the receipt, and do what helps."""
    with _timed(seconds, "leader"):
        wait_for_leader(client, request.leader_timeout_s)
    with _timed(seconds, "verify"):
        verification = restore_plan.verify(
            compare_with_live(request.path, client, as_of=time.time(), stale=False, timeout_s=request.stream_timeout_s)
        )
    warnings: list[str] = []
    destroyed: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    ghosts: tuple[str, ...] = ()
    with _timed(seconds, "post_restore"):
        if not verification.wrong:
            warnings += _leave_receipt(client, prepared, now)
        clear_attempt(request, prepared)
        try:
            if request.destroy_gone_sessions:
                destroyed = _destroy(client, prepared.gone_sessions, warnings)
            if request.touch_replicated:
                touched = _touch_replicated(client, warnings)
            ghosts = _ghost_nodes(client, prepared.agents)
        except errors.ConsulError as error:
            warnings.append(f"the restore is done, but not everything that helps afterwards could be done ({error})")
    return Restored(safety, lost, verification, seconds, destroyed, ghosts, touched, tuple(warnings))


def wait_for_leader(client: Client, timeout_s: float) -> None:
    """Wait until a consistent read is answered. Raises the last ConsulError when the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            client.check_leader()
        except (errors.Unreachable, errors.NoLeader, errors.ServerFailed):
            if time.monotonic() >= deadline:
                raise
            time.sleep(LEADER_POLL_S)
        else:
            return


def _save_safety(client: Client, request: RestoreRequest, now: float) -> Path:
    wanted = save.SaveRequest(
        path=f"{request.safety_path}/",
        name=SAFETY_NAME,
        safety=True,
        cross_check="ignore",
        on_shrink="ignore",
        stream_timeout_s=request.stream_timeout_s,
    )
    return save.save(client, wanted, save.plan(client, wanted, now), now).path


_UNCERTAIN = (
    "The restore request was sent once and its answer did not come ({error}). The leader may have crashed while "
    "restoring. Do NOT restore this snapshot again: a server survives one bad snapshot and not two. Look for 'failed "
    "to restore snapshot' in the leader's log; restart it if it is down, it then takes the older, good state. "
    "The state before is in {safety}."
)


_TOKEN_GONE = (
    "The restore was done, but the token in use may not look at the result any more ({error}), so nothing could be "
    "verified. Run it again with a management token of the snapshot: it says 'unchanged' if all is well. "
    "The state before is in {safety}"
)


def _send(client: Client, request: RestoreRequest, prepared: PreparedRestore, safety: Path) -> None:
    """Send the one request, on a connection of its own so that no stale one can fail it. Never retried."""
    with os_errors_as(f"reading {request.path}"):
        upload = _Upload(request.path)
    with upload, Client(client.endpoint) as fresh:
        if upload.sha256() != prepared.facts.file_sha256:
            raise GuardRefused(f"{request.path} is not the file any more that was looked at. Nothing was restored")
        try:
            fresh.upload(save.SNAPSHOT_PATH, upload, timeout_s=request.stream_timeout_s)
        except errors.PermissionDenied as error:
            raise errors.PermissionDenied(
                f"{error} {save.NEEDED_POLICY}.", error.status, error.consul_message
            ) from None
        except (errors.Unreachable, errors.NoLeader, errors.ServerFailed) as error:
            if not upload.begun:
                raise
            raise RestoreUncertain(
                _UNCERTAIN.format(error=error, safety=safety), error.status, error.consul_message
            ) from None
        except KeyboardInterrupt:
            if not upload.begun:
                raise
            raise RestoreUncertain(_UNCERTAIN.format(error="interrupted by a person", safety=safety)) from None


def _refused_kinds(client: Client, in_file: Summary, live: Summary) -> tuple[str, ...]:
    """Ask the servers about each kind of config entry that the live state does not have."""
    refused = []
    for kind in sorted(set(in_file.config_kinds) - set(live.config_kinds)):
        try:
            client.get(f"/v1/config/{kind}", absent_ok=True)
        except (errors.Rejected, errors.ServerFailed) as error:
            if "invalid config entry kind" not in error.consul_message.lower():
                raise
            refused.append(kind)
    return tuple(refused)


def _leave_receipt(client: Client, prepared: PreparedRestore, now: float) -> list[str]:
    facts = prepared.facts
    receipt = Receipt(facts.file.digest, facts.file_sha256, timestamp(now), facts.file.meta.index)
    try:
        txn.Writer(client).commit([txn.Operation("set", RECEIPT_KEY, receipt.as_bytes())])
    except errors.ConsulError as error:
        return [
            f"the receipt {RECEIPT_KEY} could not be written ({error}): a second run cannot tell newer writes from a "
            "state that was never restored, and would restore again"
        ]
    return []


def _destroy(client: Client, sessions: t.Sequence[str], warnings: list[str]) -> tuple[str, ...]:
    """End the sessions that were gone before the restore: they came back, and hold their locks for nobody."""
    destroyed = []
    for session in sessions:
        try:
            client.put(f"/v1/session/destroy/{session}")
            destroyed.append(session)
        except errors.ConsulError as error:
            warnings.append(f"session {session} was gone before the restore and could not be destroyed again ({error})")
    return tuple(destroyed)


def _touch_replicated(client: Client, warnings: list[str]) -> tuple[str, ...]:
    """Write and remove one object in each table that secondary datacenters replicate.

    A replicator waits for an index above the one it has seen; after a restore the primary's is below it, and nothing
    wakes the replicator until somebody writes (seen: a deleted token stayed valid for more than 109 s).
    """
    if len(client.get("/v1/catalog/datacenters").json()) < 2:
        return ()
    name = f"consulops-touch-{secrets.token_hex(4)}"
    touched = []
    for table, path, body in (
        ("ACLPolicy", "/v1/acl/policy", {"Name": name}),
        ("ACLRole", "/v1/acl/role", {"Name": name, "ServiceIdentities": [{"ServiceName": name}]}),
        ("ACLToken", "/v1/acl/token", {"Description": name}),
        ("ConfigEntry", "/v1/config", {"Kind": "service-defaults", "Name": name}),
    ):
        try:
            made = client.put(path, body=json.dumps(body).encode()).json()
            if isinstance(made, dict):
                client.delete(f"{path}/{made.get('ID') or made['AccessorID']}")
            else:
                client.delete(f"{path}/service-defaults/{name}")
            touched.append(table)
        except errors.ConsulError as error:
            if "acl support disabled" not in error.consul_message.lower():
                warnings.append(f"{table} could not be touched, so secondary datacenters may notice late ({error})")
    return tuple(touched)


def _ghost_nodes(client: Client, agents: frozenset[str]) -> tuple[str, ...]:
    """Return the nodes of the snapshot that had an agent and are no members of the datacenter now."""
    if client.endpoint.datacenter and client.endpoint.datacenter != client.whoami().datacenter:
        return ()  # only an agent of the datacenter itself knows its members
    try:
        members = {member["Name"] for member in client.get("/v1/agent/members").json()}
    except errors.ConsulError:
        return ()
    return tuple(sorted(agents - members)) if members else ()


@contextlib.contextmanager
def _timed(seconds: dict[str, float], part: str) -> t.Iterator[None]:
    started = time.monotonic()
    yield
    seconds[part] = time.monotonic() - started


def _gone_sessions(in_file: _SideFacts, live: _SideFacts) -> tuple[str, ...]:
    """Return the sessions that ended since the snapshot, as far as that is known and ending them again harms nobody.

    A cluster without any of the snapshot's nodes is a new one: its sessions never ended, their holders may live. A
    session that deletes its keys when it ends would take them out of what was just restored.
    """
    if not in_file.node_ids & live.node_ids:
        return ()
    return tuple(sorted(in_file.sessions - live.sessions - in_file.deleting_sessions))


def _marker(request: RestoreRequest, sha256: str) -> Path:
    return request.safety_path / f".consulops-restore-{sha256[:16]}.attempt"


def _attempted(request: RestoreRequest, sha256: str) -> str | None:
    """Return when this file was sent without its outcome becoming known, None when it was not."""
    marker = _marker(request, sha256)
    with os_errors_as(f"reading {marker}"):
        return marker.read_text(encoding="utf-8", errors="replace").strip() if marker.exists() else None


def clear_attempt(request: RestoreRequest, prepared: PreparedRestore) -> None:
    """Forget an attempt: its outcome is known now."""
    marker = _marker(request, prepared.facts.file_sha256)
    with os_errors_as(f"removing {marker}"):
        marker.unlink(missing_ok=True)


def _is_receipt(key: bytes) -> bool:
    return key == RECEIPT_KEY.encode()


class _SideFacts:
    """What is noted of one side while its records stream by. The secret of a token is compared and forgotten."""

    def __init__(self, token: str | None) -> None:
        self.sessions: set[str] = set()
        self.deleting_sessions: set[str] = set()
        self.node_ids: set[str] = set()
        self.agents: set[str] = set()
        self.receipt: Receipt | None = None
        self.has_tokens = False
        self.has_our_token = False
        self._token = token.encode() if token else None

    def add(self, table: str, kind: int, record: t.Any, _size: int) -> None:
        if kind == records.KVS:
            self.receipt = restore_plan.read_receipt(record.get(b"Value") or b"")
        elif kind == records.SESSION:
            self.sessions.add(records.text(record.get(b"ID")))
            if record.get(b"Behavior") == b"delete":
                self.deleting_sessions.add(records.text(record.get(b"ID")))
        elif kind == records.ACL_TOKEN:
            self.has_tokens = True
            self.has_our_token = self.has_our_token or record.get(b"SecretID") == self._token
        elif table == records.AGENT_TABLE:
            self.agents.add(records.text(record[b"Node"]))
            self.node_ids.add(records.text(record.get(b"ID")))


class _Hashed:
    """A source that counts and hashes what passes through it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = 0
        self.hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self.size += len(data)
        self.hash.update(data)
        return data


class _Upload:
    """A file on its way to Consul; knows whether any of it was sent."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        self._size = os.fstat(self._stream.fileno()).st_size
        self.begun = False

    def __len__(self) -> int:
        return self._size

    def sha256(self) -> str:
        """Return the SHA-256 of what will be sent, and go back to its beginning."""
        digest = hashlib.sha256()
        while True:
            data = self._stream.read(CHUNK)
            if not data:
                self._stream.seek(0)
                return digest.hexdigest()
            digest.update(data)

    def read(self, size: int = -1) -> bytes:
        self.begun = True
        return self._stream.read(size)

    def __enter__(self) -> _Upload:
        return self

    def __exit__(self, *_args: object) -> None:
        self._stream.close()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restores a whole datacenter as prepared: safety snapshot, ONE request, verification, and what is done afterwards.

A restore is never sent twice: a snapshot that makes the leader panic is survived once, a second time it is not,
because Raft keeps two snapshots and both would then be bad (seen on 1.8.7).
Source: https://developer.hashicorp.com/consul/api-docs/snapshot
"""

from __future__ import annotations

import contextlib
import logging
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .._consul import errors
from .._consul.client import Client
from .._consul.errors import NotConverged
from . import live_snapshot, post_restore, restore_attempt, restore_plan, save
from .compare import Comparison, compare_source
from .post_restore import PostRestore
from .restore_plan import Verification
from .restore_prepare import PreparedRestore, RestoreRequest, wait_for_leader
from .restore_send import RestoreUncertain, send

log = logging.getLogger("consulops")

_TOKEN_GONE = (
    "The restore was done, but the token in use may not read the result any more ({error}), so nothing could be "
    "verified. Run it again with a management token of the snapshot: it says 'unchanged' if all is well. "
    "The state before is in {safety}"
)


@dataclass(frozen=True)
class Restored:
    """The outcome. ``lost`` compares the snapshot with the state before, ``verification`` with the state after.

    ``seconds``: how long each part took.
    """

    safety: Path
    lost: Comparison
    verification: Verification
    seconds: t.Mapping[str, float]
    post: PostRestore
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Restore:
    """What every step of one restore needs. ``seconds`` and ``warnings`` are filled by the steps."""

    client: Client
    request: RestoreRequest
    prepared: PreparedRestore
    now: float
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return self.prepared.facts.file_sha256


def perform(client: Client, request: RestoreRequest, prepared: PreparedRestore, now: float) -> Restored:
    """Do what was decided; ``now`` is the time given to prepare().

    Raises RestoreUncertain when the outcome of the request is not known, NotConverged when the restore was done and
    could not be verified, and what prepare() raises.
    """
    restore = _Restore(client, request, prepared, now)
    safety, lost = _save_safety(restore)
    restore.warnings.extend(restore_attempt.record_attempt(request.path, request.safety_path, restore.sha256, now))
    with _timed(restore, "restore"):
        try:
            send(client, request.path, restore.sha256, safety=safety, timeout_s=request.stream_timeout_s)
        except RestoreUncertain:
            raise
        except errors.Error:
            clear_attempt(request, prepared)  # refused: nothing was restored
            raise
    try:
        return _verify_and_finish(restore, safety, lost)
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


def clear_attempt(request: RestoreRequest, prepared: PreparedRestore) -> None:
    """Remove the note that the file was sent: the outcome is known. Raises LocalFailure."""
    restore_attempt.clear_attempt(request.path, request.safety_path, prepared.facts.file_sha256)


def _save_safety(restore: _Restore) -> tuple[Path, Comparison]:
    """Put the copy of the state before in place; return the file and how the state differs from the snapshot."""
    prepared = restore.prepared
    if prepared.safety is None:
        raise ValueError("a restore that was prepared in check mode cannot be performed")
    with _timed(restore, "safety_snapshot"):
        save.check_datacenter(restore.client, prepared.facts.live)
        path = prepared.safety.commit(prepared.manifest)
    with _timed(restore, "plan"):
        lost = prepared.comparer.result(prepared.facts.live)
    log.debug("the state before is in %s", path)
    return path, lost


def _verify_and_finish(restore: _Restore, safety: Path, lost: Comparison) -> Restored:
    """Wait for a leader, compare the live state with the snapshot, and do what follows a restore."""
    client, request, prepared = restore.client, restore.request, restore.prepared
    with _timed(restore, "leader"):
        wait_for_leader(client, request.leader_timeout_s)
    with _timed(restore, "verify"):
        with live_snapshot.open_stream(client, stale=False, timeout_s=request.stream_timeout_s) as stream:
            after = compare_source(
                prepared.index,
                stream,
                live_snapshot.name_of(client),
                as_of=time.time(),
                versions=prepared.facts.live.consul_versions,
            )
        verification = restore_plan.verify(after)
    with _timed(restore, "post_restore"):
        if not verification.wrong:
            restore.warnings.extend(post_restore.leave_receipt(client, prepared.facts, restore.now))
        clear_attempt(request, prepared)
        post = post_restore.run(
            client,
            gone_sessions=prepared.gone_sessions if request.destroy_gone_sessions else (),
            touch_replicated=request.touch_replicated,
            agent_nodes=prepared.agent_nodes,
        )
    log.debug(
        "restored %s: %d records wrong, %d written since, %s",
        request.path,
        len(verification.wrong),
        len(verification.since),
        ", ".join(f"{part} {seconds:.3f} s" for part, seconds in restore.seconds.items()),
    )
    return Restored(safety, lost, verification, restore.seconds, post, (*restore.warnings, *post.warnings))


@contextlib.contextmanager
def _timed(restore: _Restore, part: str) -> t.Iterator[None]:
    started = time.monotonic()
    yield
    restore.seconds[part] = time.monotonic() - started

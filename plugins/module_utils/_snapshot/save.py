# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes a snapshot: one pass over the HTTP stream writes the file while every record of it is decoded and counted.

The file replaces the destination only after it was verified; after any error the destination is as it was.
"""

from __future__ import annotations

import logging
import os
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .._consul import errors
from .._consul._libraries import require
from .._consul.client import Client
from .._consul.errors import GuardRefused, LocalFailure
from .._consul.private_file import PrivateFile, locked, sweep_abandoned
from .._consul.units import positive_seconds
from . import crosscheck, live_snapshot, load_check, save_guards, snapshot_directory
from .errors import BadSnapshot
from .kv_growth import DEPTH
from .manifest import Manifest, manifest_path, of_summary
from .snapshot_directory import SnapshotEntry
from .sources import HashingSource, SnapshotFile
from .summary import Summary, summarize

log = logging.getLogger("consulops")


@dataclass(frozen=True)
class SaveRequest:
    """What to save and how. ``path`` is a file, or a directory that gets a file named after ``name``.

    ``cross_check`` and ``on_shrink`` are fail, warn or ignore. ``stream_timeout_s`` is the longest silence while the
    server prepares the snapshot: it writes all of it to its own disk first. ``safety``: of a state that is about to be
    replaced, so it never satisfies ``max_age`` and is never compared with. ``max_lag_s``: how long before it answers a server may
    have heard from the leader last. ``policy`` and ``slot`` are noted in the manifest.
    """

    path: str
    name: str = save_guards.DEFAULT_NAME
    stale: bool = False
    max_age_s: float | None = None
    cross_check: str = "warn"
    on_shrink: str = "fail"
    max_shrink_percent: float = 20.0
    stream_timeout_s: float = 300.0
    safety: bool = False
    max_lag_s: float | None = None
    policy: str = ""
    slot: str = ""


@dataclass(frozen=True)
class SavePlan:
    """What a save would do. ``entry`` is the existing snapshot to compare with (None: there is none)."""

    save: bool
    target: Path
    is_directory: bool
    datacenter: str | None
    node: str | None
    entry: SnapshotEntry | None
    reason: str


@dataclass(frozen=True)
class Saved:
    """The outcome: where the snapshot is, what it holds, warnings, how long each part took, part files removed."""

    path: Path
    manifest: Manifest
    warnings: tuple[str, ...]
    seconds: t.Mapping[str, float]
    swept: tuple[str, ...]


def plan(client: Client, request: SaveRequest, now: float) -> SavePlan:
    """Decide whether a snapshot must be taken, and check that it can be: a leader answers, the directory is writable."""
    require("msgpack")
    save_guards.check_name(request.name)
    positive_seconds(request.stream_timeout_s, "stream_timeout")
    if not 0 <= request.max_shrink_percent <= 100:
        raise errors.InvalidOption(f"max_shrink_percent is {request.max_shrink_percent:g}: it must be 0 to 100.")
    target, is_directory = save_guards.destination(request.path)
    folder = target if is_directory else target.parent
    if not folder.is_dir():
        raise LocalFailure(f"The directory {folder} does not exist: create it (mode 0700) or correct path.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LocalFailure(f"The directory {folder} is not writable for the user that runs this.")
    if request.stale:
        client.get("/v1/catalog/datacenters")  # a follower without a leader can still give a stale snapshot
    else:
        client.check_leader()
    agent = client.whoami()
    datacenter = client.endpoint.datacenter or agent.datacenter
    entry = _previous(target, is_directory, datacenter)
    if request.max_age_s is not None:
        if datacenter is None:
            raise errors.InvalidOption(
                "max_age needs the name of the datacenter, and the token may not read it from the agent: set datacenter."
            )
        if entry is not None:
            entry = snapshot_directory.entry(entry.path, verify=True)
            accept_missing = request.cross_check != "fail"
            if save_guards.is_fresh(entry, datacenter, request.max_age_s, now, accept_missing=accept_missing):
                reason = "a verified snapshot is younger than max_age"
                return SavePlan(False, entry.path, False, datacenter, agent.node, entry, reason)
    reason = "no snapshot is young enough" if request.max_age_s is not None else "a snapshot was requested"
    return SavePlan(True, target, is_directory, datacenter, agent.node, entry, reason)


def may_save(client: Client) -> bool | None:
    """Return whether Consul would let the token take a snapshot; None when this server cannot tell."""
    return client.may("acl", "write")


def save(client: Client, request: SaveRequest, decided: SavePlan, now: float) -> Saved:
    """Take the snapshot that ``plan`` decided on and put it in place with its manifest.

    Raises BadSnapshot, GuardRefused, LocalFailure or a ConsulError; the destination is then as it was.
    """
    folder = decided.target if decided.is_directory else decided.target.parent
    swept = sweep_abandoned(folder)
    seconds: dict[str, float] = {}
    with PrivateFile(folder) as data, PrivateFile(folder) as description:
        started = time.monotonic()
        with live_snapshot.open_stream(client, stale=request.stale, timeout_s=request.stream_timeout_s) as stream:
            seconds["prepare"] = time.monotonic() - started
            last_contact = stream.headers.get("X-Consul-LastContact", "0")
            _check_lag(client, request, last_contact)
            copy = HashingSource(stream, copy_to=data)
            found = summarize(copy, live_snapshot.name_of(client), as_of=now, kv_depth=DEPTH)
        data.flush()
        seconds["stream"] = time.monotonic() - started - seconds["prepare"]
        check_datacenter(client, found)
        manifest = of_summary(
            found,
            time=now,
            node=decided.node,
            stale=request.stale,
            size=copy.size,
            sha256=copy.sha256,
            safety=request.safety,
        )
        manifest = replace(manifest, policy=request.policy, slot=request.slot)
        warnings = []
        # A limit judges the lag, and below it nothing is wrong: a follower never hears from the leader at this very moment.
        if request.stale and request.max_lag_s is None and last_contact.isdigit() and int(last_contact) > 0:
            warnings.append(f"the server that answered last heard from the leader {last_contact} ms ago")
        warnings += _compare_with_the_one_before(request, decided, manifest)
        if request.cross_check != "ignore":
            started = time.monotonic()
            verdict = crosscheck.judge(found, crosscheck.live_counts(client, found))
            seconds["cross_check"] = time.monotonic() - started
            warnings += _refuse_or_warn(verdict.missing, request.cross_check, _LOST)
            manifest = replace(manifest, cross_checked=True, missing=verdict.missing, unchecked=verdict.unchecked)
        warnings += load_check.upgrade_warnings(found.problems)
        path = put_in_place(data, description, decided.target, request.name if decided.is_directory else None, manifest)
    log.debug(
        "saved %s: %d bytes, digest %s, %s",
        path,
        manifest.size,
        manifest.digest[:16],
        ", ".join(f"{part} {value:.3f} s" for part, value in seconds.items()),
    )
    return Saved(path, manifest, tuple(warnings), seconds, tuple(swept))


def put_in_place(
    data: PrivateFile, description: PrivateFile, target: Path, name: str | None, manifest: Manifest
) -> Path:
    """Put a snapshot and its manifest in place and return the file's path.

    ``target`` is the file, or with ``name`` a directory that gets a file named after it. Raises LocalFailure.
    """
    data.flush()
    description.write(manifest.as_bytes())
    description.flush()
    folder = target.parent if name is None else target
    with locked(folder):
        path = target
        if name is not None:
            path = save_guards.free_name(target / save_guards.file_name(name, manifest))
        save_guards.check_target(path)
        data.commit(path)
        description.commit(manifest_path(path))
    return path


def check_datacenter(client: Client, found: Summary) -> None:
    """Raise BadSnapshot when the live stream is of another datacenter than the client's."""
    if client.endpoint.datacenter and found.datacenter != client.endpoint.datacenter:
        raise BadSnapshot(
            f"{live_snapshot.name_of(client)} is a snapshot of datacenter {found.datacenter!r}, not of "
            f"{client.endpoint.datacenter!r}. Nothing was kept."
        )


def _check_lag(client: Client, request: SaveRequest, last_contact: str) -> None:
    """Raise GuardRefused when the server that answers is further behind the leader than is allowed."""
    if request.max_lag_s is None:
        return
    if not last_contact.isdigit():
        raise GuardRefused(
            f"{client.endpoint} does not say when it last heard from the leader, so its lag is not known. Nothing was kept."
        )
    if int(last_contact) > 1000 * request.max_lag_s:
        raise GuardRefused(
            f"{client.endpoint} last heard from the leader {last_contact} ms ago, and max_lag is {request.max_lag_s:g} s: its state "
            "may be old. See what keeps it from the leader. Nothing was kept."
        )


def _previous(target: Path, is_directory: bool, datacenter: str | None) -> SnapshotEntry | None:
    """Return the snapshot to compare with: the newest of the datacenter, or the one that would be replaced."""
    if not is_directory:
        return snapshot_directory.entry(target) if target.exists() else None
    if datacenter is None:
        return None
    return snapshot_directory.newest(snapshot_directory.list_directory(target), datacenter)


@dataclass(frozen=True)
class _Guard:
    """What a guard reports of its findings, and how the user accepts them."""

    sentence: str
    override: str


_SHRUNK = _Guard(
    "the snapshot is much smaller than the one before ({findings}); find out what happened to the data",
    "To accept it, raise max_shrink_percent or set on_shrink to warn",
)
_LOST = _Guard(
    "Consul left records out of its own snapshot ({findings}); restoring it would lose them, so save them another way "
    "or upgrade Consul",
    "To keep such a snapshot, set cross_check to warn",
)


def _compare_with_the_one_before(request: SaveRequest, decided: SavePlan, manifest: Manifest) -> list[str]:
    """Refuse to replace another datacenter's snapshot, and to keep one that shrank since the one before; return warnings.

    The one before, in a directory, is known only now, because the snapshot itself names its datacenter.
    """
    entry = decided.entry
    if decided.is_directory and entry is None:
        entry = snapshot_directory.newest(snapshot_directory.list_directory(decided.target), manifest.datacenter)
    if entry is None:
        return []
    if entry.manifest is not None:
        datacenter, tables = entry.manifest.datacenter, entry.manifest.tables
    else:
        # Saved by another tool, or the manifest is lost: read the file.
        try:
            with SnapshotFile(entry.path) as source:
                found = summarize(source, str(entry.path), as_of=manifest.time, digests=False)
        except BadSnapshot as error:
            raise GuardRefused(
                f"{error} It would be replaced: move it away, or correct path. Nothing was kept."
            ) from None
        datacenter, tables = found.datacenter, found.tables
    if datacenter != manifest.datacenter:
        raise GuardRefused(
            f"{entry.path} is a snapshot of datacenter {datacenter!r} and would be replaced by one of "
            f"{manifest.datacenter!r}: give each datacenter its own path. Nothing was kept."
        )
    if request.on_shrink == "ignore":
        return []
    return _refuse_or_warn(
        save_guards.shrunk(tables, manifest.tables, request.max_shrink_percent), request.on_shrink, _SHRUNK
    )


def _refuse_or_warn(findings: tuple[str, ...], action: str, guarding: _Guard) -> list[str]:
    if not findings:
        return []
    text = guarding.sentence.format(findings="; ".join(findings))
    if action == "fail":
        raise GuardRefused(f"{text[0].upper()}{text[1:]}. {guarding.override}. Nothing was kept.")
    return [text]

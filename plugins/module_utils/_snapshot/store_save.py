# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes a snapshot into a store: into a private directory first, encrypted there, then uploaded and read back."""

from __future__ import annotations

import contextlib
import tempfile
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .._consul.client import Client
from .._consul.private_file import PrivateFile, os_errors_as
from . import save as saving
from . import save_guards, stored_snapshots
from .encryption.age_format import EncryptionKeys
from .manifest import Manifest
from .save import Saved, SavePlan, SaveRequest
from .snapshot_directory import SnapshotEntry
from .stored_snapshots import StoredSnapshot
from .stores.errors import StoreError
from .stores.store import Store


@dataclass(frozen=True)
class StorePlan:
    """What a save into a store would do. ``plan`` is that of the local copy; ``entries`` are the store's, newest first.

    ``current`` is the snapshot that makes a new one unnecessary, None when one must be taken.
    """

    plan: SavePlan
    entries: tuple[StoredSnapshot, ...]
    current: StoredSnapshot | None


@contextlib.contextmanager
def scratch_directory(path: Path | None) -> t.Iterator[Path]:
    """Yield a private directory for the copy of a snapshot, in ``path`` or where temporary files are; removed afterwards.

    Raises LocalFailure when none can be made.
    """
    with os_errors_as(f"making a directory for temporary files{f' in {path}' if path else ''}"):
        made = tempfile.TemporaryDirectory(prefix=".consulops-", dir=path)  # mode 0700
    with made as directory:
        yield Path(directory)


def plan(client: Client, request: SaveRequest, store: Store, keys: EncryptionKeys, now: float) -> StorePlan:
    """Decide whether a snapshot must be taken; ``request.path`` is the scratch directory.

    Raises InvalidOption (also for keys that cannot be used), a StoreError or a ConsulError.
    """
    check_keys(keys)
    decided = saving.plan(client, request, now)
    entries = tuple(stored_snapshots.list_store(store))
    newest = stored_snapshots.newest(entries, decided.datacenter) if decided.datacenter else None
    if newest is None:
        return StorePlan(decided, entries, None)
    entry = _as_entry(newest, store)
    decided = replace(decided, entry=entry)
    if request.max_age_s is None or decided.datacenter is None:
        return StorePlan(decided, entries, None)
    accept_missing = request.cross_check != "fail"
    young = save_guards.is_fresh(
        replace(entry, intact=True), decided.datacenter, request.max_age_s, now, accept_missing=accept_missing
    )
    if young and _is_intact(store, newest):
        reason = "a verified snapshot is younger than max_age"
        return StorePlan(replace(decided, save=False, reason=reason), entries, newest)
    return StorePlan(decided, entries, None)


def save(
    client: Client, request: SaveRequest, decided: StorePlan, store: Store, keys: EncryptionKeys, now: float
) -> tuple[Saved, StoredSnapshot]:
    """Take the snapshot into the scratch directory, encrypt it, upload it and read it back.

    Raises what ``save.save`` raises, or a StoreError; a snapshot that was not stored completely has no manifest there.
    """
    saved = saving.save(client, request, decided.plan, now)
    file, manifest, seconds = saved.path, saved.manifest, dict(saved.seconds)
    if keys:
        started = time.monotonic()
        file, manifest = encrypted(file, manifest, keys)
        seconds["encrypt"] = time.monotonic() - started
    started = time.monotonic()
    stored = stored_snapshots.upload(store, file, _free_name(saved.path.name, decided.entries), manifest)
    seconds["upload"] = time.monotonic() - started
    return replace(saved, manifest=manifest, seconds=seconds), stored


def check_keys(keys: EncryptionKeys) -> None:
    """Raise InvalidOption, LocalFailure or MissingLibrary if nothing can be encrypted for these keys. None at all are fine."""
    if keys:
        from .encryption import age_files  # imports pyrage, which only encrypted snapshots need

        age_files.check_keys(keys)


def encrypted(file: Path, manifest: Manifest, keys: EncryptionKeys) -> tuple[Path, Manifest]:
    """Replace a snapshot file by its encrypted form beside it; return that and the manifest that describes both."""
    from .encryption import age_files  # imports pyrage, which only encrypted snapshots need

    target = file.with_name(file.name + stored_snapshots.ENCRYPTED_SUFFIX)
    with PrivateFile(file.parent) as part:
        encryption = age_files.encrypt(file, part, keys)
        part.commit(target)
    with os_errors_as(f"deleting {file}"):
        file.unlink()
    return target, replace(manifest, encryption=encryption)


def _as_entry(found: StoredSnapshot, store: Store) -> SnapshotEntry:
    size = found.object.size if found.object else 0
    return SnapshotEntry(Path(store.shown) / found.name, found.time, size, found.manifest, None, found.problem)


def _is_intact(store: Store, found: StoredSnapshot) -> bool:
    """Return whether a snapshot can be relied on; one that cannot be read is taken again."""
    try:
        return stored_snapshots.is_intact(store, found)
    except StoreError:
        return False


def _free_name(name: str, entries: t.Iterable[StoredSnapshot]) -> str:
    """Return the name, with a number added when the store has a snapshot of that name."""
    taken = {found.name for found in entries}
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name[: -len('.snap')]}-{number}.snap"
    return free

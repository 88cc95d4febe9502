# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetches a snapshot from a store into a private file, decrypts it, and compares it with its manifest. Removed afterwards."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._consul.errors import Error
from .._consul.private_file import PrivateFile, sweep_abandoned
from .._consul.units import timestamp
from . import stored_snapshots
from .encryption.age_format import DecryptionKeys, is_encrypted
from .manifest import Manifest
from .sources import SnapshotFile, size_and_sha256
from .stored_snapshots import ENCRYPTED_SUFFIX, SNAPSHOT_SUFFIX, StoredSnapshot
from .stores.errors import NotStored, StoredWrong
from .stores.store import Store, StoredObject


@dataclass(frozen=True)
class Wanted:
    """Which snapshot of a store: the one called ``name``, or the newest of ``datacenter`` at or before ``at`` (None: the newest)."""

    name: str | None = None
    at: float | None = None
    datacenter: str | None = None


def split_place(place: str) -> tuple[str, str | None]:
    """Return the store that a URL or path names, and the snapshot in it, None when it names only the store."""
    folder, separator, last = place.rpartition("/")
    for suffix in (SNAPSHOT_SUFFIX, SNAPSHOT_SUFFIX + ENCRYPTED_SUFFIX):
        if last.endswith(suffix):
            return (folder + separator) or ".", last[: len(last) - len(suffix)] + SNAPSHOT_SUFFIX
    return place, None


def choose(store: Store, wanted: Wanted) -> StoredSnapshot:
    """Return the snapshot that is wanted. Raises NotStored, LocalFailure (a manifest that is none) or another StoreError."""
    if wanted.name is not None:
        manifest = stored_snapshots.read_manifest(store, wanted.name)
        held = stored_snapshots.object_name(wanted.name, manifest)
        found = StoredObject(held, manifest.stored_size, manifest.time)
        return StoredSnapshot(wanted.name, manifest.time, found, manifest, "")
    entries = stored_snapshots.list_store(store)
    newest = stored_snapshots.newest(entries, wanted.datacenter, wanted.at)
    if newest is None:
        raise NotStored(_none_found(store, wanted, entries))
    return newest


@contextlib.contextmanager
def fetched(store: Store, found: StoredSnapshot, keys: DecryptionKeys, directory: Path) -> t.Iterator[Path]:
    """Yield a private file in ``directory`` with the snapshot itself, decrypted and compared with its manifest.

    Raises a StoreError, or what decrypting raises (encryption/age_files.py). An error that is raised meanwhile and names the
    private file names the snapshot in the store instead.
    """
    sweep_abandoned(directory)
    shown = f"{store.shown.rstrip('/')}/{found.object.name if found.object else found.name}"
    with contextlib.ExitStack() as stack:
        part = stack.enter_context(PrivateFile(directory))
        stored_snapshots.fetch(store, found, part)
        part.flush()
        yield stack.enter_context(opened(part.path, keys, directory, shown, found.manifest))


@contextlib.contextmanager
def opened(
    file: Path, keys: DecryptionKeys, directory: Path, shown: str, manifest: Manifest | None
) -> t.Iterator[Path]:
    """Yield a file, or when it is encrypted a private one with what it holds, which is compared with the manifest."""
    if not is_encrypted(file):
        with _called(file, shown):
            yield file
        return
    from .encryption import age_files  # imports pyrage, which only encrypted snapshots need

    sweep_abandoned(directory)
    with PrivateFile(directory) as plain:
        age_files.decrypt(file, plain, keys, shown)
        plain.flush()
        with SnapshotFile(plain.path) as stream:
            found = size_and_sha256(stream)
        if manifest is not None and found != (manifest.size, manifest.sha256):
            raise StoredWrong(
                f"{shown} holds another snapshot than its manifest describes: someone exchanged it. Use another one."
            )
        with _called(plain.path, shown):
            yield plain.path


@contextlib.contextmanager
def _called(path: Path, shown: str) -> t.Iterator[None]:
    """Let errors name a private file by what the user knows it as."""
    try:
        yield
    except Error as error:
        error.args = (str(error).replace(str(path), shown), *error.args[1:])
        raise


def _none_found(store: Store, wanted: Wanted, entries: t.Sequence[StoredSnapshot]) -> str:
    of = f" of datacenter {wanted.datacenter}" if wanted.datacenter else ""
    before = "" if wanted.at is None else f" from {timestamp(wanted.at)} or before"
    usable = [found for found in entries if found.manifest is not None and not found.problem]
    others = sorted({str(found.datacenter) for found in usable})
    if not entries:
        has = "it is empty"
    elif not usable:
        has = f"none of the {len(entries)} in it can be used"
    else:
        has = f"it has {len(usable)} of {', '.join(others)}, the oldest from {timestamp(usable[-1].time)}"
    return f"{store.shown} has no usable snapshot{of}{before}: {has}. List them with consulops snapshot list."

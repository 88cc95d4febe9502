# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots of a store: each is an object ``NAME.snap`` (``NAME.snap.age`` when encrypted) and its manifest ``NAME.snap.json``.

The manifest is written last and only after the object was read back: a snapshot without one does not count.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .._consul.errors import LocalFailure
from . import manifest as manifests
from .manifest import Manifest
from .snapshot_directory import ENCRYPTED_SUFFIX, SNAPSHOT_SUFFIX
from .sources import Writable, size_and_sha256
from .stores.errors import AlreadyStored, NotStored, StoredWrong, StoreError
from .stores.store import Store, StoredObject

MANIFEST_SUFFIX = SNAPSHOT_SUFFIX + manifests.SUFFIX
MAX_MANIFEST = 1 << 22  # bytes; one of 1,000 tables has 200 KiB


@dataclass(frozen=True)
class StoredSnapshot:
    """One snapshot of a store. ``name`` ends in ``.snap`` and is the same whether or not the object is encrypted.

    ``object`` is what holds it (None: it is gone). ``time`` is the manifest's, else the object's. ``problem`` is "" when
    nothing is wrong; one with a problem cannot be restored.
    """

    name: str
    time: float
    object: StoredObject | None
    manifest: Manifest | None
    problem: str

    @property
    def datacenter(self) -> str | None:
        """The datacenter, None when no manifest says it."""
        return self.manifest.datacenter if self.manifest else None

    @property
    def manifest_name(self) -> str:
        """The name of the object with the manifest."""
        return self.name + manifests.SUFFIX


def object_name(name: str, manifest: Manifest) -> str:
    """Return the name of the object that holds the snapshot ``name`` (``….snap``)."""
    return name + ENCRYPTED_SUFFIX if manifest.encryption else name


def upload(store: Store, file: Path, name: str, manifest: Manifest) -> StoredSnapshot:
    """Store a file, as it is, with its manifest under the name ``….snap``, after reading it back and comparing its digest.

    The file must already be encrypted when the manifest says so. Raises AlreadyStored, StoredWrong or another StoreError;
    an object that came back wrong is deleted again if possible, and without a manifest it does not count. An earlier upload of the
    very same file that was cut off before its manifest is completed.
    """
    stored = object_name(name, manifest)
    there: AlreadyStored | None = None
    try:
        store.create(stored, file)
    except AlreadyStored as error:
        there = error
    size, sha256 = read_back(store, stored)
    if (size, sha256) != (manifest.stored_size, manifest.stored_sha256):
        if there is not None:
            raise there
        # Otherwise each further attempt would leave an object.
        what_to_do = "It was deleted again: find" if _try_to_delete(store, stored) else "Delete the object, and find"
        raise StoredWrong(
            f"{store.shown} gave back {stored} with {size} bytes and SHA-256 {sha256[:16]}…, not the {manifest.stored_size} bytes "
            f"({manifest.stored_sha256[:16]}…) that were written, so it does not count as a snapshot. {what_to_do} out what is "
            "between this host and the store."
        )
    described = replace(manifest, folders=()) if manifest.encryption else manifest
    # Not by way of a file: what waits on a full disk must be able to leave it.
    store.create(name + manifests.SUFFIX, described.as_bytes())
    return StoredSnapshot(name, manifest.time, StoredObject(stored, size, manifest.time), manifest, "")


def _try_to_delete(store: Store, name: str) -> bool:
    with contextlib.suppress(StoreError):
        store.delete(name)
        return True
    return False


def read_back(store: Store, name: str, copy_to: Writable | None = None) -> tuple[int, str]:
    """Read an object completely, copy it if asked to, and return its size and SHA-256. Raises StoreError, and what writing raises."""
    with store.open(name) as source:
        return size_and_sha256(source, copy_to)


def is_intact(store: Store, found: StoredSnapshot) -> bool:
    """Read a snapshot again and return whether it is what its manifest says. Raises StoreError."""
    if found.manifest is None or found.object is None:
        return False
    return read_back(store, found.object.name) == (found.manifest.stored_size, found.manifest.stored_sha256)


def list_store(store: Store, known: t.Mapping[str, Manifest] | None = None) -> list[StoredSnapshot]:
    """Return the snapshots of a store, newest first, with their manifests.

    ``known`` has manifests that were read before, by the name of the snapshot; they never change, so they are not read again.
    Raises StoreError when the store cannot be listed or a manifest cannot be read.
    """
    objects = {found.name: found for found in store.objects()}
    names = sorted(_snapshot_names(objects))
    known = known or {}
    described = [name + manifests.SUFFIX for name in names if name not in known and name + manifests.SUFFIX in objects]
    texts = store.read_many(described, MAX_MANIFEST)
    entries = []
    for name in names:
        manifest = known.get(name)
        problem, held_by = "", name + manifests.SUFFIX
        if manifest is None and held_by in objects:
            if held_by not in texts:
                continue  # deleted since the store was listed
            try:
                manifest = manifests.parse(texts[held_by], _shown_manifest(store, name))
            except LocalFailure as error:
                problem = str(error)
        entries.append(_entry(name, objects, manifest, problem))
    return sorted(entries, key=_newest_first)


def read_manifest(store: Store, name: str) -> Manifest:
    """Return the manifest of the snapshot ``name``. Raises NotStored, LocalFailure when it is none, or another StoreError."""
    held_by = name + manifests.SUFFIX
    texts = store.read_many([held_by], MAX_MANIFEST)
    if held_by not in texts:
        raise NotStored(f"{store.shown} has no object {held_by}.")
    return manifests.parse(texts[held_by], _shown_manifest(store, name))


def newest(
    entries: t.Iterable[StoredSnapshot], datacenter: str | None = None, at: float | None = None
) -> StoredSnapshot | None:
    """Return the newest snapshot without a problem that was taken at or before ``at`` (seconds since 1970), None without one.

    ``entries`` are newest first; safety snapshots do not count, nor do those of another datacenter than the given one.
    """
    return next(
        (
            found
            for found in entries
            if found.manifest is not None
            and not found.problem
            and not found.manifest.safety
            and (datacenter is None or found.datacenter == datacenter)
            and (at is None or found.time <= at)
        ),
        None,
    )


def delete(store: Store, found: t.Sequence[StoredSnapshot]) -> None:
    """Delete snapshots from a store. Raises StoreError.

    The objects go before the manifests: what is left of a deletion that was cut off is still described.
    """
    store.delete_many([one.object.name for one in found if one.object is not None])
    store.delete_many([one.manifest_name for one in found])


def fetch(store: Store, found: StoredSnapshot, destination: Writable) -> None:
    """Copy the stored file of a snapshot, encrypted or not, and compare it with its manifest.

    ``destination`` is a private file. Raises NotStored, StoredWrong or another StoreError.
    """
    if found.object is None or found.manifest is None:
        raise NotStored(f"{store.shown} has no usable snapshot {found.name}: {found.problem}.")
    size, sha256 = read_back(store, found.object.name, destination)
    if (size, sha256) != (found.manifest.stored_size, found.manifest.stored_sha256):
        raise StoredWrong(
            f"{found.object.name} of {store.shown} is not the file that its manifest describes ({size} bytes instead of "
            f"{found.manifest.stored_size}, or another SHA-256): it is damaged. Use another snapshot."
        )


def _shown_manifest(store: Store, name: str) -> str:
    return f"{store.shown.rstrip('/')}/{name}{manifests.SUFFIX}"


def _snapshot_names(objects: t.Iterable[str]) -> set[str]:
    """Return the names of snapshots for which a store has an object or a manifest."""
    names = set()
    for name in objects:
        for suffix in (SNAPSHOT_SUFFIX, SNAPSHOT_SUFFIX + ENCRYPTED_SUFFIX, MANIFEST_SUFFIX):
            if name.endswith(suffix):
                names.add(name[: len(name) - len(suffix)] + SNAPSHOT_SUFFIX)
    return names


def _entry(name: str, objects: t.Mapping[str, StoredObject], manifest: Manifest | None, problem: str) -> StoredSnapshot:
    plain, encrypted = objects.get(name), objects.get(name + ENCRYPTED_SUFFIX)
    if manifest is None:
        held = plain or encrypted
        problem = problem or "it has no manifest: its upload was not finished, or another program wrote it"
        when = held.modified if held else 0.0
        return StoredSnapshot(name, when, held, None, problem)
    held = encrypted if manifest.encryption else plain
    if held is None:
        problem = "the object is gone; only its manifest is left"
    elif held.size != manifest.stored_size:
        problem = f"the object has {held.size} bytes, its manifest says {manifest.stored_size}"
    return StoredSnapshot(name, manifest.time, held, manifest, problem)


def _newest_first(found: StoredSnapshot) -> tuple[float, int, str]:
    return (-found.time, -(found.manifest.index if found.manifest else 0), found.name)

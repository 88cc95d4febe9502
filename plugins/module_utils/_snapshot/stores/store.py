# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store: a place for snapshots, on a disk or in an object store, that never overwrites anything."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..gunzip import Source as ByteSource
from .errors import StoreError

__all__ = ["ByteSource", "Content", "Store", "StoreOptions", "StoredObject", "check_name"]

Content = t.Union[Path, bytes]  # of an object: a file, or what is too small to be one


@dataclass(frozen=True)
class StoredObject:
    """One object. ``name`` is relative to the store's place, ``size`` in bytes, ``modified`` in seconds since 1970."""

    name: str
    size: int
    modified: float


@dataclass(frozen=True)
class StoreOptions:
    """Where a store is and how it is used; None means the store's own default.

    ``url`` is a directory or ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX``, ``az://CONTAINER/PREFIX``. Without
    ``credentials_file`` the credentials are those of the environment, else of the platform (instance profile, workload
    identity). ``timeout_s`` is the longest silence of the store.
    """

    url: str
    region: str | None = None
    endpoint: str | None = None
    account: str | None = None
    credentials_file: str | None = None
    profile: str = "default"
    path_style: bool | None = None
    ca_file: str | None = None
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    storage_class: str | None = None
    object_lock_mode: str | None = None
    object_lock_days: int | None = None
    timeout_s: float = 30.0


class Store(t.Protocol):
    """What every store can do. Each method raises a StoreError."""

    @property
    def shown(self) -> str:
        """The path or URL for messages, without any credential."""

    def create(self, name: str, source: Content) -> None:
        """Store a file or some bytes under a new name, whole or not at all. Raises AlreadyStored instead of overwriting anything."""

    def open(self, name: str) -> t.ContextManager[ByteSource]:
        """Open an object for reading from its beginning. Raises NotStored, when opened or when first read."""

    def objects(self) -> t.Iterator[StoredObject]:
        """Return every object of the store, in no particular order."""

    def read_many(self, names: t.Sequence[str], limit: int) -> dict[str, bytes]:
        """Return the contents of small objects by name, without those that do not exist.

        Raises StoreError for one of more than ``limit`` bytes too.
        """

    def refuses_to_overwrite(self, name: str, source: Path) -> bool:
        """Return whether the store itself refuses to store a file under a name that exists.

        One that does not is asked to: give it the file that is there already. ``create`` looks first, whatever this says.
        """

    def delete(self, name: str) -> None:
        """Delete an object; one that does not exist is no error."""

    def delete_many(self, names: t.Sequence[str]) -> None:
        """Delete objects; those that do not exist are no error. After a failure some may be gone."""

    def abort(self) -> None:
        """End what is being transferred, and everything later, with StoreCut. For any thread."""


def check_name(name: str) -> None:
    """Raise StoreError unless a name can be that of an object: one visible path component."""
    if not name or "/" in name or name.startswith(".") or not name.isprintable():
        raise StoreError(f"{name!r} cannot be the name of an object in a store: it must be a visible file name.")

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshot file that ``path``, ``at`` and ``store`` of a task name: a local one, or a private copy of one in a store."""

from __future__ import annotations

import contextlib
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._config.connection_spec import Spec
from .._consul.errors import InvalidOption
from .._consul.units import parse_timestamp
from .._snapshot import fetched_file, manifest
from .._snapshot.encryption.age_format import DecryptionKeys, is_encrypted
from .._snapshot.fetched_file import Wanted
from .._snapshot.manifest import Manifest
from .._snapshot.save_guards import readable_path
from .._snapshot.stored_snapshots import ENCRYPTED_SUFFIX
from .._snapshot.stores.open_store import is_store_url
from .store_options import STORE_SPEC, store_of
from .task import Invocation

LATEST = "latest"
SOURCE_SPEC: Spec = dict(
    at={"type": "str"},
    identity_file={"type": "path"},
    passphrase_file={"type": "path", "no_log": False},
    scratch_path={"type": "path"},
    **STORE_SPEC,
)


@dataclass(frozen=True)
class SourceFile:
    """A snapshot file to read: its path, what it is called in results, and its manifest when it is from a store."""

    path: Path
    shown: str
    manifest: Manifest | None = None


def is_in_store(call: Invocation) -> bool:
    """Return whether the options name a snapshot in a store. Raises InvalidOption."""
    return is_store_url(call.params["path"]) or call.params["at"] is not None


def names_no_snapshot(call: Invocation) -> bool:
    """Return whether the options name an object store and no snapshot in it."""
    path = call.params["path"]
    return is_store_url(path) and call.params["at"] is None and fetched_file.split_place(path)[1] is None


@contextlib.contextmanager
def snapshot_file(
    call: Invocation, scratch: Path | None, datacenter: t.Callable[[], str | None]
) -> t.Iterator[SourceFile]:
    """Yield the snapshot file; a private copy is removed afterwards.

    ``scratch``: where private copies are, None: where temporary files are. ``datacenter`` is asked only when ``at`` chooses.
    Raises InvalidOption, LocalFailure, a StoreError, or what decrypting raises.
    """
    options = call.params
    keys = DecryptionKeys(options["identity_file"], options["passphrase_file"])
    directory = Path(options["scratch_path"] or scratch or tempfile.gettempdir())
    if is_in_store(call):
        if not directory.is_dir():
            raise InvalidOption(f"The directory {directory} for the copy of the snapshot does not exist: create it.")
        place, name = fetched_file.split_place(options["path"])
        wanted = _wanted(options["path"], name, options["at"], datacenter)
        store = store_of(place, options["store"])
        found = fetched_file.choose(store, wanted)
        with fetched_file.fetched(store, found, keys, directory) as path:
            yield SourceFile(path, f"{store.shown.rstrip('/')}/{found.name}", found.manifest)
        return
    path = readable_path(options["path"], "path")
    if not (path.is_file() and is_encrypted(path)):
        yield SourceFile(path, str(path))
        return
    described = manifest.load(manifest.manifest_path(_plain_name(path)))
    with fetched_file.opened(path, keys, directory, str(path), described) as plain:
        yield SourceFile(plain, str(path), described)


def _wanted(path: str, name: str | None, at: str | None, datacenter: t.Callable[[], str | None]) -> Wanted:
    if name is not None and at is not None:
        raise InvalidOption(
            f"path {path} names a snapshot, and at chooses one: give path without the name, or leave out at."
        )
    if name is not None:
        return Wanted(name=name)
    if at is None:
        raise InvalidOption(f"path {path} names a store: set at to latest or a time, or name the snapshot in path.")
    moment = None if at == LATEST else parse_timestamp(at, "at")
    return Wanted(at=moment, datacenter=datacenter())


def _plain_name(path: Path) -> Path:
    """Return the name that an encrypted file has without its encryption."""
    if path.name.endswith(ENCRYPTED_SUFFIX):
        return path.with_name(path.name[: -len(ENCRYPTED_SUFFIX)])
    return path

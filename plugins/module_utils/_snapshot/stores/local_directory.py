# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory on a disk as a store: files of mode 0600, each written beside its name, synchronised and then linked to it."""

from __future__ import annotations

import contextlib
import io
import stat
import typing as t
from pathlib import Path

from ..._consul.errors import LocalFailure
from ..._consul.private_file import PrivateFile, os_errors_as, sweep_abandoned
from ..gunzip import CHUNK
from ..sources import SnapshotFile
from .errors import AlreadyStored, NotStored, StoreCut, StoreError
from .store import ByteSource, Content, StoredObject, check_name


class LocalDirectory:
    """The files of one directory, without those below it. Hidden files are not part of the store."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.shown = str(directory)
        self._is_cut = False

    def create(self, name: str, source: Content) -> None:
        path = self._path(name)
        with _as_store_errors():
            sweep_abandoned(self._directory)
            with _opened(source) as stream, PrivateFile(self._directory) as part:
                while True:
                    self._check_cut()
                    data = stream.read(CHUNK)
                    if not data:
                        break
                    part.write(data)
                if not part.commit_new(path):
                    raise AlreadyStored(f"{path} exists already, and a store never overwrites: nothing was written.")

    @contextlib.contextmanager
    def open(self, name: str) -> t.Iterator[ByteSource]:
        path = self._path(name)
        with _as_store_errors():
            try:
                is_there = path.exists()
            except OSError as error:
                raise LocalFailure(f"reading the status of {path}: {error.strerror or error}.") from None
            if not is_there:
                raise NotStored(f"{self.shown} has no file {name}.")
            stream = SnapshotFile(path)
        with stream:
            yield _Source(stream, self._check_cut)

    def objects(self) -> t.Iterator[StoredObject]:
        with _as_store_errors(), os_errors_as(f"reading the directory {self.shown}"):
            names = sorted(path for path in self._directory.iterdir() if not path.name.startswith("."))
        for path in names:
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # deleted since the directory was read
            except OSError as error:
                raise StoreError(f"reading the status of {path}: {error.strerror or error}.") from None
            if stat.S_ISREG(status.st_mode):
                yield StoredObject(path.name, status.st_size, status.st_mtime)

    def read_many(self, names: t.Sequence[str], limit: int) -> dict[str, bytes]:
        found = {}
        for name in names:
            self._check_cut()
            path = self._path(name)
            try:
                with path.open("rb", buffering=0) as stream:
                    content = stream.read(limit + 1) or b""
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"reading {path}: {error.strerror or error}.") from None
            if len(content) > limit:
                raise StoreError(f"{path} has more than {limit} bytes.")
            found[name] = content
        return found

    def refuses_to_overwrite(self, name: str, source: Path) -> bool:
        return True  # link(2) does

    def delete(self, name: str) -> None:
        path = self._path(name)
        with _as_store_errors(), os_errors_as(f"deleting {path}"):
            # Not synchronised, which takes most of the time: what a power cut brings back goes with the next retention.
            path.unlink(missing_ok=True)

    def delete_many(self, names: t.Sequence[str]) -> None:
        for name in names:
            self.delete(name)

    def abort(self) -> None:
        self._is_cut = True

    def _check_cut(self) -> None:
        if self._is_cut:
            raise StoreCut(f"{self.shown}: the transfer was ended.")

    def _path(self, name: str) -> Path:
        check_name(name)
        return self._directory / name


def _opened(source: Content) -> t.ContextManager[ByteSource]:
    return io.BytesIO(source) if isinstance(source, bytes) else SnapshotFile(source)


class _Source:
    """A file of the store; an error of the disk is one of the store."""

    def __init__(self, stream: SnapshotFile, check_cut: t.Callable[[], None]) -> None:
        self._stream = stream
        self._check_cut = check_cut

    def read(self, size: int) -> bytes:
        self._check_cut()
        with _as_store_errors():
            return self._stream.read(size)


@contextlib.contextmanager
def _as_store_errors() -> t.Iterator[None]:
    try:
        yield
    except LocalFailure as error:
        raise StoreError(str(error)) from None

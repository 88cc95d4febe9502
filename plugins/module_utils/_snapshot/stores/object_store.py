# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Object stores: S3 and what speaks it, Google Cloud Storage and Azure Blob Storage.

An object is created with a condition (If-None-Match, x-goog-if-generation-match). Some stores that speak S3 ignore it, and the
parts of a large object cannot be sent with it, so the name is looked up first as well.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import os
import typing as t
from pathlib import Path

from ..._consul.errors import InvalidOption, LocalFailure
from ..._consul.private_file import os_errors_as
from ..snapshot_directory import file_sha256
from ..sources import size_and_sha256
from ._libraries import (
    AlreadyExistsError,
    AzureStore,
    BaseError,
    GCSStore,
    PermissionDeniedError,
    S3Store,
    UnauthenticatedError,
    obstore,
    require_obstore,
)
from .errors import AlreadyStored, NotStored, StoreCut, StoreDenied, StoreError
from .in_flight import InFlight, RequestCut
from .object_lock import lock
from .store import ByteSource, Content, Store, StoredObject, StoreOptions, check_name
from .store_config import StoreConfig, store_config
from .store_failures import Attempt, failure

WHOLE_MAX = 8 << 20  # bytes; up to this an object is held in memory and sent with one conditional request
PART = 5 << 20  # the least that S3 takes
MAX_PARTS = 9000  # S3 takes 10,000
PARTS_AT_ONCE = 1  # with two a save needs 6 MB more, and was not faster
READ_CHUNK = 1 << 20
BULK_FROM = 20  # objects; fewer are deleted one by one, so that a refusal names its object


def open_object_store(options: StoreOptions, environ: t.Mapping[str, str] | None = None) -> Store:
    """Return the store of an ``s3://``, ``gs://`` or ``az://`` URL; no request is sent yet.

    Raises MissingLibrary, InvalidOption and LocalFailure.
    """
    require_obstore()
    return ObjectStore(store_config(options, os.environ if environ is None else environ), options.storage_class)


class ObjectStore:
    """A prefix of a bucket or container. Names below a further ``/`` are not part of the store."""

    def __init__(self, config: StoreConfig, storage_class: str | None) -> None:
        self._in_flight = InFlight()
        self._scheme = config.scheme
        self.shown = f"{config.scheme}://{config.bucket}/{config.prefix}".rstrip("/")
        self._prefix = config.prefix
        self._retention = config.retention
        self._attributes = {"Storage-Class": storage_class} if storage_class else None
        kind: t.Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[config.scheme]
        try:
            self._store = kind(
                config.bucket,
                prefix=config.prefix or None,
                client_options=config.client,
                retry_config=config.retry,
                **config.settings,
            )
        except (BaseError, ValueError, FileNotFoundError) as error:
            raise InvalidOption(f"{self.shown} cannot be opened: {_first_line(error)}.") from None

    def create(self, name: str, source: Content) -> None:
        check_name(name)
        size = _size(source)
        if self._exists(name, must_know=size > WHOLE_MAX):
            raise self._already(name)
        try:
            self._put(name, source, size)
        except AlreadyExistsError:
            if not self._is_ours(name, source):
                raise self._already(name) from None
        if self._retention is not None:
            key = f"{self._prefix}/{name}" if self._prefix else name
            now = datetime.datetime.now(datetime.timezone.utc)
            lock(self._retention, key, now, Attempt(self._scheme, self.shown, "lock", name))

    @contextlib.contextmanager
    def open(self, name: str) -> t.Iterator[ByteSource]:
        check_name(name)
        with self._errors("read", name):
            answer = self._in_flight.run(lambda: obstore.get_async(self._store, name))
        yield _Source(answer.stream(min_chunk_size=READ_CHUNK), self, name)

    def objects(self) -> t.Iterator[StoredObject]:
        with self._errors("list"):
            found = self._in_flight.run(lambda: obstore.list_with_delimiter_async(self._store))["objects"]
        for row in found:
            if row["path"]:  # some stores list the prefix itself
                yield StoredObject(row["path"], row["size"], row["last_modified"].timestamp())

    def read_many(self, names: t.Sequence[str], limit: int) -> dict[str, bytes]:
        async def read(name: str) -> bytes | None:
            check_name(name)
            try:
                with self._errors("read", name):
                    content = await self._read_range(name, limit + 1)
                    if len(content) > limit:
                        raise StoreError(f"{self.shown}/{name} has more than {limit} bytes.")
                    return content
            except NotStored:
                return None

        with self._errors("read"):
            found = self._in_flight.gather([functools.partial(read, name) for name in names])
        return {name: content for name, content in zip(names, found) if content is not None}

    async def _read_range(self, name: str, size: int) -> bytes:
        """Return the beginning of an object, with a third less work than a whole one, of which the answer and its body come apart."""
        try:
            return bytes(await obstore.get_range_async(self._store, name, start=0, end=size))
        except (FileNotFoundError, PermissionDeniedError, UnauthenticatedError):
            raise
        except BaseError as error:
            if "range" not in str(error).lower():
                raise
        answer = await obstore.get_async(self._store, name)  # it is empty, or the store knows no ranges
        if answer.meta["size"] >= size:
            raise StoreError(f"{self.shown}/{name} has more than {size - 1} bytes.")
        return bytes(await answer.bytes_async())

    def refuses_to_overwrite(self, name: str, source: Path) -> bool:
        check_name(name)
        try:
            self._put(name, source, 0)
        except AlreadyExistsError:
            return True
        return False

    def delete(self, name: str) -> None:
        check_name(name)
        with contextlib.suppress(NotStored), self._errors("delete", name):
            self._in_flight.run(lambda: obstore.delete_async(self._store, name))

    def delete_many(self, names: t.Sequence[str]) -> None:
        for name in names:
            check_name(name)
        if self._scheme == "s3" and len(names) >= BULK_FROM:
            with self._errors("delete"):
                # One request for 1,000 objects. S3 does not mind those that do not exist.
                self._in_flight.run(lambda: obstore.delete_async(self._store, list(names)))
            return
        for name in names:
            self.delete(name)

    def abort(self) -> None:
        self._in_flight.cut()

    def _put(self, name: str, source: Content, size: int) -> None:
        """Send a file or some bytes. Raises AlreadyExistsError or a StoreError."""
        with self._errors("write", name):
            self._in_flight.run(
                lambda: obstore.put_async(self._store, name, source, attributes=self._attributes, **_how(size))
            )

    def _exists(self, name: str, *, must_know: bool) -> bool:
        """Return whether an object is there. Without ``must_know`` a refusal counts as no: the store itself refuses then."""
        try:
            with self._errors("read", name):
                self._in_flight.run(lambda: obstore.head_async(self._store, name))
        except NotStored:
            return False
        except StoreDenied:
            # Without the right to list, S3 refuses to say that an object does not exist.
            if must_know:
                raise
            return False
        return True

    def _is_ours(self, name: str, source: Content) -> bool:
        """Return whether an object is what was sent: an attempt whose answer was lost, made again, finds what it stored itself."""
        try:
            with self.open(name) as stored:
                _size, sha256 = size_and_sha256(stored)
        except StoreDenied:
            return False
        return sha256 == _digest(source)

    def _already(self, name: str) -> AlreadyStored:
        return AlreadyStored(f"{self.shown}/{name} exists already, and a store never overwrites: nothing was written.")

    @contextlib.contextmanager
    def _errors(self, right: str, name: str = "") -> t.Iterator[None]:
        """Turn what obstore raises into a StoreError; AlreadyExistsError passes."""
        attempt = Attempt(self._scheme, self.shown, right, name)
        try:
            yield
        except AlreadyExistsError:
            raise
        except RequestCut:
            raise StoreCut(f"{self.shown}: the request was ended.") from None
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
                raise failure(attempt, str(error)) from None
            raise NotStored(f"{self.shown} has no object {name}.") from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise failure(attempt, str(error), denied=True) from None
        except (BaseError, OSError, ValueError) as error:
            raise failure(attempt, str(error)) from None


class _Source:
    """The stream of an object, read in the sizes that the reader wants."""

    def __init__(self, pieces: t.Any, store: ObjectStore, name: str) -> None:
        self._pieces = pieces
        self._store = store
        self._name = name
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._rest:
            with self._store._errors("read", self._name):
                piece = self._store._in_flight.run(self._next)
            if piece is None:
                return b""
            self._rest = memoryview(bytes(piece))
        data = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        return data

    async def _next(self) -> t.Any:
        """Return the next piece, None at the end."""
        async for piece in self._pieces:
            return piece
        return None


def _how(size: int) -> dict[str, t.Any]:
    """Return how an object of a size is sent."""
    if size <= WHOLE_MAX:
        return {"mode": "create", "use_multipart": False}
    return {"use_multipart": True, "chunk_size": max(PART, size // MAX_PARTS + 1), "max_concurrency": PARTS_AT_ONCE}


def _size(source: Content) -> int:
    if isinstance(source, bytes):
        return len(source)
    with _file_errors(source):
        return source.stat().st_size


def _digest(source: Content) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with _file_errors(source):
        return file_sha256(source)


@contextlib.contextmanager
def _file_errors(path: Path) -> t.Iterator[None]:
    try:
        with os_errors_as(f"reading {path}"):
            yield
    except LocalFailure as error:
        raise StoreError(str(error)) from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")

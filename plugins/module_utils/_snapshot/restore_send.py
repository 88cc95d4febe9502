# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends a snapshot file to Consul: exactly one request, only if the file is still the one that was read."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from pathlib import Path

from .._consul import errors
from .._consul.client import Client
from .._consul.errors import GuardRefused
from .._consul.private_file import os_errors_as
from . import live_snapshot
from .gunzip import CHUNK

log = logging.getLogger("consulops")

_UNCERTAIN = (
    "The restore request was sent once and its answer did not come ({error}). The leader may have crashed while "
    "restoring. Do NOT restore this snapshot again: a server survives one bad snapshot and not two. Look for 'failed "
    "to restore snapshot' in the leader's log; restart it if it is down, it then takes the older, good state. "
    "The state before is in {safety}."
)


class RestoreUncertain(errors.ConsulError):
    """The restore request was sent and its outcome is not known."""


def send(client: Client, path: Path, sha256: str, *, safety: Path, timeout_s: float) -> None:
    """Send the file whose SHA-256 is given, once, on a new connection so that no stale one can fail it.

    ``safety`` is the snapshot of the state before, named in errors; ``timeout_s`` is how long the answer may take.
    Raises RestoreUncertain when the outcome is not known; after any other error nothing was restored.
    """
    started = time.monotonic()
    with os_errors_as(f"reading {path}"):
        upload = _Upload(path)
    with upload, Client(client.endpoint) as fresh:
        if upload.sha256() != sha256:
            raise GuardRefused(f"{path} was replaced or changed after it was compared. Nothing was restored")
        try:
            fresh.upload(live_snapshot.SNAPSHOT_PATH, upload, timeout_s=timeout_s)
        except errors.PermissionDenied as error:
            raise live_snapshot.permission_denied(error) from None
        except (errors.Unreachable, errors.NoLeader, errors.ServerFailed) as error:
            if not upload.has_begun:
                raise
            raise RestoreUncertain(
                _UNCERTAIN.format(error=error, safety=safety), error.status, error.consul_message
            ) from None
        except KeyboardInterrupt:
            if not upload.has_begun:
                raise
            raise RestoreUncertain(_UNCERTAIN.format(error="interrupted by the user", safety=safety)) from None
    log.debug("sent %s (%d bytes) to %s in %.3f s", path, len(upload), client.endpoint, time.monotonic() - started)


class _Upload:
    """A file as a request body that knows whether any of it was read."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        self._size = os.fstat(self._stream.fileno()).st_size
        self.has_begun = False

    def __len__(self) -> int:
        return self._size

    def sha256(self) -> str:
        """Return the SHA-256 of what will be sent, and return to its beginning."""
        digest = hashlib.sha256()
        while True:
            data = self._stream.read(CHUNK)
            if not data:
                self._stream.seek(0)
                return digest.hexdigest()
            digest.update(data)

    def read(self, size: int = -1) -> bytes:
        self.has_begun = True
        return self._stream.read(size)

    def __enter__(self) -> _Upload:
        return self

    def __exit__(self, *_args: object) -> None:
        self._stream.close()

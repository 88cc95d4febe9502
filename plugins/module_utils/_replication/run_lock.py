# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock at the destination that keeps two runs of one replication apart."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
import typing as t

from .._consul import errors, kv
from .._consul.client import Client
from .._consul.errors import GuardRefused
from .._consul.lock import Lock
from .._consul.reserved_keys import REPLICATION_ROOT
from .._consul.session_node import session_node, with_node_rights
from .checkpoint import lock_key

LOCK_TTL_S = 15
LOCK_DELAY_S = 1  # every transaction checks the lock, so a former holder cannot write late

log = logging.getLogger("consulops")


@contextlib.contextmanager
def held_lock(destination: Client, name: str, wait_s: float) -> t.Iterator[Lock]:
    """Hold the lock of a replication. Raises GuardRefused when another run holds it for ``wait_s`` seconds, or a ConsulError."""
    holder = f"{socket.gethostname()}, process {os.getpid()}".encode()
    lock = Lock(
        destination,
        lock_key(name),
        name=f"consulops replication {name}",
        value=holder,
        ttl_s=LOCK_TTL_S,
        lock_delay_s=LOCK_DELAY_S,
        node=session_node(destination),
    )
    with lock:
        started = time.monotonic()
        _acquire(lock, destination, name, wait_s)
        log.debug("took the lock %s after %.3f s", lock.key, time.monotonic() - started)
        yield lock


def _acquire(lock: Lock, destination: Client, name: str, wait_s: float) -> None:
    try:
        held = lock.acquire(wait_s)
    except errors.PermissionDenied as error:
        raise error.with_advice(
            "The destination's token may not take the lock that keeps two runs apart:",
            f'It needs session_prefix "" {{ policy = "write" }} and key_prefix "{REPLICATION_ROOT}" {{ policy = "write" }}. '
            "Nothing was changed.",
        ) from None
    except errors.ServerFailed as error:
        raise with_node_rights(error, destination.endpoint) from None
    if not held:
        entries = kv.read_key(destination, lock.key).entries
        holder = entries[0].value.decode("utf-8", "replace") if entries else "unknown holder"
        raise GuardRefused(
            f"Another run of the replication {name!r} is in progress ({holder}) and did not end within {wait_s:g} s. Nothing was "
            "changed"
        )

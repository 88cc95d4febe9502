# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live state of a datacenter as a snapshot stream; used by saving, comparing and restoring."""

from __future__ import annotations

import logging
import time

from .._consul import errors
from .._consul.client import Client
from .._consul.response import Stream
from .._consul.retry import RetryPolicy

log = logging.getLogger("consulops")

SNAPSHOT_PATH = "/v1/snapshot"
NEEDED_POLICY = 'Taking a snapshot needs a token whose policy says: acl = "write"'

# Consul keeps the two newest of its own snapshots. When several are taken at once it can delete one before it sends it (about 1 of 300
# requests of 60 to 100 at once on 1.8.7), and answers 500 with these words.
DELETED_BEFORE_SENT = "failed to open snapshot"
DELETED_RETRY_S = 15.0


def open_stream(client: Client, *, stale: bool, timeout_s: float) -> Stream:
    """Return a stream of the state that the client's datacenter is in now; ``timeout_s``: the longest silence.

    Asks again when Consul deleted what it was about to send. Raises PermissionDenied, with the policy that is needed, or another
    ConsulError.
    """
    started = time.monotonic()
    retry = RetryPolicy(DELETED_RETRY_S, can_pass=_was_deleted_before_sent)
    try:
        stream = retry.run(lambda: client.stream(SNAPSHOT_PATH, {"stale": ""} if stale else {}, timeout_s=timeout_s))
    except errors.PermissionDenied as error:
        raise permission_denied(error) from None
    log.debug("%s answered with a snapshot after %.3f s (stale=%s)", client.endpoint, time.monotonic() - started, stale)
    return stream


def _was_deleted_before_sent(error: errors.ConsulError) -> bool:
    return isinstance(error, errors.ServerFailed) and DELETED_BEFORE_SENT in error.consul_message


def permission_denied(error: errors.PermissionDenied) -> errors.PermissionDenied:
    """Return the error of a snapshot request that was denied, with the policy that is needed."""
    return error.with_advice(after=f"{NEEDED_POLICY}.")


def name_of(client: Client) -> str:
    """Return what errors call the live stream."""
    return f"the answer of {client.endpoint}"

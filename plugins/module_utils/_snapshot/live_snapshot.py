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
# A follower passes the request on to the leader, and gives this answer when that connection breaks before the snapshot comes, as seen
# soon after the start of a datacenter.
LEADER_CUT = "connection reset by peer"
AGAIN_WITHIN_S = 15.0


def open_stream(client: Client, *, stale: bool, timeout_s: float) -> Stream:
    """Return a stream of the state that the client's datacenter is in now; ``timeout_s``: the longest silence.

    Asks again when Consul deleted what it was about to send, or lost the connection to its leader. Raises PermissionDenied, with the
    policy that is needed, or another ConsulError.
    """
    started = time.monotonic()
    retry = RetryPolicy(AGAIN_WITHIN_S, can_pass=_can_be_asked_again)
    try:
        stream = retry.run(lambda: client.stream(SNAPSHOT_PATH, {"stale": ""} if stale else {}, timeout_s=timeout_s))
    except errors.PermissionDenied as error:
        raise permission_denied(error) from None
    log.debug("%s answered with a snapshot after %.3f s (stale=%s)", client.endpoint, time.monotonic() - started, stale)
    return stream


def _can_be_asked_again(error: errors.ConsulError) -> bool:
    is_passing = any(words in error.consul_message for words in (DELETED_BEFORE_SENT, LEADER_CUT))
    return isinstance(error, errors.ServerFailed) and is_passing


def permission_denied(error: errors.PermissionDenied) -> errors.PermissionDenied:
    """Return the error of a snapshot request that was denied, with the policy that is needed."""
    return error.with_advice(after=f"{NEEDED_POLICY}.")


def name_of(client: Client) -> str:
    """Return what errors call the live stream."""
    return f"the answer of {client.endpoint}"

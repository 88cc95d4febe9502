# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which failures are reattempts."""

from __future__ import annotations

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import (
    endpoint,
    errors,
    failures,
    retry,
)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.NoLeader("x"), True),
        (errors.TimedOut("x"), True),
        (errors.ServerFailed("x"), True),
        (errors.Aborted("x"), False),
        (errors.TLSFailed("x"), False),
        (errors.PermissionDenied("x"), False),
        (errors.InvalidResponse("x"), False),
    ],
)
def test_only_transient_failures_are_reattempts(error: errors.ConsulError, transient: bool) -> None:
    attempts = []

    def work() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise error
        return "done"

    if transient:
        assert retry.RetryPolicy(5).run(work) == "done"
        with pytest.raises(type(error)):
            attempts.clear()
            retry.RetryPolicy(0).run(work)
    else:
        with pytest.raises(type(error)):
            retry.RetryPolicy(5).run(work)
        assert len(attempts) == 1


@pytest.mark.parametrize("reason", ["write: broken pipe", "read: connection reset by peer", "EOF", "i/o timeout"])
def test_a_server_that_died_under_a_forwarded_request_counts_as_no_leader(reason: str) -> None:
    """The text is that of Consul 1.8.7 in the moments after its leader was killed."""
    text = f"rpc error making call: write tcp 127.0.0.1:46529->127.0.0.3:8300: {reason}"
    error = failures.of_status(500, text.encode(), {}, "GET /v1/kv/a", endpoint.resolve({}, {}))
    assert isinstance(error, errors.NoLeader)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watches something in Consul with blocking queries, and detects that its index went backwards.

After a restore, or in a rebuilt datacenter, X-Consul-Index falls. A query with the old, higher index then blocks for its
whole wait and returns the old state as a change (observed: 681 to 20, 12 s of 12 s); after a reset this watch starts over.
Source: https://developer.hashicorp.com/consul/api-docs/features/blocking
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .client import Client, Params, Response

DEFAULT_WAIT_S = 60.0


@dataclass(frozen=True)
class WatchResult:
    """The result of one query. ``changed``: the index differs from the previous one. ``reset``: it went backwards."""

    response: Response
    index: int
    changed: bool
    reset: bool


class Watch:
    """Waits for changes. Each ``next()`` is one request of at most ``wait_s`` seconds.

    ``wait_s`` is also how long a restore of the datacenter during a query can go unnoticed.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        params: Params | None = None,
        *,
        wait_s: float = DEFAULT_WAIT_S,
        consistency: str = "default",
        absent_ok: bool = True,
        partial_ok: bool = False,
    ) -> None:
        self._client = client
        self._path = path
        self._params = dict(params or {})
        self._wait_s = wait_s
        self._consistency = consistency
        self._absent_ok = absent_ok
        self._partial_ok = partial_ok
        self._index: int | None = None

    def next(self) -> WatchResult:
        """Send one query; the first does not block. Raises a ConsulError, after which the next call starts over."""
        sent_index, self._index = self._index, None
        response = self._client.get(
            self._path,
            self._params,
            consistency=self._consistency,
            index=sent_index,
            wait_s=self._wait_s,
            absent_ok=self._absent_ok,
            partial_ok=self._partial_ok,
        )
        reset = sent_index is not None and response.index < sent_index
        # A query with index 0 does not block.
        self._index = None if reset else max(1, response.index)
        return WatchResult(
            response, response.index, changed=sent_index is None or response.index != sent_index, reset=reset
        )

    def __iter__(self) -> t.Iterator[WatchResult]:
        while True:
            yield self.next()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Follows something in Consul with blocking queries, and knows when its index went backwards.

After a restore or a rebuilt datacenter X-Consul-Index falls. A watcher that keeps asking with the old, higher index
sits out its whole wait and then reads old news as new (seen: 681 to 20, 12 s of 12 s); this one starts over.
Source: https://developer.hashicorp.com/consul/api-docs/features/blocking
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .client import Client, Params, Response

DEFAULT_WAIT_S = 60.0


@dataclass(frozen=True)
class WatchResult:
    """One look. ``changed``: the index moved since the last look. ``reset``: it moved backwards."""

    response: Response
    index: int
    changed: bool
    reset: bool


class Watch:
    """Blocks until something changes. Each ``next()`` is one request of at most ``wait_s`` seconds.

    ``wait_s`` is also how long a watcher can miss that the datacenter was restored while it was asking.
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
    ) -> None:
        self._client = client
        self._path = path
        self._params = dict(params or {})
        self._wait_s = wait_s
        self._consistency = consistency
        self._absent_ok = absent_ok
        self._index: int | None = None

    def next(self) -> WatchResult:
        """Ask once; the first time without waiting. Raises a ConsulError, and the next call starts over."""
        asked_with, self._index = self._index, None
        response = self._client.get(
            self._path,
            self._params,
            consistency=self._consistency,
            index=asked_with,
            wait_s=self._wait_s,
            absent_ok=self._absent_ok,
        )
        reset = asked_with is not None and response.index < asked_with
        # An index of 0 would make the next query return at once for ever.
        self._index = None if reset else max(1, response.index)
        return WatchResult(
            response, response.index, changed=asked_with is None or response.index != asked_with, reset=reset
        )

    def __iter__(self) -> t.Iterator[WatchResult]:
        while True:
            yield self.next()

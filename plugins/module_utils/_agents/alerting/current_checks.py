# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks Consul for all checks of the watched datacenters, for those who ask the endpoint about single ones.

The agent itself reads only the checks that fail. An answer is shared by all who ask within a second, so that a monitor that asks for
thousands of checks costs Consul one request a second. Nobody waits longer than ``WITHIN_S`` seconds: what was not read by then is unknown.
"""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass, replace

from ..._alerting.rules.checks import Check, parse_checks
from ..._consul import errors
from ..._consul.client import Client
from ..._consul.endpoint import Endpoint

TIMEOUT_S = 2.0
WITHIN_S = 4.0
SHARED_S = 1.0
LATE = "Consul did not answer in time."


@dataclass(frozen=True)
class CurrentChecks:
    """All checks of one watched datacenter. ``problem`` is why they are not all known, "" if they are."""

    source: str
    checks: tuple[Check, ...] = ()
    problem: str = ""


class _Place:
    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = replace(endpoint, timeout_s=min(endpoint.timeout_s, TIMEOUT_S))
        self.lock = threading.Lock()
        self.read_at = 0.0
        self.last: CurrentChecks | None = None


class CurrentChecksReader:
    """Reads the checks of each source. For several threads."""

    def __init__(self, endpoints: t.Mapping[str, Endpoint]) -> None:
        self._places = {source: _Place(endpoint) for source, endpoint in endpoints.items()}

    @property
    def sources(self) -> list[str]:
        """Everything that is watched."""
        return list(self._places)

    def read(self, sources: t.Iterable[str]) -> list[CurrentChecks]:
        """Return the checks of some sources, one entry for each."""
        deadline = time.monotonic() + WITHIN_S
        return [self._read(source, deadline) for source in sources]

    def _read(self, source: str, deadline: float) -> CurrentChecks:
        place = self._places[source]
        last = place.last
        # While Consul does not answer, only one request at a time waits for it: the endpoint has few threads.
        wait_s = 0.0 if last is not None and last.problem else max(0.0, deadline - time.monotonic())
        if not place.lock.acquire(timeout=wait_s):
            return CurrentChecks(source, problem=(last and last.problem) or LATE)
        try:
            if place.last is not None and time.monotonic() - place.read_at <= SHARED_S:
                return place.last
            if time.monotonic() > deadline:
                return CurrentChecks(source, problem=LATE)
            place.last = _request(source, place.endpoint)
            place.read_at = time.monotonic()
            return place.last
        finally:
            place.lock.release()


def _request(source: str, endpoint: Endpoint) -> CurrentChecks:
    try:
        with Client(endpoint) as client:
            response = client.get("/v1/health/state/any", partial_ok=True)
            checks = response.parse(parse_checks).checks
    except errors.Error as error:
        return CurrentChecks(source, problem=str(error))
    problem = "Consul left out what the token may not see." if response.is_filtered else ""
    return CurrentChecks(source, checks, problem)

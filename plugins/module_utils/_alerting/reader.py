# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends the requests for one datacenter. What fails is recorded as unknown, never as absent."""

from __future__ import annotations

import logging
import time
import typing as t

from .._consul import errors, kv
from .._consul.acl_filter import HEADER_OF_NEWER
from .._consul.client import Client, Response
from .expectation import Expected
from .observation import FilteredLists, Observation
from .rule import RuleSet

if t.TYPE_CHECKING:
    from .rule_group import Reading

log = logging.getLogger("consulops")

FAILING = 'Status != "passing"'


def get_failing_checks(
    client: Client, *, consistency: str = "default", index: int | None = None, wait_s: float | None = None
) -> Response:
    """Return the rows of the checks that are not passing: a filtered request, however many checks there are.

    With ``index`` it is a blocking query of at most ``wait_s`` seconds. An answer that Consul filtered by ACLs is returned:
    see ``Response.is_filtered``. Raises a ConsulError.
    Source: https://developer.hashicorp.com/consul/api-docs/health#list-checks-in-state
    """
    return client.get(
        "/v1/health/state/any",
        {"filter": FAILING},
        consistency=consistency,
        index=index,
        wait_s=wait_s,
        partial_ok=True,
    )


class Reader:
    """Reads one datacenter for the rules that are on, into ``observation``.

    ``is_local`` says that the agent belongs to this datacenter, so its gossip, WAN and certificate are the datacenter's. ``expected``
    is what should be there, by datacenter.
    """

    def __init__(
        self,
        client: Client,
        rules: RuleSet,
        observation: Observation,
        *,
        is_local: bool,
        expected: t.Mapping[str, Expected] | None = None,
    ) -> None:
        self.client = client
        self.rules = rules
        self.observation = observation
        self.is_local = is_local
        self._expected = expected or {}

    @property
    def expected(self) -> Expected:
        """What is expected of the datacenter; nothing if it was not declared."""
        return self._expected.get(self.observation.datacenter, Expected())

    def get(self, path: str, params: t.Mapping[str, t.Any] | None = None) -> Response:
        """GET with the consistency that the datacenter can give: without a leader servers answer only stale reads.

        What Consul filtered by ACLs is judged as far as it goes, and noted for the rule acl_token_blind.
        """
        consistency = "default" if self.observation.leader_problem is None else "stale"
        response = self.client.get(path, params, consistency=consistency, partial_ok=True)
        self.note_filtered(response)
        return response

    def published(self, folder: str) -> t.Sequence[kv.Entry]:
        """Return the keys below a folder of what others publish: two requests, however many there are. Raises a ConsulError."""
        try:
            kv.check_readable(self.client, folder)  # a denied list looks empty
            return kv.read_shard(self.client, folder).entries
        except errors.PermissionDenied as error:
            raise error.with_advice(after=f'The token needs key_prefix "{folder}" {{ policy = "read" }}.') from None

    def note_filtered(self, response: Response) -> None:
        """Note whether a list was filtered by ACLs, as far as Consul says so."""
        known = self.observation.get(FilteredLists) or FilteredLists()
        paths = known.paths | {response.path} if response.is_filtered else known.paths
        self.observation.add(FilteredLists(paths, known.is_announced or HEADER_OF_NEWER in response.headers))

    def read(self, reading: Reading) -> None:
        """Do one reading if a rule needs it; record what could not be read."""
        if reading.rules and not self.rules.has_enabled(reading.rules, only_named=reading.only_named):
            return
        started = time.monotonic()
        outcome = "read"
        try:
            reading.collect(self)
        except errors.ConsulError as error:
            if isinstance(error, errors.PermissionDenied) and "/operator/" in str(error):
                self.observation.add_unknown(
                    reading.what, error.with_advice(after='The token needs operator = "read".')
                )
            else:
                self.observation.add_unknown(reading.what, error)
            outcome = f"unknown: {type(error).__name__}"
        elapsed_ms = 1000 * (time.monotonic() - started)
        log.debug("alert check: %s of %s %s in %.0f ms", reading.what, self.observation.datacenter, outcome, elapsed_ms)

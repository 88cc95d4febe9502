# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads one datacenter for the rules, with a handful of requests however many checks there are.

The checks that are not passing are requested with a filter, so 10,000 passing checks cost nothing. While there is no leader, servers
answer stale reads; reads that would wait for a leader are not sent.
"""

from __future__ import annotations

import logging
import time
import typing as t
from dataclasses import dataclass, field

from .._consul import errors
from .._consul.answer_fields import to_texts
from .._consul.client import Client
from .._consul.retry import RetryPolicy
from . import tls_certificate
from .expectation import Expected
from .observation import Observation
from .reader import Reader, get_failing_checks
from .registry import RULE_GROUPS
from .rule import RuleSet
from .rule_group import Reading
from .rules.certificates import AgentCertificate
from .rules.cluster import AnsweringServer
from .rules.snapshots import Snapshot, Snapshots

log = logging.getLogger("consulops")

OTHER_SERVER_S = 1.0  # how long to try other servers of a remote datacenter


@dataclass(frozen=True)
class ObserveOptions:
    """What to read: for these rules, beside the snapshots that were found already.

    ``snapshots`` has the newest of each datacenter, None when snapshots are not to be judged. ``expected`` is what should be there,
    by datacenter. ``also`` is read too where there is a leader, though no rule judges it.
    """

    rules: RuleSet
    snapshots: t.Mapping[str, Snapshot | None] | None = None
    expected: t.Mapping[str, Expected] = field(default_factory=dict)
    also: tuple[Reading, ...] = ()


def observe(client: Client, options: ObserveOptions, now: float) -> Observation:
    """Read one datacenter; ``now`` is the time of the observation in Unix seconds.

    Raises no ConsulError: a Consul that is down, denies a request or answers something else is described in the observation.
    """
    started = time.monotonic()
    observation = Observation(client.endpoint.datacenter or "", now)
    if options.snapshots is not None:
        observation.add(Snapshots(options.snapshots))
    _read(client, options, observation)
    log.debug(
        "alert check: %s observed in %.0f ms, %d parts unknown",
        observation.datacenter,
        1000 * (time.monotonic() - started),
        len(observation.unknown),
    )
    return observation


def _read(client: Client, options: ObserveOptions, observation: Observation) -> None:
    rules = options.rules
    home = ""
    try:
        home = home_datacenter(client)
        observation.datacenter = observation.datacenter or home
        # The server to which the last request went may have died just now: the agent then picks another one.
        retry = RetryPolicy(OTHER_SERVER_S if observation.datacenter != home else 0.0)
        failing = retry.run(lambda: get_failing_checks(client, consistency="stale"))
        observation.add(AnsweringServer(knows_leader=failing.headers.get("X-Consul-KnownLeader") != "false"))
    except errors.PermissionDenied as error:
        observation.add_unknown(
            "checks", error.with_advice(after="The token needs node_prefix and service_prefix read.")
        )
        return
    except errors.NoLeader as error:
        # Every server answers that, with a leader or without one: of a remote datacenter no server can be reached.
        if observation.datacenter != home:
            _mark_unreachable(client, observation, error)
            return
        observation.leader_problem = str(error)
    except errors.TLSFailed as error:
        _mark_unreachable(client, observation, error)
        if rules.get("tls_cert_expiry") is not None:
            _add_refused_certificate(client, observation)
        return
    except errors.ConsulError as error:
        _mark_unreachable(client, observation, error)
        return
    is_local = client.endpoint.datacenter in (None, home)
    reader = Reader(client, rules, observation, is_local=is_local, expected=options.expected)
    for group in RULE_GROUPS:
        if observation.leader_problem is None or not group.needs_leader:
            for reading in group.readings:
                reader.read(reading)
    if observation.leader_problem is None:
        for reading in options.also:
            reader.read(reading)


def home_datacenter(client: Client) -> str:
    """Return the agent's datacenter. Consul sorts the datacenters by distance, so it is the first."""
    known = client.whoami().datacenter
    if known is None:
        known = client.get("/v1/catalog/datacenters").parse(lambda names: to_texts(names)[0])
    return known


def _mark_unreachable(client: Client, observation: Observation, error: errors.ConsulError) -> None:
    observation.has_name = bool(observation.datacenter)
    observation.datacenter = observation.datacenter or str(client.endpoint)
    observation.unreachable = str(error)


def _add_refused_certificate(client: Client, observation: Observation) -> None:
    """Read when a certificate expires that was not accepted, if a handshake still shows it."""
    try:
        observation.add(AgentCertificate(tls_certificate.expiry(client.endpoint)))
    except errors.ConsulError as error:
        log.debug("alert check: the refused certificate of %s could not be read: %s", client.endpoint, error)

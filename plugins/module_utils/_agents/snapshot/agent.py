# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshot agent: takes snapshots by policies, and keeps them in several destinations.

Each policy is a job: under a required lease of its own if one instance takes its snapshots, without one if every instance does.
A second job publishes its status, and two more deliver and publish what waits on an instance that lost the lease.
"""

from __future__ import annotations

import functools
import socket
from dataclasses import replace

from ..._consul.errors import Error, InvalidOption
from ..._daemon.agent_type import AgentType, Plan, Setup
from ..._daemon.job import Job
from ..._daemon.lease import LeaseSpec
from ..._snapshot.store_save import check_keys
from ..._snapshot.stores.open_store import open_store
from .config import ONE, PATH, SPEC, PolicyConfig, make_policies
from .endpoint import routes
from .memory import Memory
from .metrics import metrics
from .policy_job import connection_of, run_policy
from .publish_job import run_publisher
from .rehearsal_job import run_rehearsals
from .standby_job import run_standby
from .standby_publisher import run_standby_publisher

DEFAULT_PORT = 9002
DEFAULT_SERVICE = "consul-snapshot"  # as of the snapshot agent of Consul Enterprise
TRANSFER_LIMIT_S = 6 * 3600.0  # a transfer gives no sign of life


def policies_of(setup: Setup) -> tuple[PolicyConfig, ...]:
    """Return the policies of a configuration. Raises InvalidOption."""
    return make_policies(setup.options, setup.connection_options, setup.environ, socket.gethostname())


def plan(setup: Setup) -> Plan:
    """Return what runs. Raises InvalidOption that begins with the path of the option at fault."""
    policies = policies_of(setup)
    jobs = tuple(
        Job(
            _title(one),
            functools.partial(run_policy, config=one),
            one,
            connections=(connection_of(one.name),),
            lease=_title(one) if one.placement == ONE else None,
            heartbeat_limit_s=TRANSFER_LIMIT_S,
        )
        for one in policies
    )
    # Beside the policy's own job, which an upload can keep busy for hours.
    jobs += tuple(
        Job(
            f"status of {one.name}",
            functools.partial(run_publisher, config=one),
            one,
            connections=(connection_of(one.name),),
            lease=_title(one) if one.placement == ONE else None,
        )
        for one in policies
    )
    jobs += tuple(
        Job(
            f"rehearsal of {one.name}",
            functools.partial(run_rehearsals, policy=one, config=one.rehearse),
            one,
            connections=(),
            lease=_title(one) if one.placement == ONE else None,
            heartbeat_limit_s=TRANSFER_LIMIT_S,
        )
        for one in policies
        if one.rehearse is not None
    )
    # On every host: one that lost the lease may have snapshots that wait.
    jobs += tuple(
        Job(
            f"{title} of {one.name}",
            functools.partial(run, config=one),
            one,
            connections=(connection_of(one.name),),
            heartbeat_limit_s=TRANSFER_LIMIT_S,
        )
        for one in policies
        if one.placement == ONE
        for title, run in (("standby", run_standby), ("standby status", run_standby_publisher))
    )
    leases = tuple(_lease(setup, one) for one in policies if one.placement == ONE)
    return Plan({connection_of(one.name): one.endpoint for one in policies}, jobs, leases, routes())


def check(setup: Setup) -> None:
    """Raise InvalidOption for keys that cannot be used, and for a destination that cannot be opened: a directory that is not there,
    a library that is missing.
    """
    for policy in policies_of(setup):
        try:
            check_keys(policy.keys)
        except Error as error:
            raise InvalidOption(f"{PATH}.{policy.name}: {error}") from None
        for destination in policy.destinations:
            try:
                open_store(destination.store)
            except Error as error:
                raise InvalidOption(f"{PATH}.{policy.name}.destinations.{destination.name}.url: {error}") from None


def _title(one: PolicyConfig) -> str:
    """Return the name of a policy's job and lease."""
    return f"policy {one.name}"


def _lease(setup: Setup, one: PolicyConfig) -> LeaseSpec:
    return replace(
        setup.lease,
        key=f"{setup.lease.key}/{one.name}",
        session_name=f"{setup.lease.session_name} {one.name}",
        name=_title(one),
    )


SNAPSHOT = AgentType(
    SPEC,
    plan,
    memory=Memory,
    check=check,
    metrics=metrics,
    default_port=DEFAULT_PORT,
    default_service=DEFAULT_SERVICE,
)

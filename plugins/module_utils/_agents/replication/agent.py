# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The replication agent: keeps prefixes of destinations equal to those of sources, set by set.

Each set is a job under a required lease of its destination, the lock that the module takes too.
"""

from __future__ import annotations

import functools
import json
import socket
from dataclasses import replace

from ..._daemon.agent_type import AgentType, Plan, Setup
from ..._daemon.job import Job
from ..._daemon.lease import LeaseSpec
from ..._replication.checkpoint import lock_key
from .config import SPEC, SetConfig, check_lease_key, make_sets
from .direction_job import run_direction
from .endpoint import routes
from .memory import Memory
from .metrics import metrics
from .set_job import destination_connection, run_set, source_connection

DEFAULT_PORT = 9001
COMPARISON_LIMIT_S = 3600.0  # a comparison of everything gives no sign of life


def plan(setup: Setup) -> Plan:
    """Return what runs. Raises InvalidOption that begins with the path of the option at fault."""
    check_lease_key(setup.lease.key, f"consulops/agents/{setup.name}/lease")
    sets = make_sets(setup.options, setup.connection_options, setup.environ)
    connections = {}
    for one in sets:
        connections[source_connection(one.name)] = one.source
        connections[destination_connection(one.name)] = one.destination
    jobs = tuple(
        Job(
            f"set {one.name}",
            functools.partial(run_set, config=one),
            one,
            connections=(source_connection(one.name), destination_connection(one.name)),
            lease=_lease_name(one),
            heartbeat_limit_s=COMPARISON_LIMIT_S,
        )
        for one in sets
    )
    # Without a lease: the other direction ends although our destination is down.
    jobs += tuple(
        Job(
            f"direction {one.name}",
            functools.partial(run_direction, config=one.direction),
            one.direction,
            connections=(source_connection(one.name),),
        )
        for one in sets
        if one.direction is not None
    )
    return Plan(connections, jobs, tuple(_lease(setup, one) for one in sets), routes())


def _lease_name(one: SetConfig) -> str:
    return f"set {one.name}"


def _lease(setup: Setup, one: SetConfig) -> LeaseSpec:
    """Return the lease of a set: the module's lock, which a person can tell from that of a run by its value."""
    holder = {"agent": "replication", "name": setup.name, "node": socket.gethostname()}
    return replace(
        setup.lease,
        key=lock_key(one.name),
        endpoint=one.destination,
        session_name=f"consulops replication {one.name}",
        value=json.dumps(holder).encode(),
        name=_lease_name(one),
    )


REPLICATION = AgentType(SPEC, plan, memory=Memory, metrics=metrics, default_port=DEFAULT_PORT)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies of a configuration without the agent: one snapshot of each now, or what their destinations hold. For the command."""

from __future__ import annotations

import contextlib
import socket
import time
import typing as t

from ..._consul.client import Client
from ..._consul.errors import InvalidOption, NotConverged
from ..._consul.units import timestamp
from ..._daemon.agent_type import Setup
from ..._snapshot.store_save import scratch_directory
from .agent import policies_of
from .catalogue import Catalogue
from .config import PATH, PolicyConfig
from .policy_run import PolicyRun
from .policy_status import status_of
from .schedule import decide

Data = dict[str, t.Any]


def take_once(setup: Setup, names: t.Sequence[str], warn: t.Callable[[str], None]) -> Data:
    """Take one snapshot for each named policy, for all without names, and keep it in all of its destinations.

    No lease is taken, and the snapshots belong to no slot. Raises an Error; NotConverged when a destination did not get one.
    """
    result: Data = {"changed": True, "policies": {}}
    failed = []
    for config in _named(setup, names):
        with _run_of(config) as run:
            run.refresh()
            run.take_unplanned(time.time())
            (taken,) = run.waiting
            run.deliver(time.time())
            for warning in run.warnings:
                warn(f"{config.name}: {warning}")
            problems = {one.name: one.problem or one.prune_problem for one in run.destinations}
            failed += [f"{config.name}, {name}: {problem}" for name, problem in problems.items() if problem]
            result["policies"][config.name] = {
                "name": taken.name,
                "snapshot": taken.manifest.as_dict() if taken.manifest else None,
                "destinations": problems,
            }
    if failed:
        error = NotConverged(f"Not every destination has what it should: {' '.join(failed)}")
        error.details = result
        raise error
    return result


def look(setup: Setup, names: t.Sequence[str]) -> Data:
    """Return what the destinations of policies hold, read from the stores themselves: the document of the agent's endpoint."""
    found = {}
    now = time.time()
    for config in _named(setup, names):
        with _run_of(config) as run:
            run.refresh()
            due = decide(config.schedule, run.slots(), now)
            found[config.name] = status_of(run, due, now).as_json(now)
    return {"as_of": timestamp(now), "policies": found}


def _named(setup: Setup, names: t.Sequence[str]) -> tuple[PolicyConfig, ...]:
    policies = policies_of(setup)
    known = {one.name for one in policies}
    for name in names:
        if name not in known:
            raise InvalidOption(f"{PATH}: there is no policy {name}; there are {', '.join(sorted(known))}.")
    return tuple(one for one in policies if not names or one.name in names)


@contextlib.contextmanager
def _run_of(config: PolicyConfig) -> t.Iterator[PolicyRun]:
    with scratch_directory(None) as scratch, Client(config.endpoint) as client:
        yield PolicyRun(config, client, scratch / "waiting", Catalogue(), socket.gethostname())

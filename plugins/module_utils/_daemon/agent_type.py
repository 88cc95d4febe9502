# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an agent type provides: its options, and a plan of what runs under a configuration."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._config.validation import Spec
from .._consul import endpoint
from .job import Job
from .lease import LeaseSpec
from .listen_config import DEFAULT_PORT
from .routes import Route


@dataclass(frozen=True)
class Setup:
    """A checked configuration, from which an agent type makes its plan.

    ``lease`` is made from the frame's ``lease`` options on the frame's connection; an agent takes it as it is, with another
    policy, or not at all. ``environ`` has the variables of Consul's tools, for connections among the options, whose own options
    default to ``connection_options``.
    """

    name: str
    options: t.Mapping[str, t.Any]
    connection: endpoint.Endpoint
    lease: LeaseSpec
    environ: t.Mapping[str, str]
    connection_options: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What runs: connections by name, leases, jobs, and what the endpoint serves besides the frame's own paths."""

    connections: t.Mapping[str, endpoint.Endpoint]
    jobs: tuple[Job, ...]
    leases: tuple[LeaseSpec, ...] = ()
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class AgentType:
    """One type of agent.

    ``spec`` and ``mutually_exclusive`` describe its options. ``plan`` checks their values and returns what runs; it may read
    files but sends nothing, because ``check-config`` calls it too. It raises InvalidOption that begins with the path of the option.
    ``memory`` makes the object that jobs and routes share; it is kept through reloads, unless they change the agent or its name.
    ``close`` is called with it, and the seconds that it may take, when no job uses it any more. ``check`` raises InvalidOption for
    what check-config refuses although the agent would start with it: it can be corrected while the agent runs. ``metrics`` is
    called with the memory, and returns what the agent adds to the metrics (``metrics.gauge``). ``default_port`` is the port of its
    endpoint if the configuration names none, and ``default_service`` the name of its service, if not ``consulops-NAME``.
    ``late_secrets`` are paths of options below which a credential may be missing at the start.
    """

    spec: Spec
    plan: t.Callable[[Setup], Plan]
    mutually_exclusive: tuple[tuple[str, ...], ...] = ()
    memory: t.Callable[[], t.Any] = lambda: None
    close: t.Callable[[t.Any, float], None] = lambda _memory, _within_s: None
    check: t.Callable[[Setup], None] = lambda _setup: None
    metrics: t.Callable[[t.Any], t.Iterable[t.Any]] = lambda _memory: ()
    default_port: int = DEFAULT_PORT
    late_secrets: tuple[str, ...] = ()
    default_service: str | None = None

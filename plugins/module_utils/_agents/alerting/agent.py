# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerting agent: watches datacenters, and tells receivers what fails and what has recovered.

Jobs: one ``watch`` for each datacenter, ``notify``, ``follow``, ``share`` and ``hand over``, and if they are configured ``dead man`` and
``events``.
Every instance runs all of them; the holder of the preferred lease is the one that sends.
"""

from __future__ import annotations

import functools
import socket
import typing as t
from dataclasses import replace

from ..._consul import endpoint
from ..._consul.errors import InvalidOption
from ..._consul.units import parse_duration
from ..._daemon.agent_type import AgentType, Plan, Setup
from ..._daemon.job import CONNECTION, Job
from ..._daemon.status import PREFERRED
from .config import SPEC, AlertingConfig, ReceiverConfig, make_alerting_config
from .dead_man import DeadMan
from .dead_man_job import send_pings
from .delivery import ReceiverSetup
from .endpoint import routes
from .events_job import handle_events
from .hand_over_job import hand_over
from .memory import Memory
from .metrics import metrics
from .notify_job import NotifySettings, notify
from .receivers.receiver import Receiver, ReceiverContext
from .receivers.registry import RECEIVERS
from .receivers.retried_receiver import RetriedReceiver
from .share_job import follow, share
from .templates import render
from .watch_job import Watched, watch

OPTIONS_PATH = "options"
DEFAULT_PORT = 9000  # as consul-alerts


def plan(setup: Setup) -> Plan:
    """Return what runs. Raises InvalidOption that begins with the path of the option at fault."""
    config = _config(setup)
    endpoints = _watched_endpoints(setup, config)
    lease = replace(setup.lease, policy=PREFERRED)
    watched = [
        Watched(
            source=source,
            connection=f"watch {source}",
            rules=config.rules,
            expected=config.expected,
            snapshots=config.snapshots,
            reconcile_every_s=config.reconcile_every_s,
        )
        for source in endpoints
    ]
    connections = {CONNECTION: setup.connection, **{one.connection: endpoints[one.source] for one in watched}}
    jobs = [
        Job(one.connection, functools.partial(watch, watched=one), one, connections=(one.connection,))
        for one in watched
    ]
    settings = NotifySettings(config, _receivers(setup, config), frozenset(endpoints))
    jobs += [
        Job("notify", functools.partial(notify, settings=settings), settings, connections=(), lease=lease.name),
        Job("follow", follow),
        Job("share", share, lease=lease.name),
        Job("hand over", hand_over, lease=lease.name),
    ]
    jobs += _optional_jobs(setup, config, lease.name)
    return Plan(connections, tuple(jobs), (lease,), routes(endpoints))


def _optional_jobs(setup: Setup, config: AlertingConfig, lease: str) -> t.Iterator[Job]:
    if config.dead_man is not None:
        pings = functools.partial(send_pings, make=functools.partial(_dead_man, setup, config.dead_man))
        yield Job("dead man", pings, config.dead_man, connections=(), lease=lease)
    if config.events.handlers:
        path = f"{OPTIONS_PATH}.events"
        events = functools.partial(handle_events, programs=config.events, environ=setup.environ, path=path)
        yield Job("events", events, config.events, lease=lease)


def check(setup: Setup) -> None:
    """Raise InvalidOption for a receiver that cannot be made now, because a secret is missing, for example."""
    config = _config(setup)
    for one in config.receivers.values():
        make_receiver(one, setup.environ, config.instance).close()
    if config.dead_man is not None:
        _dead_man(setup, config.dead_man)


def _dead_man(setup: Setup, options: t.Mapping[str, t.Any]) -> DeadMan:
    return DeadMan(options, setup.environ, f"{OPTIONS_PATH}.dead_man")


def _config(setup: Setup) -> AlertingConfig:
    return make_alerting_config(setup.options, RECEIVERS, path=OPTIONS_PATH, instance=socket.gethostname())


# ---------------------------------------------------------------------------------------------------------------
# Connections


def _watched_endpoints(setup: Setup, config: AlertingConfig) -> dict[str, endpoint.Endpoint]:
    """Return where each watched datacenter is read, by the name under which it is watched. Raises InvalidOption."""
    if config.datacenters:
        return {name: replace(setup.connection, datacenter=name) for name in config.datacenters}
    if not config.connections:
        return {setup.connection.datacenter or "local": setup.connection}
    found: dict[str, endpoint.Endpoint] = {}
    for number, options in enumerate(config.connections):
        path = f"{OPTIONS_PATH}.connections[{number}]"
        try:
            one = endpoint.resolve(
                endpoint.with_defaults(options, setup.connection_options), setup.environ, late_token=True
            )
        except InvalidOption as error:
            raise InvalidOption(f"{path}: {error}") from None
        name = one.datacenter or str(one)
        if name in found:
            raise InvalidOption(f"{path}: it is the same datacenter as an earlier one.")
        found[name] = one
    return found


# ---------------------------------------------------------------------------------------------------------------
# Receivers


def _receivers(setup: Setup, config: AlertingConfig) -> dict[str, ReceiverSetup]:
    return {
        name: ReceiverSetup(
            config=one,
            build=functools.partial(_make_or_retry, one, setup.environ, config.instance),
            give_up_after_s=parse_duration(
                one.options["give_up_after"], f"{OPTIONS_PATH}.receivers.{name}.give_up_after"
            ),
        )
        for name, one in config.receivers.items()
    }


def make_receiver(config: ReceiverConfig, environ: t.Mapping[str, str], instance: str) -> Receiver:
    """Return a receiver. Raises InvalidOption that begins with the path of the option at fault."""
    context = ReceiverContext(
        render=functools.partial(render, options=config.templates), instance=instance, environ=environ
    )
    try:
        return RECEIVERS[config.type].make(config.name, config.options, context)
    except InvalidOption as error:
        raise InvalidOption(f"{OPTIONS_PATH}.{error}") from None


def _make_or_retry(config: ReceiverConfig, environ: t.Mapping[str, str], instance: str) -> Receiver:
    """Return a receiver; one that cannot be made is made when it is used, so that the others work meanwhile."""
    make = functools.partial(make_receiver, config, environ, instance)
    try:
        return make()
    except InvalidOption:
        return RetriedReceiver(make)


ALERTING = AgentType(
    SPEC,
    plan,
    memory=Memory,
    close=Memory.close,
    check=check,
    metrics=metrics,
    default_port=DEFAULT_PORT,
    late_secrets=("connection.token_file", "options.receivers", "options.dead_man"),
)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops alert``: list and explain, which show what the alerting agent knows."""

from __future__ import annotations

import argparse
import os
import typing as t

from ..._config import credentials
from ..._consul.errors import InvalidOption, LocalFailure
from ..._daemon.endpoint_client import EndpointClient, NoAnswer
from .. import agent_access, alert_rendering, arguments
from ..agent_access import Document
from .base import Command, Outcome, warn


def _list(options: argparse.Namespace) -> Outcome:
    document = agent_access.ask(
        options,
        lambda client: client.get("/alerts"),
        _told_in_consul,
        "Shown is what receivers were told, not what fails now.",
    )
    now = agent_access.now()
    if document["source"] == "consul":
        last = alert_rendering.age_of(document.get("as_of"), now)
        warn(
            f"The last message that Consul knows of is {last} old."
            if last
            else "Consul knows of no message to a receiver."
        )
    return Outcome(document, alert_rendering.alert_list(document, now))


def _told_in_consul(options: argparse.Namespace) -> Document:
    from ..._agents.alerting import from_consul
    from ..._agents.alerting.shared_state import Keys

    keys, now = Keys(options.name), agent_access.now()
    with agent_access.consul_client(options) as client:
        shared = from_consul.read_state(client, keys)
    told, silences = from_consul.read_told(shared, keys), from_consul.read_silences(shared, keys)
    return from_consul.alerts_document(told, silences, now)


# ---------------------------------------------------------------------------------------------------------------


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject", metavar="NODE[/SERVICE[/CHECK]]", help="what to explain; NODE//CHECK for a check of the node itself"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=arguments.file_name,
        help="the agent's configuration: without an answer of the agent, Consul is read once and judged by it",
    )
    agent_access.add_alerting(parser)


def _explain(options: argparse.Namespace) -> Outcome:
    if not options.subject.strip("/"):
        raise InvalidOption("NODE is empty: is a variable of the shell not set?")
    query = {"subject": options.subject, **({"datacenter": options.datacenter} if options.datacenter else {})}
    document = agent_access.ask(
        options,
        lambda client: _asked(client, query, options),
        _explained_once,
        "Consul was read once instead, and judged by the configuration.",
    )
    return Outcome(document, alert_rendering.explanation(document, agent_access.now()))


def _asked(client: EndpointClient, query: t.Mapping[str, str], options: argparse.Namespace) -> Document:
    try:
        return client.get("/explain", query)
    except NoAnswer as error:
        if options.config is None:
            raise LocalFailure(f"{error} Give --config FILE to read Consul once instead.") from None
        raise


def _explained_once(options: argparse.Namespace) -> Document:
    from ..._agents.alerting.agent import ALERTING
    from ..._agents.alerting.explain_once import explain_once
    from ..._daemon import agent_config

    if options.config is None:
        raise InvalidOption("--from-consul needs --config FILE, the configuration of the agent, to explain anything.")
    environ = credentials.with_credentials(os.environ)
    config = agent_config.read_config(options.config, environ, {agent_access.ALERTING: ALERTING})
    return explain_once(config, options.subject, options.datacenter, warn, agent_access.now())


COMMANDS = (
    Command("list", "list what fires, since when, and who was told", _list, agent_access.add_alerting),
    Command(
        "explain",
        "explain which rule, timers, routes and silences apply to a node, a service or a check",
        _explain,
        _explain_arguments,
    ),
)

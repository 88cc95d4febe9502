# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent as its commands reach it: by its endpoint, or by what it shares in Consul when it does not answer."""

from __future__ import annotations

import argparse
import getpass
import os
import time
import typing as t

from .._config import credentials
from .._config.connection_spec import connection_spec
from .._consul import endpoint, errors
from .._consul.client import Client
from .._daemon.endpoint_client import DEFAULT_URL, EndpointClient, NoAnswer, Refused
from . import arguments
from .commands.base import warn

TOKEN_VARIABLE = "CONSULOPS_AGENT_TOKEN_FILE"
ALERTING = "alerting"

Document = dict[str, t.Any]


def add_alerting(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the alerting agent and Consul are."""
    add_access(parser, DEFAULT_URL)
    parser.add_argument("--name", default=ALERTING, help="with Consul: the name of the agent, by default alerting")


def add_access(parser: argparse.ArgumentParser, url: str) -> None:
    """Add the options that say where an agent and Consul are; ``url`` is the agent's by default."""
    add_endpoint(parser, url)
    parser.add_argument(
        "--from-consul", action="store_true", help="do not ask the agent, use what its instances share in Consul"
    )
    add_connection(parser, "connection to Consul, for when the agent does not answer")


def add_endpoint(parser: argparse.ArgumentParser, url: str) -> None:
    """Add the options that say where an agent is; ``url`` is its endpoint by default."""
    parser.add_argument("--agent", metavar="URL", default=url, help=f"the agent's endpoint, by default {url}")
    parser.add_argument(
        "--agent-token-file",
        metavar="FILE",
        type=arguments.file_name,
        help=f"file with the endpoint's token, by default that of {TOKEN_VARIABLE}",
    )
    parser.add_argument(
        "--agent-ca-path", metavar="PATH", help="PEM file with the authority of the endpoint's certificate"
    )


def endpoint_client(options: argparse.Namespace) -> EndpointClient:
    """Return a client for the agent of the options. Raises InvalidOption."""
    token_file = options.agent_token_file or os.environ.get(TOKEN_VARIABLE) or None
    return EndpointClient(options.agent, token_file, options.agent_ca_path)


def add_connection(parser: argparse.ArgumentParser, title: str) -> None:
    """Add the connection options, below a title of the help."""
    group = parser.add_argument_group(title)
    arguments.add_options(t.cast("argparse.ArgumentParser", group), connection_spec())


def consul_client(options: argparse.Namespace) -> Client:
    """Return a client for the connection options. Raises InvalidOption."""
    environ = credentials.with_credentials(os.environ)
    given = arguments.given_options(options, connection_spec())
    return Client(endpoint.resolve(credentials.resolve_credentials(given, environ), environ))


def ask(
    options: argparse.Namespace,
    by_agent: t.Callable[[EndpointClient], Document],
    by_consul: t.Callable[[argparse.Namespace], Document],
    instead: str,
) -> Document:
    """Return what the agent answers, with ``source`` "agent"; if it does not answer, what Consul does, with "consul".

    ``instead`` completes the warning of the latter: what it is that is shown or done. Raises an Error.
    """
    if options.from_consul:
        return {**by_consul(options), "source": "consul"}
    try:
        return {**by_agent(endpoint_client(options)), "source": "agent"}
    except Refused as error:
        raise Refused(f"{error} Give --agent-token-file, or --from-consul to go through Consul instead.") from None
    except NoAnswer as error:
        reason = str(error)
    try:
        document = by_consul(options)
    except (errors.ConsulError, errors.LocalFailure) as error:
        raise NoAnswer(f"{reason} Consul cannot stand in: {error}") from None
    warn(f"{reason} {instead}")
    return {**document, "source": "consul"}


def now() -> float:
    """Return the time, Unix seconds."""
    return time.time()


def user() -> str:
    """Return the name of the user, of the one before sudo."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user ID without a name
        return f"user {os.getuid()}"

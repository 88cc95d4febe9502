# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``consulops snapshot``: run, once, status and check-config, the commands of the snapshot agent."""

from __future__ import annotations

import argparse
import os

from ..._config import credentials
from ..._daemon.agent_type import Setup
from .. import agent_access, arguments, snapshot_rendering
from . import agent
from .base import Command, Outcome, warn

AGENT = "snapshot"
AGENT_URL = "http://127.0.0.1:9002"


def _setup(path: str) -> Setup:
    """Return the checked configuration in a file. Raises InvalidOption."""
    from ..._agents.registry import AGENT_TYPES
    from ..._daemon import agent_config

    agent.check_type(path, AGENT)
    return agent_config.read_config(path, credentials.with_credentials(os.environ), AGENT_TYPES).setup


def _names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policies", metavar="POLICY", nargs="*", help="only this policy; may be repeated")


def _once_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    agent.agent_arguments(parser)


def _once(options: argparse.Namespace) -> Outcome:
    from ..._agents.snapshot import by_hand

    result = by_hand.take_once(_setup(options.config), options.policies, warn)
    return Outcome(result, snapshot_rendering.taken(result))


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    _names(parser)
    agent_access.add_access(parser, AGENT_URL)
    parser.add_argument("--name", default=AGENT, help=f"with Consul: the name of the agent, by default {AGENT}")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=arguments.file_name,
        help="do not ask the agent: read the stores that its configuration names",
    )
    parser.add_argument("--exit-code", action="store_true", help="exit with 5 if a policy is critical")


def _status(options: argparse.Namespace) -> Outcome:
    if options.config:
        from ..._agents.snapshot import by_hand

        document = by_hand.look(_setup(options.config), options.policies)
    else:
        document = agent_access.ask(
            options,
            lambda client: client.get("/policies"),
            _published,
            "Shown is what its instances published in Consul, at most a minute apart while they run.",
        )
        for key in document.get("unreadable", ()):
            warn(f"{key} does not hold what the snapshot agent writes.")
        if options.policies:
            chosen = {
                part: {
                    name: one
                    for name, one in document.get(part, {}).items()
                    if name.partition(" ")[0] in options.policies
                }
                for part in ("policies", "waiting_on_standby")
            }
            document = {**document, **chosen}
    is_critical = any(one["critical"] for one in document["policies"].values())
    return Outcome(document, snapshot_rendering.policies(document), different=is_critical)


def _published(options: argparse.Namespace) -> agent_access.Document:
    from ..._agents.snapshot.from_consul import policies_document

    with agent_access.consul_client(options) as client:
        return policies_document(client, options.name)


COMMANDS = (
    *agent.commands_of(AGENT),
    Command(
        "once",
        "take one snapshot for each policy now, without the agent",
        _once,
        _once_arguments,
        snapshot_rendering.taken,
    ),
    Command("status", "show the newest snapshot, next run and destinations of each policy", _status, _status_arguments),
)

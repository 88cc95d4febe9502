# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops replicate``: status, freeze, thaw and ack, which steer the replication agent. They work when it is dead, too."""

from __future__ import annotations

import argparse
import typing as t

from ..._consul.errors import InvalidOption
from .. import agent_access, replication_rendering
from ..agent_access import Document
from .base import Command, Outcome

AGENT_URL = "http://127.0.0.1:9001"
_CONNECTION = "connection to the destination's datacenter"


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="only this set")
    agent_access.add_access(parser, AGENT_URL)


def _status(options: argparse.Namespace) -> Outcome:
    document = agent_access.ask(
        options,
        lambda client: client.get("/sets"),
        _stored,
        "Shown is what the agent published at the destination, at most a minute apart while it runs.",
    )
    if options.name:
        sets = {name: one for name, one in document["sets"].items() if name == options.name}
        if not sets:
            raise InvalidOption(f"there is no set {options.name} here: {_known(document['sets'])}.")
        document = {**document, "sets": sets}
    return Outcome(document, replication_rendering.sets(document))


def _known(sets: t.Mapping[str, t.Any]) -> str:
    return (
        f"known are {', '.join(sorted(sets))}" if sets else "this instance replicates none, another may hold the lease"
    )


def _stored(options: argparse.Namespace) -> Document:
    from ..._agents.replication.from_consul import sets_document

    with agent_access.consul_client(options) as client:
        return sets_document(client)


def _name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the set, which is the name of the replication")
    agent_access.add_connection(parser, _CONNECTION)


def _freeze_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", required=True, help="why, for those who find it frozen")
    parser.add_argument("--author", help="who freezes, by default the user")
    _name_arguments(parser)


def _freeze(options: argparse.Namespace) -> Outcome:
    from ..._agents.replication import from_consul

    author, name = options.author or agent_access.user(), _checked(options.name)
    with agent_access.consul_client(options) as client:
        from_consul.freeze(client, name, author, options.reason, agent_access.now())
    result: Document = {"name": name, "frozen": True, "author": author, "reason": options.reason}
    return Outcome(result, [f"{name} is frozen: nothing is written to the destination until it is thawed"])


def _thaw(options: argparse.Namespace) -> Outcome:
    from ..._agents.replication import from_consul

    name = _checked(options.name)
    with agent_access.consul_client(options) as client:
        was_frozen = from_consul.thaw(client, name)
    line = f"{name} is thawed: the agent compares everything and goes on" if was_frozen else f"{name} was not frozen"
    return Outcome({"name": name, "frozen": False, "changed": was_frozen}, [line])


def _ack_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--author", help="who acknowledges, by default the user")
    _name_arguments(parser)
    parser.add_argument("digest", metavar="DIGEST", help="the digest of the paused deletions, as status shows it")


def _ack(options: argparse.Namespace) -> Outcome:
    from ..._agents.replication import from_consul

    author, name = options.author or agent_access.user(), _checked(options.name)
    with agent_access.consul_client(options) as client:
        from_consul.acknowledge(client, name, options.digest, author, agent_access.now())
    result: Document = {"name": name, "acknowledged": options.digest, "author": author}
    return Outcome(result, [f"{name}: exactly the deletions of the plan {options.digest[:12]}… go on"])


def _checked(name: str) -> str:
    """Return the name of a set. Raises InvalidOption: it becomes part of a key."""
    from ..._agents.replication.from_consul import NAME

    if not NAME.fullmatch(name):
        raise InvalidOption(f"NAME {name!r} is not the name of a set: is a variable of the shell not set?")
    return name


COMMANDS = (
    Command(
        "status", "show how far each set is, and what is paused, frozen or in conflict", _status, _status_arguments
    ),
    Command("freeze", "stop all writes of a set at once", _freeze, _freeze_arguments),
    Command("thaw", "let a set write again", _thaw, _name_arguments),
    Command("ack", "let paused deletions go on, exactly those of one plan", _ack, _ack_arguments),
)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops alert``: silence, unsilence and silences."""

from __future__ import annotations

import argparse
import typing as t

from ..._consul.errors import InvalidOption
from ..._consul.units import parse_duration, parse_timestamp, timestamp
from .. import agent_access, alert_rendering
from ..agent_access import Document
from ..match_words import parse_match
from .base import Command, Outcome

if t.TYPE_CHECKING:
    from ..._agents.alerting.silences import Silence, Silences

LONGEST_S = 366 * 86400.0
_WRITTEN = "It was written to Consul instead: running instances take it over."


def _silence_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "match",
        metavar="MATCH",
        nargs="+",
        help="FIELD=PATTERN, of which all must match: node, service, check, tag, severity, rule, datacenter, node_meta.KEY, "
        "service_meta.KEY; a pattern is a name, a glob or re:REGEX; one of several patterns for a field must match",
    )
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--for", dest="duration", metavar="DURATION", help="how long, for example 2h")
    end.add_argument("--until", metavar="TIME", help="until when, for example 2026-11-22T03:00:00Z")
    parser.add_argument("--start", metavar="TIME", help="from when, by default from now")
    parser.add_argument("--author", help="who silences, by default the user")
    parser.add_argument("--reason", required=True, help="why")
    agent_access.add_alerting(parser)


def _silence(options: argparse.Namespace) -> Outcome:
    from ..._agents.alerting.silences import make_silence

    now = agent_access.now()
    body = _silence_options(options, now)
    silence = make_silence(body, now)  # refuses what neither the agent nor Consul should get
    body["id"] = silence.id  # the same by both ways, so that a silence that was sent twice is one

    def add(silences: Silences) -> Silence:
        silences.add(silence)
        return silence

    document = agent_access.ask(
        options, lambda client: client.post("/silences", body), lambda _options: _change(options, add), _WRITTEN
    )
    return Outcome(document, alert_rendering.silence(document, now, "added silence"))


def _silence_options(options: argparse.Namespace, now: float) -> dict[str, t.Any]:
    start = now if options.start is None else parse_timestamp(options.start, "--start")
    if options.until is None:
        seconds = parse_duration(options.duration, "--for")
        if not 0 < seconds <= LONGEST_S:
            raise InvalidOption(f"--for {options.duration}: a silence lasts at least a second and at most a year.")
        end = start + seconds
    else:
        end = parse_timestamp(options.until, "--until")
    if end <= now:
        raise InvalidOption(f"--until {options.until} is in the past: it is {timestamp(now)}.")
    return {
        "match": parse_match(options.match),
        **({"start": timestamp(start)} if options.start is not None else {}),
        "end": timestamp(end),
        "author": options.author or agent_access.user(),
        "reason": options.reason,
    }


def _change(options: argparse.Namespace, change: t.Callable[[Silences], Silence]) -> Document:
    from ..._agents.alerting import from_consul
    from ..._agents.alerting.shared_state import Keys

    with agent_access.consul_client(options) as client:
        silence = from_consul.change_silences(client, Keys(options.name), change)
    return from_consul.silence_document(silence, agent_access.now())


# ---------------------------------------------------------------------------------------------------------------


def _unsilence_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the ID that consulops alert silences shows")
    agent_access.add_alerting(parser)


def _unsilence(options: argparse.Namespace) -> Outcome:
    if not options.id:
        raise InvalidOption("ID is empty: is a variable of the shell not set?")
    now = agent_access.now()
    document = agent_access.ask(
        options,
        lambda client: client.delete("/silences", options.id),
        lambda _options: _change(options, lambda silences: silences.expire(options.id, now)),
        _WRITTEN,
    )
    return Outcome({"id": options.id, **document}, [f"ended silence {options.id}"])


def _silences_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--expired", action="store_true", help="list those that are over, too")
    agent_access.add_alerting(parser)


def _silences(options: argparse.Namespace) -> Outcome:
    document = agent_access.ask(
        options,
        lambda client: client.get("/silences"),
        _shared_silences,
        "Shown are the silences in Consul, without those of the agent's configuration.",
    )
    return Outcome(document, alert_rendering.silence_list(document, agent_access.now(), expired=options.expired))


def _shared_silences(options: argparse.Namespace) -> Document:
    from ..._agents.alerting import from_consul
    from ..._agents.alerting.shared_state import Keys

    keys = Keys(options.name)
    with agent_access.consul_client(options) as client:
        shared = from_consul.read_state(client, keys)
    return from_consul.silences_document(from_consul.read_silences(shared, keys), agent_access.now())


COMMANDS = (
    Command("silence", "report nothing of what matches, for a time", _silence, _silence_arguments),
    Command("unsilence", "end a silence now", _unsilence, _unsilence_arguments),
    Command("silences", "list the silences", _silences, _silences_arguments),
)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options and the work of ``consul_service_probe``: looks services up as clients do, and says who answers and how long nobody did."""

from __future__ import annotations

import time
import typing as t
from urllib.parse import urlsplit

from .._config.connection_spec import ONE_TOKEN, Spec, connection_spec
from .._consul import errors, units
from .._consul.client import Client
from .._failover import dns_message
from .._failover.dns_client import DnsServer
from .._failover.probe_track import Expected
from .._failover.service_probe import DnsOptions, Lookup, Name, Probe, Timing, leader_of
from .task import Invocation, Result, Task

MAX_LOOKUPS = 64
MIN_INTERVAL_S = 0.05
RECORDS = {"srv": dns_message.TYPE_SRV, "a": dns_message.TYPE_A}

SPEC: Spec = dict(
    services={"type": "list", "elements": "str", "default": []},
    queries={"type": "list", "elements": "str", "default": []},
    agents={"type": "list", "elements": "str"},
    ways={"type": "list", "elements": "str", "choices": ["http", "dns"], "default": ["http"]},
    dns_port={"type": "int", "default": 8600},
    dns_host={"type": "str"},
    dns_record={"type": "str", "choices": sorted(RECORDS), "default": "srv"},
    dns_domain={"type": "str", "default": "consul"},
    duration={"type": "str", "default": "0"},
    interval={"type": "str", "default": "1s"},
    expect={
        "type": "dict",
        "options": {"datacenter": {"type": "str"}, "within": {"type": "str"}, "max_gap": {"type": "str"}},
    },
    **connection_spec(),
)


class _Request(t.NamedTuple):
    names: list[Name]
    timing: Timing
    expected: Expected | None


def _request(call: Invocation) -> _Request:
    """Return what the options ask for. Raises InvalidOption."""
    options = call.params
    names = [
        Name(kind, name) for kind, option in (("service", "services"), ("query", "queries")) for name in options[option]
    ]
    if not names or not options["ways"] or not all(name.name for name in names):
        raise errors.InvalidOption(
            "There is nothing to look up: name services or queries, and at least one way of ways."
        )
    if len(names) * len(options["ways"]) * len(options["agents"] or [""]) > MAX_LOOKUPS:
        raise errors.InvalidOption(
            f"services, queries, ways and agents make more than {MAX_LOOKUPS} look-ups at a time: probe fewer."
        )
    if not 0 < options["dns_port"] < 65536:
        raise errors.InvalidOption(f"dns_port {options['dns_port']} is no port.")
    expected = _expected(options)
    duration_s = units.parse_duration(options["duration"], "duration")
    interval_s = units.parse_duration(options["interval"], "interval")
    if interval_s < MIN_INTERVAL_S:
        raise errors.InvalidOption(f"interval {options['interval']!r} is shorter than {MIN_INTERVAL_S:g} s.")
    within_s = (expected.within_s if expected else None) or 0.0
    timing = Timing(max(duration_s, within_s), interval_s, until_met=duration_s == 0)
    if timing.duration_s >= 1e6:
        raise errors.InvalidOption("duration and expect.within must be shorter than 1,000,000 s.")
    return _Request(names, timing, expected)


def _expected(options: t.Mapping[str, t.Any]) -> Expected | None:
    expect = options["expect"]
    if expect is None:
        return None
    if expect["datacenter"] and "dns" in options["ways"] and options["dns_record"] == "a":
        raise errors.InvalidOption(
            "expect.datacenter needs dns_record srv: an A record does not say from which datacenter it is."
        )
    within, max_gap = expect["within"], expect["max_gap"]
    return Expected(
        expect["datacenter"] or None,
        units.positive_seconds(units.parse_duration(within, "expect.within"), "expect.within")
        if within is not None
        else None,
        units.parse_duration(max_gap, "expect.max_gap") if max_gap is not None else None,
    )


def perform(call: Invocation) -> Result:
    """Look up, and return what was seen. Raises GateClosed when something was not as expected, and InvalidOption."""
    request = _request(call)
    agents = call.params["agents"]
    with call.clients([{"url": url} for url in agents] if agents else None, None) as clients:
        dns = DnsOptions(RECORDS[call.params["dns_record"]], call.params["dns_domain"])
        lookups = [
            Lookup(client, name, _server(client, call) if way == "dns" else None, dns)
            for client in clients
            for name in request.names
            for way in dict.fromkeys(call.params["ways"])
        ]
        started = time.time()
        took_s = Probe(lookups, request.timing, request.expected).run()
        leaders = [leader_of(client) for client in clients]
    for leader in leaders:
        if leader.leader is False:
            call.warn(leader.problem)
    result: Result = {
        "changed": False,
        "started": units.timestamp(started),
        "seconds": round(took_s, 3),
        "agents": [leader._asdict() for leader in leaders],
        "lookups": [lookup.as_result() for lookup in lookups],
    }
    if request.expected is not None:
        missed = [f"{lookup}: {miss}" for lookup in lookups for miss in [request.expected.miss(lookup.track)] if miss]
        if missed:
            error = errors.GateClosed(
                f"{len(missed)} of {units.count_of(len(lookups), 'look-up')}: {units.some_of(missed)}."
            )
            error.details = result
            raise error
    return result


def _server(client: Client, call: Invocation) -> DnsServer:
    """Return the DNS server of an agent: the host of its address, or that of the options."""
    host = call.params["dns_host"]
    if not host:
        host = "127.0.0.1" if client.endpoint.socket_path else urlsplit(client.endpoint.base_url).hostname
    return DnsServer(str(host), call.params["dns_port"], client.endpoint.timeout_s)


SERVICE_PROBE = Task(SPEC, perform, (ONE_TOKEN, ("agents", "url"), ("agents", "dns_host")), _request)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks up services and prepared queries as clients do, by HTTP and by DNS, once or for some time.

Each look-up has a thread of its own, so that one that hangs does not delay the others.
"""

from __future__ import annotations

import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .._consul import errors
from .._consul.client import Client
from . import dns_message, prepared_queries
from .dns_client import DnsServer
from .probe_track import Expected, Sample, Status, Track

NO_LEADER = (
    "{agent} reaches no leader of its datacenter, so look-ups fail there, also those that would fail over to another datacenter. "
    "Clients get answers from agents of other datacenters; DNS may give what a server knew last. "
    "To bring the datacenter back: the playbook recover_quorum"
)
_NO_SERVERS = "no known consul servers"


class Name(t.NamedTuple):
    """What is looked up: a service or a prepared query."""

    kind: str  # service or query
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class DnsOptions:
    """How names are looked up by DNS: the record, and the domain of Consul."""

    record_type: int
    domain: str


@dataclass
class Lookup:
    """One name that is looked up at one agent in one way. ``server`` is set for DNS."""

    client: Client
    what: Name
    server: DnsServer | None
    dns: DnsOptions
    track: Track = field(default_factory=Track)
    _may_read: bool | None = None

    @property
    def way(self) -> str:
        return "dns" if self.server else "http"

    @property
    def dns_name(self) -> str:
        """The name by which DNS knows it."""
        datacenter = self.client.endpoint.datacenter
        parts = (self.what.name, self.what.kind, *([datacenter] if datacenter else []), self.dns.domain.strip("."))
        return ".".join(parts)

    def check(self) -> None:
        """Raise InvalidOption for a name that cannot be looked up."""
        if self.server:
            try:
                dns_message.question(0, self.dns_name, self.dns.record_type)
            except ValueError as error:
                raise errors.InvalidOption(f"{error}, so it cannot be looked up by DNS.") from None

    def __str__(self) -> str:
        return f"{self.what} by {self.way} at {self.server or self.client.endpoint}"

    def as_result(self) -> dict[str, t.Any]:
        agent = str(self.client.endpoint)
        return {
            "kind": self.what.kind,
            "name": self.what.name,
            "way": self.way,
            "agent": agent,
            **self.track.as_result(),
        }

    def sample(self, now: t.Callable[[], float]) -> Sample:
        """Look up once."""
        begin_s = now()
        try:
            status, datacenter, nodes, problem = self._by_dns(self.server) if self.server else self._by_http()
        except errors.ConsulError as error:
            status, datacenter, nodes, problem = _status_of(error), None, (), str(error)
            if status is Status.NO_LEADER:
                problem = f"{NO_LEADER.format(agent=self.client.endpoint)} ({error.consul_message or str(error)})."
        return Sample(begin_s, now(), status, datacenter, nodes, problem)

    def _by_http(self) -> tuple[Status, str | None, tuple[str, ...], str]:
        if self.what.kind == "query":
            found = prepared_queries.execute(self.client, self.what.name)
            if found is None:
                return Status.NOT_FOUND, None, (), f"{self.client.endpoint} has no prepared query {self.what.name}."
            service, instances = found.service, found.nodes
        else:
            response = self.client.get(f"/v1/health/service/{self.what.name}", {"passing": ""})
            service, instances = (
                self.what.name,
                response.parse(lambda rows: tuple(map(prepared_queries.instance_of, rows))),
            )
        if not instances:
            return self._nobody(service)
        return (
            Status.ANSWERED,
            instances[0]["datacenter"] or None,
            tuple(instance["node"] for instance in instances),
            "",
        )

    def _nobody(self, service: str) -> tuple[Status, str | None, tuple[str, ...], str]:
        """An answer without instances is one only when the token may see them: what it may not see is left out without a word."""
        if self._may_read is None:
            self._may_read = self.client.may("service", "read", service)
        if self._may_read is False:
            needed = f'it needs service "{service}" {{ policy = "read" }}'
            if self.what.kind == "query":
                needed += ", or the query a stored token, and then this is an answer without instances"
            problem = f"The token may not see the instances at {self.client.endpoint}: {needed}."
            return Status.UNKNOWN, None, (), problem
        return Status.EMPTY, None, (), f"{self.client.endpoint} answered that {self.what} has no healthy instance."

    def _by_dns(self, server: DnsServer) -> tuple[Status, str | None, tuple[str, ...], str]:
        name = self.dns_name
        found = server.look_up(name, self.dns.record_type)
        if found.code == dns_message.SERVER_FAILURE:
            return self._server_failure(server, name)
        if found.code not in (dns_message.NO_ERROR, dns_message.NAME_ERROR):
            return Status.UNKNOWN, None, (), f"{server} refused to look up {name} (code {found.code})."
        if not found.targets:
            return Status.EMPTY, None, (), f"{server} answered that {name} has no healthy instance."
        hosts = tuple(target.name for target in found.targets)
        places = {dns_message.datacenter_of(host, self.dns.domain) for host in hosts}
        datacenter = places.pop() if len(places) == 1 else None
        return Status.ANSWERED, datacenter, tuple(host.partition(".")[0] if datacenter else host for host in hosts), ""

    def _server_failure(self, server: DnsServer, name: str) -> tuple[Status, str | None, tuple[str, ...], str]:
        """DNS does not say what failed, so the agent is asked for its leader."""
        try:
            self.client.check_leader()
        except errors.ConsulError as error:
            if _status_of(error) is Status.NO_LEADER:
                raise
        return Status.UNKNOWN, None, (), f"{server} failed to look up {name} (SERVFAIL), and says no more."


class Leader(t.NamedTuple):
    """Whether an agent reaches a leader of its datacenter; None when it did not say. Then, and without one, ``problem`` says more."""

    agent: str
    leader: bool | None
    problem: str


def leader_of(client: Client) -> Leader:
    """Ask an agent for a leader that answers."""
    agent = str(client.endpoint)
    try:
        client.check_leader()
    except errors.ConsulError as error:
        if _status_of(error) is Status.NO_LEADER:
            return Leader(agent, False, f"{NO_LEADER.format(agent=agent)}.")
        return Leader(agent, None, str(error))
    return Leader(agent, True, "")


def _status_of(error: errors.ConsulError) -> Status:
    is_leaderless = isinstance(error, errors.NoLeader) or _NO_SERVERS in error.consul_message.lower()
    return Status.NO_LEADER if is_leaderless else Status.UNKNOWN


@dataclass(frozen=True)
class Timing:
    """How long to look up, and how often. With ``until_met`` the time is a limit: it ends when everything is as expected."""

    duration_s: float
    interval_s: float
    until_met: bool


class Probe:
    """Looks everything up until the time is over; the result is in the tracks of the look-ups."""

    def __init__(self, lookups: t.Sequence[Lookup], timing: Timing, expected: Expected | None) -> None:
        self._lookups = lookups
        self._timing = timing
        self._expected = expected
        self._stopping = threading.Event()
        self._began = 0.0

    def run(self) -> float:
        """Look up, and return the seconds that it took. Raises InvalidOption for a name that cannot be looked up."""
        for lookup in self._lookups:
            lookup.check()
        self._began = time.monotonic()
        with ThreadPoolExecutor(max_workers=len(self._lookups)) as pool:
            try:
                for done in [pool.submit(self._follow, lookup) for lookup in self._lookups]:
                    done.result()
            finally:
                self._stopping.set()
        return self._now()

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _follow(self, lookup: Lookup) -> None:
        due_s = 0.0
        while True:
            lookup.track.add(lookup.sample(self._now))
            if self._timing.until_met and self._is_met():
                self._stopping.set()
            due_s = max(due_s + self._timing.interval_s, self._now())
            if due_s > self._timing.duration_s or self._stopping.wait(due_s - self._now()):
                return

    def _is_met(self) -> bool:
        return self._expected is not None and all(self._expected.is_met_now(lookup.track) for lookup in self._lookups)

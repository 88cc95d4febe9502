# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads one datacenter for the rules, with a handful of requests however many checks there are.

What is not passing is asked for with a filter, so that 10,000 passing checks cost nothing. While there is no leader, servers
answer from what they have; reads that would wait for one are not sent. What fails is unknown, never absent.
"""

from __future__ import annotations

import datetime
import re
import time
import typing as t
from dataclasses import dataclass, replace

from .._consul import errors
from .._consul.client import Client, Response
from .._consul.retry import RetryPolicy
from . import certificate
from .observation import (
    NODE_MAINTENANCE,
    SERF_CHECK,
    SERVICE_MAINTENANCE,
    AclReplication,
    Check,
    Instance,
    Observation,
    RaftServer,
    Server,
    Snapshot,
)
from .ruleset import RuleSet

FAILING = 'Status != "passing"'
LEADER_TIMEOUT_S = 2.0  # a consistent read takes milliseconds; elections end within about three seconds
OTHER_SERVER_S = 1.0
ALIVE = 1  # as /v1/agent/members shows Serf's states
LEAVING = (2, 3)  # who is leaving, left, or was made to, is no member any more
AUTOPILOT_LOOKS_S = 3.0  # after an election autopilot calls everything unhealthy until it has looked, every 2 s
OPERATOR = 'The token needs operator = "read".'


@dataclass(frozen=True)
class ObserveOptions:
    """How to look: which rules, and the snapshots that were found (datacenter → newest), None when nobody asked for them."""

    rules: RuleSet
    snapshots: dict[str, Snapshot | None] | None = None

    def wants(self, *rules: str) -> bool:
        """Tell whether one of these rules is on."""
        return any(self.rules.get(rule) is not None for rule in rules)


def observe(client: Client, look: ObserveOptions, now: float) -> Observation:
    """Read one datacenter. Never raises for a Consul that is down or forbids something: that is in the observation."""
    observation = Observation(client.endpoint.datacenter or "", now, snapshots=look.snapshots)
    home = ""
    try:
        home = _home(client)
        observation.datacenter = observation.datacenter or home
        # The server that this agent spoke to last may have died just now: another one of that datacenter is tried.
        retry = RetryPolicy(OTHER_SERVER_S if observation.datacenter != home else 0.0)
        failing = retry.run(lambda: ask_failing(client))
    except errors.PermissionDenied as error:
        observation.add_unknown("checks", f"{error} The token needs node_prefix and service_prefix read.")
        return observation
    except errors.ConsulError as error:
        if isinstance(error, errors.NoLeader) and observation.datacenter == home:
            observation.leader_problem = str(error)
            _Observer(client, look, observation, local=True).all(None)
            return observation
        # Any server can answer that, with a leader or without: of another datacenter none can be reached.
        observation.nameless = not observation.datacenter
        observation.datacenter = observation.datacenter or str(client.endpoint)
        observation.unreachable = str(error)
        if isinstance(error, errors.TLSFailed) and look.wants("tls_cert_expiry"):
            observation.certificate_expiry = _expiry_of_refused(client)
        return observation
    local = client.endpoint.datacenter in (None, home)
    _Observer(client, look, observation, local=local).all(failing)
    return observation


def _home(client: Client) -> str:
    """Return the agent's own datacenter. Those that it knows are sorted by distance, its own first."""
    known = client.whoami().datacenter
    if known is None:
        known = str(client.get("/v1/catalog/datacenters").json()[0])
    return known


def _expiry_of_refused(client: Client) -> float | None:
    """Return when a certificate expires that was not accepted, None when that cannot be seen either."""
    try:
        return certificate.expiry(client.endpoint)
    except errors.ConsulError:
        return None


def ask_failing(client: Client, index: int | None = None, wait_s: float | None = None) -> Response:
    """Ask any server for the checks that are not passing; its headers also say whether it knows a leader.

    With ``index`` a blocking query of at most ``wait_s`` seconds. Raises a ConsulError.
    """
    return client.get("/v1/health/state/any", {"filter": FAILING}, consistency="stale", index=index, wait_s=wait_s)


class _Observer:
    def __init__(self, client: Client, look: ObserveOptions, observation: Observation, *, local: bool) -> None:
        self.client = client
        self.look = look
        self.observation = observation
        self.local = local
        self.consistency = "default"

    def all(self, failing: Response | None) -> None:
        """Ask for everything that the rules need."""
        self.leader(failing)
        self.servers()
        if self.observation.leader_problem is None:
            self.part("autopilot", self.autopilot, "autopilot_unhealthy", "raft_last_contact", "raft_trailing_logs")
            self.part("checks", self.checks, "check_status", "node_down", "service_min_healthy")
            self.part("services", self.services, "service_min_healthy")
            self.part("metadata", self.metadata, "check_status", "node_down")
            self.part("services of nodes that are down", self.dead_nodes, "node_down")
        self.part("raft peers", self.voters, "quorum_margin")
        self.part("the WAN", self.wide_area, "wan_member_failed", "wan_dc_missing")
        self.part("the agent's certificate", self.certificate, "tls_cert_expiry")
        self.part("Connect's CA", self.connect_ca, "connect_ca_expiry")
        if self.observation.leader_problem is None:
            self.part("ACL replication", self.acl_replication, "acl_replication_lag")

    def part(self, what: str, ask: t.Callable[[], None], *rules: str) -> None:
        """Ask for one part if a rule needs it; what cannot be had is unknown."""
        if not self.look.wants(*rules):
            return
        try:
            ask()
        except errors.PermissionDenied as error:
            needs = f" {OPERATOR}" if "/operator/" in str(error) else ""
            self.observation.add_unknown(what, f"{error}{needs}")
        except errors.ConsulError as error:
            self.observation.add_unknown(what, error)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            self.observation.add_unknown(what, f"the answer of {self.client.endpoint} is not Consul's")

    def get(self, path: str, params: dict[str, t.Any] | None = None) -> t.Any:
        return self.client.get(path, params, consistency=self.consistency).json()

    def leader(self, failing: Response | None) -> None:
        """Find out whether there is a leader: by what the server says of itself, then by what only a leader can answer."""
        observation = self.observation
        if failing is not None and failing.headers.get("X-Consul-KnownLeader") == "false":
            observation.leader_problem = "the server that answered knows no leader"
        if observation.leader_problem is None:
            endpoint = self.client.endpoint
            try:
                with Client(replace(endpoint, timeout_s=min(LEADER_TIMEOUT_S, endpoint.timeout_s))) as quick:
                    quick.check_leader()
            except errors.PermissionDenied:
                pass  # whoever refuses that has asked the leader
            except (errors.NoLeader, errors.TimedOut, errors.ServerFailed) as error:
                observation.leader_problem = str(error)
            except errors.ConsulError as error:
                observation.add_unknown("the leader", error)
        if observation.leader_problem is not None:
            self.consistency = "stale"

    def servers(self) -> None:
        """Know the servers and which are alive: by gossip where the agent is of this datacenter, else by their node checks."""
        observation = self.observation
        try:
            found = self.get("/v1/health/service/consul")
            observation.visible_servers = len(found)
            servers = [
                Server(
                    str(row["Node"]["Node"]),
                    all(check["Status"] == "passing" for check in row["Checks"] if check["CheckID"] == SERF_CHECK),
                    str((row["Service"].get("Meta") or {}).get("version", "")),
                )
                for row in found
            ]
            if self.local:
                members = [
                    Server(
                        str(row["Name"]),
                        row["Status"] == ALIVE,
                        str(row["Tags"].get("build", "")).partition(":")[0],
                        replica=not {"nonvoter", "read_replica"}.isdisjoint(row["Tags"]),
                    )
                    for row in self.get("/v1/agent/members")
                    if row["Status"] not in LEAVING
                    and row["Tags"].get("role") == "consul"
                    and row["Tags"].get("dc", observation.datacenter) == observation.datacenter
                ]
                servers = members or servers
            elif observation.leader_problem is not None:
                # The node checks of that datacenter are as they were when it lost its leader; gossip is not.
                observation.servers = self.servers_over_the_wan()
                return
            observation.servers = servers
        except errors.ConsulError as error:
            observation.add_unknown("servers", error)
        except (KeyError, TypeError, ValueError, AttributeError):
            observation.add_unknown("servers", f"the answer of {self.client.endpoint} is not Consul's")

    def servers_over_the_wan(self) -> list[Server] | None:
        """Return the servers of a remote datacenter as the servers here see them, None where only a client agent is asked."""
        members = self.wan_members()
        if members is None:
            return None
        return [Server(name, alive) for name, datacenter, alive in members if datacenter == self.observation.datacenter]

    def wan_members(self) -> list[tuple[str, str, bool]] | None:
        """Return name, datacenter and whether it is alive of every server that gossips over the WAN.

        Client agents do not, and answer ``null``: None.
        """
        rows = self.client.get("/v1/agent/members", {"wan": "1"}).json()
        if rows is None:
            return None
        members = []
        for row in rows:
            datacenter = str(row["Tags"].get("dc", ""))
            if row["Status"] not in LEAVING:
                members.append((str(row["Name"]).removesuffix(f".{datacenter}"), datacenter, row["Status"] == ALIVE))
        return members

    def voters(self) -> None:
        answer = self.get("/v1/operator/raft/configuration")
        self.observation.voters = [str(row["Node"]) for row in answer["Servers"] if row["Voter"]]

    def autopilot(self) -> None:
        deadline = time.monotonic() + (AUTOPILOT_LOOKS_S if self.look.wants("autopilot_unhealthy") else 0.0)
        while True:
            # 429 is how an unhealthy cluster answers.
            answer = self.client.exchange("GET", "/v1/operator/autopilot/health", {}, ok_statuses=(200, 429)).json()
            rows = answer["Servers"] or ()
            looked = answer["Healthy"] or (rows and not all(row["Healthy"] for row in rows))
            if looked or time.monotonic() > deadline:
                break
            time.sleep(0.25)
        self.observation.autopilot_healthy = bool(answer["Healthy"])
        self.observation.raft = [
            RaftServer(
                str(row["Name"] or row["Address"] or row["ID"]),  # one that is being removed has no name any more
                bool(row["Healthy"]),
                bool(row["Voter"]),
                bool(row["Leader"]),
                _seconds(row["LastContact"]),
                int(row["LastIndex"]),
            )
            for row in rows
        ]

    def checks(self) -> None:
        response = self.client.get("/v1/health/state/any", {"filter": FAILING})
        self.observation.checks = [
            Check(
                node=str(row["Node"]),
                check=str(row["CheckID"]),
                name=str(row["Name"]),
                status=str(row["Status"]),
                output=str(row["Output"]),
                service=str(row["ServiceName"]),
                service_id=str(row["ServiceID"]),
                tags=tuple(row.get("ServiceTags") or ()),
                index=int(row.get("ModifyIndex", 0)),
            )
            for row in response.json()
        ]

    def services(self) -> None:
        """Ask for the instances of the services that have to be there, and for no others."""
        rules = [rule for rule in self.look.rules.every("service_min_healthy") if rule.enabled and rule.match]
        if not rules:
            return
        patterns = [pattern for rule in rules for one in rule.match for pattern in one.names("service")]
        known = self.get("/v1/catalog/services")
        exact = {name for rule in rules for one in rule.match for name in one.exact("service")}
        wanted = sorted({name for name in known if any(pattern(name) for pattern in patterns)} | exact)
        self.observation.services = {name: self._instances(name) for name in wanted}

    def _instances(self, name: str) -> list[Instance]:
        instances = []
        for row in self.get(f"/v1/health/service/{name}"):
            service_id = str(row["Service"]["ID"])
            marks = (NODE_MAINTENANCE, SERVICE_MAINTENANCE + service_id)
            frozen = any(check["CheckID"] in marks for check in row["Checks"])
            healthy = all(check["Status"] == "passing" for check in row["Checks"])
            node, service = row["Node"], row["Service"]
            instances.append(
                Instance(
                    str(node["Node"]),
                    service_id,
                    healthy,
                    frozen,
                    tuple(service.get("Tags") or ()),
                    dict(node.get("Meta") or {}),
                    dict(service.get("Meta") or {}),
                )
            )
        return instances

    def metadata(self) -> None:
        """Ask for the metadata that patterns look at, of nodes and services with failing checks only."""
        needs, observation = self.look.rules.needs, self.observation
        checks = observation.checks or []
        if "node_meta" in needs and checks:
            observation.node_meta = {str(row["Node"]): dict(row["Meta"] or {}) for row in self.get("/v1/catalog/nodes")}
        if "service_meta" in needs:
            for service in sorted({check.service for check in checks if check.service}):
                for row in self.get(f"/v1/catalog/service/{service}"):
                    observation.service_meta[(str(row["Node"]), str(row["ServiceID"]))] = dict(row["ServiceMeta"] or {})

    def dead_nodes(self) -> None:
        """Ask what runs on nodes that are down, where that decides whether anybody cares: their checks still say passing."""
        if self.look.rules.needs_of("node_down").isdisjoint(("service", "tags", "service_meta")):
            return
        for check in self.observation.checks or ():
            if check.check == SERF_CHECK and check.status == "critical":
                found = self.get(f"/v1/catalog/node/{check.node}") or {}
                self.observation.on_dead_nodes[check.node] = [
                    (str(row["Service"]), tuple(row["Tags"] or ()), dict(row["Meta"] or {}))
                    for row in (found.get("Services") or {}).values()
                ]

    def wide_area(self) -> None:
        if self.local:
            self.observation.datacenters = [str(name) for name in self.client.get("/v1/catalog/datacenters").json()]
            self.observation.wan = self.wan_members()

    def certificate(self) -> None:
        endpoint = self.client.endpoint
        if endpoint.base_url.startswith("https:") and self.local:
            self.observation.certificate_expiry = certificate.expiry(endpoint)

    def connect_ca(self) -> None:
        try:
            answer = self.get("/v1/connect/ca/roots")
        except errors.ServerFailed as error:
            if "Connect must be enabled" in error.consul_message:
                return
            raise
        active = [row for row in answer["Roots"] or () if row.get("Active")]
        if active:
            self.observation.ca_expiry = min(_moment(row["NotAfter"]) for row in active)

    def acl_replication(self) -> None:
        try:
            answer = self.get("/v1/acl/replication")
        except errors.ConsulError as error:
            if "ACL support disabled" in error.consul_message:
                return
            raise
        if answer["Enabled"]:
            self.observation.acl_replication = AclReplication(
                bool(answer["Running"]), _moment(answer["LastSuccess"]), _moment(answer["LastError"])
            )


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}


def _seconds(duration: str) -> float:
    """Return the seconds of a Go duration as ``1m2.5s``."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|µs|us|ns|s)", duration))


def _moment(text: str) -> float:
    """Return the Unix seconds of a time as Go writes it; its zero time is 0."""
    if text.startswith("0001-"):
        return 0.0
    head = re.sub(r"\.\d+", "", text).replace("Z", "+00:00")
    return datetime.datetime.fromisoformat(head).timestamp()

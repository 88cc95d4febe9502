# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The datacenter as a whole: does it answer, does it have a leader, which servers are alive, how far is it from losing quorum."""

from __future__ import annotations

import typing as t

from ..._consul import errors
from ..._consul.answer_fields import Row, to_flag, to_metadata, to_number, to_object, to_rows, to_text
from ..._consul.units import count_of
from ..expectation import Expected
from ..judging import Judging
from ..observation import Observation
from ..reader import Reader
from ..rule import Rule
from ..rule_group import Reading, RuleGroup
from .certificates import AgentCertificate
from .checks import SERF_CHECK
from .wan import MEMBER_ALIVE, MEMBER_LEFT, read_wan_members

RULES = (
    Rule("consul_unreachable"),
    Rule("no_leader"),
    Rule("acl_token_blind"),
    Rule("quorum_margin", "count", warning=1, critical=0, is_bad_when_small=True, can_be_negative=True),  # < 0: lost
    Rule("server_missing"),
    Rule("server_unexpected", severity="warning"),
    Rule("version_skew", severity="warning"),
)

LEADER_TIMEOUT_S = 2.0  # a consistent read takes milliseconds; elections end within about three seconds
READ_REPLICA_TAGS = {"nonvoter", "read_replica"}  # Enterprise; the first is the older name


class Server(t.NamedTuple):
    """One Consul server. ``alive``: according to gossip or to its node check. ``version`` is "" where it is not known.

    ``is_read_replica``: it never votes (Enterprise).
    """

    name: str
    alive: bool
    version: str = ""
    is_read_replica: bool = False


class Servers(t.NamedTuple):
    """The servers of the datacenter."""

    servers: tuple[Server, ...]

    @property
    def alive(self) -> set[str]:
        """The names of those that are alive."""
        return {server.name for server in self.servers if server.alive}

    @property
    def dead(self) -> set[str]:
        """The names of those that are not alive."""
        return {server.name for server in self.servers if not server.alive}


class VisibleServers(t.NamedTuple):
    """How many servers the token may see in the catalog."""

    in_catalog: int


class Voters(t.NamedTuple):
    """The names of the servers that vote in Raft."""

    names: frozenset[str]


class AnsweringServer(t.NamedTuple):
    """What the server that answered says about itself."""

    knows_leader: bool


# ---------------------------------------------------------------------------------------------------------------
# Reading


def _read_leader(reader: Reader) -> None:
    """Find out whether there is a leader: from a header of the server that answered, then by a request that only a leader can answer."""
    observation = reader.observation
    if observation.leader_problem is not None:
        return
    answering = observation.get(AnsweringServer)
    if answering is not None and not answering.knows_leader:
        observation.leader_problem = "the server that answered knows no leader"
        return
    try:
        reader.client.check_leader(min(LEADER_TIMEOUT_S, reader.client.endpoint.timeout_s))
    except errors.PermissionDenied:
        pass  # it is the leader that denies this request
    except (errors.NoLeader, errors.TimedOut, errors.ServerFailed) as error:
        observation.leader_problem = str(error)


def _read_servers(reader: Reader) -> None:
    """Read the servers: from gossip where the agent is of this datacenter, otherwise from their node checks."""
    observation = reader.observation
    in_catalog = reader.get("/v1/health/service/consul").parse(_servers_of_catalog)
    observation.add(VisibleServers(len(in_catalog)))
    if reader.is_local:
        members = reader.get("/v1/agent/members").parse(lambda rows: _servers_of_gossip(rows, observation.datacenter))
        observation.add(Servers(members or in_catalog))
    elif observation.leader_problem is None:
        observation.add(Servers(in_catalog))
    else:
        # Node checks are not updated without a leader; gossip goes on.
        wan_members = read_wan_members(reader)
        if wan_members is not None:
            of_datacenter = (member for member in wan_members if member.datacenter == observation.datacenter)
            observation.add(Servers(tuple(Server(member.name, member.alive) for member in of_datacenter)))


def _servers_of_catalog(rows: t.Any) -> tuple[Server, ...]:
    return tuple(
        Server(
            name=to_text(row["Node"]["Node"]),
            alive=all(
                to_text(check["Status"]) == "passing"
                for check in to_rows(row["Checks"])
                if check["CheckID"] == SERF_CHECK
            ),
            version=to_metadata(row["Service"].get("Meta")).get("version", ""),
        )
        for row in to_rows(rows)
    )


def _servers_of_gossip(rows: t.Any, datacenter: str) -> tuple[Server, ...]:
    servers = []
    for row in to_rows(rows):
        tags, status = to_metadata(row["Tags"]), to_number(row["Status"])
        if status not in MEMBER_LEFT and tags.get("role") == "consul" and tags.get("dc", datacenter) == datacenter:
            version = tags.get("build", "").partition(":")[0]
            is_read_replica = not READ_REPLICA_TAGS.isdisjoint(tags)
            servers.append(Server(to_text(row["Name"]), status == MEMBER_ALIVE, version, is_read_replica))
    return tuple(servers)


def _read_voters(reader: Reader) -> None:
    response = reader.get("/v1/operator/raft/configuration")
    reader.observation.add(response.parse(lambda answer: Voters(frozenset(_voters(to_object(answer))))))


def _voters(answer: Row) -> t.Iterator[str]:
    for row in to_rows(answer["Servers"]):
        if to_flag(row["Voter"]):
            yield to_text(row["Node"])


# ---------------------------------------------------------------------------------------------------------------
# Judging


def judge(judging: Judging) -> None:
    """Judge whether the datacenter answers, its leader and its servers."""
    observation = judging.observation
    if observation.unreachable:
        _judge_unreachable(judging)
        return
    if observation.leader_problem is not None and not judging.add_by_rule(
        "no_leader",
        f"{observation.datacenter} has no leader: nothing can be written, and checks are not updated",
        detail=observation.leader_problem,
        advice="Start the servers that are down; an election takes a few seconds.",
    ):
        judging.add_unknown("checks", f"there is no leader ({observation.leader_problem})")
    visible, servers = observation.get(VisibleServers), observation.get(Servers)
    if visible is not None and visible.in_catalog == 0:
        judging.add_by_rule(
            "acl_token_blind",
            f"the token can read no Consul server in {observation.datacenter}, so it can read no failures either",
            advice='It needs node_prefix "" { policy = "read" } and service_prefix "" { policy = "read" }.',
        )
    elif servers is not None:
        _judge_quorum(judging, servers)
        _judge_expected_servers(judging, servers)
        _judge_versions(judging, servers)


def _judge_unreachable(judging: Judging) -> None:
    observation = judging.observation
    certificate = observation.get(AgentCertificate)
    if certificate is not None and certificate.expires_at <= observation.time:
        return  # the expired certificate is the cause, and is reported as such
    if not judging.add_by_rule(
        "consul_unreachable",
        f"Consul of {observation.datacenter} cannot be reached: {observation.unreachable}",
        advice="Nothing else is known about this datacenter.",
    ):
        judging.add_unknown("everything", observation.unreachable)


class _Quorum(t.NamedTuple):
    """How many servers are there, of how many there should be, and how many more may fail (below 0: quorum is lost)."""

    alive: int
    voting: int
    wanted: int
    wanted_name: str
    margin: int


def _margin(voting: int, total: int) -> int:
    """Return how many of the voting servers may still fail: Raft needs a majority of the total."""
    return voting - (total // 2 + 1)


def survivable_failures(observation: Observation) -> int | None:
    """Return how many more of its servers a datacenter can lose; below 0 quorum is lost. None while its voters are not known."""
    servers, voters = observation.get(Servers), observation.get(Voters)
    if servers is None or voters is None or not voters.names:
        return None
    return _margin(len(servers.alive & voters.names), len(voters.names))


def _judge_quorum(judging: Judging, servers: Servers) -> None:
    rule = judging.rules.get("quorum_margin")
    if rule is None:
        return
    read_voters = judging.observation.get(Voters)
    voters = (read_voters and read_voters.names) or frozenset(servers.alive)
    in_raft = _Quorum(
        alive=len(servers.alive & voters),
        voting=len(servers.alive & voters),
        wanted=len(voters),
        wanted_name="servers",
        margin=_margin(len(servers.alive & voters), len(voters)),
    )
    # Dead servers are removed from Raft after some 15 seconds, and the rest then calls itself healthy. So the voters that Raft
    # knows and those that are expected are both judged. A server that is back votes only ten seconds later.
    expected = judging.expected.get(judging.datacenter)
    quorum = in_raft if expected is None or not expected.count else _worse_quorum(in_raft, expected, servers, voters)
    if quorum.voting >= quorum.wanted:
        return
    # How many more failures Raft survives does not depend on the servers that it has forgotten.
    known_margin = survivable_failures(judging.observation)
    margin = quorum.margin if known_margin is None else known_margin
    if margin < 0:
        consequence = "quorum is lost"
    elif margin == 0:
        consequence = "one more failure loses quorum"
    else:
        consequence = f"{count_of(margin + 1, 'more failure')} would lose quorum"
    votes = f", {quorum.voting} of them with a vote" if quorum.alive > quorum.voting else ""
    judging.add(
        "quorum_margin",
        rule.severity_below(quorum.margin, inclusive=True),
        f"{quorum.alive} of {quorum.wanted} {quorum.wanted_name} alive in {judging.datacenter}{votes}: {consequence}",
        detail=f"alive: {', '.join(sorted(servers.alive)) or 'none'}",
        advice="Bring the missing servers back before anything else is restarted.",
    )


def _worse_quorum(in_raft: _Quorum, expected: Expected, servers: Servers, voters: t.AbstractSet[str]) -> _Quorum:
    """Return what is worse: the voters that Raft knows, or those that are expected."""
    replicas = {server.name for server in servers.servers if server.is_read_replica}
    if expected.names:
        names = set(expected.names) - replicas
        wanted, voting, alive = len(names), len(servers.alive & voters & names), len(servers.alive & names)
    else:
        wanted, voting, alive = expected.count - len(replicas), in_raft.voting, len(servers.alive - replicas)
    margin = _margin(voting, wanted)
    if voting < wanted and (in_raft.voting == in_raft.wanted or margin <= in_raft.margin):
        return _Quorum(alive, voting, wanted, "expected servers", margin)
    return in_raft


def _judge_expected_servers(judging: Judging, servers: Servers) -> None:
    expected = judging.expected.get(judging.datacenter)
    if expected is not None and expected.count and not expected.names:
        _judge_server_count(judging, servers, expected.count)
        return
    names = set(expected.names) if expected and expected.names else servers.alive | servers.dead
    for name in sorted(names - servers.alive):
        state = "failed" if name in servers.dead else "gone: Consul no longer lists it"
        if judging.add_by_rule("server_missing", f"server {name} of {judging.datacenter} is {state}", node=name):
            judging.reported_servers.add(name)
            judging.judgement.hidden_nodes.add((judging.datacenter, name))
    for name in sorted(servers.alive - names):
        judging.add_by_rule(
            "server_unexpected",
            f"server {name} of {judging.datacenter} is not among the expected ones",
            node=name,
            advice="Add it to expect, or find out who started it.",
        )


def _judge_server_count(judging: Judging, servers: Servers, expected: int) -> None:
    missing = expected - len(servers.alive)
    if missing > 0:
        dead = f" ({', '.join(sorted(servers.dead))})" if servers.dead else ""
        summary = f"{count_of(missing, 'server')} of {judging.datacenter} missing{dead}"
        if judging.add_by_rule("server_missing", summary):
            judging.reported_servers |= servers.dead
            judging.judgement.hidden_nodes |= {(judging.datacenter, name) for name in servers.dead}
    if missing < 0:
        judging.add_by_rule(
            "server_unexpected",
            f"{len(servers.alive)} servers in {judging.datacenter}, {expected} expected",
            detail=", ".join(sorted(servers.alive)),
        )


def _judge_versions(judging: Judging, servers: Servers) -> None:
    names_by_version: dict[str, list[str]] = {}
    for server in servers.servers:
        if server.alive and server.version:
            names_by_version.setdefault(server.version, []).append(server.name)
    if len(names_by_version) > 1:
        listed = (f"{version} on {', '.join(sorted(names))}" for version, names in sorted(names_by_version.items()))
        judging.add_by_rule(
            "version_skew",
            f"{len(names_by_version)} versions of Consul among the servers of {judging.datacenter}",
            detail="; ".join(listed),
        )


GROUP = RuleGroup(
    RULES,
    judge,
    (
        Reading("the leader", _read_leader),
        Reading("servers", _read_servers),
        Reading("raft peers", _read_voters, ("quorum_margin",)),
    ),
)

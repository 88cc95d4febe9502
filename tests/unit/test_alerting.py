# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the alert rules make of an observation: what is judged, against what, and what is left out."""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._alerting import (
    gate,
    judgement_result,
    tls_certificate,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.expectation import make_expected
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import (
    Finding,
    InMaintenance,
    Judgement,
    Unknown,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.judge import judge
from ansible_collections.consulops.failover.plugins.module_utils._alerting.match import Matcher, Subject
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observation import FilteredLists, Observation
from ansible_collections.consulops.failover.plugins.module_utils._alerting.registry import BUILT_IN_RULES
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rule_options import make_rules
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.acl_replication import AclReplication
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.certificates import (
    AgentCertificate,
    ConnectCA,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.checks import (
    Check,
    FailingChecks,
    ServiceOnNode,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.cluster import (
    Server,
    Servers,
    VisibleServers,
    Voters,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.expected_nodes import RegisteredNodes
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.services import Instance, Services
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.snapshots import Snapshot, Snapshots
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules.wan import Wan, WanMember
from ansible_collections.consulops.failover.plugins.module_utils._consul.autopilot import Autopilot, RaftServer
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption, InvalidResponse
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1_800_000_000.0
DAY = 86400.0
EXPECT = {"dc1": {"servers": ["s1", "s2", "s3"]}}


def servers(alive: str, dead: str = "") -> Servers:
    live = [Server(name, True, "1.8.7") for name in alive.split()]
    return Servers((*live, *(Server(name, False) for name in dead.split())))


def voters(names: str) -> Voters:
    return Voters(frozenset(names.split()))


def failing_checks(*checks: Check, **metadata: t.Any) -> FailingChecks:
    return FailingChecks(checks, **metadata)


def judgement_of(
    expect: dict[str, t.Any] | None = None,
    rules: t.Sequence[dict[str, t.Any]] = (),
    match: t.Any = None,
    ignore: t.Any = None,
    unreachable: str = "",
    leader_problem: str | None = None,
    parts: t.Sequence[object] = (),
) -> Judgement:
    observation = Observation("dc1", NOW, unreachable=unreachable, leader_problem=leader_problem)
    observation.add(*parts)
    judgement = judge(observation, make_rules(rules, match, ignore), make_expected(expect))
    judgement.sort()
    return judgement


def rule_severities(*args: t.Any, **options: t.Any) -> list[tuple[str, str]]:
    return [(one.rule, one.severity) for one in judgement_of(*args, **options).findings]


# ---------------------------------------------------------------------------------------------------------------
# Servers and quorum


@pytest.mark.parametrize(
    ("alive", "dead", "voting", "expect", "rules"),
    [
        ("s1 s2 s3", "", "s1 s2 s3", EXPECT, []),
        ("s1 s2 s3", "", "s1 s2 s3", None, []),
        ("s1", "", "s1", {"dc1": {"servers": 1}}, []),
        ("s1 s2", "s3", "s1 s2 s3", EXPECT, [("quorum_margin", "critical"), ("server_missing", "critical")]),
        ("s1 s2", "s3", "s1 s2 s3", None, [("quorum_margin", "critical"), ("server_missing", "critical")]),
        # Autopilot has removed the dead one: only what was declared still knows it.
        ("s1 s2", "", "s1 s2", EXPECT, [("quorum_margin", "critical"), ("server_missing", "critical")]),
        ("s1 s2", "", "s1 s2", None, []),
        (
            "s1 s2",
            "",
            "s1 s2",
            {"dc1": {"servers": 3}},
            [("quorum_margin", "critical"), ("server_missing", "critical")],
        ),
        (
            "s1 s2 s3 s4",
            "s5",
            "s1 s2 s3 s4 s5",
            {"dc1": {"servers": 5}},
            [("server_missing", "critical"), ("quorum_margin", "warning")],
        ),
        ("s1 s2 s3 s9", "", "s1 s2 s3 s9", EXPECT, [("server_unexpected", "warning")]),
        ("s1 s2 s3 s4", "", "s1 s2 s3 s4", {"dc1": {"servers": 3}}, [("server_unexpected", "warning")]),
        # Alive, and not voting yet.
        ("s1 s2 s3", "", "s1 s2", EXPECT, [("quorum_margin", "critical")]),
        ("s1 s2 s3", "", "s1 s2", {"dc1": {"servers": 3}}, [("quorum_margin", "critical")]),
        (
            "s1 s2 s9",
            "",
            "s1 s2 s9",
            EXPECT,
            [("quorum_margin", "critical"), ("server_missing", "critical"), ("server_unexpected", "warning")],
        ),
    ],
)
def test_servers_are_judged_against_raft_and_against_the_expected_ones(
    alive: str, dead: str, voting: str, expect: t.Any, rules: list[tuple[str, str]]
) -> None:
    assert rule_severities(expect, parts=[servers(alive, dead), voters(voting)]) == rules


def test_the_quorum_summary_says_how_many_failures_are_left() -> None:
    def sentence(alive: str, dead: str, expected: int, voting: str = "") -> str:
        parts = [servers(alive, dead), voters(voting or f"{alive} {dead}")]
        judgement = judgement_of({"dc1": {"servers": expected}}, parts=parts)
        return next(one.summary for one in judgement.findings if one.rule == "quorum_margin")

    assert sentence("s1 s2", "s3", 3) == "2 of 3 expected servers alive in dc1: one more failure loses quorum"
    assert sentence("s1", "s2 s3", 3) == "1 of 3 expected servers alive in dc1: quorum is lost"
    assert sentence("s1 s2 s3 s4", "s5", 5) == "4 of 5 expected servers alive in dc1: 2 more failures would lose quorum"
    back = "3 of 3 expected servers alive in dc1, 2 of them with a vote: one more failure loses quorum"
    assert sentence("s1 s2 s3", "", 3, voting="s1 s2") == back
    # Raft has forgotten the other two: of what it knows one more may fail.
    assert sentence("s1 s2 s3", "", 5) == "3 of 5 expected servers alive in dc1: 2 more failures would lose quorum"


def test_read_replicas_do_not_count_for_quorum() -> None:
    with_replica = Servers((*servers("s1 s2 s3").servers, Server("r1", True, "1.8.7", is_read_replica=True)))
    parts = [with_replica, voters("s1 s2 s3")]
    assert rule_severities({"dc1": {"servers": ["s1", "s2", "s3", "r1"]}}, parts=parts) == []
    assert rule_severities({"dc1": {"servers": 4}}, parts=parts) == []


@given(alive=st.integers(0, 9), dead=st.integers(0, 9), expected=st.integers(1, 9))
def test_quorum_is_reported_as_lost_exactly_when_it_is(alive: int, dead: int, expected: int) -> None:
    names = [f"s{number}" for number in range(alive + dead)]
    all_servers = Servers(tuple(Server(name, place < alive) for place, name in enumerate(names)))
    judgement = judgement_of({"dc1": {"servers": expected}}, parts=[all_servers, Voters(frozenset(names))])
    lost = alive < (alive + dead) // 2 + 1  # what Raft needs, however many there should be
    assert any("quorum is lost" in one.summary for one in judgement.findings) == lost
    if not dead and alive == expected:
        assert judgement.findings == []


def test_a_dead_server_is_reported_once() -> None:
    serf = Check("s3", "serfHealth", "Serf", "critical", "Agent not live", modify_index=7)
    raft = (RaftServer("s3", False, True, False, 9.0, 0), RaftServer("s1", True, True, True, 0.0, 500))
    parts = [servers("s1 s2", "s3"), voters("s1 s2 s3"), failing_checks(serf), Autopilot(False, 0, raft)]
    assert rule_severities(EXPECT, parts=parts) == [
        ("quorum_margin", "critical"),
        ("server_missing", "critical"),
    ]


def test_autopilot_lagging_followers_and_mixed_versions_are_reported() -> None:
    raft = (
        RaftServer("s1", True, True, True, 0.0, 10_000),
        RaftServer("s2", False, True, False, 0.3, 9_999),
        RaftServer("s3", True, True, False, 0.01, 9_000),
    )
    mixed = Servers((Server("s1", True, "1.8.7"), Server("s2", True, "1.9.0"), Server("s3", True, "1.8.7")))
    parts = [mixed, Autopilot(False, 0, raft)]
    assert rule_severities(parts=parts) == [
        ("autopilot_unhealthy", "warning"),
        ("raft_last_contact", "warning"),
        ("raft_trailing_logs", "warning"),
        ("version_skew", "warning"),
    ]
    rules = [
        {"rule": "raft_last_contact", "warning": "100ms", "critical": "250ms"},
        {"rule": "raft_trailing_logs", "warning": 2000},
        {"rule": "autopilot_unhealthy", "enabled": False},
        {"rule": "version_skew", "severity": "none"},
    ]
    assert rule_severities(rules=rules, parts=parts) == [("raft_last_contact", "critical")]


def test_without_a_leader_checks_are_not_judged() -> None:
    parts = [failing_checks(Check("n1", "c", "c", "critical", "")), Autopilot(False, 0)]
    assert rule_severities(leader_problem="No cluster leader", parts=parts) == [("no_leader", "critical")]


def test_an_unreachable_datacenter_has_no_other_findings() -> None:
    assert rule_severities(unreachable="refused", expect=EXPECT) == [("consul_unreachable", "critical")]
    assert rule_severities(unreachable="expired", parts=[AgentCertificate(NOW - 1)]) == [
        ("tls_cert_expiry", "critical")
    ]


def test_a_token_that_can_read_nothing_is_critical() -> None:
    assert rule_severities(EXPECT, parts=[VisibleServers(0), servers(""), failing_checks()]) == [
        ("acl_token_blind", "critical")
    ]


@pytest.mark.parametrize(
    ("path", "off", "unknown"),
    [
        ("/v1/health/service/web", [], True),
        ("/v1/health/service/web", ["service_min_healthy"], False),
        ("/v1/health/service/consul", [], True),
        ("/v1/health/service/consul", ["quorum_margin"], True),
        ("/v1/health/service/consul", ["quorum_margin", "server_missing"], False),
        ("/v1/health/state/any", [], False),
        ("/v1/catalog/services", [], False),
    ],
)
def test_a_number_counted_in_a_filtered_list_is_unknown_with_the_rule_for_such_tokens_off(
    path: str, off: list[str], unknown: bool
) -> None:
    rules = [{"rule": rule, "enabled": False} for rule in ("acl_token_blind", *off)]
    found = judgement_of(rules=rules, parts=[FilteredLists(frozenset([path]), is_announced=True)])
    assert [one.what for one in found.unknown] == [path] * unknown
    assert not found.findings


# ---------------------------------------------------------------------------------------------------------------
# Checks


def failing_check(name: str, status: str = "critical", node: str = "n1", service: str = "web", **more: t.Any) -> Check:
    return Check(node, name, name, status, "output\nof two lines", service, service, modify_index=5, **more)


def test_a_finding_has_the_severity_and_the_place_of_its_check() -> None:
    one, two = judgement_of(parts=[failing_checks(failing_check("b", "warning"), failing_check("a"))]).findings
    assert (one.severity, one.node, one.service, one.check, one.since_index) == ("critical", "n1", "web", "a", 5)
    assert (two.severity, two.check) == ("warning", "b")
    assert one.summary == "web on n1 of dc1: check a is critical" and one.detail == "output of two lines"


def test_a_rule_that_is_off_does_not_hide_the_consequences_it_would_have_covered() -> None:
    off = [
        {"rule": rule, "enabled": False}
        for rule in ("server_missing", "quorum_margin", "consul_unreachable", "no_leader")
    ]
    serf = Check("s3", "serfHealth", "Serf", "critical", "Agent not live")
    autopilot = Autopilot(False, 0, (RaftServer("s3", False, True, False, 9.0, 1),))
    assert rule_severities(EXPECT, off, parts=[servers("s1 s2", "s3"), failing_checks(serf), autopilot]) == [
        ("node_down", "critical"),
        ("autopilot_unhealthy", "warning"),
        ("raft_last_contact", "warning"),
    ]
    for problem in ({"unreachable": "refused"}, {"leader_problem": "none"}):
        judgement = judgement_of(EXPECT, off, **problem)
        assert (judgement.findings, judgement.verdict) == ([], "unknown")
    unexpected = [servers("a b c", "d"), failing_checks(Check("d", "serfHealth", "", "critical", ""))]
    assert rule_severities({"dc1": {"servers": ["a", "b", "c"]}}, parts=unexpected) == [("node_down", "critical")]
    checks = failing_checks(failing_check("a"), Check("n1", "serfHealth", "", "critical", ""))
    assert rule_severities(rules=[{"rule": "node_down", "enabled": False}], parts=[checks]) == [
        ("check_status", "critical")
    ]


def test_a_node_that_is_down_matters_for_what_runs_on_it() -> None:
    on_node = {"n1": (ServiceOnNode("api", ("prod",), {"tier": "1"}),)}
    down = failing_checks(Check("n1", "serfHealth", "", "critical", ""), services_on_down_nodes=on_node)
    for match in (
        {"service": "api"},
        {"tags": "prod"},
        {"service_meta": {"tier": "1"}},
        {"service": "api", "node": "n1"},
    ):
        assert rule_severities(match=[match], parts=[down]) == [("node_down", "critical")]
    for match in ({"service": "web"}, {"service": "api", "tags": "dev"}):
        assert rule_severities(match=[match], parts=[down]) == []
    gentle = [{"rule": "node_down", "match": {"tags": "prod"}, "severity": "warning"}]
    assert rule_severities(rules=gentle, parts=[down]) == [("node_down", "critical")], (
        "the node itself is judged before its services"
    )


def test_a_check_matches_by_its_id_and_by_its_name() -> None:
    checks = failing_checks(Check("n1", "check:7", "disk space", "critical", ""))
    assert rule_severities(parts=[checks]) == [("check_status", "critical")]
    for pattern in ("disk *", "check:7"):
        assert rule_severities(ignore=[{"check": pattern}], parts=[checks]) == []


def test_a_dead_nodes_checks_are_not_listed_one_by_one() -> None:
    down = Check("n1", "serfHealth", "Serf", "critical", "")
    judgement = judgement_of(
        parts=[failing_checks(down, failing_check("a"), failing_check("b"), failing_check("c", node="n2"))]
    )
    assert [(one.rule, one.node) for one in judgement.findings] == [("check_status", "n2"), ("node_down", "n1")]
    assert "2 other checks on it not listed" in judgement.findings[1].summary


def test_nodes_and_services_in_maintenance_are_listed_and_not_judged() -> None:
    checks = [
        Check("n1", "_node_maintenance", "", "critical", ""),
        failing_check("a"),
        Check("n1", "serfHealth", "", "critical", ""),
        Check("n2", "_service_maintenance:web", "", "critical", "", "web", "web"),
        failing_check("b", node="n2"),
        failing_check("c", node="n2", service="db"),
    ]
    judgement = judgement_of(parts=[failing_checks(*checks)])
    assert [(one.node, one.check) for one in judgement.findings] == [("n2", "c")]
    assert judgement.maintenance == ["dc1: node n1", "dc1: service web on n2"]


def test_the_first_matching_entry_judges_a_check() -> None:
    rules: list[dict[str, t.Any]] = [
        {"rule": "check_status", "match": {"service": "re:^infra-"}, "severities": {"warning": "critical"}},
        {"rule": "check_status", "match": {"tags": "no-alert"}, "enabled": False},
        {"rule": "check_status", "match": {"node_meta": {"team": ["dba", "ops"]}}, "severity": "warning"},
    ]
    checks = [
        failing_check("a", "warning", service="infra-dns"),
        failing_check("b", tags=("no-alert", "x")),
        failing_check("c", node="n7"),
        failing_check("d"),
    ]
    judgement = judgement_of(rules=rules, parts=[failing_checks(*checks, node_meta={"n7": {"team": "dba"}})])
    assert {one.check: one.severity for one in judgement.findings} == {"a": "critical", "c": "warning", "d": "critical"}
    worse = judgement_of(rules=rules, parts=[failing_checks(failing_check("a", service="infra-dns"))])
    assert [one.severity for one in worse.findings] == ["critical"], "a status that is not given keeps its severity"


def test_match_and_ignore_apply_to_checks_and_nodes() -> None:
    checks = failing_checks(
        failing_check("a", node="build-1"),
        failing_check("b", node="web-1"),
        Check("web-2", "serfHealth", "", "critical", ""),
    )

    def nodes(**options: t.Any) -> list[str]:
        return [one.node for one in judgement_of(parts=[checks], **options).findings]

    assert nodes(ignore=[{"node": "build-*"}]) == ["web-1", "web-2"]
    assert nodes(match=[{"node": "build-*"}]) == ["build-1"]
    assert nodes(ignore=[{"node": "web-*", "service": "web"}]) == ["build-1", "web-2"]


def instances(healthy: int, failing: int = 0, in_maintenance: int = 0) -> tuple[Instance, ...]:
    states = [(True, False)] * healthy + [(False, False)] * failing + [(False, True)] * in_maintenance
    return tuple(Instance(f"n{number}", "web", *state) for number, state in enumerate(states))


@pytest.mark.parametrize(
    ("limits", "there", "severity"),
    [
        ({"warning": 3, "critical": 1}, instances(3), None),
        ({"warning": 3, "critical": 1}, instances(2, 1), "warning"),
        ({"warning": 3, "critical": 1}, instances(0, 3), "critical"),
        ({"critical": 1}, (), "critical"),
        ({"warning": "75%", "critical": "50%"}, instances(3, 1), None),
        ({"warning": "75%", "critical": "50%"}, instances(2, 1), "warning"),
        ({"warning": "75%", "critical": "50%"}, instances(1, 2), "critical"),
        ({"warning": "75%"}, instances(3, 0, 2), None),
        ({"warning": "75%"}, instances(0, 0, 2), "warning"),
        ({"critical": "1%"}, (), "critical"),
        ({"critical": "100%"}, instances(3), None),
        ({"critical": 2}, instances(3), None),
    ],
)
def test_a_service_is_judged_by_its_healthy_instances(
    limits: dict[str, t.Any], there: tuple[Instance, ...], severity: str | None
) -> None:
    rules = [{"rule": "service_min_healthy", "match": {"service": "web"}, **limits}]
    judgement = judgement_of(rules=rules, parts=[Services({"web": there, "other": ()})])
    assert [one.severity for one in judgement.findings] == ([severity] if severity else [])


def test_each_instance_counts_for_the_first_entry_that_matches_it() -> None:
    there = (
        Instance("n1", "web-1", True, False, ("prod",), {"rack": "a"}),
        Instance("n2", "web-2", True, False, ("dev",), {"rack": "a"}),
        Instance("n3", "web-3", True, False, ("dev",), {"rack": "b"}),
    )

    def least(*rules: dict[str, t.Any], **options: t.Any) -> list[str]:
        entries = [{"rule": "service_min_healthy", **rule} for rule in rules]
        judgement = judgement_of(rules=entries, parts=[Services({"web": there, "gone": ()})], **options)
        return [one.summary.partition(" in dc1")[0] for one in judgement.findings]

    prod, every = {"match": {"service": "web", "tags": "prod"}}, {"match": {"service": "web"}}
    assert least({**prod, "critical": 2}) == ["1 of 1 instance of web"]
    assert least({**prod, "critical": 1}, {**every, "critical": 3}) == ["2 of 2 instances of web"]
    assert least({**every, "critical": 2, "ignore": {"node_meta": {"rack": "a"}}}) == ["1 of 1 instance of web"]
    assert least({**every, "critical": 3}, ignore=[{"node": "n1"}]) == ["2 of 2 instances of web"]
    assert least({**every, "enabled": False}, {"match": {"service": "*"}, "critical": 9}) == []
    assert least({**every, "critical": 1}, {**every, "critical": 9}) == [], "the second has nothing left to judge"
    canary = {"match": {"service": "web", "tags": "canary"}, "critical": 1}
    assert least(canary, {**every, "critical": 1}) == ["0 of 0 instances of web"]
    assert least({"match": {"service": "gone"}, "critical": 1}, match=[{"tags": "prod"}]) == [
        "0 of 0 instances of gone"
    ]
    assert least({"match": {"service": "gone"}, "critical": 1}, match=[{"service": "web"}]) == []


# ---------------------------------------------------------------------------------------------------------------
# WAN, certificates, ACL replication, snapshots


def test_servers_and_datacenters_that_the_wan_does_not_reach_are_reported() -> None:
    members = (
        WanMember("s1", "dc1", True),
        WanMember("t1", "dc2", False),
        WanMember("t2", "dc2", True),
        WanMember("u1", "dc3", False),
    )
    expect = {name: {"servers": 1} for name in ("dc1", "dc2", "dc3", "dc4")}
    judgement = judgement_of(expect, parts=[servers("s1"), Wan(("dc1", "dc2", "dc3"), members)])
    assert [(one.rule, one.node) for one in judgement.findings] == [
        ("wan_dc_missing", ""),
        ("wan_dc_missing", ""),
        ("wan_member_failed", "t1"),
        ("wan_member_failed", "u1"),
    ]
    assert {"dc3", "dc4"} == {
        one.summary.split()[3 if "no server" in one.summary else -1] for one in judgement.findings[:2]
    }


@pytest.mark.parametrize(
    ("left", "severity"), [(40 * DAY, None), (20 * DAY, "warning"), (3 * DAY, "critical"), (-DAY, "critical")]
)
@pytest.mark.parametrize(
    ("part_class", "rule"), [(AgentCertificate, "tls_cert_expiry"), (ConnectCA, "connect_ca_expiry")]
)
def test_certificates_are_reported_before_they_expire(
    part_class: t.Callable[[float], object], rule: str, left: float, severity: str | None
) -> None:
    judgement = judgement_of(parts=[part_class(NOW + left)])
    assert [(one.rule, one.severity) for one in judgement.findings] == ([(rule, severity)] if severity else [])
    if left < 0:
        assert "expired 1d ago" in judgement.findings[0].summary


@pytest.mark.parametrize(
    ("state", "severity"),
    [
        (AclReplication(True, NOW - 5, NOW - 100), None),
        (AclReplication(True, NOW - 9999, NOW - 10_000), None),
        (AclReplication(True, NOW - 600, NOW - 1), "warning"),
        (AclReplication(True, 0.0, NOW - 1), "critical"),
        (AclReplication(False, NOW - 7200, 0.0), "critical"),
    ],
)
def test_failing_acl_replication_is_reported(state: AclReplication, severity: str | None) -> None:
    assert rule_severities(parts=[state]) == ([("acl_replication_lag", severity)] if severity else [])


@pytest.mark.parametrize(
    ("snapshot", "rules"),
    [
        (Snapshot("/a", NOW - 3600, ""), []),
        (Snapshot("/a", NOW - 30 * 3600, ""), [("snapshot_age", "warning")]),
        (
            Snapshot("/a", NOW - 60 * 3600, "damaged"),
            [("snapshot_age", "critical"), ("snapshot_unverified", "warning")],
        ),
        (None, [("snapshot_age", "critical")]),
        (Snapshot("/a", NOW + 10 * DAY, ""), [("snapshot_age", "warning")]),
        (Snapshot("/a", NOW + 60, ""), []),
    ],
)
def test_old_missing_and_damaged_snapshots_are_reported(
    snapshot: Snapshot | None, rules: list[tuple[str, str]]
) -> None:
    assert rule_severities(parts=[Snapshots({"dc1": snapshot})]) == rules


def test_snapshots_are_not_judged_without_a_directory() -> None:
    assert rule_severities() == []


def test_the_snapshots_of_a_datacenter_without_a_known_name_are_not_judged() -> None:
    observation = Observation("https://192.0.2.1:8501", NOW, has_name=False, unreachable="refused")
    observation.add(Snapshots({}))
    assert [one.rule for one in judge(observation, make_rules([]), {}).findings] == ["consul_unreachable"]


# ---------------------------------------------------------------------------------------------------------------
# Verdict, table and sentence

FINDING = Finding("r", "warning", "dc1", "s")
UNKNOWN = Unknown("dc1", "checks", "why")


@pytest.mark.parametrize(
    ("findings", "unknown", "verdict", "closed_for"),
    [
        ([], [], "ok", []),
        ([FINDING], [], "warning", ["warning"]),
        ([FINDING._replace(severity="critical")], [], "critical", ["critical", "warning"]),
        ([], [UNKNOWN], "unknown", ["critical", "warning"]),
        ([FINDING._replace(severity="critical")], [UNKNOWN], "critical", ["critical", "warning"]),
    ],
)
def test_unknown_is_never_ok(
    findings: list[Finding], unknown: list[Unknown], verdict: str, closed_for: list[str]
) -> None:
    judgement = Judgement(findings, unknown)
    assert judgement.verdict == verdict
    assert [gate for gate in ("critical", "warning", "never") if judgement.fails(gate)] == closed_for


@given(
    st.permutations(
        [FINDING._replace(node=str(number), severity=("warning", "critical")[number % 2]) for number in range(6)]
    )
)
def test_findings_are_always_in_the_same_order(findings: list[Finding]) -> None:
    judgement = Judgement(list(findings))
    judgement.sort()
    assert [one.node for one in judgement.findings] == ["1", "3", "5", "0", "2", "4"]


def test_the_table_and_the_gate_sentence_name_what_is_wrong() -> None:
    judgement = Judgement([FINDING._replace(summary="it burns")] * 7, [UNKNOWN], ["dc1: node n1"])
    lines = judgement_result.table(judgement)
    assert len(lines) == 9 and "it burns" in lines[0] and "in maintenance" in lines[-1]
    said = str(judgement_result.gate_closed(gate.GateOutcome(judgement, 3, 12.3), {}))
    assert said.startswith("the gate is closed after 12 s (unknown). ") and "and 2 other things" in said
    assert judgement_result.table(Judgement()) == ["ok: nothing is wrong"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"rule": "nope"}], "there is no rule 'nope'"),
        ([{}], "there is no rule None"),
        ([{"rule": "no_leader", "threshold": 3}], "'threshold' is not a setting"),
        ([{"rule": "no_leader", "warning": 3}], "has no threshold"),
        ([{"rule": "quorum_margin", "severity": "critical"}], "has thresholds"),
        ([{"rule": "no_leader", "severity": "fatal"}], "is none of"),
        ([{"rule": "no_leader", "match": {"node": "x"}}], "whole datacenter"),
        ([{"rule": "snapshot_age", "warning": "soon"}], "not a duration"),
        ([{"rule": "quorum_margin", "warning": "1.5"}], "not a whole number"),
        ([{"rule": "service_min_healthy", "warning": 3}], "needs match"),
        ([{"rule": "service_min_healthy", "match": {"service": "a"}}], "needs warning or critical"),
        ([{"rule": "service_min_healthy", "match": {"service": "a"}, "warning": "101%"}], "percentage"),
        ([{"rule": "service_min_healthy", "match": {"service": "a"}, "warning": "50%", "critical": 1}], "both"),
        ([{"rule": "check_status", "match": {"colour": "red"}}], "not a field to match by"),
        ([{"rule": "check_status", "match": {}}], "would match everything"),
        ([{"rule": "check_status", "match": {"node": "re:("}}], "not a regular expression"),
        ([{"rule": "check_status", "match": {"node": []}}], "match nothing"),
        ([{"rule": "check_status", "match": {"node_meta": "x"}}], "a dictionary"),
        ([{"rule": "check_status", "match": "web"}], "a dictionary"),
        ([{"rule": "check_status", "match": {"node_meta": {}}}], "a dictionary"),
        ([{"rule": "check_status", "severities": "x"}], "a dictionary"),
        ([{"rule": "check_status", "severities": {"crit": "warning"}}], "'crit' is none of"),
        ([{"rule": "check_status", "severities": {"critical": []}}], "is none of"),
        ([{"rule": "no_leader", "severity": ["critical"]}], "is none of"),
        ([{"rule": "no_leader", "enabled": "maybe"}], "neither true nor false"),
        ([{"rule": "no_leader", "enabled": []}], "neither true nor false"),
        ([{"rule": "snapshot_age", "warning": "50h", "critical": "2h"}], "exchange the two"),
        ([{"rule": "tls_cert_expiry", "warning": "1d", "critical": "2d"}], "exchange the two"),
        ([{"rule": "quorum_margin", "warning": "²"}], "not a whole number"),
        (
            [{"rule": "service_min_healthy", "match": {"check": "a", "service": "b"}, "critical": 1}],
            "no check to match",
        ),
    ],
)
def test_invalid_rules_are_refused(rules: list[dict[str, t.Any]], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        make_rules(rules)


@pytest.mark.parametrize(
    "expect",
    [
        {"dc1": 3},
        {"dc1": {}},
        {"dc1": {"servers": 0}},
        {"dc1": {"servers": "²"}},
        {"dc1": {"servers": []}},
        {"dc1": {"servers": ["a", "a"]}},
        {"dc1": {"server": 3}},
        {"dc1": {"servers": 3, "nodes": []}},
        {"dc1": {"nodes": "many"}},
        {"dc1": {"services": ["web"]}},
        {"dc1": {"services": {"web": 0}}},
        {"dc1": {"services": {}}},
    ],
)
def test_invalid_expectations_are_refused(expect: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidOption, match=r"expect\.dc1"):
        make_expected(expect)


@pytest.mark.parametrize("word", [False, "false", "no", "Off", 0])
def test_any_false_value_of_ansible_switches_a_rule_off(word: object) -> None:
    assert (
        rule_severities(rules=[{"rule": "check_status", "enabled": word}], parts=[failing_checks(failing_check("a"))])
        == []
    )


def test_quorum_can_be_critical_only_when_it_is_lost() -> None:
    rules = [{"rule": "quorum_margin", "warning": 0, "critical": -1}]
    assert rule_severities(EXPECT, rules, parts=[servers("s1 s2", "s3"), voters("s1 s2 s3")]) == [
        ("server_missing", "critical"),
        ("quorum_margin", "warning"),
    ]


@pytest.mark.parametrize("waiting", [gate.GateTiming(-1.0), gate.GateTiming(float("nan")), gate.GateTiming(1.0, 2.0)])
def test_invalid_times_are_refused(waiting: gate.GateTiming) -> None:
    with pytest.raises(InvalidOption):
        waiting.check()


def test_globs_match_whole_names_and_regular_expressions_match_parts() -> None:
    subject = Subject(node="web-12", tags=("v1", "blue"))
    assert Matcher({"node": "web-*"}, "match").matches(subject)
    assert not Matcher({"node": "web"}, "match").matches(subject)
    assert Matcher({"node": "re:b-1"}, "match").matches(subject)
    assert Matcher({"node": ["x", "web-??"], "tags": "blue"}, "match").matches(subject)
    assert not Matcher({"node": "web-*", "tags": "red"}, "match").matches(subject)


KEY = ec.generate_private_key(ec.SECP256R1())


@settings(max_examples=30, deadline=None)
@given(
    st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2120, 1, 1)),
    st.text("abc xyz", min_size=1, max_size=60),
)
def test_the_expiry_of_any_certificate_is_what_the_cryptography_library_reads(
    moment: datetime.datetime, name: str
) -> None:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    moment = moment.replace(microsecond=0)
    made = x509.CertificateBuilder(
        subject, subject, KEY.public_key(), x509.random_serial_number(), moment - datetime.timedelta(days=1), moment
    ).sign(KEY, hashes.SHA256())
    data = made.public_bytes(serialization.Encoding.DER)
    assert tls_certificate.not_after(data) == made.not_valid_after_utc.timestamp()


@given(st.binary(max_size=200))
def test_bytes_that_are_not_a_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        tls_certificate.not_after(data)


# ---------------------------------------------------------------------------------------------------------------
# Expected nodes and services, and what a judgement says about itself


def registered(names: str) -> RegisteredNodes:
    return RegisteredNodes(frozenset(names.split()))


def test_an_expected_node_that_consul_no_longer_lists_is_reported() -> None:
    expect = {"dc1": {"nodes": ["n1", "n2"]}}
    judgement = judgement_of(expect, parts=[registered("n1 s1")])
    assert [(one.rule, one.node, one.severity) for one in judgement.findings] == [("node_left", "n2", "critical")]
    assert rule_severities(expect, parts=[registered("n1 n2 s1")]) == []
    assert rule_severities(expect, rules=[{"rule": "node_left", "enabled": False}], parts=[registered("n1")]) == []
    assert rule_severities(expect) == []  # the nodes could not be read


def test_expected_nodes_can_be_a_number() -> None:
    (finding,) = judgement_of({"dc1": {"nodes": 3}}, parts=[registered("n1 n2")]).findings
    assert finding.summary == "2 of 3 expected nodes in dc1 registered"
    assert rule_severities({"dc1": {"nodes": 2}}, parts=[registered("n1 n2 n3")]) == []


def test_a_missing_server_is_not_reported_as_a_node_that_left_too() -> None:
    expect = {"dc1": {"servers": ["s1", "s2", "s3"], "nodes": ["s3"]}}
    rules = rule_severities(expect, parts=[servers("s1 s2"), voters("s1 s2"), registered("s1 s2")])
    assert rules == [("quorum_margin", "critical"), ("server_missing", "critical")]


def test_servers_are_not_judged_against_a_declaration_of_nodes() -> None:
    parts = [servers("s1 s2", "s3"), voters("s1 s2 s3"), registered("s1 s2 s3")]
    assert rule_severities({"dc1": {"nodes": 3}}, parts=parts) == rule_severities(None, parts=parts)


def test_an_expected_service_needs_its_number_of_healthy_instances() -> None:
    expect = {"dc1": {"services": {"web": 3, "db": 1}}}
    parts = [Services({"web": instances(2, failing=1), "db": ()})]
    summaries = {one.service: one.summary for one in judgement_of(expect, parts=parts).findings}
    assert summaries == {
        "web": "2 of 3 expected instances of web in dc1 healthy",
        "db": "0 of 1 expected instance of db in dc1 healthy",
    }
    assert rule_severities(expect, parts=[Services({"web": instances(3), "db": instances(1)})]) == []


def test_a_judgement_says_which_rules_could_not_be_judged() -> None:
    def not_judged(what: str = "", **more: t.Any) -> set[str]:
        observation = Observation("dc1", NOW, **more)
        if what:
            observation.add_unknown(what, "denied")
        return {rule for _datacenter, rule in judge(observation, make_rules([]), {}).not_judged}

    everything = {rule.name for rule in BUILT_IN_RULES}
    assert not_judged() == set()
    assert not_judged("raft peers") == {"quorum_margin"}
    assert not_judged("services") == {"service_min_healthy", "service_missing"}
    assert not_judged("servers") == not_judged("the leader") == everything
    assert not_judged("what no reading is called") == everything
    assert not_judged(unreachable="refused") == everything
    assert "check_status" in not_judged(leader_problem="none") and "no_leader" not in not_judged(leader_problem="none")


def test_a_token_that_is_blind_judges_nothing() -> None:
    judgement = judgement_of(parts=[VisibleServers(0)])
    assert ("dc1", "check_status") in judgement.not_judged


def test_a_judgement_says_which_nodes_hide_what_else_is_wrong_with_them() -> None:
    down = failing_check("serfHealth", node="n1", service="")
    judgement = judgement_of(parts=[failing_checks(down, failing_check("web", node="n1"))])
    assert judgement.hidden_nodes == {("dc1", "n1")}
    assert judgement_of(EXPECT, parts=[servers("s1 s2", "s3")]).hidden_nodes == {("dc1", "s3")}


def test_what_is_in_maintenance_is_also_data() -> None:
    node = failing_check("_node_maintenance", node="n1", service="")
    service = failing_check("_service_maintenance:web-1", node="n2", service="web-1")
    assert judgement_of(parts=[failing_checks(node, service)]).in_maintenance == {
        InMaintenance("dc1", "n1"),
        InMaintenance("dc1", "n2", "web-1"),
    }


def test_a_finding_carries_what_routes_match_by_and_results_do_not_show_it() -> None:
    failing = failing_checks(
        replace(failing_check("web"), service_id="web-1", tags=("v1",)),
        node_meta={"n1": {"team": "dba"}},
        service_meta={("n1", "web-1"): {"tier": "1"}},
    )
    judgement = judgement_of(parts=[failing])
    (finding,) = judgement.findings
    assert (finding.service_name, finding.tags) == ("web", ("v1",))
    assert (finding.node_meta, finding.service_meta) == ((("team", "dba"),), (("tier", "1"),))
    (shown,) = judgement_result.result(gate.GateOutcome(judgement, 1, 0.0))["findings"]
    assert list(shown) == [
        *("rule", "severity", "datacenter", "summary", "node", "service", "check"),
        *("since_index", "output", "detail", "advice"),
    ]


def test_what_consul_filtered_is_not_judged() -> None:
    def not_judged(*paths: str) -> set[str]:
        parts = [FilteredLists(frozenset(paths), True)]
        return {rule for _datacenter, rule in judgement_of(parts=parts).not_judged}

    assert not_judged() == set()
    assert not_judged("/v1/health/state/any") == {"check_status", "node_down"}
    assert not_judged("/v1/health/service/web") == {"service_min_healthy", "service_missing"}
    assert not_judged("/v1/catalog/nodes") == {"check_status", "node_down", "node_left"}
    assert not_judged("/v1/agent/members") == {rule.name for rule in BUILT_IN_RULES}

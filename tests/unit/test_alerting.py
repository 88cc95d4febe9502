# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What alert rules make of a reading: who is judged, against what, and what stays silent."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._alerting import certificate, gate, judgement_result
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Finding, Judgement, Unknown
from ansible_collections.consulops.failover.plugins.module_utils._alerting.match import Matcher, Subject
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observation import (
    AclReplication,
    Check,
    Instance,
    Observation,
    RaftServer,
    Server,
    Snapshot,
)
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observe import _moment, _seconds
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rules import judge
from ansible_collections.consulops.failover.plugins.module_utils._alerting.ruleset import make_expected, make_rules
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption, InvalidResponse
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1_800_000_000.0
DAY = 86400.0
EXPECT = {"dc1": {"servers": ["s1", "s2", "s3"]}}


def servers(alive: str, dead: str = "") -> list[Server]:
    return [Server(name, True, "1.8.7") for name in alive.split()] + [Server(name, False) for name in dead.split()]


def judged(
    expect: dict[str, t.Any] | None = None,
    rules: t.Sequence[dict[str, t.Any]] = (),
    match: t.Any = None,
    ignore: t.Any = None,
    **parts: t.Any,
) -> Judgement:
    judgement = judge(Observation("dc1", NOW, **parts), make_rules(rules, match, ignore), make_expected(expect))
    judgement.sort()
    return judgement


def found(*args: t.Any, **parts: t.Any) -> list[tuple[str, str]]:
    return [(one.rule, one.severity) for one in judged(*args, **parts).findings]


# ---------------------------------------------------------------------------------------------------------------
# Servers and quorum


@pytest.mark.parametrize(
    ("alive", "dead", "voters", "expect", "rules"),
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
def test_servers_are_judged_by_what_is_there_and_by_what_should_be(
    alive: str, dead: str, voters: str, expect: t.Any, rules: list[tuple[str, str]]
) -> None:
    assert found(expect, servers=servers(alive, dead), voters=voters.split()) == rules


def test_the_sentence_about_quorum_says_what_happens_next() -> None:
    def sentence(alive: str, dead: str, expected: int, voters: str = "") -> str:
        judgement = judged(
            {"dc1": {"servers": expected}}, servers=servers(alive, dead), voters=(voters or f"{alive} {dead}").split()
        )
        return next(one.summary for one in judgement.findings if one.rule == "quorum_margin")

    assert sentence("s1 s2", "s3", 3) == "2 of 3 expected servers alive in dc1: one more failure loses quorum"
    assert sentence("s1", "s2 s3", 3) == "1 of 3 expected servers alive in dc1: quorum is lost"
    assert sentence("s1 s2 s3 s4", "s5", 5) == "4 of 5 expected servers alive in dc1: 2 more failures would lose quorum"
    back = "3 of 3 expected servers alive in dc1, 2 of them with a vote: one more failure loses quorum"
    assert sentence("s1 s2 s3", "", 3, voters="s1 s2") == back
    # Raft has forgotten the other two: of what it knows one more may fail.
    assert sentence("s1 s2 s3", "", 5) == "3 of 5 expected servers alive in dc1: 2 more failures would lose quorum"


def test_read_replicas_are_no_part_of_a_quorum() -> None:
    both = [*servers("s1 s2 s3"), Server("r1", True, "1.8.7", replica=True)]
    expect = {"dc1": {"servers": ["s1", "s2", "s3", "r1"]}}
    assert found(expect, servers=both, voters=["s1", "s2", "s3"]) == []
    assert found({"dc1": {"servers": 4}}, servers=both, voters=["s1", "s2", "s3"]) == []


@given(alive=st.integers(0, 9), dead=st.integers(0, 9), expected=st.integers(1, 9))
def test_quorum_is_called_lost_exactly_when_it_is(alive: int, dead: int, expected: int) -> None:
    names = [f"s{number}" for number in range(alive + dead)]
    both = [Server(name, place < alive) for place, name in enumerate(names)]
    judgement = judged({"dc1": {"servers": expected}}, servers=both, voters=names)
    lost = alive < (alive + dead) // 2 + 1  # what Raft needs, however many there should be
    assert any("quorum is lost" in one.summary for one in judgement.findings) == lost
    if not dead and alive == expected:
        assert judgement.findings == []


def test_a_dead_server_is_named_once() -> None:
    serf = Check("s3", "serfHealth", "Serf", "critical", "Agent not live", index=7)
    raft = [RaftServer("s3", False, True, False, 9.0, 0), RaftServer("s1", True, True, True, 0.0, 500)]
    parts = {"servers": servers("s1 s2", "s3"), "voters": ["s1", "s2", "s3"], "checks": [serf]}
    assert found(EXPECT, **parts, autopilot_healthy=False, raft=raft) == [
        ("quorum_margin", "critical"),
        ("server_missing", "critical"),
    ]


def test_autopilot_raft_and_versions() -> None:
    raft = [
        RaftServer("s1", True, True, True, 0.0, 10_000),
        RaftServer("s2", False, True, False, 0.3, 9_999),
        RaftServer("s3", True, True, False, 0.01, 9_000),
    ]
    mixed = [Server("s1", True, "1.8.7"), Server("s2", True, "1.9.0"), Server("s3", True, "1.8.7")]
    assert found(servers=mixed, autopilot_healthy=False, raft=raft) == [
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
    assert found(rules=rules, servers=mixed, autopilot_healthy=False, raft=raft) == [("raft_last_contact", "critical")]


def test_without_a_leader_checks_are_frozen_and_say_nothing() -> None:
    failing = [Check("n1", "c", "c", "critical", "")]
    parts = {"leader_problem": "No cluster leader", "checks": failing, "autopilot_healthy": False}
    assert found(**parts) == [("no_leader", "critical")]


def test_an_unreachable_datacenter_has_no_other_findings() -> None:
    assert found(unreachable="refused", expect=EXPECT) == [("consul_unreachable", "critical")]
    assert found(unreachable="expired", certificate_expiry=NOW - 1) == [("tls_cert_expiry", "critical")]


def test_a_token_that_sees_nothing_is_not_health() -> None:
    assert found(EXPECT, visible_servers=0, servers=[], checks=[]) == [("acl_token_blind", "critical")]


# ---------------------------------------------------------------------------------------------------------------
# Checks


def failing(name: str, status: str = "critical", node: str = "n1", service: str = "web", **more: t.Any) -> Check:
    return Check(node, name, name, status, "output\nof two lines", service, service, index=5, **more)


def test_checks_are_findings_with_their_severity_and_where() -> None:
    one, two = judged(checks=[failing("b", "warning"), failing("a")]).findings
    assert (one.severity, one.node, one.service, one.check, one.since_index) == ("critical", "n1", "web", "a", 5)
    assert (two.severity, two.check) == ("warning", "b")
    assert one.summary == "web on n1 of dc1: check a is critical" and one.detail == "output of two lines"


def test_what_is_switched_off_hides_nothing_that_it_would_have_explained() -> None:
    off = [
        {"rule": rule, "enabled": False}
        for rule in ("server_missing", "quorum_margin", "consul_unreachable", "no_leader")
    ]
    serf = Check("s3", "serfHealth", "Serf", "critical", "Agent not live")
    sick = [RaftServer("s3", False, True, False, 9.0, 1)]
    dead = {"servers": servers("s1 s2", "s3"), "checks": [serf], "autopilot_healthy": False, "raft": sick}
    assert found(EXPECT, off, **dead) == [
        ("node_down", "critical"),
        ("autopilot_unhealthy", "warning"),
        ("raft_last_contact", "warning"),
    ]
    for parts in ({"unreachable": "refused"}, {"leader_problem": "none"}):
        judgement = judged(EXPECT, off, **parts)
        assert (judgement.findings, judgement.verdict) == ([], "unknown")
    nobodys = {"servers": servers("a b c", "d"), "checks": [Check("d", "serfHealth", "", "critical", "")]}
    assert found({"dc1": {"servers": ["a", "b", "c"]}}, **nobodys) == [("node_down", "critical")]
    alone = [failing("a"), Check("n1", "serfHealth", "", "critical", "")]
    assert found(rules=[{"rule": "node_down", "enabled": False}], checks=alone) == [("check_status", "critical")]


def test_a_node_that_is_down_matters_for_what_runs_on_it() -> None:
    parts: dict[str, t.Any] = {
        "checks": [Check("n1", "serfHealth", "", "critical", "")],
        "on_dead_nodes": {"n1": [("api", ("prod",), {"tier": "1"})]},
    }
    for match in (
        {"service": "api"},
        {"tags": "prod"},
        {"service_meta": {"tier": "1"}},
        {"service": "api", "node": "n1"},
    ):
        assert found(match=[match], **parts) == [("node_down", "critical")]
    assert found(match=[{"service": "web"}], **parts) == found(match=[{"service": "api", "tags": "dev"}], **parts) == []
    gentle = [{"rule": "node_down", "match": {"tags": "prod"}, "severity": "warning"}]
    assert found(rules=gentle, **parts) == [("node_down", "critical")], "the node itself is judged first"


def test_a_check_is_known_by_its_name_as_well() -> None:
    checks = [Check("n1", "check:7", "disk space", "critical", "")]
    assert (
        found(ignore=[{"check": "disk *"}], checks=checks) == found(ignore=[{"check": "check:7"}], checks=checks) == []
    )


def test_a_dead_nodes_checks_are_not_listed_one_by_one() -> None:
    down = Check("n1", "serfHealth", "Serf", "critical", "")
    judgement = judged(checks=[down, failing("a"), failing("b"), failing("c", node="n2")])
    assert [(one.rule, one.node) for one in judgement.findings] == [("check_status", "n2"), ("node_down", "n1")]
    assert "2 other checks on it not listed" in judgement.findings[1].summary


def test_maintenance_is_recognised_and_never_counted() -> None:
    checks = [
        Check("n1", "_node_maintenance", "", "critical", ""),
        failing("a"),
        Check("n1", "serfHealth", "", "critical", ""),
        Check("n2", "_service_maintenance:web", "", "critical", "", "web", "web"),
        failing("b", node="n2"),
        failing("c", node="n2", service="db"),
    ]
    judgement = judged(checks=checks)
    assert [(one.node, one.check) for one in judgement.findings] == [("n2", "c")]
    assert judgement.maintenance == ["dc1: node n1", "dc1: service web on n2"]


def test_first_matching_entry_judges_a_check() -> None:
    rules = [
        {"rule": "check_status", "match": {"service": "re:^infra-"}, "severities": {"warning": "critical"}},
        {"rule": "check_status", "match": {"tags": "no-alert"}, "enabled": False},
        {"rule": "check_status", "match": {"node_meta": {"team": ["dba", "ops"]}}, "severity": "warning"},
    ]
    checks = [
        failing("a", "warning", service="infra-dns"),
        failing("b", tags=("no-alert", "x")),
        failing("c", node="n7"),
        failing("d"),
    ]
    judgement = judged(rules=rules, checks=checks, node_meta={"n7": {"team": "dba"}})
    assert {one.check: one.severity for one in judgement.findings} == {"a": "critical", "c": "warning", "d": "critical"}
    worse = judged(rules=rules, checks=[failing("a", service="infra-dns")])
    assert [one.severity for one in worse.findings] == ["critical"], "what is not said stays as it is"


def test_match_and_ignore_are_for_everything() -> None:
    checks = [
        failing("a", node="build-1"),
        failing("b", node="web-1"),
        Check("web-2", "serfHealth", "", "critical", ""),
    ]
    assert [one.node for one in judged(ignore=[{"node": "build-*"}], checks=checks).findings] == ["web-1", "web-2"]
    assert [one.node for one in judged(match=[{"node": "build-*"}], checks=checks).findings] == ["build-1"]
    assert [one.node for one in judged(ignore=[{"node": "web-*", "service": "web"}], checks=checks).findings] == [
        "build-1",
        "web-2",
    ]


def instances(healthy: int, sick: int = 0, frozen: int = 0) -> list[Instance]:
    states = [(True, False)] * healthy + [(False, False)] * sick + [(False, True)] * frozen
    return [Instance(f"n{number}", "web", *state) for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("limits", "there", "severity"),
    [
        ({"warning": 3, "critical": 1}, instances(3), None),
        ({"warning": 3, "critical": 1}, instances(2, 1), "warning"),
        ({"warning": 3, "critical": 1}, instances(0, 3), "critical"),
        ({"critical": 1}, [], "critical"),
        ({"warning": "75%", "critical": "50%"}, instances(3, 1), None),
        ({"warning": "75%", "critical": "50%"}, instances(2, 1), "warning"),
        ({"warning": "75%", "critical": "50%"}, instances(1, 2), "critical"),
        ({"warning": "75%"}, instances(3, 0, 2), None),
        ({"warning": "75%"}, instances(0, 0, 2), "warning"),
        ({"critical": "1%"}, [], "critical"),
        ({"critical": "100%"}, instances(3), None),
        ({"critical": 2}, instances(3), None),
    ],
)
def test_services_need_so_many_healthy_instances(
    limits: dict[str, t.Any], there: list[Instance], severity: str | None
) -> None:
    rules = [{"rule": "service_min_healthy", "match": {"service": "web"}, **limits}]
    judgement = judged(rules=rules, services={"web": there, "other": []})
    assert [one.severity for one in judgement.findings] == ([severity] if severity else [])


def test_each_instance_counts_for_the_first_rule_that_is_about_it() -> None:
    there = [
        Instance("n1", "web-1", True, False, ("prod",), {"rack": "a"}),
        Instance("n2", "web-2", True, False, ("dev",), {"rack": "a"}),
        Instance("n3", "web-3", True, False, ("dev",), {"rack": "b"}),
    ]

    def least(*rules: dict[str, t.Any], **options: t.Any) -> list[str]:
        entries = [{"rule": "service_min_healthy", **rule} for rule in rules]
        judgement = judged(rules=entries, services={"web": there, "gone": []}, **options)
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
# The rest


def test_the_wide_area() -> None:
    wan = [("s1", "dc1", True), ("t1", "dc2", False), ("t2", "dc2", True), ("u1", "dc3", False)]
    expect = {name: {"servers": 1} for name in ("dc1", "dc2", "dc3", "dc4")}
    judgement = judged(expect, servers=servers("s1"), wan=wan, datacenters=["dc1", "dc2", "dc3"])
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
    ("part", "rule"), [("certificate_expiry", "tls_cert_expiry"), ("ca_expiry", "connect_ca_expiry")]
)
def test_certificates_that_end(part: str, rule: str, left: float, severity: str | None) -> None:
    judgement = judged(**{part: NOW + left})
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
def test_acl_replication_that_fails(state: AclReplication, severity: str | None) -> None:
    assert found(acl_replication=state) == ([("acl_replication_lag", severity)] if severity else [])


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
def test_snapshots_that_are_old_or_damaged(snapshot: Snapshot | None, rules: list[tuple[str, str]]) -> None:
    assert found(snapshots={"dc1": snapshot}) == rules


def test_nobody_asked_for_snapshots() -> None:
    assert found(snapshots=None) == []


# ---------------------------------------------------------------------------------------------------------------
# Verdicts and faces

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
def test_the_order_is_always_the_same(findings: list[Finding]) -> None:
    judgement = Judgement(list(findings))
    judgement.sort()
    assert [one.node for one in judgement.findings] == ["1", "3", "5", "0", "2", "4"]


def test_the_table_and_the_sentence_name_what_is_wrong() -> None:
    judgement = Judgement([FINDING._replace(summary="it burns")] * 7, [UNKNOWN], ["dc1: node n1"])
    lines = judgement_result.table(judgement)
    assert len(lines) == 9 and "it burns" in lines[0] and "in maintenance" in lines[-1]
    said = str(judgement_result.closed(gate.Outcome(judgement, 3, 12.3), {}))
    assert said.startswith("the gate is closed after 12 s (unknown). ") and "and 2 other things" in said
    assert judgement_result.table(Judgement()) == ["ok: nothing is wrong"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"rule": "nope"}], "there is no rule 'nope'"),
        ([{}], "there is no rule None"),
        ([{"rule": "no_leader", "threshold": 3}], "'threshold' is no setting"),
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
        ([{"rule": "check_status", "match": {"colour": "red"}}], "nothing to match by"),
        ([{"rule": "check_status", "match": {}}], "would match everything"),
        ([{"rule": "check_status", "match": {"node": "re:("}}], "no regular expression"),
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
def test_rules_that_cannot_be_meant_are_refused(rules: list[dict[str, t.Any]], said: str) -> None:
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
    ],
)
def test_expectations_that_cannot_be_meant_are_refused(expect: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidOption, match=r"expect\.dc1"):
        make_expected(expect)


@pytest.mark.parametrize("word", [False, "false", "no", "Off", 0])
def test_a_rule_is_switched_off_by_any_word_of_ansible(word: object) -> None:
    assert found(rules=[{"rule": "check_status", "enabled": word}], checks=[failing("a")]) == []


def test_quorum_can_be_critical_only_when_it_is_lost() -> None:
    rules = [{"rule": "quorum_margin", "warning": 0, "critical": -1}]
    assert found(EXPECT, rules, servers=servers("s1 s2", "s3"), voters=["s1", "s2", "s3"]) == [
        ("server_missing", "critical"),
        ("quorum_margin", "warning"),
    ]


@pytest.mark.parametrize("waiting", [gate.GateTiming(-1.0), gate.GateTiming(float("nan")), gate.GateTiming(1.0, 2.0)])
def test_times_that_cannot_be_meant_are_refused(waiting: gate.GateTiming) -> None:
    with pytest.raises(InvalidOption):
        waiting.check()


def test_globs_match_whole_names_and_expressions_parts() -> None:
    subject = Subject(node="web-12", tags=("v1", "blue"))
    assert Matcher({"node": "web-*"}, "match").matches(subject)
    assert not Matcher({"node": "web"}, "match").matches(subject)
    assert Matcher({"node": "re:b-1"}, "match").matches(subject)
    assert Matcher({"node": ["x", "web-??"], "tags": "blue"}, "match").matches(subject)
    assert not Matcher({"node": "web-*", "tags": "red"}, "match").matches(subject)


def test_numbers_as_go_writes_them() -> None:
    assert [_seconds(text) for text in ("0s", "12.5ms", "1m2.5s", "1h0m0s", "300µs")] == pytest.approx(
        [0, 0.0125, 62.5, 3600, 0.0003]
    )
    assert _moment("0001-01-01T00:00:00Z") == 0.0
    assert _moment("2026-11-22T03:00:00.123456789Z") == _moment("2026-11-22T04:00:00+01:00") == 1795316400.0


KEY = ec.generate_private_key(ec.SECP256R1())


@settings(max_examples=30, deadline=None)
@given(
    st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2120, 1, 1)),
    st.text("abc xyz", min_size=1, max_size=60),
)
def test_the_end_of_any_certificate_is_read_as_a_library_reads_it(moment: datetime.datetime, name: str) -> None:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    moment = moment.replace(microsecond=0)
    made = x509.CertificateBuilder(
        subject, subject, KEY.public_key(), x509.random_serial_number(), moment - datetime.timedelta(days=1), moment
    ).sign(KEY, hashes.SHA256())
    data = made.public_bytes(serialization.Encoding.DER)
    assert certificate.not_after(data) == made.not_valid_after_utc.timestamp()


@given(st.binary(max_size=200))
def test_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        certificate.not_after(data)

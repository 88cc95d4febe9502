# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a datacenter of a federation is lost, whether a snapshot is of it, and whether the federation is whole."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._failover.federation_health import (
    Expected,
    missing_servers,
    problems_of,
)
from ansible_collections.consulops.failover.plugins.module_utils._failover.federation_plan import (
    LostState,
    Plan,
    Receipt,
    Request,
    SnapshotFacts,
    federation_is_same,
    ghosts_of,
    make_plan,
)
from ansible_collections.consulops.failover.plugins.module_utils._failover.federation_view import (
    AclReplication,
    Member,
    Roots,
    View,
    parse_acls,
    parse_members,
    parse_replication,
    parse_roots,
)
from hypothesis import given
from hypothesis import strategies as st

DOMAIN, ROOT = "11111111-2222.consul", "aa:bb"
SNAPSHOT = SnapshotFacts("dc1", "digest", 42, {"s1": "id-1", "s2": "id-2"}, DOMAIN, ROOT)
REQUEST = Request("dc1", "primary", ("s1", "s2"), "dc1")
SILENT = LostState("dc2", False, False, "no path to dc1")
RECEIPT = Receipt("digest", 42, "2026-11-29T10:00:00Z")
NOW = 1_800_000_000.0
ACLS = {("policy", "p1"): "h1", ("token", "t1"): "h2"}


def member(name: str, status: int = 1, datacenter: str = "dc1", node_id: str = "") -> Member:
    return Member(name, datacenter, f"192.0.2.{len(name)}:8302", node_id or f"id-{name[-1]}", status)


def replication(**more: t.Any) -> AclReplication:
    return AclReplication(True, True, "dc1", "tokens", NOW, NOW - 60)._replace(**more)


def secondary(**more: t.Any) -> View:
    members = (member("s1"), member("s2"), member("w1", datacenter="dc2"))
    found = View("dc2", "", "dc1", members, replication(), ACLS, Roots(DOMAIN, ROOT, (ROOT,)))
    return replace(found, **more)


def primary(**more: t.Any) -> View:
    return replace(secondary(name="dc1", replication=replication(is_enabled=False)), **more)


def plan(
    request: Request = REQUEST,
    snapshot: SnapshotFacts = SNAPSHOT,
    lost: t.Sequence[LostState] = (SILENT,),
    others: t.Sequence[View] = (secondary(),),
) -> Plan:
    return make_plan(request, snapshot, lost, others)


def test_a_primary_that_nobody_reaches_is_brought_back() -> None:
    found = plan()
    assert (found.action, found.primary, found.refusals, found.ghosts) == ("recover", "dc1", [], ())
    assert "The snapshot is of this federation." in found.sentences
    assert any("certificates stay valid" in sentence for sentence in found.sentences)


def test_a_primary_into_which_the_snapshot_was_restored_is_finished() -> None:
    restored = LostState("dc2", True, True, "", RECEIPT)
    assert (plan(lost=[restored]).action, plan(lost=[restored]).refusals) == ("finish", [])
    other = replace(restored, receipt=replace(RECEIPT, index=43))
    assert "so it is not lost" in plan(lost=[other]).refusals[0]
    # Tokens have expired, so that the digest is another one now.
    later = replace(restored, receipt=replace(RECEIPT, digest="less"), trust_domain=DOMAIN)
    assert plan(lost=[later]).action == "finish"
    assert plan(lost=[replace(later, trust_domain="")]).action == "recover"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lost": [LostState("dc2", True, True, "")]}, "dc1 has a leader and data (asked dc2), so it is not lost"),
        ({"lost": [LostState("dc2", True, None, "403.")]}, "whether it has data is unknown (403)"),
        ({"snapshot": replace(SNAPSHOT, datacenter="dc9")}, "the snapshot is of dc9, and not of dc1"),
        (
            {"snapshot": replace(SNAPSHOT, trust_domain="other.consul")},
            "is of another cluster: its CA has the trust domain",
        ),
        ({"request": replace(REQUEST, confirm="dc2")}, "confirm it with -e consul_restore_confirm=dc1"),
        ({"request": replace(REQUEST, kind="secondary")}, "use the playbook recover_primary"),
        ({"others": [secondary(primary="dc2")]}, "the primary datacenter of dc2 is dc2, and not dc1"),
        (
            {"others": [secondary(primary=None, unknown={"primary": "403."})]},
            "does not say which its primary datacenter is (403)",
        ),
        ({"others": [View("dc2", "it timed out.")]}, "dc2 does not answer, so whether it still works"),
        ({"others": []}, "no other datacenter is named"),
        ({"others": [secondary(members=None, unknown={"members": "403."})]}, "does not say which members"),
        ({"others": [secondary(members=(member("old"),))]}, "none of the fresh ones: old at 192.0.2.3:8302"),
    ],
)
def test_what_is_not_lost_not_of_this_federation_or_not_known_is_refused(change: dict[str, t.Any], said: str) -> None:
    refusals = plan(**change).refusals
    assert any(said in one for one in refusals), refusals


def test_servers_that_have_just_started_are_not_data() -> None:
    assert plan(lost=[LostState("dc2", True, False, "")]).refusals == []


def test_a_secondary_needs_its_primary() -> None:
    request = Request("dc2", "secondary", ("w1",), "dc2")
    snapshot = replace(SNAPSHOT, datacenter="dc2")
    lost = [LostState("dc1", False, False, "")]
    assert plan(request, snapshot, lost, [primary()]).refusals == []
    third = secondary(name="dc3")
    assert any("dc1 is not among those" in one for one in plan(request, snapshot, lost, [third]).refusals)
    assert plan(request, snapshot, lost, [primary(), third]).refusals == []


def test_without_a_ca_node_ids_say_whether_it_is_the_same_federation() -> None:
    bare = replace(SNAPSHOT, trust_domain="", active_root="")
    assert federation_is_same(REQUEST, bare, [secondary()]) is True
    foreign = replace(bare, server_ids={"s1": "id-8", "s2": "id-9"})
    assert federation_is_same(REQUEST, foreign, [secondary()]) is False
    assert any("none of its servers has the node ID" in one for one in plan(snapshot=foreign).refusals)
    forgotten = secondary(members=(member("w1", datacenter="dc2"),))
    assert federation_is_same(REQUEST, bare, [forgotten]) is None
    assert any("is unknown" in one for one in plan(snapshot=bare, others=[forgotten]).refusals)
    accepted = replace(REQUEST, accept=["unknown_federation"])
    assert plan(accepted, bare, others=[forgotten]).refusals == []


def test_a_ca_that_changed_after_the_snapshot_is_named() -> None:
    found = plan(others=[secondary(roots=Roots(DOMAIN, "cc:dd", ("cc:dd",)))])
    assert any("services need new certificates" in sentence for sentence in found.sentences)


def test_members_under_other_names_that_are_not_alive_are_ghosts() -> None:
    view = secondary(members=(member("old", 4), member("s1", 4), member("left", 3), member("w1", 4, "dc2")))
    assert [one.name for one in ghosts_of("dc1", ("s1",), [view])] == ["left", "old"]
    assert ghosts_of("dc1", ("s1",), [view, secondary(members=(member("old"), member("left")))]) == ()


# -------------------------------------------------------------------------------------------------------------------
# The federation afterwards

EXPECTED = Expected("dc1", "dc1", ("s1", "s2"), ROOT, NOW - 30)


def said(*views: View, before: t.Any = None, expected: Expected = EXPECTED) -> str:
    return "; ".join(one.sentence for one in problems_of(expected, views, before))


def test_a_whole_federation_has_no_problem() -> None:
    assert said(primary(), secondary()) == ""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"problem": "it timed out"}, "dc2 does not answer: it timed out"),
        ({"members": None, "unknown": {"members": "403"}}, "members of dc2 are not known: 403"),
        ({"acls": None, "unknown": {"ACLs": "403"}}, "ACLs of dc2 are not known: 403"),
        (
            {"members": (member("s1"), member("s2", 4), member("w1", datacenter="dc2"))},
            "does not reach s2 of dc1 over the WAN: it is failed",
        ),
        ({"members": (member("s1"), member("w1", datacenter="dc2"))}, "s2 of dc1 over the WAN: it is no member"),
        (
            {"members": (*secondary().members, member("old"))},
            "the member old.dc1 at 192.0.2.3:8302, which is none of the servers",
        ),
        ({"members": (*secondary().members, member("s1"))}, "dc2 has 2 members s1 of dc1"),
        ({"replication": replication(is_enabled=False)}, "ACL replication of dc2 is not enabled"),
        ({"replication": replication(is_running=False)}, "ACL replication of dc2 does not run"),
        ({"replication": replication(source="dc3")}, "replicates ACLs from dc3"),
        ({"replication": replication(last_success=NOW - 31)}, "has not succeeded since the restore"),
        ({"replication": replication(last_success=0.0)}, "its last success was never"),
        (
            {"replication": replication(last_error=NOW + 1, message="ACL not found")},
            "failed at 2027-01-15T08:00:01Z (ACL not found)",
        ),
        ({"acls": {("policy", "p1"): "h1"}}, "does not have 1 ACL object (token t1) as dc1 has it"),
        ({"acls": {**ACLS, ("token", "t1"): "other"}}, "does not have 1 ACL object (token t1)"),
        ({"acls": {**ACLS, ("role", "r1"): "h"}}, "has 1 ACL object (role r1) that dc1 does not have"),
        ({"roots": Roots("other.consul", "ff", ("ff",))}, "dc2 has another active root of Connect's CA than dc1"),
        ({"clock_ahead_s": 31.0}, "has not succeeded since the restore"),
    ],
)
def test_what_is_wrong_in_a_secondary_is_named(change: dict[str, t.Any], problem: str) -> None:
    assert problem in said(primary(), secondary(**change))


def test_a_root_that_is_not_that_of_the_snapshot_is_named() -> None:
    roots = Roots(DOMAIN, "new", ("new",))
    assert "in dc1 is not that of the snapshot" in said(primary(roots=roots), secondary(roots=roots))


def test_tokens_are_not_missed_where_only_policies_are_replicated() -> None:
    state = replication(kind="policies")
    assert said(primary(), secondary(acls={("policy", "p1"): "h1"}, replication=state)) == ""


def test_an_object_that_has_just_been_made_is_not_missing_yet() -> None:
    grown = {**ACLS, ("token", "new"): "h"}
    assert said(primary(acls=grown), secondary(), before=ACLS) == ""
    assert "token new" in said(primary(acls=grown), secondary(), before=grown)


def test_a_federation_without_acls_and_connect_has_no_problem() -> None:
    off = {"acls": {}, "roots": Roots(), "replication": AclReplication(False, False, "", "", 0.0, 0.0)}
    assert said(primary(**off), secondary(**off), expected=replace(EXPECTED, active_root="")) == ""


NAMES = st.sampled_from(["s1", "s2", "s3"])
MEMBERS = st.lists(st.builds(member, NAMES, st.sampled_from([1, 3, 4])), max_size=6)


@given(MEMBERS, st.lists(NAMES, min_size=1, unique=True))
def test_every_server_is_either_alive_or_missing(members: list[Member], servers: list[str]) -> None:
    expected = Expected("dc1", "dc1", servers)
    missing = missing_servers(expected, View("dc2", members=tuple(members)), [])
    alive = {one.name for one in members if one.is_alive}
    assert {name for _datacenter, name in missing} == set(servers) - alive
    assert not {one.name for one in ghosts_of("dc1", servers, [View("dc2", members=tuple(members))])} & (
        alive | set(servers)
    )


@given(
    st.booleans(),
    st.none() | st.booleans(),
    st.none() | st.integers(40, 44),
    st.sampled_from(["", DOMAIN, "other.consul"]),
)
def test_a_datacenter_with_data_is_never_restored(
    answers: bool, has_data: bool | None, index: int | None, domain: str
) -> None:
    receipt = None if index is None else Receipt("digest", index, "2026-11-29T10:00:00Z")
    found = plan(lost=[LostState("dc2", answers, has_data, "", receipt if answers else None, domain)])
    if answers and has_data is not False:
        assert found.refusals or (found.action == "finish" and index == 42)
    else:
        assert not found.refusals


# -------------------------------------------------------------------------------------------------------------------
# Answers


def test_answers_of_consul_are_parsed() -> None:
    rows = [
        {
            "Name": "s1.dc1",
            "Addr": "192.0.2.1",
            "Port": 8302,
            "Tags": {"role": "consul", "dc": "dc1", "id": "x"},
            "Status": 1,
        },
        {"Name": "s2.dc1", "Addr": "2001:db8::1", "Port": 8302, "Tags": {"role": "consul", "dc": "dc1"}, "Status": 4},
        {"Name": "node", "Addr": "192.0.2.9", "Port": 8301, "Tags": {"role": "node", "dc": "dc1"}, "Status": 1},
    ]
    assert parse_members(rows) == (
        Member("s1", "dc1", "192.0.2.1:8302", "x", 1),
        Member("s2", "dc1", "[2001:db8::1]:8302", "", 4),
    )
    state = {
        "Enabled": True,
        "Running": True,
        "SourceDatacenter": "dc1",
        "ReplicationType": "tokens",
        "LastSuccess": "2027-01-15T08:00:00Z",
        "LastError": "0001-01-01T00:00:00Z",
    }
    assert parse_replication(state) == AclReplication(True, True, "dc1", "tokens", NOW, 0.0)
    roots = {"TrustDomain": "AA.consul", "ActiveRootID": "r1", "Roots": [{"ID": "r1"}, {"ID": "r0"}]}
    assert parse_roots(roots) == Roots("aa.consul", "r1", ("r0", "r1"))


def test_local_tokens_and_what_consul_words_itself_are_not_compared() -> None:
    built_in = "00000000-0000-0000-0000-000000000001"
    found = parse_acls(
        [{"ID": built_in, "Hash": "of this version"}],
        None,
        [{"AccessorID": "t1", "Hash": "h", "Local": False}, {"AccessorID": "t2", "Hash": "h", "Local": True}],
    )
    assert found == {("policy", built_in): "", ("token", "t1"): "h"}

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""consul_alert_check on clusters that are really broken: exactly the expected findings, and none when they are repaired."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._alerting.expectation import make_expected
from ansible_collections.consulops.failover.plugins.module_utils._alerting.finding import Judgement
from ansible_collections.consulops.failover.plugins.module_utils._alerting.gate import judge_all
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observe import ObserveOptions
from ansible_collections.consulops.failover.plugins.module_utils._alerting.rule_options import make_rules

from tests.lab.ansible import ModuleFailed, run_module, run_our_playbook
from tests.lab.consul import Datacenter, Lab, Server, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import new_token, register_checks, register_external, set_status
from tests.lab.tls import Authority

from .conftest import MakeClient, tls_options


def run_check(at: Datacenter | Server, /, **options: t.Any) -> dict[str, t.Any]:
    """Check once and return the result, whatever is wrong."""
    token = None if isinstance(at, Server) else at.token
    return run_module("consul_alert_check", **{"url": at.url, "token": token, "fail_on": "never", **options})


def rules(result: dict[str, t.Any]) -> list[tuple[str, str]]:
    """Return rule and node of each finding."""
    return [(one["rule"], one["node"]) for one in result["findings"]]


def closed_gate(at: Datacenter | Server, /, **options: t.Any) -> dict[str, t.Any]:
    """Check with a gate that must be closed; return the result."""
    with pytest.raises(ModuleFailed) as failure:
        run_check(at, **{"fail_on": "critical", **options})
    return failure.value.result


# ---------------------------------------------------------------------------------------------------------------
# Three servers, and what happens to them


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Datacenter]:
    """A cluster that each of these tests breaks and repairs."""
    with Lab(tmp_path_factory.mktemp("three")) as lab:
        yield lab.datacenter("dc1", servers=3)


def expected(three: Datacenter) -> dict[str, t.Any]:
    return {"dc1": {"servers": [server.name for server in three.servers]}}


def recover(three: Datacenter) -> dict[str, t.Any]:
    """Start what is down and wait until a gate that fails on any finding opens; return its result."""
    for server in three.servers:
        if server.process is None:
            server.start()
    three.wait_ready()
    return run_check(three.leader(), expect=expected(three), fail_on="warning", wait=60)


def test_a_healthy_cluster_has_no_findings(three: Datacenter) -> None:
    result = recover(three)
    assert (result["verdict"], result["findings"], result["unknown"]) == ("ok", [], [])
    assert result["changed"] is False and result["table"] == ["ok: nothing is wrong"]


def test_a_dead_follower_is_reported_even_after_autopilot_removed_it(three: Datacenter) -> None:
    recover(three)
    dead_server = three.followers()[0]
    observer = next(server for server in three.servers if server is not dead_server)
    dead_server.stop()
    killed = time.monotonic()
    exposed: list[float] = []

    def gossip() -> None:
        def failed() -> bool:
            members = observer.get("/v1/agent/members")
            return any(one["Name"] == dead_server.name and one["Status"] == 4 for one in members)

        eventually(failed, what="gossip calls the server failed")
        exposed.append(time.monotonic() - killed)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gossip)
        missing = {"server_missing": dead_server.name, "quorum_margin": ""}
        eventually(
            lambda: missing.items() <= dict(rules(run_check(observer, expect=expected(three)))).items(),
            what="the findings",
        )
        checked = time.monotonic() - killed
        waiting.result()
    print(f"gossip said so after {exposed[0]:.2f} s, the check after {checked:.2f} s")
    assert checked - exposed[0] < 1.0

    result = closed_gate(observer, expect=expected(three))
    assert "critical: 2 of 3 expected servers alive in dc1: one more failure loses quorum" in result["msg"]
    eventually(lambda: run_check(observer)["verdict"] == "ok", what="Consul itself calls the rest healthy", within_s=60)
    assert rules(run_check(observer, expect=expected(three))) == [
        ("quorum_margin", ""),
        ("server_missing", dead_server.name),
    ]
    assert rules(run_check(observer, expect={"dc1": {"servers": 3}})) == [("quorum_margin", ""), ("server_missing", "")]
    dead_server.start()
    assert recover(three)["attempts"] >= 1


def test_a_dead_leader_and_its_successor_are_noticed(three: Datacenter) -> None:
    recover(three)
    leader = three.leader()
    observer = three.followers()[0]
    leader.stop()
    killed = time.monotonic()
    assert ("no_leader", "") in rules(run_check(observer, expect=expected(three)))
    print(f"no leader was noticed within {time.monotonic() - killed:.2f} s")
    eventually(lambda: ("no_leader", "") not in rules(run_check(observer, expect=expected(three))), what="a new leader")
    eventually(lambda: ("server_missing", leader.name) in rules(run_check(observer, expect=expected(three))))
    leader.start()
    recover(three)


def test_lost_quorum_is_reported_within_seconds_and_recovers(three: Datacenter) -> None:
    recover(three)
    first, second = three.followers()
    observer = three.leader()
    first.stop()
    second.stop()
    killed = time.monotonic()
    wanted = [("no_leader", ""), ("quorum_margin", ""), ("server_missing", first.name), ("server_missing", second.name)]
    eventually(lambda: sorted(rules(run_check(observer, expect=expected(three)))) == sorted(wanted), what="all of it")
    print(f"lost quorum was complete after {time.monotonic() - killed:.2f} s")
    started = time.monotonic()
    result = closed_gate(observer, expect=expected(three))
    assert time.monotonic() - started < 3.0
    assert "1 of 3 expected servers alive in dc1: quorum is lost" in result["msg"]
    assert result["unknown"] == [], "what cannot be read without a leader follows from no_leader"
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(run_check, observer, expect=expected(three), fail_on="warning", wait=60, stable_for=1)
        first.start()
        second.start()
        result = opening.result()
    assert (result["verdict"], result["findings"]) == ("ok", [])
    assert result["attempts"] > 1


def test_a_paused_server_counts_as_failed(three: Datacenter) -> None:
    recover(three)
    paused = three.followers()[0]
    observer = three.leader()
    paused.pause()
    try:
        eventually(lambda: ("server_missing", paused.name) in rules(run_check(observer, expect=expected(three))))
        assert rules(run_check(paused, timeout=1)) == [("consul_unreachable", "")], (
            "the paused server itself is unreachable"
        )
    finally:
        paused.resume()
    recover(three)


def test_a_restarted_server_counts_for_quorum_only_when_it_votes_again(three: Datacenter) -> None:
    """A rolling restart that goes on when gossip sees the server again, and not Raft, loses quorum with the next one."""
    recover(three)
    restarted = three.followers()[0]
    observer = next(server for server in three.servers if server is not restarted)

    def voters() -> int:
        return sum(peer["Voter"] for peer in observer.get("/v1/operator/raft/configuration")["Servers"])

    restarted.stop()
    eventually(lambda: voters() == 2, what="autopilot removes the dead server", within_s=60)
    restarted.start()
    said = "3 of 3 expected servers alive in dc1, 2 of them with a vote: one more failure loses quorum"
    eventually(
        lambda: said in [one["summary"] for one in run_check(observer, expect=expected(three))["findings"]],
        what="alive without a vote",
    )
    for expect in (expected(three), {"dc1": {"servers": 3}}):
        assert run_check(observer, expect=expect, fail_on="warning", wait=60)["verdict"] == "ok"
        assert voters() == 3


def test_waiting_ends_in_time_and_reports_what_is_left(three: Datacenter) -> None:
    recover(three)
    started = time.monotonic()
    result = closed_gate(three.leader(), expect={"dc1": {"servers": 4}}, wait=2)
    assert 2.0 <= time.monotonic() - started < 6.0
    assert "after 2 s" in result["msg"] and "1 server of dc1 missing" in result["msg"]


# ---------------------------------------------------------------------------------------------------------------
# Federation, tokens, certificates


def test_datacenters_are_judged_together_and_an_unreachable_one_is_reported(lab: Lab) -> None:
    one, two = lab.datacenter("dc1"), lab.datacenter("dc2")
    lab.join_wan(one, two)
    expect = {"dc1": {"servers": 1}, "dc2": {"servers": 1}}
    both = {"expect": expect, "timeout": 2, "rules": [{"rule": "autopilot_unhealthy", "enabled": False}]}
    through = run_check(one, datacenters=["dc1", "dc2"], **both)
    assert (through["findings"], through["unknown"]) == ([], [])
    direct = run_check(one, connections=[{}, {"url": two.url}], **both)
    assert (direct["findings"], direct["unknown"]) == ([], [])
    # A paused server receives no packets: to dc1 the link is cut.
    two.servers[0].pause()
    wanted = {("wan_member_failed", "dc2-s1"), ("wan_dc_missing", ""), ("consul_unreachable", "")}
    cut = eventually(
        lambda: (
            (result := run_check(one, datacenters=["dc1", "dc2"], **both)) and set(rules(result)) == wanted and result
        ),
        what="the WAN failure",
    )
    assert {one["datacenter"] for one in cut["findings"] if one["rule"] == "consul_unreachable"} == {"dc2"}
    two.servers[0].resume()
    assert run_check(one, datacenters=["dc1", "dc2"], **both, fail_on="warning", wait=60)["verdict"] == "ok"


def test_a_token_that_can_read_too_little_is_never_ok(secured: Datacenter) -> None:
    blind = new_token(secured, 'key_prefix "" { policy = "read" }', "blind")
    result = run_check(secured, token=blind)
    assert ("acl_token_blind", "") in rules(result)
    assert any('operator = "read"' in one["reason"] for one in result["unknown"])
    assert closed_gate(secured, token=blind)["verdict"] == "critical"
    wrong = run_check(secured, token="00000000-1111-2222-3333-444444444444")
    assert wrong["verdict"] != "ok" and "ACL not found" in json.dumps(wrong)


def test_the_documented_policy_is_enough_and_every_line_of_it_is_needed(secured: Datacenter) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    policy = text.split("```hcl\n")[1].split("```")[0]
    quiet = {"rules": [{"rule": "check_status", "enabled": False}, {"rule": "autopilot_unhealthy", "enabled": False}]}
    enough = run_check(secured, token=new_token(secured, policy, "enough"), **quiet)
    assert (enough["unknown"], enough["findings"]) == ([], [])
    lines = policy.strip().splitlines()
    for number, line in enumerate(lines):
        less = "\n".join(other for other in lines if other != line)
        result = run_check(secured, token=new_token(secured, less, f"less-{number}"), **quiet)
        assert result["verdict"] != "ok", f"{line} is not needed"


def test_a_secondary_that_can_no_longer_copy_acls_is_reported(lab: Lab) -> None:
    primary = lab.datacenter("dc1", acl=True)
    secondary = lab.datacenter("dc2", replicates=primary)
    eventually(lambda: secondary.get("/v1/acl/replication")["LastSuccess"] > "0002", what="ACLs were copied once")
    impatient = [{"rule": "acl_replication_lag", "warning": "1s", "critical": "1h"}]
    assert "acl_replication_lag" not in dict(rules(run_check(secondary, rules=impatient)))
    primary.servers[0].stop()
    lags = eventually(
        lambda: [
            one for one in run_check(secondary, rules=impatient)["findings"] if one["rule"] == "acl_replication_lag"
        ],
        what="the lag",
    )
    assert lags[0]["severity"] == "warning" and "has not copied ACLs from the primary" in lags[0]["summary"]


def test_expiring_and_expired_certificates_are_reported(lab: Lab, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    soon = lab.datacenter("soon", authority=authority, certificate_days=5)
    options = {"url": soon.servers[0].https_url, "ca_path": str(authority.ca_path)}
    expiring = [one for one in run_check(soon, **options)["findings"] if one["rule"] == "tls_cert_expiry"]
    assert [one["severity"] for one in expiring] == ["critical"] and "expires in 4d" in expiring[0]["summary"]
    past = lab.datacenter("past", authority=authority, certificate_days=-1)
    result = run_check(past, url=past.servers[0].https_url, ca_path=str(authority.ca_path))
    assert rules(result) == [("tls_cert_expiry", "")] and "expired" in result["findings"][0]["summary"]


def test_an_agent_that_requires_a_client_certificate_can_be_checked(
    tls_datacenter: Datacenter, authority: Authority, tmp_path: Path
) -> None:
    result = run_check(tls_datacenter, **tls_options(tls_datacenter, authority, tmp_path))
    assert "consul_unreachable" not in {one["rule"] for one in result["findings"]}
    assert result["unknown"] == []


# ---------------------------------------------------------------------------------------------------------------
# Client agents


def test_a_client_agent_can_be_checked_and_its_death_is_reported(lab: Lab) -> None:
    dc1 = lab.datacenter("dc1")
    client = lab.client(dc1, "app-1", node_meta={"team": "dba"})
    client.put(
        "/v1/agent/service/register", {"Name": "api", "Tags": ["prod"], "Check": {"TTL": "1h", "Status": "passing"}}
    )
    eventually(lambda: dc1.get("/v1/health/service/api?passing"), what="the service is known")
    through = run_check(client, expect={"dc1": {"servers": [dc1.servers[0].name]}})
    assert (through["verdict"], through["unknown"]) == ("ok", []), "only servers know the WAN, and that is not a fault"
    client.stop()
    eventually(lambda: rules(run_check(dc1)) == [("node_down", "app-1")], what="the node is down")
    for options in (
        {"match": [{"service": "api"}]},
        {"match": [{"tags": "prod"}]},
        {"match": [{"node_meta": {"team": "dba"}}]},
        {"match": [{"node_meta": {"team": "dba"}}], "rules": [{"rule": "check_status", "enabled": False}]},
        {"ignore": [{"service": "other"}]},
    ):
        assert rules(run_check(dc1, **options)) == [("node_down", "app-1")], options
    for options in (
        {"match": [{"service": "web"}]},
        {"ignore": [{"node_meta": {"team": "dba"}}], "rules": [{"rule": "check_status", "enabled": False}]},
    ):
        assert run_check(dc1, **options)["verdict"] == "ok", options
    off = run_check(dc1, rules=[{"rule": "node_down", "enabled": "false"}])
    assert off["verdict"] == "ok", "serfHealth is judged by node_down only, and nothing else on the node failed"


# ---------------------------------------------------------------------------------------------------------------
# Checks


@pytest.fixture
def single(lab: Lab) -> Datacenter:
    return lab.datacenter("dc1")


QUIET = [{"rule": "autopilot_unhealthy", "enabled": False}]


def set_check(at: Datacenter, node: str, status: str) -> None:
    set_status(at, node, f"chk-{node}", status)


def test_one_failing_check_of_many_costs_one_filtered_read(single: Datacenter, shared_lab: Lab) -> None:
    register_checks(single, 2000)
    with Proxy(single.url, f"{shared_lab.network}.250") as counting:
        assert run_check(single, url=counting.url, rules=QUIET)["findings"] == []
        quiet = len(counting.requests)
        set_status(single, "node-00007", "check-3", "critical")
        counting.requests.clear()
        result = run_check(single, url=counting.url, rules=QUIET)
        assert len(counting.requests) == quiet < 15, "the number of requests does not depend on the checks"
    (finding,) = result["findings"]
    assert (finding["rule"], finding["severity"], finding["node"], finding["check"]) == (
        "check_status",
        "critical",
        "node-00007",
        "check-3",
    )
    assert finding["since_index"] > 0 and finding["detail"] == "it is critical"
    set_status(single, "node-00007", "check-3", "warning")
    assert run_check(single, rules=QUIET)["verdict"] == "warning"
    assert run_check(single, rules=QUIET, fail_on="critical")["counts"] == {"critical": 0, "warning": 1, "unknown": 0}
    set_status(single, "node-00007", "check-3", "passing")
    assert run_check(single, rules=QUIET)["verdict"] == "ok"


def await_waiting(through: Proxy, times: int = 1) -> None:
    """Wait until a gate whose requests pass through a proxy has made so many attempts and waits again."""
    eventually(lambda: sum("index=" in path for _method, path in through.requests) >= times, what="the gate waits")


def test_a_gate_opens_as_soon_as_the_check_passes(single: Datacenter, shared_lab: Lab) -> None:
    register_external(single, "ext")
    set_check(single, "ext", "critical")
    with Proxy(single.url, f"{shared_lab.network}.251") as watched, ThreadPoolExecutor(1) as pool:
        opening = pool.submit(run_check, single, url=watched.url, rules=QUIET, fail_on="critical", wait=30)
        await_waiting(watched)
        set_check(single, "ext", "passing")
        passed = time.monotonic()
        assert opening.result()["verdict"] == "ok"
    print(f"opened {time.monotonic() - passed:.3f} s after the check passed")
    assert time.monotonic() - passed < 1.0


def test_a_gate_that_was_open_for_too_short_stays_closed(single: Datacenter, shared_lab: Lab) -> None:
    register_external(single, "ext")
    set_check(single, "ext", "critical")
    with Proxy(single.url, f"{shared_lab.network}.251") as watched, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(closed_gate, single, url=watched.url, rules=QUIET, wait=5, stable_for=5)
        # It checks once a second: three of the five seconds are over, more than a slow machine adds at the end.
        await_waiting(watched, 3)
        set_check(single, "ext", "passing")
        closed = waiting.result()
    assert "s of stable_for were still missing" in closed["msg"]
    assert (closed["verdict"], closed["findings"]) == ("ok", [])
    assert run_check(single, rules=QUIET, fail_on="warning", wait=1, stable_for=1)["seconds"] >= 1.0


def test_updates_of_passing_checks_cause_no_extra_attempts(single: Datacenter) -> None:
    register_external(single, "ext")
    set_check(single, "ext", "critical")
    ended = threading.Event()

    def chatter() -> None:
        for number in itertools.count():
            if ended.wait(0.02):
                return
            check = {"Name": "chat", "TTL": "1h", "Status": "passing", "Notes": str(number)}
            single.put("/v1/agent/check/register", check)

    with ThreadPoolExecutor(1) as pool:
        talking = pool.submit(chatter)
        closed = closed_gate(single, rules=QUIET, wait=3)
        ended.set()
        talking.result()
    assert closed["attempts"] <= 6, "an attempt a second, not one for every update of a check"


def test_maintenance_matching_and_metadata_are_applied(single: Datacenter) -> None:
    server = single.servers[0]
    register_external(single, "ext-1", Tags=["no-alert"])
    single.put(
        "/v1/catalog/register",
        {
            "Node": "ext-2",
            "Address": "192.0.2.2",
            "NodeMeta": {"team": "dba"},
            "Check": {"CheckID": "c", "Name": "c", "Status": "critical"},
        },
    )
    set_check(single, "ext-1", "critical")
    single.put("/v1/agent/service/register", {"Name": "web", "Check": {"TTL": "60s", "Status": "critical"}})
    everything = run_check(single, rules=QUIET)
    assert {one["node"] for one in everything["findings"]} == {"ext-1", "ext-2", server.name}
    assert {one["node"] for one in run_check(single, rules=QUIET, ignore=[{"node": "ext-*"}])["findings"]} == {
        server.name
    }
    by_team = [*QUIET, {"rule": "check_status", "match": {"node_meta": {"team": "dba"}}, "severity": "warning"}]
    severities = {one["node"]: one["severity"] for one in run_check(single, rules=by_team)["findings"]}
    assert severities["ext-2"] == "warning" and severities["ext-1"] == "critical"
    single.request("PUT", "/v1/agent/service/maintenance/web?enable=true&reason=upgrade")
    upgrading = run_check(single, rules=QUIET, ignore=[{"node": "ext-*"}])
    assert upgrading["findings"] == [] and upgrading["maintenance"] == [f"dc1: service web on {server.name}"]
    enough = [*QUIET, {"rule": "service_min_healthy", "match": {"service": "web"}, "critical": 1}]
    (finding,) = run_check(single, rules=enough, ignore=[{"node": "ext-*"}])["findings"]
    assert "0 of 0 instances of web in dc1 healthy (1 in maintenance), at least 1 needed" in finding["summary"]
    missing = [*QUIET, {"rule": "service_min_healthy", "match": {"service": "absent"}, "critical": 1}]
    assert [one["service"] for one in run_check(single, rules=missing, ignore=[{"node": "ext-*"}])["findings"]] == [
        "absent"
    ]


def test_snapshots_are_judged_by_their_manifests(single: Datacenter, tmp_path: Path) -> None:
    tight = [*QUIET, {"rule": "snapshot_age", "warning": "1h", "critical": "2h"}]
    assert rules(run_check(single, snapshots=tmp_path, rules=tight)) == [("snapshot_age", "")]
    saved = run_module("consul_snapshot", path=tmp_path / "one.snap", url=single.url)
    assert run_check(single, snapshots=tmp_path, rules=tight)["findings"] == []
    path = Path(saved["path"])
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert rules(run_check(single, snapshots=tmp_path, rules=tight)) == [("snapshot_unverified", "")]
    assert "No such file" in closed_gate(single, snapshots=tmp_path / "nowhere")["msg"]


@pytest.mark.parametrize("fault", ["page", "error", "cut", "hang", "drop", "json", "endless"])
@pytest.mark.parametrize("path", ["/v1/health/state", "/v1/health/service", "/v1/operator", "/v1/agent/members"])
def test_a_broken_answer_is_unknown_never_ok(dc1: Datacenter, shared_lab: Lab, path: str, fault: str) -> None:
    with Proxy(dc1.url, f"{shared_lab.network}.250", fault=fault, path=path) as broken:
        broken.body = '{"unexpected": true}'
        result = run_check(dc1, url=broken.url, timeout=1)
        assert result["verdict"] in ("unknown", "critical"), result
        assert result["unknown"] or rules(result) == [("consul_unreachable", "")]


SHAPES = ("null", "5", '"text"', "{}", "[5]", "[null]", "[[]]", "[{}]", '{"Servers": 5}', "<html>", '[{"Node": ', "")
VALID = {("/v1/catalog/services", "{}")}  # Consul itself answers that; without services to match, nothing is judged
READ_PATHS = (
    "/v1/agent/self",
    "/v1/agent/members",
    "/v1/catalog/datacenters",
    "/v1/catalog/nodes",
    "/v1/catalog/services",
    "/v1/connect/ca/roots",
    "/v1/health/service/consul",
    "/v1/health/service/legacy",
    "/v1/health/state",
    "/v1/operator/autopilot/health",
    "/v1/operator/raft/configuration",
)


def judge_through(make_client: MakeClient, url: str, **connection: t.Any) -> Judgement:
    """Judge in this process, with rules that read every endpoint."""
    service = {"rule": "service_min_healthy", "match": {"service": "legacy"}, "critical": 1}
    options = ObserveOptions(make_rules([*QUIET, service], ignore=[{"node_meta": {"team": "dba"}}]))
    client = make_client(url=url, timeout=2, **connection)
    return judge_all([client], options, make_expected({"dc1": {"servers": 1}}))


@pytest.mark.parametrize("path", READ_PATHS)
def test_an_answer_of_another_shape_is_unknown_and_names_the_request(
    single: Datacenter, shared_lab: Lab, make_client: MakeClient, path: str
) -> None:
    register_external(single, "ext")
    register_checks(single, 10)
    set_status(single, "node-00000", "check-3", "warning")
    with Proxy(single.url, f"{shared_lab.network}.250", path=path) as proxy:
        assert judge_through(make_client, proxy.url).verdict == "warning"
        proxy.fault = "json"
        for proxy.body in SHAPES:
            if (path, proxy.body) in VALID:
                continue
            judgement = judge_through(make_client, proxy.url)
            assert judgement.verdict in ("unknown", "critical"), (proxy.body, judgement)
            reasons = [one.reason for one in judgement.unknown] + [one.summary for one in judgement.findings]
            assert any(f"GET {path}" in reason for reason in reasons), (proxy.body, reasons)


@pytest.mark.parametrize("body", ["[]", "[5, 6]", "null"])
def test_a_list_of_datacenters_of_another_shape_is_unreachable(
    secured: Datacenter, shared_lab: Lab, make_client: MakeClient, body: str
) -> None:
    token = new_token(secured, 'node_prefix "" { policy = "read" }', f"without-agent-{len(body)}")
    with Proxy(secured.url, f"{shared_lab.network}.250", fault="json", path="/v1/catalog/datacenters") as proxy:
        proxy.body = body
        judgement = judge_through(make_client, proxy.url, token=token)
    assert [one.rule for one in judgement.findings] == ["consul_unreachable"]
    assert "/v1/catalog/datacenters" in judgement.findings[0].summary


def test_a_check_is_reported_with_the_first_line_of_its_output_and_without_its_credentials(single: Datacenter) -> None:
    address = single.url.removeprefix("http://")
    check = {
        "HTTP": f"http://admin:hunter2@{address}/v1/nowhere",
        "Interval": "1s",
        "Timeout": "1s",
        "Status": "passing",
    }
    single.put("/v1/agent/service/register", {"Name": "web", "Check": check})
    eventually(lambda: rules(run_check(single, rules=QUIET)), what="the catalog has the failure")
    result = closed_gate(single, rules=QUIET)
    shown = f"HTTP GET http://…@{address}/v1/nowhere: 404 Not Found"
    (finding,) = result["findings"]
    assert finding["output"].startswith(shown) and finding["detail"].startswith(shown)
    assert f'is critical (output: "{shown}' in result["msg"]
    assert f'is critical (output: "{shown}' in result["table"][0]
    assert "hunter2" not in json.dumps(result)


def test_an_output_is_bounded_and_cannot_write_to_the_terminal(single: Datacenter) -> None:
    check = {
        "Node": "ext",
        "CheckID": "c",
        "Name": "c",
        "Status": "critical",
        "Output": "\n\x1b[2J" + "z" * 5000 + "\nend",
    }
    single.put("/v1/catalog/register", {"Node": "ext", "Address": "192.0.2.1", "Check": check})
    result = closed_gate(single, rules=QUIET)
    assert result["findings"][0]["output"].startswith("\\x1b[2Jzzz") and len(result["findings"][0]["output"]) == 160
    assert "\x1b" not in json.dumps(result, ensure_ascii=False) and len(result["msg"]) < 500


def test_the_debug_log_has_readings_and_verdicts_and_no_output(
    single: Datacenter, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    register_external(single, "ext")
    set_check(single, "ext", "critical")
    with caplog.at_level(logging.DEBUG, logger="consulops"):
        judge_through(make_client, single.url)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("alert check: ")]
    assert any(line.startswith("alert check: checks of dc1 read in ") for line in lines)
    assert any(" judged critical: " in line for line in lines)
    assert "it is critical" not in caplog.text


def test_an_address_without_a_listener_is_unreachable() -> None:
    with pytest.raises(ModuleFailed) as failure:
        run_module("consul_alert_check", url="http://127.0.0.1:9", datacenter="dc1", wait=1)
    assert "Consul of dc1 cannot be reached" in failure.value.result["msg"]


# ---------------------------------------------------------------------------------------------------------------
# The playbook


def test_the_health_playbook_prints_a_table_and_is_a_gate(single: Datacenter, tmp_path: Path) -> None:
    register_external(single, "ext")
    variables: dict[str, t.Any] = {"consul_connection": {"url": single.url}, "consul_health_rules": QUIET}
    done = run_our_playbook(tmp_path / "run", "health", variables)
    assert done.returncode == 0 and "ok: nothing is wrong" in done.stdout, done.stdout
    set_check(single, "ext", "critical")
    closed = run_our_playbook(tmp_path / "run", "health", variables)
    assert closed.returncode != 0 and "node ext of dc1: check chk-ext is critical" in closed.stdout
    only = run_our_playbook(tmp_path / "run", "health", {**variables, "consul_health_fail_on": "never"})
    assert only.returncode == 0 and "node ext of dc1: check chk-ext is critical" in only.stdout

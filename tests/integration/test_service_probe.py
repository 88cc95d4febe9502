# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that fail over between two real datacenters, as clients see it by HTTP and by DNS."""

from __future__ import annotations

import concurrent.futures
import contextlib
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.lab.ansible import ModuleFailed, run_module, run_playbook
from tests.lab.consul import ROOT, Datacenter, Lab, Server, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import new_token
from tests.lab.service_estate import (
    CLIENT_PORTS,
    SERVER_PORTS,
    Estate,
    failing_over_services,
    nodes_of,
    set_check,
)

MODULE = "consul_service_probe"


@pytest.fixture(scope="module")
def estate(own_lab: Lab) -> Estate:
    return failing_over_services(own_lab)


def probe(agent: Server | Datacenter, **options: t.Any) -> dict[str, t.Any]:
    """Run the module, which changes nothing."""
    result = run_module(MODULE, **{"url": agent.url, "token": agent.token, "timeout": 4, **options})
    assert result["changed"] is False
    return result


def by(result: dict[str, t.Any], way: str, kind: str = "query") -> dict[str, t.Any]:
    """Return the one look-up of a way and kind."""
    (found,) = [look for look in result["lookups"] if (look["way"], look["kind"]) == (way, kind)]
    return t.cast("dict[str, t.Any]", found)


class Watch(t.NamedTuple):
    """A probe that runs, and the proxy that its requests go through."""

    proxy: Proxy
    running: concurrent.futures.Future[dict[str, t.Any]]

    def wait_for_more(self) -> None:
        """Wait until it has looked up often since now."""
        seen = len(self.proxy.requests)
        eventually(lambda: len(self.proxy.requests) > seen + 20 or self.running.done(), what="the probe looks up")
        assert not self.running.done(), self.running.result()

    def result(self) -> dict[str, t.Any]:
        return self.running.result()


@contextlib.contextmanager
def watched(lab: Lab, agent: Server, **options: t.Any) -> t.Iterator[Watch]:
    """Run the module beside the test; by HTTP it asks through a proxy."""
    with Proxy(agent.url, lab.address()) as proxy, concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(probe, agent, url=proxy.url, dns_host=agent.address, **options)
        yield Watch(proxy, running)


BOTH: dict[str, t.Any] = {"queries": ["web"], "services": ["web"], "ways": ["http", "dns"]}


def test_the_local_datacenter_answers_while_it_can(estate: Estate) -> None:
    result = probe(estate.asked, **BOTH, expect={"datacenter": "dc1"}, check=True)
    assert [(look["status"], look["datacenter"], look["nodes"]) for look in result["lookups"]] == [
        ("answered", "dc1", ["Instance"])
    ] * 4
    assert all(look["samples"] == 1 and look["gaps"] == [] for look in result["lookups"])
    assert result["agents"] == [{"agent": estate.asked.url, "leader": True, "problem": ""}]


def test_addresses_are_looked_up_without_a_datacenter(estate: Estate) -> None:
    look = by(probe(estate.asked, queries=["web"], ways=["dns"], dns_record="a"), "dns")
    assert (look["answers"], look["datacenter"], look["nodes"]) == (True, None, [estate.instance.address])


def test_a_name_in_another_datacenter_is_looked_up_there(estate: Estate) -> None:
    result = probe(estate.asked, services=["web"], ways=["http", "dns"], datacenter="dc2")
    assert [(look["datacenter"], look["nodes"]) for look in result["lookups"]] == [("dc2", ["far"])] * 2


def test_nobody_is_no_answer_and_no_query_is_named(estate: Estate) -> None:
    result = probe(estate.asked, queries=["none"], services=["none"], ways=["http", "dns"])
    assert by(result, "http")["status"] == "not_found" and "no prepared query none" in by(result, "http")["problem"]
    for look in (by(result, "dns"), by(result, "http", "service"), by(result, "dns", "service")):
        assert look["status"] == "empty" and look["answers"] is False and "no healthy instance" in look["problem"]


def test_the_other_datacenter_takes_over_when_a_check_fails_and_gives_back_when_it_passes(
    own_lab: Lab, estate: Estate
) -> None:
    with watched(own_lab, estate.asked, **BOTH, duration="6s", interval="50ms") as watch:
        watch.wait_for_more()
        set_check(estate.instance, "critical")
        eventually(lambda: nodes_of(estate.asked) == ["far"], what="the other datacenter answers")
        watch.wait_for_more()
        set_check(estate.instance, "passing")
        result = watch.result()
    for way in ("http", "dns"):
        look = by(result, way)
        assert [change["datacenter"] for change in look["changes"]] == ["dc1", "dc2", "dc1"], look
        assert look["gaps"] == [] and look["samples"] > 50
        service = by(result, way, "service")
        assert [change["status"] for change in service["changes"]] == ["answered", "empty", "answered"]
        (gap,) = service["gaps"]
        assert gap["is_over"] and service["longest_gap"] == gap["seconds"] > 0


def test_what_is_expected_is_waited_for_and_its_lack_is_one_sentence(estate: Estate) -> None:
    set_check(estate.instance, "critical")
    try:
        within = {"datacenter": "dc2", "within": "10s"}
        result = probe(estate.asked, queries=["web"], ways=["http", "dns"], expect=within, interval="50ms")
        assert result["seconds"] < 10 and {look["datacenter"] for look in result["lookups"]} == {"dc2"}
        with pytest.raises(ModuleFailed) as failed:
            probe(estate.asked, **BOTH, expect={"datacenter": "dc2", "within": "0.5s"}, interval="100ms")
    finally:
        set_check(estate.instance, "passing")
    sentence = failed.value.result["msg"]
    assert (
        "2 of 4 look-ups: service web by http at" in sentence
        and "answers from dc2 were expected within 0.5 s" in sentence
    )
    assert len(failed.value.result["lookups"]) == 4
    eventually(lambda: nodes_of(estate.asked) == ["Instance"], what="the local instance answers again")


def test_the_example_of_the_guide_proves_it(estate: Estate, tmp_path: Path) -> None:
    guide = (ROOT / "docs/service-failover.md").read_text(encoding="utf-8")
    plays = yaml.safe_load(guide.partition("## The proof")[2].partition("```yaml\n")[2].partition("```")[0])
    done = run_playbook(tmp_path, plays, "-e", f"consul_url={estate.asked.url}", "-e", f"web_url={estate.instance.url}")
    assert done.returncode == 0 and "failed=0" in done.stdout, done.stdout
    # It is a proof only if it fails where nothing takes over.
    set_check(estate.far, "critical")
    try:
        without = run_playbook(
            tmp_path, plays, "-e", f"consul_url={estate.asked.url}", "-e", f"web_url={estate.instance.url}"
        )
    finally:
        set_check(estate.far, "passing")
    assert without.returncode != 0 and "answers from dc2 were expected within 10 s" in without.stdout, without.stdout
    eventually(lambda: nodes_of(estate.asked) == ["Instance"], what="the local instance answers again")


def test_the_other_datacenter_takes_over_when_the_agent_is_killed(lab: Lab) -> None:
    estate = failing_over_services(lab)
    expect = {"datacenter": "dc2", "within": "30s"}
    with watched(lab, estate.asked, queries=["web"], ways=["http", "dns"], expect=expect, interval="50ms") as watch:
        watch.wait_for_more()
        estate.instance.stop()
        result = watch.result()
    for way in ("http", "dns"):
        assert [change["datacenter"] for change in by(result, way)["changes"]] == ["dc1", "dc2"]
    assert result["seconds"] < 30  # it ends at the first moment at which all are as expected


def test_a_datacenter_that_hangs_makes_the_answer_unknown_and_never_empty(lab: Lab) -> None:
    estate = failing_over_services(lab)
    set_check(estate.instance, "critical")
    eventually(lambda: nodes_of(estate.asked) == ["far"], what="the other datacenter answers")
    estate.dc2.servers[0].pause()
    look = by(probe(estate.asked, queries=["web"], timeout=2), "http")
    assert look["status"] == "unknown" and look["answers"] is None and "within 2 s" in look["problem"]


def test_an_agent_without_a_leader_is_named_with_what_helps(lab: Lab) -> None:
    dc1 = lab.datacenter("dc1", servers=2, extra={"ports": SERVER_PORTS})
    dc2 = lab.datacenter("dc2")
    lab.join_wan(dc1, dc2)
    asked = lab.client(dc1, "asked", ports=CLIENT_PORTS)
    set_check(asked, "passing", register=True)
    dc1.request(
        "POST", "/v1/query", json={"Name": "web", "Service": {"Service": "web", "Failover": {"Datacenters": ["dc2"]}}}
    )
    eventually(lambda: nodes_of(asked) == ["asked"], what="the instance is there")
    dc1.wait_level()
    dc1.leader().stop()

    def without_leader() -> dict[str, t.Any] | None:
        found = probe(asked, queries=["web"], ways=["http", "dns"], timeout=12)
        return found if found["agents"][0]["leader"] is False and by(found, "http")["status"] == "no_leader" else None

    result = eventually(without_leader, within_s=60, what="the agent has no leader")
    look = by(result, "http")
    assert (
        look["answers"] is None
        and "reaches no leader of its datacenter" in look["problem"]
        and "recover_quorum" in look["problem"]
    )
    assert "reaches no leader" in str(result["warnings"])
    # Consul's DNS takes what a server knew last, once the agent knows which server is left.
    eventually(
        lambda: by(probe(asked, queries=["web"], ways=["dns"]), "dns")["answers"], what="DNS answers without a leader"
    )
    for server in dc1.servers:
        server.stop()

    def without_servers() -> dict[str, t.Any] | None:
        found = probe(asked, queries=["web"], ways=["http", "dns"])
        return found if by(found, "dns")["status"] == "no_leader" else None

    gone = eventually(without_servers, within_s=60, what="the agent knows no server")
    assert {look["status"] for look in gone["lookups"]} == {"no_leader"}


def test_an_agent_that_is_not_there_is_unknown(own_lab: Lab) -> None:
    result = run_module(
        MODULE, agents=[f"http://{own_lab.address()}:8500"], queries=["web"], ways=["http", "dns"], timeout=1
    )
    assert [look["status"] for look in result["lookups"]] == ["unknown"] * 2
    assert all(look["answers"] is None and look["problem"] for look in result["lookups"])
    assert result["agents"][0]["leader"] is None


def test_what_the_token_may_not_see_is_unknown(own_lab: Lab) -> None:
    locked = own_lab.datacenter("locked", acl=True)
    locked.put("/v1/agent/service/register", {"Name": "web", "Port": 80})
    eventually(lambda: locked.get("/v1/health/service/web?passing"), what="web is there")
    sees = new_token(locked, 'service "web" { policy = "read" } node_prefix "" { policy = "read" }', "sees")
    blind = new_token(locked, 'node_prefix "" { policy = "read" }', "blind")
    assert by(probe(locked, services=["web"], token=sees), "http", "service")["nodes"] == ["locked-s1"]
    look = by(probe(locked, services=["web"], token=blind), "http", "service")
    assert look["status"] == "unknown" and 'service "web" { policy = "read" }' in look["problem"]
    locked.request("POST", "/v1/query", json={"Name": "web", "Service": {"Service": "web"}})
    look = by(probe(locked, queries=["web"], token=blind), "http")
    assert look["status"] == "unknown" and "or the query a stored token" in look["problem"]

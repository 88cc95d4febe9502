# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source against a real Consul, without ansible-rulebook: what it sends, what it remembers, and how it ends."""

from __future__ import annotations

import json
import signal
import time
import typing as t
from pathlib import Path

import pytest

from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.events import ALL, RunningSource
from tests.lab.faults import Proxy


@pytest.fixture(scope="module")
def secured_datacenter(own_lab: Lab) -> Datacenter:
    """A datacenter with ACLs."""
    return own_lab.datacenter("guarded", acl=True)


def register(datacenter: Datacenter, name: str, status: str = "passing") -> None:
    """Register a service with a check that says what it is told."""
    check = {"CheckID": f"{name}-check", "Name": f"{name} answers", "TTL": "1h", "Status": status}
    datacenter.put("/v1/agent/service/register", {"Name": name, "ID": f"{name}-1", "Tags": ["a"], "Check": check})


def report(datacenter: Datacenter, name: str, status: str, output: str = "") -> None:
    """Let the check of a service say something."""
    datacenter.put(f"/v1/agent/check/update/{name}-check", {"Status": status, "Output": output})


def token_with(datacenter: Datacenter, name: str, rules: str) -> str:
    """Return a token with these rules."""
    datacenter.put("/v1/acl/policy", {"Name": name, "Rules": rules})
    made = datacenter.put("/v1/acl/token", {"Policies": [{"Name": name}]})
    return t.cast(str, made["SecretID"])


def works(source: RunningSource, datacenter: Datacenter, key: str = "ready/") -> None:
    """Wait until the source watches keys: it sends what is written from then on."""

    def arrived() -> bool:
        datacenter.put(f"/v1/kv/{key}now", str(time.monotonic()))  # Consul takes no notice of the same value
        return bool(source.find(watch="kv", key=f"{key}now"))

    eventually(arrived, what=f"the source watches: {source.errors}", every_s=0.3)


def test_a_check_that_fails_worsens_and_recovers_is_an_event_each_time(datacenter: Datacenter) -> None:
    register(datacenter, "shop")
    options = {"watch": ["checks", "kv"], "kv_prefixes": ["ready/"], "hosts": {"dc1-s1": "consul1.example.com"}}
    with RunningSource(dict(url=datacenter.url, **options)) as source:
        works(source, datacenter)
        report(datacenter, "shop", "warning", "slow\nmore")
        (warning,) = source.wait(watch="checks", state="warning", service="shop-1")
        report(datacenter, "shop", "critical")
        (critical,) = source.wait(watch="checks", state="critical", service="shop-1")
        report(datacenter, "shop", "passing")
        (passing,) = source.wait(watch="checks", state="passing", service="shop-1")
        report(datacenter, "shop", "critical")
        source.wait(2, watch="checks", state="critical", service="shop-1")
        datacenter.put("/v1/agent/service/deregister/shop-1")
        (gone,) = source.wait(watch="checks", state="deregistered", service="shop-1")
    assert (warning["before"], critical["before"], passing["before"], gone["before"]) == (
        *("passing", "warning"),
        *("critical", "critical"),
    )
    assert warning["meta"] == {"hosts": ["consul1.example.com"]}
    assert (warning["datacenter"], warning["node"], warning["service_name"]) == ("dc1", "dc1-s1", "shop")
    assert warning["output"] == "slow" and warning["summary"] == "check shop answers of shop-1 on dc1-s1 is warning"
    assert len({event["id"] for event in source.events}) == len(source.events)


def test_services_events_and_keys_are_events(datacenter: Datacenter) -> None:
    options = {"watch": ["services", "events", "kv"], "kv_prefixes": ["ready/", "app/"], "kv_values": True}
    datacenter.put("/v1/kv/app/old", "before")
    datacenter.put("/v1/event/fire/old", "x")
    with RunningSource(dict(url=datacenter.url, **options)) as source:
        works(source, datacenter)
        register(datacenter, "db")
        (registered,) = source.wait(watch="services", state="registered", service_name="db")
        datacenter.put("/v1/agent/service/deregister/db-1")
        source.wait(watch="services", state="deregistered", service_name="db")
        datacenter.put("/v1/event/fire/deploy", "v2")
        (fired,) = source.wait(watch="events", name="deploy")
        datacenter.put("/v1/kv/app/one", b"\xff")
        (written,) = source.wait(watch="kv", key="app/one")
        datacenter.request("DELETE", "/v1/kv/app/one")
        (deleted,) = source.wait(watch="kv", key="app/one", state="deleted")
    assert registered["registered"] == {"tags": ["a"]} and fired["payload"] == "v2"
    assert (written["value"], written["value_base64"], written["before"]) == (None, "/w==", None)
    assert deleted["before"] == {"modify_index": written["modify_index"]}
    assert not source.find(key="app/old") and not source.find(name="old"), "what was there before is no event"


def test_instances_of_a_service_are_events_if_it_is_named(datacenter: Datacenter) -> None:
    options = {
        "watch": ["services", "kv"],
        "kv_prefixes": ["ready/"],
        "services": ["api"],
        "host_format": "{node}.test",
    }
    with RunningSource(dict(url=datacenter.url, **options)) as source:
        works(source, datacenter)
        register(datacenter, "api")
        (registered,) = source.wait(watch="services", state="registered")
        datacenter.put("/v1/agent/service/deregister/api-1")
        source.wait(watch="services", state="deregistered")
    assert (registered["node"], registered["service"]) == ("dc1-s1", "api-1")
    assert registered["meta"] == {"hosts": ["dc1-s1.test"]}


def test_what_is_there_at_the_first_start_is_an_event_if_that_is_wanted(datacenter: Datacenter) -> None:
    datacenter.put("/v1/kv/early/one", "x")
    with RunningSource(
        {"url": datacenter.url, "watch": ["kv", "leader"], "kv_prefixes": ["early/"], "initial": True}
    ) as source:
        source.wait(watch="kv", key="early/one", state="set")
        (leader,) = source.wait(watch="leader", state="elected")
    assert leader["node"] == "dc1-s1" and leader["before"] is None


def test_findings_fire_worsen_and_are_resolved_after_their_times(datacenter: Datacenter) -> None:
    register(datacenter, "pay")
    times = {"for": "1s", "recover_for": "1s", "match": [{"service": "pay"}]}
    with RunningSource(dict(url=datacenter.url, watch="findings", **times)) as source:
        report(datacenter, "pay", "warning")
        (firing,) = source.wait(watch="findings", state="firing", rule="check_status")
        report(datacenter, "pay", "critical")
        (worse,) = source.wait(watch="findings", state="worsened", rule="check_status")
        report(datacenter, "pay", "passing")
        (over,) = source.wait(watch="findings", state="resolved", rule="check_status")
    datacenter.put("/v1/agent/service/deregister/pay-1")
    assert (firing["severity"], worse["severity"], worse["before"]) == ("warning", "critical", "warning")
    assert firing["episode"] == worse["episode"] == over["episode"] and over["reason"] == "recovered"
    assert firing["service_name"] == "pay" and firing["node"] == "dc1-s1"


def test_a_source_killed_between_two_events_loses_none_and_repeats_none(datacenter: Datacenter, tmp_path: Path) -> None:
    state, prefixes = tmp_path / "state", ["kill/", "ready/"]
    options = {"url": datacenter.url, "watch": ["kv"], "kv_prefixes": prefixes, "state_file": str(state)}
    with RunningSource(options, acknowledge=ALL) as first:
        works(first, datacenter)
        first.stop(signal.SIGTERM)
    with RunningSource(options, acknowledge="kill/a") as second:
        datacenter.put("/v1/kv/kill/a", "1")
        second.wait(key="kill/a")
        eventually(lambda: '"kill/a"' in state.read_text(), what="it is acknowledged")
        datacenter.put("/v1/kv/kill/b", "1")
        second.wait(key="kill/b")  # it is not
        second.stop(signal.SIGKILL)
    datacenter.put("/v1/kv/kill/c", "1")
    datacenter.request("DELETE", "/v1/kv/kill/a")
    with RunningSource(options, acknowledge=ALL) as third:
        third.wait(key="kill/a", state="deleted")
        datacenter.put("/v1/kv/kill/end", "1")
        third.wait(key="kill/end")
    assert [(event["key"], event["state"]) for event in third.events if event["key"].startswith("kill/")] == [
        ("kill/b", "set"),
        ("kill/c", "set"),
        ("kill/a", "deleted"),
        ("kill/end", "set"),
    ]
    assert third.find(key="kill/b")[0]["id"] == second.find(key="kill/b")[0]["id"]


def test_a_finding_that_ended_while_nobody_watched_is_resolved_after_the_start(
    datacenter: Datacenter, tmp_path: Path
) -> None:
    register(datacenter, "mail", "critical")
    options: dict[str, t.Any] = {"for": "1s", "recover_for": "1s", "match": [{"service": "mail"}]}
    options.update(url=datacenter.url, watch="findings", state_file=str(tmp_path / "state"))
    with RunningSource(options, acknowledge=ALL) as first:
        (firing,) = first.wait(state="firing", rule="check_status")
        eventually(lambda: firing["episode"] in (tmp_path / "state").read_text(), what="it is acknowledged")
        first.stop(signal.SIGKILL)
    report(datacenter, "mail", "passing")
    with RunningSource(options, acknowledge=ALL) as second:
        (over,) = second.wait(state="resolved")
    datacenter.put("/v1/agent/service/deregister/mail-1")
    assert over["episode"] == firing["episode"] and not second.find(state="firing", rule="check_status")


def test_a_consul_that_is_away_is_one_event_and_so_is_its_return(own_lab: Lab) -> None:
    datacenter = own_lab.datacenter("away")
    options = {"watch": ["checks", "services", "kv"], "kv_prefixes": ["ready/"]}
    with RunningSource(dict(url=datacenter.url, timeout=2.0, **options)) as source:
        works(source, datacenter)
        datacenter.servers[0].stop()
        (away,) = source.wait(watch="source", state="failed", error="unreachable")
        datacenter.servers[0].start()
        datacenter.wait_ready()
        source.wait(watch="source", state="works", error="unreachable")
        datacenter.put("/v1/kv/ready/after", "x")
        source.wait(key="ready/after")
        assert source.process.poll() is None
    assert len(source.find(error="unreachable", state="failed")) == 1
    assert away["summary"].startswith("away cannot be watched: ") and away["reason"]
    assert not source.find(watch="kv", state="deleted") and not source.find(watch="services", state="deregistered")


def test_a_token_without_rights_says_what_it_lacks(secured_datacenter: Datacenter) -> None:
    token = token_with(secured_datacenter, "nothing", 'key_prefix "other/" { policy = "read" }')
    options = {"watch": ["kv", "checks", "events"], "kv_prefixes": ["app/"], "user_events": ["deploy"]}
    with RunningSource(dict(url=secured_datacenter.url, token=token, **options)) as source:
        events = source.wait(3, watch="source", state="failed", error="denied")
        said = {event["what"]: event["reason"] for event in events}
    assert 'key_prefix "app/" { policy = "read" }' in said['keys below "app/"']
    assert 'node_prefix "" { policy = "read" } and service_prefix "" { policy = "read" }' in said["checks"]
    assert 'event_prefix "" { policy = "read" }' in said["events"]
    assert token not in json.dumps(source.events)


def test_what_a_token_may_not_see_any_more_is_not_deleted(secured_datacenter: Datacenter) -> None:
    rules = 'key_prefix "app/" { policy = "read" } key_prefix "ready/" { policy = "read" }'
    token = token_with(secured_datacenter, "reader", rules)
    (policy,) = [one for one in secured_datacenter.get("/v1/acl/policies") if one["Name"] == "reader"]
    secured_datacenter.put("/v1/kv/app/one", "x")
    options = {"watch": ["kv"], "kv_prefixes": ["app/", "ready/"]}
    with RunningSource(dict(url=secured_datacenter.url, token=token, **options)) as source:
        works(source, secured_datacenter)
        less = {"Name": "reader", "Rules": 'key_prefix "ready/" { policy = "read" }'}
        secured_datacenter.put(f"/v1/acl/policy/{policy['ID']}", less)
        secured_datacenter.put("/v1/kv/app/two", "x")  # wakes the query
        source.wait(watch="source", state="failed", error="denied", within_s=30)
        secured_datacenter.put(f"/v1/acl/policy/{policy['ID']}", {"Name": "reader", "Rules": rules})
        source.wait(watch="source", state="works", error="denied", within_s=30)
        source.wait(key="app/two", state="set")
    assert not source.find(state="deleted")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_source_with_a_hung_query_ends_at_once(own_lab: Lab, datacenter: Datacenter, number: int) -> None:
    with Proxy(datacenter.url, own_lab.address(), fault="hang", path="/v1/") as proxy:
        with RunningSource(
            {"url": proxy.url, "watch": ["kv", "checks", "findings"], "kv_prefixes": ["app/"]}
        ) as source:
            eventually(lambda: len(proxy.requests) >= 3, what="every stream waits for an answer")
            took_s = source.stop(number)
    assert took_s < 5  # a query waits for 10 s; on a quiet machine the end takes half a second
    assert source.process.returncode == 130 and "Traceback" not in source.errors


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"watch": ["nodes"]}, "watch: there is no 'nodes'; there are findings, checks, services, kv, events, leader."),
        ({"watch": ["kv"]}, "kv_prefixes: watch: [kv] needs the prefixes of the keys to watch, for example [app/]."),
        ({"watch": ["leader"], "urll": "x"}, "urll: unknown option. Did you mean url?"),
        (
            {"watch": ["leader"], "state_file": "/nowhere/state"},
            "opening /nowhere/state.lock: No such file or directory.",
        ),
    ],
)
def test_options_that_cannot_be_used_are_one_sentence(options: dict[str, t.Any], sentence: str) -> None:
    with RunningSource(options) as source:
        source.process.wait(20)
        eventually(lambda: source.errors)
    assert sentence in source.errors.splitlines()[-1] and not source.events


def test_a_state_file_belongs_to_one_source(datacenter: Datacenter, tmp_path: Path) -> None:
    options = {"url": datacenter.url, "watch": ["kv"], "kv_prefixes": ["ready/"], "state_file": str(tmp_path / "state")}
    with RunningSource(options) as first:
        works(first, datacenter)
        with RunningSource(options) as second:
            second.process.wait(20)
            eventually(lambda: second.errors)
    assert "another event source uses this state file. Give each its own." in second.errors


def test_two_datacenters_are_watched_by_one_source(own_lab: Lab, datacenter: Datacenter) -> None:
    other = own_lab.datacenter("dc2")
    connections = [{"url": datacenter.url}, {"url": other.url}]
    with RunningSource({"connections": connections, "watch": ["kv"], "kv_prefixes": ["ready/"]}) as source:
        works(source, datacenter)
        other.servers[0].stop()
        source.wait(watch="source", state="failed")
        datacenter.put("/v1/kv/ready/two", "x")
        (event,) = source.wait(key="ready/two")
    assert event["datacenter"] == "dc1" and {one["datacenter"] for one in source.find(watch="source")} == {"dc2"}

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerting agent as real processes: what it tells a webhook when something fails, ends, or one of its instances dies."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import requests

from tests.lab.agents import AgentProcess, free_port
from tests.lab.alerting import Instances, alerts, messages, register_check, set_check, wait_for_alerts
from tests.lab.consul import Datacenter, eventually
from tests.lab.http_service import HttpService, Reply


def waiting(agent: AgentProcess) -> float:
    """Return how many messages wait for receivers."""
    numbers = agent.status()["jobs"]["notify"]["numbers"]
    return float(next((one["value"] for one in numbers if one["name"] == "messages_waiting"), 0))


def test_a_check_that_fails_and_recovers_is_told_once_each(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "web")
    agent = instances.start(datacenter, name="once")
    agent.wait("active")
    set_check(datacenter, "web", "critical", "HTTP 503")
    wait_for_alerts(hook, "web", 1)
    set_check(datacenter, "web", "passing")
    assert wait_for_alerts(hook, "web", 2) == [("firing", "critical"), ("resolved", "critical")]
    assert hook.received[0].json["alerts"][0]["output"] == "HTTP 503"


def test_a_new_holder_tells_what_the_one_before_did_not_and_nothing_twice(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    for service in ("told", "missed"):
        register_check(datacenter, service)
    first = instances.start(datacenter, name="pair", service={"register": False})
    first.wait("active")
    set_check(datacenter, "told", "critical")
    wait_for_alerts(hook, "told", 1)
    eventually(lambda: datacenter.get("/v1/kv/consulops/agents/pair/notes"), what="notes are shared")
    second = instances.start(datacenter, name="pair", service={"register": False})
    second.wait("standby")
    first.stop()
    set_check(datacenter, "missed", "critical")
    wait_for_alerts(hook, "missed", 1)
    set_check(datacenter, "told", "passing")
    wait_for_alerts(hook, "told", 2)
    assert alerts(hook, "told") == [("firing", "critical"), ("resolved", "critical")]


def test_what_fails_while_the_agent_is_down_is_told_after_its_start(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "restart")
    agent = instances.start(datacenter, name="restart")
    agent.wait("active")
    agent.stop()
    set_check(datacenter, "restart", "critical")
    again = instances.start(datacenter, name="restart", state=agent.state)
    assert wait_for_alerts(hook, "restart", 1) == [("firing", "critical")]
    again.stop()
    set_check(datacenter, "restart", "passing")
    instances.start(datacenter, name="restart", state=agent.state)
    assert wait_for_alerts(hook, "restart", 2)[1:] == [("resolved", "critical")]


def test_a_refused_message_is_sent_again_and_delivered_once(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "refused")
    instances.start(datacenter, name="refused", options={"match": [{"service": "refused"}]}).wait("active")
    hook.reset(Reply(500), Reply(503))
    set_check(datacenter, "refused", "critical")
    wait_for_alerts(hook, "refused", 3)
    ids = [one.json["id"] for one in hook.received if one.json["alerts"][0]["service_name"] == "refused"]
    assert len(ids) == 3 and len(set(ids)) == 1, "attempts have one key"
    set_check(datacenter, "refused", "passing")
    assert wait_for_alerts(hook, "refused", 4)[3:] == [("resolved", "critical")]


def test_what_is_deregistered_while_it_fails_ends_with_that_reason(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "removed", "critical")
    instances.start(datacenter, name="removed")
    wait_for_alerts(hook, "removed", 1)
    datacenter.put("/v1/agent/service/deregister/removed")
    wait_for_alerts(hook, "removed", 2)
    assert hook.received[-1].json["alerts"][0]["reason"] == "deregistered"


def test_a_changed_receiver_touches_neither_the_watch_nor_the_lease_nor_an_alert(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "steady", "critical")
    agent = instances.start(datacenter, name="reload")
    wait_for_alerts(hook, "steady", 1)
    before = agent.status()
    with HttpService() as other:
        receivers = {
            "hook": {"type": "webhook", "url": f"{other.url}/alerts"},
            "spare": {"type": "webhook", "url": f"{hook.url}/spare"},
        }
        agent.configure(instances.config(datacenter.url, name="reload", options={"receivers": receivers}))
        agent.reload()
        eventually(lambda: agent.status()["reloads"] == 1)
        set_check(datacenter, "steady", "passing")
        ended = wait_for_alerts(other, "steady", 1)
    after = agent.status()
    assert ended == [("resolved", "critical")]
    assert after["leases"]["lease"]["fence"] == before["leases"]["lease"]["fence"]
    assert after["jobs"]["watch local"]["since"] == before["jobs"]["watch local"]["since"]
    assert other.received[0].json["alerts"][0]["since"] == hook.received[0].json["alerts"][0]["since"]


def test_a_receiver_that_fails_is_told_to_the_fallback(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "unheard")
    with HttpService() as broken:
        broken.replies[:] = [Reply(500)] * 1000
        receivers = {
            "broken": {"type": "webhook", "url": broken.url},
            "hook": {"type": "webhook", "url": f"{hook.url}/alerts"},
        }
        given = {
            "match": [{"service": "unheard"}],
            "receivers": receivers,
            "route": {"receiver": "broken"},
            "fallback_receiver": "hook",
        }
        given["route"].update({"group_wait": "0s", "group_by": ["..."]})  # type: ignore[attr-defined]
        instances.start(datacenter, name="fallback", options=given).wait("active")
        set_check(datacenter, "unheard", "critical")
        eventually(lambda: hook.received, what="the fall-back receiver is told")
    (alert,) = hook.received[0].json["alerts"]
    assert (alert["rule"], alert["check"], "500" in alert["output"]) == ("delivery_failed", "broken", True)


def test_pings_are_sent_while_consul_can_be_read(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    ping = {"url": f"{hook.url}/ping", "every": "1s"}
    agent = instances.start(datacenter, name="ping", options={"dead_man": ping})
    eventually(lambda: sum(one.path == "/ping" for one in hook.received) >= 2, what="two pings")
    assert agent.status()["jobs"]["dead man"]["summary"] == "pinged"


def test_an_event_runs_its_program_once_and_not_those_from_before_the_first_start(
    instances: Instances, datacenter: Datacenter, tmp_path: Path
) -> None:
    datacenter.put("/v1/event/fire/deploy", b"before")
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ncat >> {ran}\n", encoding="utf-8")
    program.chmod(0o755)
    events = [{"name": "deploy", "command": [str(program)], "ordered": True}]
    for _number in range(2):
        instances.start(datacenter, name="events", options={"events": events}, service={"register": False})
    eventually(lambda: datacenter.get("/v1/kv/consulops/agents/events/events"), what="old events are noted")
    for payload in (b"one", b"two"):
        datacenter.put("/v1/event/fire/deploy", payload)
    eventually(lambda: ran.exists() and ran.read_text(encoding="utf-8").count("\n") >= 2, what="two programs")
    instances.stop()
    documents = [json.loads(line) for line in ran.read_text(encoding="utf-8").splitlines()]
    assert [one["payload"] for one in documents] == ["one", "two"]


def test_a_program_that_hangs_delays_no_other_event(
    instances: Instances, datacenter: Datacenter, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(
        f'#!/bin/sh\ngrep -q \'"payload": "hang"\' && exec sleep 60\necho ran >> {ran}\n', encoding="utf-8"
    )
    program.chmod(0o755)
    events = [{"name": "slow", "command": [str(program)], "timeout": "60s"}]
    agent = instances.start(datacenter, name="slow", options={"events": events}, service={"register": False})
    agent.wait("active")
    eventually(lambda: datacenter.get("/v1/kv/consulops/agents/slow/events"), what="old events are noted")
    for payload in (b"hang", b"quick"):
        datacenter.put("/v1/event/fire/slow", payload)
    eventually(ran.exists, what="the second program")

    def numbers() -> dict[str, float]:
        return {one["name"]: one["value"] for one in agent.status()["jobs"]["events"]["numbers"]}

    eventually(lambda: numbers()["programs_run"] == 1 and numbers()["programs_running"] == 1, what="one still runs")


def test_an_instance_that_returns_on_standby_does_not_send_what_is_over_by_now(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "stale")
    with HttpService() as other:
        receivers = {
            "hook": {"type": "webhook", "url": f"{hook.url}/alerts"},
            "other": {"type": "webhook", "url": f"{other.url}/alerts"},
        }
        routes = [{"match": {"service": "stale"}, "receiver": name, "continue": True} for name in ("hook", "other")]
        route = {"receiver": "hook", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "routes": routes}
        given = {"receivers": receivers, "route": route, "match": [{"service": "stale"}]}

        def start(instance: str, state: Path | None = None) -> AgentProcess:
            named = {**given, "instance": instance}
            return instances.start(datacenter, name="stale", options=named, state=state, service={"register": False})

        first = start("first")
        first.wait("active")
        second = start("second")
        second.wait("standby")
        other.replies[:] = [Reply(503)] * 1000
        set_check(datacenter, "stale", "critical")
        wait_for_alerts(hook, "stale", 1)
        eventually(lambda: other.received, what="the receiver refused it")
        first.stop()
        second.wait("active")
        other.replies.clear()
        eventually(lambda: messages(other)[-1]["instance"] == "second", 30, "the second instance tells it")
        set_check(datacenter, "stale", "passing")
        eventually(lambda: messages(other)[-1]["kind"] == "resolved", 30, "the end is told")
        other.reset()
        again = start("first", first.state)
        again.wait("standby")
        set_check(datacenter, "stale", "critical")
        wait_for_alerts(other, "stale", 1)
        numbers = eventually(
            lambda: again.status()["jobs"]["notify"]["numbers"], what="the first round of the instance"
        )
        waiting = [one["value"] for one in numbers if one["name"] == "messages_waiting"]
        assert waiting == [0] and {one["instance"] for one in messages(other)} == {"second"}


def test_a_reload_that_names_the_datacenter_ends_no_alert(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "named", "critical")
    agent = instances.start(datacenter, name="named")
    wait_for_alerts(hook, "named", 1)
    given = {"datacenters": [datacenter.name], "reconcile_every": "1s"}
    agent.configure(instances.config(datacenter.url, name="named", options=given))
    agent.reload()
    job = f"watch {datacenter.name}"
    eventually(lambda: agent.status()["jobs"].get(job, {}).get("cycles", 0) > 2, what="it is watched by its name")
    assert alerts(hook, "named") == [("firing", "critical")]
    set_check(datacenter, "named", "passing")
    assert wait_for_alerts(hook, "named", 2) == [("firing", "critical"), ("resolved", "critical")]


def test_a_service_in_maintenance_ends_its_alert_and_begins_another_afterwards(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "kept", "critical")
    instances.start(datacenter, name="kept").wait("active")
    wait_for_alerts(hook, "kept", 1)
    datacenter.put("/v1/agent/service/maintenance/kept?enable=true&reason=new+disk")
    wait_for_alerts(hook, "kept", 2)
    datacenter.put("/v1/agent/service/maintenance/kept?enable=false")
    wait_for_alerts(hook, "kept", 3)
    told = [alert for one in messages(hook) for alert in one["alerts"] if alert["service_name"] == "kept"]
    assert [one["status"] for one in told] == ["firing", "resolved", "firing"]
    assert told[1]["reason"] == "maintenance" and told[0]["incident"] == told[1]["incident"] != told[2]["incident"]


def test_what_flaps_is_told_once_and_its_end_once_it_is_quiet(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "restless")
    flapping = {"changes": 4, "window": "5s"}
    given = {"flapping": flapping, "for": "1h", "match": [{"service": "restless"}]}
    agent = instances.start(datacenter, name="restless", options=given)
    agent.wait("active")

    def is_seen() -> bool:
        shown = requests.get(f"{agent.url}/alerts", timeout=5).json()["alerts"]
        return any(one["service"] == "restless" and one["state"] == "pending" for one in shown)

    for fails in (True, False, True):
        set_check(datacenter, "restless", "critical" if fails else "passing")
        eventually(lambda fails=fails: is_seen() is fails, what="the change is seen")
    set_check(datacenter, "restless", "passing")
    wait_for_alerts(hook, "restless", 2, 30)
    assert alerts(hook, "restless") == [("firing", "critical"), ("resolved", "critical")]


def test_a_reload_can_remove_a_receiver_for_which_messages_wait(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "left", "critical")
    gone = {"type": "webhook", "url": f"http://127.0.0.1:{free_port()}/", "timeout": "2s"}
    works = {"type": "webhook", "url": f"{hook.url}/alerts", "timeout": "2s"}
    given: dict[str, t.Any] = {"receivers": {"hook": works, "gone": gone}, "match": [{"service": "left"}]}
    group: dict[str, t.Any] = {"group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    match = {"match": {"service": "left"}}
    routes = [{"receiver": "gone", "continue": True, **match}, {"receiver": "hook", **match}]
    route = {"receiver": "hook", **group, "routes": routes}
    agent = instances.start(datacenter, name="left", options={**given, "route": route})
    agent.wait("active")
    eventually(lambda: waiting(agent) == 1, what="a message waits for the receiver that is gone")
    wait_for_alerts(hook, "left", 1)
    after = {**given, "receivers": {"hook": works}, "route": {"receiver": "hook", **group}}
    agent.configure(instances.config(datacenter.url, name="left", options=after))
    agent.reload()
    eventually(lambda: agent.status()["reloads"] == 1, what="the reload")
    eventually(lambda: waiting(agent) == 0, what="nothing waits for a receiver that is not there")
    set_check(datacenter, "left", "passing")
    assert wait_for_alerts(hook, "left", 2) == [("firing", "critical"), ("resolved", "critical")]
    agent.stop()
    instances.start(datacenter, name="left", options=after, state=agent.state).wait("active")

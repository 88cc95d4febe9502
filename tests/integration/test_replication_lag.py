# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far the replication agent is behind: measured by a heartbeat or by index, published, judged, and shown when the agent is dead."""

from __future__ import annotations

import json
import signal
import threading
import typing as t
from pathlib import Path

from tests.lab.agents import run_command
from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.keys import write
from tests.lab.replicating import Replicators, a_set, wait_for_equal, wait_for_following, wait_for_status

BEATS = "consulops/replication-heartbeat/"
STATUS = "/v1/kv/consulops/replication/{}/status"


def lag_findings(datacenter: Datacenter, **rule: t.Any) -> list[str]:
    """Return the checks of the findings of the rule about the lag."""
    rules = [{"rule": "kv_replication_lag", **rule}]
    result = run_module("consul_alert_check", url=datacenter.url, token=datacenter.token, fail_on="never", rules=rules)
    return [one["check"] for one in result["findings"] if one["rule"] == "kv_replication_lag"]


def test_a_heartbeat_shows_that_a_watch_is_stuck_although_nothing_is_written(
    replicators: Replicators, east: Datacenter, west: Datacenter, own_lab: Lab
) -> None:
    write(east, {"beat/1": "v"})
    with Proxy(east.url, own_lab.address()) as proxy:
        options = a_set(east, west, "beat/", source={"url": proxy.url}, heartbeat="1s")
        agent = replicators.start({"beat": options})
        wait_for_following(agent, "beat")
        first = wait_for_status(agent, "beat", lambda one: one["lag_source"] == "heartbeat", "a beat is seen")
        assert first["lag_s"] < 5 and first["heartbeat"]["problem"] == "" and east.get(f"/v1/kv/{BEATS}beat")
        goes_on = threading.Event()

        def hold(_method: str, path: str) -> None:
            if f"{BEATS}beat" in path and "index=" in path:
                goes_on.wait(60)

        proxy.after_forward = hold
        try:
            wait_for_status(agent, "beat", lambda one: one["lag_s"] > 3, "the lag grows")
        finally:
            goes_on.set()
        wait_for_status(agent, "beat", lambda one: one["lag_s"] < 3, "the watch goes on")
        agent.stop()
    assert not any(key.startswith(BEATS) for key in west.get("/v1/kv/consulops/?keys")), "it is not replicated"


def test_where_the_source_may_not_be_written_the_lag_is_measured_by_index(
    replicators: Replicators, west: Datacenter, own_lab: Lab, tmp_path: Path
) -> None:
    source = own_lab.datacenter("readonly", acl=True)
    rules = 'key_prefix "quiet/" { policy = "read" }\nkey_prefix "consulops/" { policy = "read" }'
    policy = source.put("/v1/acl/policy", {"Name": "readonly", "Rules": rules})["ID"]
    token_file = tmp_path / "token"
    token_file.write_text(source.put("/v1/acl/token", {"Policies": [{"ID": policy}]})["SecretID"], encoding="ascii")
    write(source, {"quiet/1": "v"})
    there = {"datacenter": "readonly", "token_file": str(token_file)}
    agent = replicators.start({"quiet": a_set(source, west, "quiet/", source=there, heartbeat="1s")})
    wait_for_following(agent, "quiet")
    status = wait_for_status(agent, "quiet", lambda one: one["heartbeat"]["problem"], "it says why")
    assert status["lag_source"] == "index" and status["problem"] == ""
    assert f'needs key_prefix "{BEATS}" {{ policy = "write" }}' in status["heartbeat"]["problem"]
    write(source, {"quiet/1": "w"})
    wait_for_equal(source, west, "quiet/")
    assert wait_for_following(agent, "quiet")["lag_s"] < 10


def test_a_source_that_does_not_answer_is_published_judged_and_shown_by_consul_alone(
    replicators: Replicators, west: Datacenter, own_lab: Lab, bundle: Path
) -> None:
    source = own_lab.datacenter("hangs")
    write(source, {f"hangs/{number}": "v" for number in range(7)})
    agent = replicators.start({"hangs": a_set(source, west, "hangs/", heartbeat="1s")})
    wait_for_following(agent, "hangs")
    key = STATUS.format("hangs")
    eventually(lambda: west.request("GET", key).ok, what="its status is published")
    assert lag_findings(west) == []
    write(source, {"hangs/1": "w"})
    wait_for_equal(source, west, "hangs/")
    source.servers[0].pause()
    try:
        published = eventually(
            lambda: (
                found
                if (found := json.loads(west.request("GET", f"{key}?raw").content))["lag"]["behind_since"]
                else None
            ),
            60.0,
            "it is published that it is behind",
        )
        assert published["lag"]["source"] == "heartbeat"
        assert lag_findings(west, warning="5s", critical="1h") == ["replication/hangs/lag"]
        assert lag_findings(west, warning="1h", critical="2h") == []
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait(10)
        shown = run_command(bundle, "replicate", "status", "hangs", "--from-consul", "--url", west.url)
        assert "behind since" in shown.stdout and published["at"] in shown.stdout, shown
        assert " 7 " in shown.stdout and "equal" in shown.stdout
    finally:
        source.servers[0].resume()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A holder whose host is the cause of failures lets another instance send, if one is alive, and does not take the lease back."""

from __future__ import annotations

import shutil
import typing as t

from tests.lab.agents import AgentProcess, free_port
from tests.lab.alerting import Instances, alerts, register_check, set_check
from tests.lab.consul import Datacenter, eventually
from tests.lab.http_service import HttpService


def lease(agent: AgentProcess) -> dict[str, t.Any]:
    found: dict[str, t.Any] = agent.status()["leases"]["lease"]
    return found


def hand_over_summary(agent: AgentProcess) -> str:
    return str(agent.status()["jobs"]["hand over"]["summary"])


def test_a_holder_that_reaches_no_receiver_hands_over_once_another_instance_is_alive(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "network", "critical")
    dead = {"hook": {"type": "webhook", "url": f"http://127.0.0.1:{free_port()}/", "timeout": "2s"}}
    cut_off = instances.start(datacenter, name="network", options={"receivers": dead}, step_down_after_failures=2)
    eventually(lambda: "no other instance" in hand_over_summary(cut_off), what="it would hand over")
    assert lease(cut_off)["standing"] == "holder"
    works = instances.start(datacenter, name="network", options={"instance": "second"}, step_down_after_failures=2)
    eventually(lambda: alerts(hook, "network"), what="the other instance tells it")
    eventually(lambda: lease(cut_off)["standing"] == "standby", what="it knows that the other one sends")
    assert "No receiver can be reached from here: hook" in cut_off.log() + lease(cut_off)["problem"]
    set_check(datacenter, "network", "passing")
    eventually(lambda: len(alerts(hook, "network")) >= 2, what="the end")
    assert alerts(hook, "network") == [("firing", "critical"), ("resolved", "critical")]
    assert lease(works)["standing"] == "holder"


def test_a_holder_that_cannot_write_its_state_hands_over(
    instances: Instances, datacenter: Datacenter, hook: HttpService
) -> None:
    register_check(datacenter, "disk")
    first = instances.start(datacenter, name="disk", step_down_after_failures=2)
    first.wait("active")
    second = instances.start(datacenter, name="disk", options={"instance": "second"}, step_down_after_failures=2)
    second.wait("standby")
    shutil.rmtree(first.state)
    set_check(datacenter, "disk", "critical")
    eventually(lambda: lease(second)["standing"] == "holder", what="the other one holds the lease")
    eventually(lambda: alerts(hook, "disk"), what="it was told")
    set_check(datacenter, "disk", "passing")
    eventually(lambda: len(alerts(hook, "disk")) >= 2, what="the end")
    eventually(lambda: lease(first)["standing"] == "standby", what="the first one knows")

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerting core fed by a real Consul: what is expected and gone, what recovered and what was only deregistered."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.config import make_alerting_config
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.core import Core
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Notification
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receiver_type import ReceiverType
from ansible_collections.consulops.failover.plugins.module_utils._alerting.gate import judge_all
from ansible_collections.consulops.failover.plugins.module_utils._alerting.observe import ObserveOptions
from ansible_collections.consulops.failover.plugins.module_utils._alerting.presence import read_missing

from tests.lab.consul import Datacenter, Lab

from .conftest import MakeClient


class NoOptions:
    SPEC: t.Mapping[str, t.Mapping[str, t.Any]] = {}


TYPES: dict[str, ReceiverType] = {"test": NoOptions()}
QUIET = [{"rule": "autopilot_unhealthy", "enabled": False}]


@pytest.fixture(scope="module")
def dc1(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Datacenter]:
    with Lab(tmp_path_factory.mktemp("core")) as lab:
        yield lab.datacenter("dc1")


class Agent:
    """Judges the datacenter and drives the core with a clock of its own."""

    def __init__(self, dc1: Datacenter, make_client: MakeClient, **options: t.Any) -> None:
        self.client = make_client(dc1)
        given = {
            "receivers": {"ops": {"type": "test"}},
            "route": {"receiver": "ops", "group_wait": "0s", "group_interval": "1s"},
            "rules": QUIET,
            **options,
        }
        self.config = make_alerting_config(given, TYPES)
        self.core = Core(self.config.core, self.config.make_silences())
        self.now = 1_800_000_000.0

    def look(self, after_s: float = 0.0) -> list[Notification]:
        """Judge, let time pass and judge again; return the messages."""
        for pause_s in (0.0, after_s):
            self.now += pause_s
            judgement = judge_all([self.client], ObserveOptions(self.config.rules), self.config.expected)
            missing = read_missing(self.client, self.core.incidents.vanished_places("dc1", judgement))
            vanished = self.core.incidents.vanished_places("dc1", judgement)
            self.core.update("dc1", judgement, self.now, [place for place in vanished if place in missing])
        due = self.core.due(self.now)
        for notification in due:
            self.core.record(notification)
        return due


def said(due: list[Notification]) -> set[tuple[str, str, str, str]]:
    return {(one.kind, alert.rule, alert.place, alert.reason) for one in due for alert in one.alerts}


def register(dc1: Datacenter, node: str, status: str, **more: t.Any) -> None:
    check = {"CheckID": f"chk-{node}", "Name": "answers", "Status": status, "ServiceID": f"web-{node}"}
    service = {"Service": "web", "ID": f"web-{node}", "Tags": ["v1"], "Meta": {"team": "web"}}
    body = {"Node": node, "Address": "192.0.2.1", "NodeMeta": {"rack": "r1"}, "Service": service, "Check": check}
    dc1.put("/v1/catalog/register", {**body, **more})


def test_what_was_deregistered_ends_otherwise_than_what_recovered(dc1: Datacenter, make_client: MakeClient) -> None:
    agent = Agent(dc1, make_client)
    for node in ("n1", "n2"):
        register(dc1, node, "critical")
    assert said(agent.look(30)) == {
        ("firing", "check_status", f"{node}/web-{node}/chk-{node}", "") for node in ("n1", "n2")
    }
    register(dc1, "n1", "passing")
    dc1.put("/v1/catalog/deregister", {"Node": "n2"})
    assert said(agent.look(30)) == {("resolved", "check_status", "n1/web-n1/chk-n1", "recovered")}
    assert said(agent.look(30)) == {("resolved", "check_status", "n2/web-n2/chk-n2", "deregistered")}
    dc1.put("/v1/catalog/deregister", {"Node": "n1"})


def test_expected_nodes_and_services_are_missed_when_they_are_gone(dc1: Datacenter, make_client: MakeClient) -> None:
    server = dc1.servers[0].name
    expect = {"dc1": {"servers": 1, "nodes": [server, "n3"], "services": {"web": 1}}}
    register(dc1, "n3", "passing")
    agent = Agent(dc1, make_client, expect=expect)
    assert said(agent.look(60)) == set()
    dc1.put("/v1/catalog/deregister", {"Node": "n3"})
    assert said(agent.look(60)) == {("firing", "node_left", "n3", ""), ("firing", "service_missing", "web", "")}
    register(dc1, "n3", "passing")
    assert said(agent.look(60)) == {
        ("resolved", "node_left", "n3", "recovered"),
        ("resolved", "service_missing", "web", "recovered"),
    }
    dc1.put("/v1/catalog/deregister", {"Node": "n3"})


def test_routes_by_metadata_have_it_read(dc1: Datacenter, make_client: MakeClient) -> None:
    register(dc1, "n4", "critical")
    by_meta = {"match": {"node_meta": {"rack": "r1"}, "service_meta": {"team": "web"}, "tags": "v1"}, "receiver": "web"}
    receivers = {"ops": {"type": "test"}, "web": {"type": "test"}}
    agent = Agent(
        dc1, make_client, receivers=receivers, route={"receiver": "ops", "group_wait": "0s", "routes": [by_meta]}
    )
    (notification,) = agent.look(30)
    assert notification.receiver == "web"
    dc1.put("/v1/catalog/deregister", {"Node": "n4"})

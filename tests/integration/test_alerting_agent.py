# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alerting agent as real processes: what it tells a webhook when something fails, ends, or one of its instances dies."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from tests.lab.alerting import Instances, alerts, register_check, set_check, wait_for_alerts
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.http_service import HttpService


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    """A lab for the tests of this file, which leave its server running."""
    with Lab(tmp_path_factory.mktemp("alerting")) as lab:
        yield lab


@pytest.fixture(scope="module")
def datacenter(own_lab: Lab) -> Datacenter:
    return own_lab.datacenter()


@pytest.fixture
def hook() -> t.Iterator[HttpService]:
    with HttpService() as service:
        yield service


@pytest.fixture
def instances(own_lab: Lab, bundle: Path, tmp_path: Path, hook: HttpService) -> t.Iterator[Instances]:
    made = Instances(own_lab, bundle, tmp_path / "agents", hook)
    yield made
    made.stop()


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

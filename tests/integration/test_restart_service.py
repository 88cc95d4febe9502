# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook restart_service: when it restarts, and when it does not."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import run_our_playbook
from tests.lab.consul import Datacenter, eventually


class Instances:
    """Two instances of the service shop, of which the first fails. Its command lets it pass, and leaves a mark."""

    def __init__(self, datacenter: Datacenter, tmp_path: Path) -> None:
        self._datacenter = datacenter
        self._mark = tmp_path / "mark"
        self._directory = tmp_path
        for number, status in ((1, "critical"), (2, "passing")):
            check = {"CheckID": f"shop-{number}", "TTL": "1h", "Status": status}
            body = {"Name": "shop", "ID": f"shop-{number}", "Check": check}
            datacenter.put("/v1/agent/service/register", body)
            datacenter.put(f"/v1/agent/check/update/shop-{number}", {"Status": status})  # it may be registered already
        eventually(lambda: len(datacenter.get("/v1/health/service/shop?passing")) == 1, what="one instance fails")
        address = f"{datacenter.url}/v1/agent/check/pass/shop-1"
        put = f"import urllib.request as u; u.urlopen(u.Request('{address}', method='PUT'))"
        self.command = ["sh", "-c", f'python3 -c "{put}" && echo restarted >>{self._mark}']

    @property
    def was_restarted(self) -> bool:
        """Whether the command was run."""
        return self._mark.exists()

    def restart(self, *options: str, how: t.Any = None, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        """Run the playbook for the first instance."""
        given = {
            "consul_connection": {"url": self._datacenter.url},
            "consul_restart_service": "shop",
            "consul_restart_node": "dc1-s1",
            "consul_restart_become": False,
            "consul_restart_services": {"shop": {"command": self.command} if how is None else how},
            **variables,
        }
        return run_our_playbook(self._directory, "restart_service", given, "-i", "web1,", *options)


@pytest.fixture
def shop(datacenter: Datacenter, tmp_path: Path) -> Instances:
    return Instances(datacenter, tmp_path)


def test_a_service_that_fails_is_restarted_if_another_instance_is_healthy(shop: Instances) -> None:
    done = shop.restart()
    assert done.returncode == 0 and shop.was_restarted, done.stdout


def test_too_few_healthy_instances_are_a_reason_not_to(shop: Instances) -> None:
    done = shop.restart(how={"command": shop.command, "min_healthy": 2})
    assert done.returncode != 0 and not shop.was_restarted
    assert "the gate is closed" in done.stdout and "1 healthy" in done.stdout, done.stdout


def test_one_that_recovered_by_itself_is_left_alone(shop: Instances, datacenter: Datacenter) -> None:
    datacenter.put("/v1/agent/check/pass/shop-1")
    eventually(lambda: len(datacenter.get("/v1/health/service/shop?passing")) == 2, what="both are healthy")
    done = shop.restart()
    assert done.returncode == 0 and not shop.was_restarted


def test_check_mode_restarts_nothing(shop: Instances) -> None:
    done = shop.restart("--check")
    assert done.returncode == 0 and not shop.was_restarted, done.stdout


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (("-i", "web2,"), {}),
        ((), {"consul_restart_services": {}}),
        ((), {"consul_restart_services": {"shop": {"unit": "a", "command": ["b"]}}}),
        ((), {"consul_restart_node": ""}),
    ],
)
def test_what_is_not_clear_is_one_sentence(
    shop: Instances, options: tuple[str, ...], variables: dict[str, t.Any]
) -> None:
    done = shop.restart(*options, **variables)
    assert done.returncode != 0 and not shop.was_restarted
    assert "Nothing was restarted: this needs exactly one host" in done.stdout, done.stdout


def test_a_consul_that_does_not_answer_is_a_reason_not_to(shop: Instances) -> None:
    how = {"command": shop.command, "min_healthy": 0}
    done = shop.restart(how=how, consul_connection={"url": "http://127.0.0.1:1", "timeout": 1})
    assert done.returncode != 0 and not shop.was_restarted
    assert "It is not known whether shop on dc1-s1 still fails" in done.stdout

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of drills on a real host: each is put and healed, by the module, by the host itself, and by a reboot."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import run_playbook
from tests.lab.consul import eventually
from tests.lab.hosts import Hosts

CONSUL = """[Service]
ExecStart=/usr/bin/consul agent -dev
Restart=always
[Install]
WantedBy=multi-user.target
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 22), 1)"
HEALED = {"marker": False, "timer": "inactive", "table": False}
UNIT_HEALED = {**HEALED, "drop_in": False, "stopped_processes": [], "unit": "active"}
HEAL_AFTER_S = 60  # of tests that do not wait for it


class Drilled:
    """Two hosts, on the first of which Consul runs and faults are made."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self.host = hosts["one"]
        self.peer = hosts["two"]
        self.controller = hosts.address
        self._hosts = hosts
        self._directory = directory

    def tasks(self, *tasks: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        """Run tasks of the module one after the other, failed or not, and return their results. ``_check`` is for check mode."""
        listed = []
        for number, options in enumerate(tasks):
            given = {"drill": "d1", **options}
            check = given.pop("_check", False)
            if given.get("state") != "absent":
                given.setdefault("heal_after", HEAL_AFTER_S)
            listed.append(
                {
                    "consulops.failover.consul_drill_fault": given,
                    "register": f"result_{number}",
                    "check_mode": check,
                    "diff": True,
                    "ignore_errors": True,
                }
            )
        results = "[" + ", ".join(f"result_{number}" for number in range(len(tasks))) + "]"
        save = {
            "ansible.builtin.copy": {"content": f"{{{{ {results} | to_json }}}}", "dest": str(self._directory / "out")},
            "delegate_to": "localhost",
            "become": False,
            "vars": {"ansible_connection": "local"},
        }
        play = {"hosts": "one", "gather_facts": False, "become": True, "tasks": [*listed, save]}
        inventory = self._directory / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": self._hosts.inventory()}}), encoding="utf-8")
        done = run_playbook(self._directory / "ansible", [play], "-c", "ssh", "-i", str(inventory))
        assert done.returncode == 0, done.stdout
        return t.cast("list[dict[str, t.Any]]", json.loads((self._directory / "out").read_text(encoding="utf-8")))

    def reaches_peer(self) -> bool:
        return self.host.run("python3", "-c", CONNECT, "two", check=False).returncode == 0

    def leaves_nothing(self) -> bool:
        """Whether nothing of a fault is on the host, as seen without the module."""
        tables = self.host.run("nft", "list", "tables").stdout
        timer = self.host.run("systemctl", "is-active", "consulops-drill-heal.timer", check=False).stdout.strip()
        marker = self.host.run("test", "-e", "/run/consulops-drill/fault.json", check=False).returncode == 0
        drop_in = self.host.run("test", "-e", "/run/systemd/system/consul.service.d", check=False).returncode == 0
        return not tables and timer == "inactive" and not marker and not drop_in and self.answers()

    def answers(self) -> bool:
        return self.host.http("GET", 8500, "/v1/status/leader", timeout_s=1.0) is not None


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Drilled]:
    directory = tmp_path_factory.mktemp("drilled")
    with Hosts(directory / "lab", ["one", "two"]) as hosts:
        found = Drilled(hosts, directory)
        found.host.run("install", "-m", "644", "/dev/stdin", "/etc/systemd/system/consul.service", stdin=CONSUL)
        found.host.run("systemctl", "enable", "--now", "consul.service")
        eventually(found.answers, 30, "Consul answers")
        yield found


@pytest.mark.parametrize("fault", ["killed", "paused", "stopped"])
def test_a_fault_of_the_unit_is_put_once_and_healed_once(drilled: Drilled, fault: str) -> None:
    planned, put = drilled.tasks({"fault": fault, "_check": True}, {"fault": fault})
    assert planned["changed"] and put["changed"], (planned, put)
    assert planned["commands"] == put["commands"] and planned["diff"] == put["diff"]
    assert "started" not in planned and put["diff"]["after"] == f"consul.service is {fault}\n"
    assert not drilled.answers()
    again, other, absent, healed, gone = drilled.tasks(
        {"fault": fault},
        {"fault": fault, "drill": "d2"},
        {"state": "absent", "_check": True},
        {"state": "absent"},
        {"state": "absent"},
    )
    assert not again["changed"] and not again.get("failed")
    assert other["failed"] and "fault of the drill d1" in other["msg"]
    assert absent["changed"] and "proof" not in absent
    assert healed["changed"] and healed["proof"] == UNIT_HEALED, healed
    assert healed["ended"]["uptime_s"] > put["started"]["uptime_s"]
    assert not gone["changed"] and gone["ended"] == healed["ended"]
    eventually(drilled.leaves_nothing, 30, "Consul answers, and nothing is left")


def test_an_isolated_host_is_reached_by_ssh_and_healed(drilled: Drilled) -> None:
    options = {"fault": "isolated", "peers": [drilled.peer.address]}
    eventually(drilled.reaches_peer, what="it reaches its peer")
    planned, put = drilled.tasks({**options, "_check": True}, options)
    assert planned["changed"] and put["changed"], (planned, put)
    assert not drilled.reaches_peer()
    again, changed, healed = drilled.tasks(options, {**options, "direction": "in"}, {"state": "absent"})
    assert not again["changed"] and not again.get("failed")
    assert changed["failed"] and "another fault" in changed["msg"]
    assert healed["proof"] == HEALED, healed
    eventually(drilled.reaches_peer, what="it reaches its peer again")
    assert drilled.leaves_nothing()


def test_what_is_refused_changes_nothing(drilled: Drilled) -> None:
    results = drilled.tasks(
        {"fault": "killed", "_check": True},
        {"fault": "killed", "unit": "none.service"},
        {"fault": "isolated"},
        {"fault": "isolated", "peers": [drilled.controller]},
        {"fault": "killed", "heal_after": 5},
        {"fault": "killed", "peers": [drilled.peer.address]},
    )
    assert not results[0].get("failed")
    sentences = ["no unit none.service", "needs peers", "is the controller", "between 10 and 3600", "peers are of"]
    for result, sentence in zip(results[1:], sentences):
        assert result["failed"] and sentence in result["msg"], result
    assert drilled.leaves_nothing()
    drilled.host.run("nft", "add", "table", "inet", "consulops_drill")
    (foreign,) = drilled.tasks({"fault": "killed"})
    drilled.host.run("nft", "delete", "table", "inet", "consulops_drill")
    assert foreign["failed"] and "table consulops_drill" in foreign["msg"]
    assert drilled.leaves_nothing()


def test_the_host_heals_itself_when_nobody_asks_for_it(drilled: Drilled) -> None:
    (put,) = drilled.tasks({"fault": "killed", "heal_after": 20})
    drilled.host.unplug()  # from the controller as well
    try:
        assert put["changed"] and not drilled.answers()
        eventually(drilled.leaves_nothing, 40, "the host heals itself")
    finally:
        drilled.host.plug()
    (gone,) = drilled.tasks({"state": "absent"})
    assert not gone["changed"] and gone["proof"] == HEALED
    assert gone["ended"]["uptime_s"] - put["started"]["uptime_s"] > 19, "not before its time"


def test_a_reboot_heals(drilled: Drilled) -> None:
    (put,) = drilled.tasks({"fault": "killed"})
    assert put["changed"]
    drilled.host.reboot()
    eventually(drilled.leaves_nothing, 30, "Consul answers, and nothing is left")


def test_a_marker_whose_run_was_killed_before_the_fault_is_removed(drilled: Drilled) -> None:
    marker = {"drill": "d1", "fault": "stopped", "unit": "consul.service", "peers": [], "direction": ""}
    path = "/run/consulops-drill/fault.json"
    drilled.host.run("install", "-D", "-m", "600", "/dev/stdin", path, stdin=json.dumps(marker))
    refused, healed = drilled.tasks({"fault": "stopped"}, {"state": "absent"})
    assert refused["failed"] and "heal it with state absent" in refused["msg"], refused
    assert healed["changed"] and healed["proof"] == UNIT_HEALED, healed
    assert drilled.leaves_nothing()

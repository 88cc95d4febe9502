# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook that brings a datacenter back whose majority is gone, on three real hosts."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._drill.recovery.raft_data import read_raft_data

from tests.lab.ansible import run_playbook
from tests.lab.consul import ROOT, eventually
from tests.lab.drill_hosts import DATA, start_servers, wait_healthy
from tests.lab.hosts import Host, Hosts

NAMES = ("n1", "n2", "n3")
KEYS = 200
COPIES = f"{DATA}-copies"
ENVIRONMENT = {"ANSIBLE_PIPELINING": "true", "ANSIBLE_FORKS": "10"}
VARIABLES = {"consul_recover_data_dir": DATA, "consul_recover_no_leader_for": 1, "consul_recover_wait": 60}


class Estate:
    """Three servers, and the playbook."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self.hosts = hosts
        self.servers = [hosts[name] for name in NAMES]
        self.directory = directory

    def options(self, *more: str) -> list[str]:
        path = self.directory / "inventory.json"
        group: dict[str, t.Any] = {"hosts": dict.fromkeys(NAMES)}
        found = {"all": {"hosts": self.hosts.inventory(), "children": {"consul_servers": group}, "vars": VARIABLES}}
        path.write_text(json.dumps(found), encoding="utf-8")
        return ["-c", "ssh", "-i", str(path), *more]

    def play(self, *more: str) -> subprocess.CompletedProcess[str]:
        return run_playbook(
            self.directory / "ansible",
            "consulops.failover.recover_quorum",
            *self.options(*more),
            environment=ENVIRONMENT,
        )

    def well(self) -> None:
        wait_healthy(self.servers)


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estate]:
    directory = tmp_path_factory.mktemp("quorum")
    with Hosts(directory / "lab", NAMES) as hosts:
        found = Estate(hosts, directory)
        start_servers(found.servers)
        yield found


def ask(host: Host, path: str) -> t.Any:
    return json.loads(host.http("GET", 8500, path) or b"null")


def keys(host: Host) -> list[str]:
    """Return the keys as this server has them, also without a leader."""
    return t.cast("list[str]", ask(host, "/v1/kv/?keys&stale") or [])


def lose(host: Host) -> None:
    host.run("systemctl", "stop", "consul.service")
    host.run("rm", "-rf", DATA)


def state(host: Host) -> tuple[str, ...]:
    """Return what the playbook would change."""
    unit = host.run("systemctl", "show", "-p", "ActiveState,ExecMainPID", "consul.service").stdout
    return (unit, *(host.run("sh", "-c", f"ls -d {path}", check=False).stdout for path in (COPIES, f"{DATA}/raft/*")))


def changes(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stdout
    return sum(map(int, re.findall(r"changed=(\d+)", done.stdout)))


def test_a_datacenter_with_a_majority_is_refused_and_not_changed(estate: Estate) -> None:
    first, second, third = estate.servers
    lose(third)
    before = list(map(state, (first, second)))
    eventually(lambda: ask(first, "/v1/status/leader"), 30, "the two have a leader")
    refused = estate.play("-e", "consul_recover_confirm=dc1")
    assert refused.returncode != 0 and "dc1 has a leader" in refused.stdout, refused.stdout
    assert list(map(state, (first, second))) == before
    for host in (first, second):
        host.run("systemctl", "stop", "consul.service")
    refused = estate.play("-e", "consul_recover_confirm=dc1")
    # Autopilot may have removed the third in the meantime.
    assert refused.returncode != 0 and re.search("2 of [23] voters still have their data", refused.stdout), (
        refused.stdout
    )
    for host in estate.servers:
        host.run("systemctl", "start", "consul.service")
    estate.well()


def test_the_survivor_of_three_brings_the_datacenter_back_with_all_keys_that_it_had(estate: Estate) -> None:
    survivor, *others = estate.servers
    for number in range(KEYS):
        assert survivor.http("PUT", 8500, f"/v1/kv/app/{number}", body=b"x") == b"true"
    eventually(lambda: len(keys(survivor)) == KEYS, 10, "the survivor has all keys")
    node_id = survivor.run("cat", f"{DATA}/node-id").stdout.strip()
    for host in others:
        lose(host)
    eventually(lambda: not ask(survivor, "/v1/status/leader"), 60, "there is no leader")
    last_index = int(ask(survivor, "/v1/agent/self")["Stats"]["raft"]["last_log_index"])
    found = read_raft_data(survivor.root / DATA.lstrip("/"))
    assert (found.index, found.source, len(found.servers or ())) == (last_index, "log", 3)
    before = list(map(state, estate.servers))

    shown = estate.play("--check")
    assert changes(shown) > 0
    for words in (
        f"last entry {last_index} of term",
        "n2 has no data",
        f'\\"id\\": \\"{node_id}\\"',
        "Writes after the entry",
    ):
        assert words in shown.stdout, shown.stdout
    assert list(map(state, estate.servers)) == before

    kill_after_the_copy(estate, survivor)
    done = estate.play("-e", "consul_recover_confirm=dc1")
    assert changes(done) > 0
    print(done.stdout)
    estate.well()
    assert len(keys(survivor)) == KEYS and {len(keys(host)) for host in others} == {KEYS}
    (copy,) = survivor.run("sh", "-c", f"ls -d {COPIES}/n1/*").stdout.split()
    assert survivor.run("stat", "-c", "%a", copy).stdout.strip() == "700"
    kept = read_raft_data(survivor.root / f"{copy}/data".lstrip("/"))
    assert kept.index == last_index

    again = estate.play("-e", "consul_recover_confirm=dc1")
    assert changes(again) == 0 and "nothing is to be done" in again.stdout, again.stdout


def kill_after_the_copy(estate: Estate, survivor: Host) -> None:
    """Run the playbook and kill it with all its processes as soon as there is a copy."""
    words = [str(Path(sys.executable).with_name("ansible-playbook")), *estate.options()]
    words += ["-e", "consul_recover_confirm=dc1", "consulops.failover.recover_quorum"]
    settings = {
        "ANSIBLE_CONFIG": str(ROOT / "tests/ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"),
    }
    process = subprocess.Popen(
        words, env={**os.environ, **ENVIRONMENT, **settings}, stdout=subprocess.DEVNULL, start_new_session=True
    )
    is_copied = functools.partial(survivor.run, "sh", "-c", f"test -d {COPIES}/n1/*Z/data", check=False)
    try:
        eventually(lambda: is_copied().returncode == 0, 60, "the copy is made")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drills of the catalogue on real hosts: three servers, and a second datacenter with one."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GateClosed, GuardRefused
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_check import DRILL_CHECK
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_run import DRILL_RUN
from ansible_collections.consulops.failover.plugins.module_utils._tasks.task import Invocation

from tests.lab.agents import make_bundle
from tests.lab.ansible import run_playbook
from tests.lab.consul import ROOT, consul_binary, eventually
from tests.lab.drill_hosts import reached, start_servers, wait_healthy
from tests.lab.hosts import DISK, Host, Hosts

CATALOGUE = ROOT / "roles/consul_drill/files/drills"
SERVERS = ("n1", "n2", "n3")
# The whole catalogue takes a quarter of an hour (make drills); these show each kind of fault and of expectation.
FAST = ("baseline", "leader-killed", "leader-isolated", "follower-killed", "datacenter-lost", "wan-cut-replica")
# These follow their keys to the second datacenter, where an agent copies them.
REPLICATED = ("datacenter-lost", "wan-cut-replica")
FOLDER = "drills/"
# This one has an alert, which agents on all servers report to the drill.
ALERTED = "leader-killed"
ALERT_PORT = 8497
COPYING = {
    "agent": "replication",
    "connection": {"timeout": 3.0},
    "service": {"register": False},
    "options": {
        "sets": {
            "drills": {
                "source": {"datacenter": "dc1"},
                "destination": {"datacenter": "dc2"},
                "prefixes": [FOLDER],
                # A drill removes its keys at its end.
                "max_deletes": 100000,
                "max_delete_percent": 100,
                "allow_empty_source": True,
            }
        }
    },
}
# This one looks up a service with an instance on a server of each datacenter.
LOOKED_UP = "service-failover"
SERVICE_ON = "n3"
# Faults and objectives last as many times as long (make drills RAFT_MULTIPLIER=5).
MULTIPLIER = int(os.environ.get("CONSULOPS_RAFT_MULTIPLIER") or "1")
# An hour of the day that is not now, nor will be while the tests run.
OTHER_TIME = f"{(time.gmtime().tm_hour + 12) % 24:02d}:00-{(time.gmtime().tm_hour + 12) % 24:02d}:30"
# Runs a drill with the options in a file, as a process that can be killed.
PROGRAM = """import json, sys
from pathlib import Path
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._tasks.drill_run import DRILL_RUN
from ansible_collections.consulops.failover.plugins.module_utils._tasks.task import Invocation
DRILL_RUN.run(Invocation(validated(DRILL_RUN.spec, json.loads(Path(sys.argv[1]).read_text()))))
"""


class Drilled:
    """Hosts with two datacenters, on the first of which drills are run."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self.hosts = hosts
        self.servers = [hosts[name] for name in hosts.hosts if name.startswith("n")]
        self.directory = directory

    def options(self, name: str, **more: t.Any) -> dict[str, t.Any]:
        drill = yaml.safe_load((CATALOGUE / f"{name}.yml").read_text(encoding="utf-8"))
        disk = name.startswith("disk")
        needs_snapshot = disk or drill.get("loses_quorum") or drill["expect"].get("snapshot_restores")
        given = {
            "drill": drill,
            "hosts": reached(self.hosts, [host.name for host in self.servers]),
            "confirm": "dc1",
            "history": str(self.directory / f"{name}-{time.monotonic_ns()}.jsonl"),
            "max_targets": len(self.servers),
            "allow_quorum_loss": drill.get("loses_quorum", False),
            "settle": "60s",
            "snapshot_path": str(self.directory / "snapshots") if needs_snapshot else None,
            "consul_binary": consul_binary(),
            "data_path": DISK if disk else None,
        }
        if name == ALERTED:
            drill["alert"] = {"about": "canary"}
            drill["expect"] |= {"alert_firing": "60s", "alert_resolved": "60s"}
            given |= {"alert_listen": f"{self.hosts.address}:{ALERT_PORT}"}
        if name == LOOKED_UP:
            given["query"] = "web"
        if name in REPLICATED:
            given |= {"prefix": FOLDER, "replica": {"url": f"http://{self.hosts['w1'].address}:8500"}}
        return {**given, **more}

    def run(self, options: dict[str, t.Any], *, check: bool = False) -> dict[str, t.Any]:
        """Run a drill in the lab's network and return its result, also when something expected was missed."""
        invocation = Invocation(validated(DRILL_RUN.spec, options), check)
        try:
            return self.hosts.inside(functools.partial(DRILL_RUN.run, invocation))
        except GateClosed as closed:
            return closed.details

    def well(self) -> None:
        """Wait until the datacenter is well, and assert that nothing of a drill is left."""
        wait_healthy(self.servers)
        for host in self.servers:
            eventually(functools.partial(leaves_nothing, host), 30, f"nothing is left on {host.name}")
        assert keys(self.servers[0]) == []

    def inventory(self) -> str:
        path = self.directory / "inventory.json"
        servers: dict[str, t.Any] = {"hosts": {host.name: {} for host in self.servers}}
        found = {"all": {"hosts": self.hosts.inventory(), "children": {"consul_servers": servers}}}
        path.write_text(json.dumps(found), encoding="utf-8")
        return str(path)

    def play(self, *options: str) -> subprocess.CompletedProcess[str]:
        more = ("-i", self.inventory(), *options)
        work = functools.partial(run_playbook, self.directory / "ansible", "consulops.failover.drill", *more)
        return self.hosts.inside(work)


def leaves_nothing(host: Host) -> bool:
    tables = host.run("nft", "list", "tables").stdout
    timer = host.run("systemctl", "is-active", "consulops-drill-heal.timer", check=False).stdout.strip()
    marker = host.run("test", "-e", "/run/consulops-drill/fault.json", check=False).returncode == 0
    return not tables and timer == "inactive" and not marker


def keys(host: Host) -> list[str]:
    """Return the keys of drills; Consul answers 404 where there are none."""
    return t.cast("list[str]", json.loads(host.http("GET", 8500, "/v1/kv/consulops/drill/?keys") or b"[]"))


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Drilled]:
    directory = tmp_path_factory.mktemp("drills")
    names = (*SERVERS, "n4", "n5") if os.environ.get("CONSULOPS_ALL_DRILLS") else SERVERS
    with Hosts(directory / "lab", [*names, "w1"], disk_mb=96) as hosts:
        histories = directory / "histories"
        (histories / "snapshots").mkdir(parents=True)
        found = Drilled(hosts, histories)
        start_servers([hosts["w1"]], "dc2", MULTIPLIER, client_addr="0.0.0.0")
        start_servers(found.servers, "dc1", MULTIPLIER, data=DISK, retry_join_wan=[hosts["w1"].address])
        members = functools.partial(wan_members, found.servers[0])
        eventually(lambda: len(members()) == len(names) + 1, 60, "both datacenters know each other")
        for name in (SERVICE_ON, "w1"):
            hosts[name].http("PUT", 8500, "/v1/agent/service/register", body=b'{"Name": "web", "Port": 80}')
        query = {
            "Name": "web",
            "Service": {"Service": "web", "OnlyPassing": True, "Failover": {"Datacenters": ["dc2"]}},
        }
        found.servers[0].http("POST", 8500, "/v1/query", body=json.dumps(query).encode())
        bundle = make_bundle(directory)
        start_agent(hosts["w1"], bundle, COPYING)
        for host in found.servers:
            start_agent(host, bundle, watching(f"http://{hosts.address}:{ALERT_PORT}/"))
        yield found


def watching(url: str) -> dict[str, t.Any]:
    """Return the configuration of an agent that reports canaries of drills."""
    receivers = {
        "drill": {"type": "webhook", "url": url, "give_up_after": "1m"},
        "others": {"type": "file", "path": "/var/lib/alerting/alerts.jsonl"},
    }
    quick = {"group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    of_drill = {"match": {"check": "consulops-drill-canary"}, "receiver": "drill", **quick}
    return {
        "agent": "alerting",
        "service": {"register": False},
        "connection": {"timeout": 2.0},
        "back_off": {"longest": "1s"},
        "options": {
            "for": "0s",
            "recover_for": "0s",
            "receivers": receivers,
            "route": {"receiver": "others", "routes": [of_drill]},
        },
    }


def start_agent(host: Host, bundle: Path, config: t.Mapping[str, t.Any]) -> None:
    """Start an agent as a unit of systemd."""
    kind = config["agent"]
    (host.root / "root/consulops.pyz").write_bytes(bundle.read_bytes())
    (host.root / f"root/{kind}.json").write_text(json.dumps(config), encoding="utf-8")
    words = ("python3", "-I", "/root/consulops.pyz", "agent", "--config", f"/root/{kind}.json")
    host.run("systemd-run", "-q", f"--unit={kind}", f"--property=StateDirectory={kind}", *words)


def wan_members(host: Host) -> list[t.Any]:
    found = json.loads(host.http("GET", 8500, "/v1/agent/members?wan=1") or b"[]")
    return [one for one in found if one["Status"] == 1]


def drills() -> list[str]:
    if not os.environ.get("CONSULOPS_ALL_DRILLS"):
        return list(FAST)
    return sorted(path.stem for path in CATALOGUE.glob("*.yml"))


@pytest.mark.parametrize("name", drills())
def test_a_drill_of_the_catalogue_is_passed_and_leaves_nothing(drilled: Drilled, name: str) -> None:
    more = {"duration": "5s"} if name == "baseline" else {}
    result = drilled.run(drilled.options(name, **more))
    assert name != "datacenter-lost" or Path(result["snapshot"]).is_file()
    judgement = t.cast("dict[str, t.Any]", result["judgement"])
    print(name, *(one["sentence"] for one in judgement["expectations"]), sep="\n  ")
    assert judgement["passed"] and judgement["verdict"] == "valid", judgement["expectations"]
    assert not [one for one in judgement["expectations"] if one["verdict"] != "met"]
    drilled.well()


def test_check_mode_shows_the_drill_and_changes_nothing(drilled: Drilled) -> None:
    extra = json.dumps({"consul_drill_extra": {"expect": {"healthy_after": "77s"}}})
    done = drilled.play("--check", "-e", "consul_drill_name=leader-killed", "-e", extra)
    assert done.returncode == 0, done.stdout
    assert "systemctl kill -s KILL consul.service" in done.stdout and "another server leads" in done.stdout
    assert "all servers are healthy at most 77 s after" in done.stdout, "the rest is as the drill has it"
    refused = drilled.play(
        "-e", "consul_drill_name=leader-killed", "-e", f"consul_drill_directory={drilled.directory}/new"
    )
    assert refused.returncode != 0 and "A drill writes to the datacenter dc1" in refused.stdout
    unknown = drilled.play("-e", "consul_drill_name=leader-klled")
    assert unknown.returncode != 0 and "is not in the catalogue" in unknown.stdout
    drilled.well()


def test_the_playbook_runs_a_drill(drilled: Drilled) -> None:
    file = drilled.directory / "paused.yml"
    drill = yaml.safe_load((CATALOGUE / "leader-paused.yml").read_text(encoding="utf-8"))
    drill["faults"][0].update({"at": "1s", "for": "5s"})
    drill["load"] = {"duration": "12s"}
    file.write_text(yaml.safe_dump(drill), encoding="utf-8")
    variables = {"consul_drill_name": str(file), "consul_drill_confirm": "dc1"}
    variables["consul_drill_directory"] = str(drilled.directory / "played")
    done = drilled.play("-e", json.dumps(variables))
    assert done.returncode == 0 and "The history is valid." in done.stdout, done.stdout
    kinds = {path.suffix for path in (drilled.directory / "played").iterdir()}
    assert kinds == {".html", ".jsonl", ".xml"}
    drilled.well()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"allow_quorum_loss": False}, "takes 2 voters away, and the datacenter can lose 1"),
        ({"max_targets": 1}, "strikes 2 hosts, and max_targets is 1"),
        ({"snapshot_path": None}, "needs snapshot_path"),
        ({"confirm": "dc2"}, "the datacenter is dc1"),
        ({"window": OTHER_TIME}, "It is not the time for drills"),
        ({"hosts": SERVERS[:2]}, "not among the hosts of the drill: n3"),
    ],
)
def test_a_drill_that_is_refused_changes_nothing(drilled: Drilled, change: dict[str, t.Any], sentence: str) -> None:
    if "hosts" in change:
        change = {"hosts": reached(drilled.hosts, change["hosts"])}
    with pytest.raises(GuardRefused, match=sentence):
        drilled.run({**drilled.options("quorum-lost"), **change})
    drilled.well()


def test_a_killed_controller_leaves_a_history_and_hosts_that_heal(drilled: Drilled) -> None:
    options = drilled.options("leader-killed", duration="60s")
    options["drill"]["faults"] = [{"at": "1s", "for": "1s", "fault": "killed", "targets": "leader"}]
    history = Path(options["history"])
    file = drilled.directory / "options.json"
    file.write_text(json.dumps(options), encoding="utf-8")
    path = str(ROOT / ".cache/collections")
    process = subprocess.Popen(
        [*drilled.hosts.exec_prefix, sys.executable, "-c", PROGRAM, str(file)], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        eventually(
            lambda: history.exists() and '"fault_started"' in history.read_text(encoding="utf-8"), 60, "the fault"
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not all(map(leaves_nothing, drilled.servers))
    for host in drilled.servers:
        eventually(functools.partial(leaves_nothing, host), 60, f"{host.name} heals itself")
    wait_healthy(drilled.servers)
    with pytest.raises(GateClosed) as judged:
        DRILL_CHECK.run(Invocation(validated(DRILL_CHECK.spec, {"history": str(history)})))
    details: dict[str, t.Any] = judged.value.details
    assert details["operations"] > 0 and details["verdict"] != "invalid"
    assert {one["name"]: one["verdict"] for one in details["expectations"]}["healthy_after"] == "unknown"
    with pytest.raises(GuardRefused, match="1 drill left keys"):
        drilled.run(drilled.options("leader-killed"))
    drilled.servers[0].run("consul", "kv", "delete", "-recurse", "consulops/drill/")
    drilled.well()

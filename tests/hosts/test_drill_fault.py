# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of drills on a real host: each is put and healed, by the module, by the host itself, and by a reboot."""

from __future__ import annotations

import contextlib
import json
import socket
import typing as t
from pathlib import Path

import pytest

from tests.lab.ansible import run_playbook
from tests.lab.consul import eventually
from tests.lab.hosts import DISK, Host, Hosts

# Consul's data is on the disk that is filled and frozen.
CONSUL = f"""[Service]
ExecStart=/usr/bin/consul agent -server -bootstrap-expect=1 -bind=127.0.0.1 -data-dir={DISK} -hcl='performance {{ raft_multiplier = 1 }}'
Restart=always
[Install]
WantedBy=multi-user.target
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 22), 1)"
HEALED = {"marker": False, "timer": "inactive", "table": False, "disk_unit": "inactive"}
UNIT_HEALED = {**HEALED, "drop_in": False, "stopped_processes": [], "unit": "active"}
DISK_HEALED = {**HEALED, "writable": True}
# In the place of a program: ends the module that runs it, as SIGKILL from outside would at that moment.
# /run/lab-kill has a word, whether the program is run before that, and a pattern of its command.
KILLER = """#!/bin/sh
name=${0##*/}
real=/usr/bin/$name
test -e "$real" || real=/usr/sbin/$name
read -r ran pattern 2>/dev/null </run/lab-kill
case "$name $*" in $pattern) ;; *) exec "$real" "$@" ;; esac
found= pid=$PPID
while test "$pid" -gt 1; do
  found="$found $pid"
  case $(cat /proc/$pid/comm) in
    python*)
      test "$ran" != run || "$real" "$@"
      mv /run/lab-kill /run/lab-killed
      kill -KILL $found
      exit 1 ;;
  esac
  pid=$(sed 's/.*) . //; s/ .*//' /proc/$pid/stat)
done
exec "$real" "$@"
"""
# The first command that puts each fault, the one that makes it, and one of those that heal it.
COMMANDS = {
    "isolated": ("nft -f -", "nft -f -", "nft delete table*"),
    "killed": ("install -D*", "systemctl kill -s KILL*", "systemctl reset-failed consul.service"),
    "paused": ("systemctl kill -s STOP*", "systemctl kill -s STOP*", "systemctl kill -s CONT*"),
    "stopped": ("systemctl stop consul.service", "systemctl stop consul.service", "systemctl start*"),
    "disk_full": ("install -D*", "systemd-run*drill-disk*", "systemctl stop consulops-drill-disk*"),
    "disk_frozen": ("install -D*", "systemd-run*drill-disk*", "systemctl stop consulops-drill-disk*"),
}
FULL = 2 << 20  # ext4 keeps 2 % for itself. Source: ext4 sysfs, reserved_clusters
HEAL_AFTER_S = 60  # of tests that do not wait for it


class Drilled:
    """Hosts with a Consul each. Faults are made on the first, unless a test says otherwise."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self.host = hosts["one"]
        self.peer = hosts["two"]
        self.controller = hosts.address
        self.hosts = hosts
        self._directory = directory

    def tasks(self, *tasks: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        """Run tasks of the module one after the other, failed or not, and return their results. ``_check`` is for check mode."""
        return self.tasks_on({"one": tasks})["one"]

    def tasks_on(self, tasks: t.Mapping[str, t.Sequence[dict[str, t.Any]]]) -> dict[str, list[dict[str, t.Any]]]:
        """Run as many tasks of the module on each of some hosts, and return their results."""
        variables, count = self._hosts_with_options(tasks), len(next(iter(tasks.values())))
        listed = [
            {
                "consulops.failover.consul_drill_fault": f"{{{{ lab_options[{number}] }}}}",
                "register": f"result_{number}",
                "check_mode": f"{{{{ lab_check[{number}] }}}}",
                "diff": True,
                "ignore_errors": True,
            }
            for number in range(count)
        ]
        results = "[" + ", ".join(f"result_{number}" for number in range(count)) + "]"
        out = f"{self._directory}/{{{{ inventory_hostname }}}}.json"
        save = {
            "ansible.builtin.copy": {"content": f"{{{{ {results} | to_json }}}}", "dest": out},
            "delegate_to": "localhost",
            "become": False,
            "vars": {"ansible_connection": "local"},
        }
        play = {"hosts": "all", "gather_facts": False, "become": True, "tasks": [*listed, save]}
        inventory = self._directory / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": variables}}), encoding="utf-8")
        forks = {"ANSIBLE_FORKS": "10"}
        done = run_playbook(self._directory / "ansible", [play], "-c", "ssh", "-i", str(inventory), environment=forks)
        assert done.returncode == 0, done.stdout
        return {name: json.loads((self._directory / f"{name}.json").read_text(encoding="utf-8")) for name in tasks}

    def _hosts_with_options(self, tasks: t.Mapping[str, t.Sequence[dict[str, t.Any]]]) -> dict[str, t.Any]:
        how = self.hosts.inventory()
        found = {}
        for name, wanted in tasks.items():
            options = [{"drill": "d1", **one} for one in wanted]
            checks = [one.pop("_check", False) for one in options]
            for one in options:
                if one.get("state") != "absent":
                    one.setdefault("heal_after", HEAL_AFTER_S)
            found[name] = {**how[name], "lab_options": options, "lab_check": checks}
        return found

    def reaches_peer(self) -> bool:
        return self.host.run("python3", "-c", CONNECT, "two", check=False).returncode == 0

    def leaves_nothing(self, host: Host | None = None) -> bool:
        """Whether nothing of a fault is on the host, as seen without the module."""
        host = host or self.host
        tables = host.run("nft", "list", "tables").stdout
        units = host.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "consulops-drill-*").stdout
        files = host.run("ls", "/run/consulops-drill", check=False).stdout.split()
        drop_in = host.run("test", "-e", "/run/systemd/system/consul.service.d", check=False).returncode == 0
        left = tables or units or drop_in or "fault.json" in files or "heal" in files or "disk" in files
        return not left and self.answers(host) and self.writes(host)

    def answers(self, host: Host | None = None) -> bool:
        return (host or self.host).http("GET", 8500, "/v1/status/leader", timeout_s=1.0) is not None

    def writes(self, host: Host | None = None, size: int = 1) -> bool:
        """Whether Consul has written a value to its disk."""
        return (host or self.host).http("PUT", 8500, "/v1/kv/a", body=b"x" * size, timeout_s=1.0) == b"true"

    def free_bytes(self) -> int:
        return int(self.host.run("stat", "-f", "-c", "%f", DISK).stdout) * int(
            self.host.run("stat", "-f", "-c", "%S", DISK).stdout
        )


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Drilled]:
    directory = tmp_path_factory.mktemp("drilled")
    with Hosts(directory / "lab", ["one", "two", "three", "four", "five", "six"], disk_mb=64) as hosts:
        found = Drilled(hosts, directory)
        for host in hosts:
            host.run("install", "-m", "644", "/dev/stdin", "/etc/systemd/system/consul.service", stdin=CONSUL)
            host.run("systemctl", "enable", "--now", "consul.service")
        for host in hosts:
            eventually(lambda host=host: found.writes(host), 30, f"Consul writes on {host.name}")
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
    assert healed["ended"]["uptime_ns"] > put["started"]["uptime_ns"]
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
        {"fault": "disk_full"},
        {"fault": "disk_full", "path": "/srv"},
        {"fault": "disk_full", "path": f"{DISK}/raft"},
        {"fault": "disk_full", "path": "/run", "shared_disk": True},
        {"fault": "disk_full", "path": DISK, "leave_free": "1G"},
        {"fault": "disk_frozen", "path": "/srv"},
        {"fault": "disk_frozen", "path": "/none"},
        {"fault": "disk_frozen", "path": "/var/lock"},
        {"fault": "disk_frozen", "path": DISK, "shared_disk": True},
    )
    assert not results[0].get("failed")
    sentences = ["no unit none.service", "needs peers", "is the controller", "between 10 and 3600", "peers are of"]
    sentences += [
        "needs path",
        "the file system of /,",
        "not a mount point",
        "the memory of the host",
        "nothing to fill",
    ]
    sentences += ["of the type overlay", "no directory /none", "use /run/lock", "shared_disk is of"]
    for result, sentence in zip(results[1:], sentences):
        assert result["failed"] and sentence in result["msg"], result
    assert drilled.leaves_nothing()
    drilled.host.run("nft", "add", "table", "inet", "consulops_drill")
    (foreign,) = drilled.tasks({"fault": "killed"})
    drilled.host.run("nft", "delete", "table", "inet", "consulops_drill")
    assert foreign["failed"] and "table consulops_drill" in foreign["msg"]
    assert drilled.leaves_nothing()


def test_a_full_disk_is_kept_full_and_healed(drilled: Drilled) -> None:
    drilled.host.run("dd", "if=/dev/zero", f"of={DISK}/other", "bs=1M", "count=4")
    free = drilled.free_bytes()
    fault = {"fault": "disk_full", "path": DISK}
    planned, put, again = drilled.tasks({**fault, "_check": True}, fault, fault)
    assert planned["changed"] and put["changed"] and planned["commands"] == put["commands"], (planned, put)
    assert not again["changed"] and not again.get("failed"), again
    assert drilled.free_bytes() < FULL
    assert drilled.host.run("dd", "if=/dev/zero", f"of={DISK}/more", "bs=1M", "count=2", check=False).returncode != 0
    eventually(lambda: not drilled.writes(size=400_000), 30, "Consul cannot write")
    drilled.host.run("rm", f"{DISK}/other", f"{DISK}/more")
    eventually(lambda: drilled.free_bytes() < FULL, 10, "what was deleted is filled again")
    different, healed = drilled.tasks({**fault, "leave_free": "1M"}, {"state": "absent"})
    assert "another fault" in different["msg"]
    assert healed["changed"] and healed["proof"] == DISK_HEALED, healed
    assert drilled.free_bytes() > free
    eventually(drilled.leaves_nothing, 60, "Consul writes, and nothing is left")


def test_a_disk_is_filled_but_for_what_is_to_be_left(drilled: Drilled) -> None:
    put, healed = drilled.tasks({"fault": "disk_full", "path": DISK, "leave_free": "8M"}, {"state": "absent"})
    assert put["fault"] == f"{DISK} is full but for 8.0 MB" and healed["proof"] == DISK_HEALED, (put, healed)


def test_a_frozen_disk_lets_consul_wait_and_is_healed(drilled: Drilled) -> None:
    fault = {"fault": "disk_frozen", "path": DISK}
    planned, put, again = drilled.tasks({**fault, "_check": True}, fault, fault)
    assert planned["changed"] and put["changed"] and planned["commands"] == put["commands"], (planned, put)
    assert not again["changed"] and not again.get("failed"), again
    assert not drilled.writes() and drilled.answers(), "it still names its leader"
    absent, healed, gone = drilled.tasks({"state": "absent", "_check": True}, {"state": "absent"}, {"state": "absent"})
    assert absent["changed"] and healed["changed"] and healed["proof"] == DISK_HEALED, healed
    assert not gone["changed"] and gone["proof"] == HEALED
    eventually(drilled.leaves_nothing, 60, "Consul writes, and nothing is left")


def test_a_disk_that_someone_else_has_frozen_is_refused_and_stays_frozen(drilled: Drilled) -> None:
    drilled.host.run("fsfreeze", "-f", DISK)
    (refused,) = drilled.tasks({"fault": "disk_frozen", "path": DISK})
    drilled.host.run("fsfreeze", "-u", DISK)  # it fails if the disk is not frozen any more
    assert refused["failed"] and "frozen already" in refused["msg"], refused
    eventually(drilled.leaves_nothing, 60, "Consul writes, and nothing is left")


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


@pytest.mark.parametrize(
    "fault",
    [{"fault": "killed"}, {"fault": "disk_full", "path": DISK}, {"fault": "disk_frozen", "path": DISK}],
    ids=str,
)
def test_a_reboot_heals(drilled: Drilled, fault: dict[str, t.Any]) -> None:
    (put,) = drilled.tasks(fault)
    assert put["changed"]
    drilled.host.reboot()
    eventually(drilled.leaves_nothing, 30, "Consul answers, and nothing is left")


def delivers(sender: Host, receiver: Host, addresses: t.Mapping[str, str]) -> bool:
    """Whether a datagram that one host sends reaches another one."""
    with (
        sender.datagrams(addresses[sender.name]) as outgoing,
        receiver.datagrams(addresses[receiver.name]) as incoming,
    ):
        incoming.settimeout(1.0)
        with contextlib.suppress(PermissionError, TimeoutError, socket.timeout):
            outgoing.sendto(b"x", incoming.getsockname()[:2])
            return incoming.recv(1) == b"x"
    return False


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_an_isolated_host_drops_ipv4_and_ipv6_in_the_directions_that_were_asked_for(
    drilled: Drilled, direction: str
) -> None:
    one, two = drilled.host, drilled.peer
    families = [
        {host.name: host.address for host in (one, two)},
        {one.name: "fd00:198:18::1", two.name: "fd00:198:18::2"},
    ]
    for host in (one, two):
        address = f"{families[1][host.name]}/64"
        host.run("ip", "-6", "addr", "replace", address, "dev", "host0", "nodad")
    assert all(delivers(one, two, family) and delivers(two, one, family) for family in families)
    peers = [family[two.name] for family in families]
    (put,) = drilled.tasks({"fault": "isolated", "peers": peers, "direction": direction})
    assert put["changed"], put
    for host in (one, two):
        host.run("ip", "neigh", "flush", "dev", "host0")  # what is not dropped must not depend on what was known before
    found = [(delivers(two, one, family), delivers(one, two, family)) for family in families]
    (healed,) = drilled.tasks({"state": "absent"})
    assert found == [(direction == "out", direction == "in")] * 2
    assert healed["proof"] == HEALED
    assert all(delivers(one, two, family) and delivers(two, one, family) for family in families)


@pytest.mark.parametrize(
    ("number", "ran", "heal_after"),
    [(0, "not-run", 10), (1, "run", 10), (2, "not-run", 40)],
    ids=["before the fault", "when the fault was made", "while it healed"],
)
def test_a_host_heals_itself_when_the_module_is_killed(
    drilled: Drilled, number: int, ran: str, heal_after: int
) -> None:
    hosts = dict(zip(COMMANDS, drilled.hosts))  # all faults at once, each on a host of its own
    tasks: dict[str, list[dict[str, t.Any]]] = {}
    for fault, host in hosts.items():
        for program in ("install", "nft", "systemctl", "systemd-run"):
            host.run("install", "-m", "755", "/dev/stdin", f"/usr/local/sbin/{program}", stdin=KILLER)
        host.run("rm", "-f", "/run/lab-killed")
        host.run("install", "/dev/stdin", "/run/lab-kill", stdin=f"{ran} {COMMANDS[fault][number]}\n")
        other = "six" if host.name == "one" else "one"
        options: dict[str, t.Any] = {"path": DISK} if fault.startswith("disk") else {}
        if fault == "isolated":
            options = {"peers": [drilled.hosts[other].address]}
        put = {"fault": fault, "heal_after": heal_after, **options}
        tasks[host.name] = [put, {"state": "absent"}] if number == 2 else [put]
    results = drilled.tasks_on(tasks)
    try:
        for fault, host in hosts.items():
            assert host.run("test", "-e", "/run/lab-killed", check=False).returncode == 0, (fault, results[host.name])
            assert results[host.name][-1]["failed"], fault
            assert number != 2 or results[host.name][0]["changed"], fault
        for fault, host in hosts.items():
            eventually(lambda host=host: drilled.leaves_nothing(host), 60, f"the host heals itself of {fault}")
    finally:
        for host in hosts.values():
            host.run("sh", "-c", "rm -f /usr/local/sbin/* /run/lab-kill")


def test_a_marker_whose_run_was_killed_before_the_fault_is_removed(drilled: Drilled) -> None:
    marker = {"drill": "d1", "fault": "stopped", "unit": "consul.service", "peers": [], "direction": ""}
    path = "/run/consulops-drill/fault.json"
    drilled.host.run("install", "-D", "-m", "600", "/dev/stdin", path, stdin=json.dumps(marker))
    refused, healed = drilled.tasks({"fault": "stopped"}, {"state": "absent"})
    assert refused["failed"] and "heal it with state absent" in refused["msg"], refused
    assert healed["changed"] and healed["proof"] == UNIT_HEALED, healed
    assert drilled.leaves_nothing()

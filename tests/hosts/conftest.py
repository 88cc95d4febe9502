# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three real systemd hosts with a Consul cluster on them, ACLs on, and the agents that the role installs."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.lab.agents import WHEELS
from tests.lab.ansible import run_playbook
from tests.lab.consul import ROOT, eventually
from tests.lab.hosts import Host, Hosts

TOKEN = "0b7c5a52-7a3e-4d0c-8e57-6a7a2b9d31f0"  # only this lab can reach the Consul that knows it
NAMES = ("s1", "s2", "s3")
# Tests that share hosts, and so run in one process: the estate, two datacenters, hosts that are broken, and so on.
SHARING_FILES = {
    "test_drill_fault.py": "drilled",
    "test_drills.py": "drills",
    "test_endurance.py": "estate",
    "test_failover.py": "failover",
    "test_lease.py": "estate",
    "test_recover_primary.py": "primary",
    "test_recover_quorum.py": "quorum",
    "test_rehearsal.py": "rehearsal",
    "test_replication.py": "datacenters",
    "test_restore_fresh_servers.py": "fresh",
    "test_role_refusals.py": "installed",
    "test_snapshots.py": "snapshots",
}
LEASE = {"ttl": "20s", "lock_delay": "2s"}
PORT, SECOND_PORT = 9000, 9181  # of the agents' endpoints
LOG = "alerts.jsonl"  # in the state directory: what the agent of a host has told
POLL_S = 0.2  # a poll takes processor time from the hosts that it waits for
TAKEOVER_S = 20 + 2 + 6  # the TTL, the lock delay, and a margin for a busy machine; tests print the measured time
ROLE = "consulops.failover.consulops_runtime"
# Where Ansible, systemd and users of a host leave files.
NOT_OURS = (
    r"/(proc|sys|run|tmp|dev|root|home|var/(log|tmp|cache|lib/(consul|systemd|private)))(/.*)?"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?"
)


class Estate:
    """Hosts with Consul and agents, and the requests that tests send to them."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self.hosts = hosts
        self.directory = directory
        self.inventory = directory / "inventory.json"
        self.groups: dict[str, t.Sequence[str]] = dict.fromkeys(
            ("consul_servers", "consulops_agents"), list(hosts.hosts)
        )
        self.host_variables: dict[str, dict[str, t.Any]] = {}
        self.group_variables: dict[str, t.Any] = {
            "lab_consul_token": TOKEN,
            "consulops_runtime_cache": str(WHEELS),
            "consulops_runtime_agents": [agent()],
        }

    def play(self, playbook: str | t.Sequence[t.Any], *options: str, **variables: t.Any) -> str:
        """Run a playbook against the hosts and return its output; AssertionError if it fails."""
        done = self.try_to_play(playbook, *options, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def try_to_play(
        self, playbook: str | t.Sequence[t.Any], *options: str, **variables: t.Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook, by name or as data, against the hosts and return the finished process."""
        machines = {name: {**how, **self.host_variables.get(name, {})} for name, how in self.hosts.inventory().items()}
        groups = {name: {"hosts": dict.fromkeys(members)} for name, members in self.groups.items()}
        inventory = {"all": {"hosts": machines, "children": groups, "vars": {**self.group_variables, **variables}}}
        self.inventory.touch(mode=0o600)
        self.inventory.write_text(json.dumps(inventory), encoding="utf-8")
        return run_playbook(
            self.directory / "ansible",
            playbook,
            *("-c", "ssh", "-i", str(self.inventory), *options),
            environment={"ANSIBLE_PIPELINING": "true", "ANSIBLE_FORKS": "10"},
        )

    def consul(self, host: Host, method: str, path: str, body: t.Any = None) -> t.Any:
        """Send a request to the Consul agent of a host; return the decoded answer, None if it is not a success."""
        data = None if body is None else json.dumps(body).encode()
        answer = host.http(method, 8500, path, headers={"X-Consul-Token": TOKEN}, body=data)
        return json.loads(answer or b"null")

    def ask(self, hosts: t.Iterable[Host], method: str, path: str, body: bytes | None = None) -> bytes | None:
        """Send a request to Consul on one host after the other; return the answer of the first that has one."""
        for host in hosts:
            answer = host.http(method, 8500, path, headers={"X-Consul-Token": TOKEN}, body=body, timeout_s=3.0)
            if answer is not None:
                return answer
        return None

    def leader(self, hosts: t.Collection[Host] | None = None) -> Host:
        """Wait until Consul has a leader, and return its host; ``hosts`` are those of one datacenter, by default all."""
        members = list(self.hosts) if hosts is None else hosts

        def find() -> Host | None:
            address = (self.ask(members, "GET", "/v1/status/leader") or b"").decode().strip('"\n').partition(":")[0]
            return next((host for host in members if host.address == address), None)

        return t.cast(Host, eventually(find, 60, f"a leader of {', '.join(host.name for host in members)}", POLL_S))

    def status(self, host: Host, port: int = PORT) -> dict[str, t.Any]:
        """Return the status that the agent of a host reports, {} if it does not answer."""
        found: dict[str, t.Any] = json.loads(host.http("GET", port, "/status", timeout_s=2.0) or b"{}")
        return found

    def standing(self, host: Host) -> str:
        """Return what the agent of a host knows of the lease; "" if it does not answer."""
        return str(self.status(host).get("leases", {}).get("lease", {}).get("standing", ""))

    def holder(self) -> Host:
        """Wait until one agent holds the lease and the others stand by; return the host of the holder."""

        def find() -> Host | None:
            standings = {host.name: self.standing(host) for host in self.hosts}
            ready = sorted(standings.values()) == ["holder", "standby", "standby"]
            return next(host for host in self.hosts if standings[host.name] == "holder") if ready else None

        return t.cast(Host, eventually(find, 60, "one agent that holds the lease and two that stand by", POLL_S))

    def others(self, host: Host) -> list[Host]:
        """Return the other hosts."""
        return [other for other in self.hosts if other is not host]

    def set_check(self, host: Host, service: str, status: str) -> None:
        """Set the check of a service of a node that is none of the hosts, through the Consul agent of one of them."""
        name = {"Service": service, "ID": service}
        check = {"CheckID": service, "Name": f"{service} answers", "ServiceID": service, "Status": status}
        entry = {"Node": "outside", "Address": "192.0.2.1", "Service": name, "Check": check}
        eventually(lambda: self.consul(host, "PUT", "/v1/catalog/register", entry), 30, "Consul takes it", POLL_S)

    def told(self, service: str) -> list[Told]:
        """Return what the receivers of all hosts were told of a service, in the order in which it was told.

        What is told again under the same key counts once, as it does for a service that recognises keys: a holder that has not
        noticed yet that another took over may say the same.
        """
        found: list[Told] = []
        for host in self.hosts:
            log = host.root / f"var/lib/consulops/alerting/{LOG}"  # read from outside, also while the host is off
            for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
                message = json.loads(line)
                found += [
                    Told(message["time"], message["kind"], alert["incident"], host.name)
                    for alert in message["alerts"]
                    if alert["service_name"] == service
                ]
        first: dict[tuple[str, str], Told] = {}
        for one in sorted(found):
            first.setdefault((one.kind, one.incident), one)
        return list(first.values())

    def wait_told(self, service: str, kinds: t.Sequence[str], within_s: float = 30.0) -> list[Told]:
        """Wait until as much was told of a service; AssertionError unless it is this, each episode under one key of its own."""
        what = f"of {service} is told {', '.join(kinds)}"
        found: list[Told] = eventually(
            lambda: told if len(told := self.told(service)) >= len(kinds) else None, within_s, what, POLL_S
        )
        assert [one.kind for one in found] == list(kinds), found
        keys = [one.incident for one in found]
        assert keys[::2] == list(dict.fromkeys(keys)) and keys[1::2] == keys[::2][: len(keys) // 2], found
        return found

    def logs(self) -> str:
        """Return the last log lines of agents and Consul on every host."""
        parts = []
        for host in self.hosts:
            for unit in ("consulops-*", "consul"):
                lines = host.run("journalctl", "-q", "-b", "-o", "short-precise", "-n", "60", "-u", unit, check=False)
                parts.append(f"== {unit} on {host.name}\n{lines.stdout}")
        return "\n".join(parts)

    def healthy(self) -> None:
        """Wait until every Consul server is healthy and a voter: one that comes back waits for its vote."""

        def well() -> bool:
            found = self.consul(next(iter(self.hosts)), "GET", "/v1/operator/autopilot/health") or {}
            voters = [server["Voter"] for server in found.get("Servers", [])]
            return bool(found.get("Healthy")) and voters == [True] * len(list(self.hosts))

        eventually(well, 60, "every Consul server is healthy", POLL_S)


class Told(t.NamedTuple):
    """One alert of a message: when it was made, of which kind, by which key other services recognise it, and which host sent it."""

    time: float
    kind: str
    incident: str
    host: str


def agent_options(name: str = "alerting", **more: t.Any) -> dict[str, t.Any]:
    """Return options of the alerting agent: everything is told at once, to a file of the host."""
    return {
        "for": "0s",
        "recover_for": "0s",
        "flapping": {"changes": 0},
        "receivers": {"log": {"type": "file", "path": f"/var/lib/consulops/{name}/{LOG}"}},
        "route": {"receiver": "log", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"},
        **more,
    }


def agent(name: str = "alerting", **more: t.Any) -> dict[str, t.Any]:
    """Return the role's description of an alerting agent."""
    return {
        "name": name,
        "agent": "alerting",
        "lease": LEASE,
        "service": {"check_ttl": "3s"},
        "options": agent_options(name),
        "back_off": {"longest": "1s"},
        "credentials": {"token": TOKEN},
        **more,
    }


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: t.Any) -> LoadScopeScheduling | None:
    """Run all tests that share hosts in one process, and spread the others."""
    # Not --dist loadgroup: with pytest 9 it ignores the groups.
    return None if config.getvalue("dist") == "no" else _Scheduling(config, log)


class _Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].rpartition("/")[2]
        return SHARING_FILES.get(file, nodeid)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> t.Generator[None, t.Any, None]:
    """Add the logs of the hosts to the report of a failure."""
    outcome = yield
    report = outcome.get_result()
    estates = [getattr(value, "estate", value) for value in getattr(item, "funcargs", {}).values()]
    for estate in estates if report.failed else ():
        if isinstance(estate, Estate):
            report.sections.append(("logs of the hosts", estate.logs()))


@contextlib.contextmanager
def estate_of(directory: Path, names: t.Sequence[str], **variables: t.Any) -> t.Iterator[Estate]:
    """Boot hosts and start Consul on them, with these variables of the play that does it."""
    with Hosts(directory / "hosts", names) as hosts:
        found = Estate(hosts, directory)
        found.group_variables.update(variables)
        start_estate(found)
        yield found


def start_estate(estate: Estate) -> None:
    """Start Consul on the servers of an estate."""
    estate.play(str(ROOT / "molecule/shared/prepare.yml"))


@pytest.fixture(scope="session")
def estate(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estate]:
    with estate_of(tmp_path_factory.mktemp("estate"), NAMES) as found:
        found.play("consulops.failover.install", consulops_install_serial="100%")
        yield found


class Bare(t.NamedTuple):
    """A host without anything of the role."""

    estate: Estate
    host: Host

    def install(self, *options: str, **variables: t.Any) -> str:
        return self.estate.play("consulops.failover.install", *options, **variables)

    def contents(self) -> set[str]:
        """Return every path on the host, and every user, group and unit."""
        paths = self.host.run("find", "/", "-xdev").stdout.splitlines()
        known = {path for path in paths if not re.fullmatch(NOT_OURS, path)}
        for command in (("getent", "passwd"), ("getent", "group"), ("systemctl", "list-unit-files", "--no-legend")):
            known |= set(self.host.run(*command).stdout.splitlines())
        return known

    def pid(self, name: str = "alerting") -> str:
        """Return the process id of an agent, "0" if it does not run."""
        return self.host.run("systemctl", "show", "-P", "MainPID", f"consulops-{name}").stdout.strip()

    def wait_active(self, port: int = PORT) -> dict[str, t.Any]:
        """Wait until the agent holds its lease, and return its status."""

        def active() -> dict[str, t.Any] | None:
            found = self.estate.status(self.host, port)
            return found if found.get("state") == "active" and found["lease"]["held"] else None

        return t.cast("dict[str, t.Any]", eventually(active, 40, f"the agent on port {port} is active", POLL_S))


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Estate]:
    with estate_of(tmp_path_factory.mktemp("lone"), ["r1"]) as found:
        yield found


@pytest.fixture
def bare(lone: Estate) -> t.Iterator[Bare]:
    """A bare host. After the test the role is removed, and the host must be as before."""
    yield from with_removal(Bare(lone, lone.hosts["r1"]))


def with_removal(bare: Bare, install: bool = False) -> t.Iterator[Bare]:
    """Yield the host, with the role installed if asked for; remove the role after that, and compare with the host before."""
    before = bare.contents()
    if install:
        bare.install()
    yield bare
    bare.install(consulops_runtime_state="absent", consulops_runtime_purge=True)
    left = bare.contents()
    assert left == before, left ^ before


def two_agents(**more: t.Any) -> list[dict[str, t.Any]]:
    """Return two agents with different ports; ``more`` is for the second."""
    second = agent(name="second", endpoint={"port": SECOND_PORT})
    return [agent(), {**second, **more}]


def _no_restart(unit: str) -> str:
    return f"/run/systemd/system/{unit}.service.d/no-restart.conf"


def kill_for_good(host: Host, unit: str) -> None:
    """Kill the process of a unit, and keep systemd from starting it again: this host must not take the lease back."""
    host.run("install", "-D", "-m", "644", "/dev/stdin", _no_restart(unit), stdin="[Service]\nRestart=no\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "kill", "-s", "KILL", unit)


def let_restart(host: Host, unit: str) -> None:
    """Start a unit that was killed for good."""
    host.run("rm", "-f", _no_restart(unit))
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "reset-failed", unit, check=False)
    host.run("systemctl", "start", unit)


class Fault(t.NamedTuple):
    """A fault of a host: how it is injected and how it is healed."""

    inject: t.Callable[[Host], object]
    heal: t.Callable[[Host], object]


def faults_of(unit: str) -> dict[str, Fault]:
    """Return faults of a host on which the unit of an agent runs, by name."""
    return {
        "killed": Fault(lambda host: kill_for_good(host, unit), lambda host: let_restart(host, unit)),
        "frozen": Fault(
            lambda host: host.run("systemctl", "kill", "-s", "STOP", unit),
            lambda host: host.run("systemctl", "kill", "-s", "CONT", unit),
        ),
        "cut off": Fault(Host.cut, Host.heal),
        "without its Consul agent": Fault(
            lambda host: host.run("systemctl", "stop", "consul"),
            lambda host: host.run("systemctl", "start", "consul"),
        ),
    }

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A datacenter of three real hosts takes over from another, under ACLs and TLS, while applications write on both sides, and gives it back.

CONSULOPS_ALL_DRILLS runs every case, CONSULOPS_RAFT_MULTIPLIER is that of all servers.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import re
import threading
import time
import typing as t

import pytest

from tests.lab import key_writer
from tests.lab.consul import ROOT, eventually
from tests.lab.hosts import Host
from tests.lab.key_writer import history_of, last_values, share
from tests.lab.tls import Authority

from .conftest import POLL_S, TOKEN, Estate
from .two_datacenters import AGENTS, PORT, PREFIX, SERVERS, Datacenters, two_datacenters

ALL = bool(os.environ.get("CONSULOPS_ALL_DRILLS"))
MULTIPLIER = int(os.environ.get("CONSULOPS_RAFT_MULTIPLIER") or "1")
CONVERGE_S = 120.0
TLS = "/etc/consul-tls"
CA = f"{TLS}/ca.pem"
REPORT, REHEARSAL = "home/ops/failover.json", "home/ops/rehearsal.json"
POLICIES = ROOT / "roles/consul_replication/files"
# The rights that docs/failover.md names, with those of consul_kv_reconcile.
FAILOVER_RULES = """
key_prefix "app/" { policy = "write" }
key_prefix "consulops/" { policy = "write" }
operator = "read"
"""
AGENT_TOKEN = "7d2f5a10-3c41-4e0b-9a57-51a36d0f7c11"
FAILOVER_TOKEN = "7d2f5a10-3c41-4e0b-9a57-51a36d0f7c22"
CONSUL = {
    # A server that is stopped stays one that is not healthy; otherwise those that are left are soon called healthy.
    "autopilot": {"cleanup_dead_servers": False, "server_stabilization_time": "1s", "last_contact_threshold": "1s"},
    "ports": {"https": 8501},
    "addresses": {"http": "127.0.0.1", "https": "0.0.0.0"},
    "ca_file": CA,
    "cert_file": f"{TLS}/cert.pem",
    "key_file": f"{TLS}/key.pem",
    "verify_incoming_rpc": True,
    "verify_outgoing": True,
    "verify_server_hostname": True,
}
SETS = {
    name: {
        "source": {"datacenter": source},
        "destination": {"datacenter": destination},
        "prefixes": [PREFIX],
        "on_conflict": "keep",
        "reverses": other,
    }
    for name, other, source, destination in (("there", "back", "dc1", "dc2"), ("back", "there", "dc2", "dc1"))
}
DECISIONS = [{"prefix": PREFIX, "wins": "new"}, {"prefix": key_writer.OWN, "wins": "old"}]


class Pair(Datacenters):
    """Both datacenters, the direction between them, and the applications."""

    direction: dict[str, t.Any] = {"active": "there", "generation": 1}

    @property
    def options(self) -> dict[str, t.Any]:
        """The variables of the playbooks. The modules run on a host of the second datacenter, with the libraries of the agent."""
        return {
            "consul_connection": {"ca_path": CA, "token": FAILOVER_TOKEN},
            "consul_failover_controller": AGENTS[0],
            "consul_failover_environment": {"PYTHONPATH": "/usr/local/lib/consulops/consulops.pyz"},
            # The last one is that which survives when most of the others do not.
            "consul_failover_old": {"url": self.url(self.servers("dc1")[-1]), "datacenter": "dc1", "timeout": 3},
            "consul_failover_new": {"url": "https://127.0.0.1:8501", "datacenter": "dc2"},
            "consul_failover_replication": "there",
            "consul_failover_reversed_by": "back",
            "consul_failover_prefixes": [PREFIX],
            "consul_failover_quiet": "1s",
            "consul_failover_max_loss": "2m",
            "consul_failover_report": f"/{REPORT}",
            "consul_failover_stop_units": [key_writer.UNIT],
            "consul_failback_stop_units": [key_writer.UNIT],
            "consul_failback_decisions": DECISIONS,
        }

    def url(self, host: Host) -> str:
        return f"https://{host.address}:8501"

    def play(self, name: str, confirm: str, **more: t.Any) -> str:
        """Run one of the playbooks, note the direction that it says, and return its output."""
        options = {**self.options, "consul_failover_confirm": confirm, **more}
        began = time.monotonic()
        done = self.estate.play(
            f"consulops.failover.{name}", "-e", json.dumps(options), consul_replication_direction=self.direction
        )
        steps = re.findall('Seconds of this run[^"]*', done)
        print(f"{name} took {time.monotonic() - began:.0f} s;", *steps)
        said = re.search(r"active: (\w+), generation: (\d+)", " ".join(done.split()))
        assert said, done
        self.direction = {"active": said[1], "generation": int(said[2])}
        return done

    def refused(self, name: str, confirm: str, *more_options: str, **more: t.Any) -> str:
        """Run a playbook that must fail without a change of the direction, and return what it says."""
        options = {**self.options, "consul_failover_confirm": confirm, **more}
        done = self.estate.try_to_play(
            f"consulops.failover.{name}",
            *("-e", json.dumps(options), *more_options),
            consul_replication_direction=self.direction,
        )
        assert done.returncode != 0, done.stdout
        assert self.register()["generation"] == self.direction["generation"]
        return " ".join(done.stdout.split())

    def register(self) -> dict[str, t.Any]:
        """Return the direction as the second datacenter has it."""
        path = "/v1/kv/consulops/replication/there/control/direction?raw"
        return t.cast("dict[str, t.Any]", json.loads(self.ask("dc2", "GET", path) or b'{"generation": 1}'))

    def is_healthy(self, datacenter: str) -> bool:
        """Return what autopilot says; Consul answers 429 where it is not."""
        return bool(json.loads(self.ask(datacenter, "GET", "/v1/operator/autopilot/health") or b"{}").get("Healthy"))

    def values(self, datacenter: str) -> dict[str, str]:
        return {key: base64.b64decode(value or "").decode() for key, value in self.keys(datacenter).items()}

    def sets(self) -> dict[str, t.Any]:
        """Return the sets of which an agent holds the lease, with their status."""
        found = [json.loads(host.http("GET", PORT, "/sets", timeout_s=2.0) or b"{}") for host in self.agents]
        return {name: one for sets in found for name, one in sets.get("sets", sets).items() if isinstance(one, dict)}

    def wait_acknowledged(self, datacenter: str, prefix: str, count: int = 5) -> None:
        """Wait until each writer of a datacenter has so many more acknowledged writes below a prefix."""
        for host in self.servers(datacenter):

            def acknowledged(host: Host = host) -> int:
                return sum(one.is_acknowledged and one.key.startswith(prefix) for one in history_of(host))

            until = acknowledged() + count
            eventually(
                lambda acknowledged=acknowledged, until=until: acknowledged() >= until,
                60,
                f"{host.name} writes",
                POLL_S,
            )

    def wait_copied(self, source: str, destination: str) -> None:
        """Wait until what the writers of the source wrote by now is at the destination."""
        written = {one.key for host in self.servers(source) for one in history_of(host) if one.is_acknowledged}
        own = {key for key in written if key.startswith(key_writer.OWN)}
        eventually(
            lambda: own <= (self.names(destination) or set()), CONVERGE_S, f"{destination} has what {source} wrote", 0.5
        )


def _with_tls(estate: Estate) -> None:
    """Put a certificate on each host."""
    authority = Authority(estate.directory / "ca")
    for host in estate.hosts:
        datacenter = estate.host_variables[host.name]["lab_datacenter"]
        pair = authority.issue(
            estate.directory / "ca" / host.name, f"server.{datacenter}.consul", ["127.0.0.1", host.address]
        )
        for name, path in (("ca", authority.ca_path), ("cert", pair.certificate), ("key", pair.key)):
            content = path.read_text(encoding="ascii")
            host.run("install", "-D", "-m", "644", "/dev/stdin", f"{TLS}/{name}.pem", stdin=content)


def _make_token(estate: Estate, host: Host, token: str, rules: str) -> None:
    policy = {"Name": f"for-{token[-2:]}", "Rules": rules}
    assert estate.consul(host, "PUT", "/v1/acl/policy", policy)
    assert estate.consul(host, "PUT", "/v1/acl/token", {"SecretID": token, "Policies": [{"Name": policy["Name"]}]})


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Pair]:
    variables: dict[str, t.Any] = {
        "consul_replication_sets": SETS,
        "consul_replication_secrets": {"token": AGENT_TOKEN},
        "consul_replication_connection": {"url": "https://127.0.0.1:8501", "ca_path": CA},
        "lab_consul_config": CONSUL,
        "lab_raft_multiplier": MULTIPLIER,
    }
    with two_datacenters(tmp_path_factory.mktemp("failover"), _with_tls, **variables) as estate:
        estate.groups["consul_failover_stop"] = SERVERS["dc1"]
        estate.groups["consul_failback_stop"] = SERVERS["dc2"]
        found = Pair(estate)
        found.wait_joined()
        rules = "\n".join(path.read_text(encoding="utf-8") for path in sorted(POLICIES.glob("policy*.hcl")))
        for datacenter in SERVERS:
            _make_token(estate, found.servers(datacenter)[0], AGENT_TOKEN, rules)
            _make_token(estate, found.servers(datacenter)[0], FAILOVER_TOKEN, FAILOVER_RULES)
        found.install(consul_replication_direction=found.direction)
        yield found


class Case(t.NamedTuple):
    """What happens to the first datacenter. ``can_stop``: its applications can be stopped, and none starts again when it is back.

    ``in_the_middle`` is called while the playbook runs.
    """

    inject: t.Callable[[Pair], object]
    heal: t.Callable[[Pair], object]
    can_stop: bool = True
    in_the_middle: t.Callable[[Pair], object] | None = None


def _cut_wan(pair: Pair) -> None:
    for host in pair.servers("dc1"):
        host.cut_from(*SERVERS["dc2"])


def _heal_wan(pair: Pair) -> None:
    for host in pair.servers("dc1"):
        host.heal()


def _power_off(pair: Pair) -> None:
    for host in pair.servers("dc1"):
        host.kill()


def _power_on(pair: Pair) -> None:
    for host in pair.servers("dc1"):
        host.start()
    for host in pair.servers("dc1"):
        host.wait_boot()


def _kill_majority(pair: Pair) -> None:
    for host in pair.servers("dc1")[:2]:
        host.run("systemctl", "kill", "-s", "KILL", "consul")
        host.run("systemctl", "stop", "consul")


def _start_majority(pair: Pair) -> None:
    for host in pair.servers("dc1")[:2]:
        host.run("systemctl", "start", "--no-block", "consul")


def _signal_all(pair: Pair, signal: str) -> None:
    for host in pair.servers("dc1"):
        host.run("systemctl", "kill", "-s", signal, "consul")


def _continue_when_promoted(pair: Pair) -> None:
    began, before = time.monotonic(), pair.direction["generation"]
    with contextlib.suppress(AssertionError):  # then it is not in the middle, and the test says so
        eventually(lambda: pair.register()["generation"] > before, 60, "the second datacenter is promoted", 0.05)
    _signal_all(pair, "CONT")
    print(f"the first datacenter went on after {time.monotonic() - began:.1f} s, with {pair.register()}")


CASES = {
    "cut off by the WAN": Case(_cut_wan, _heal_wan, can_stop=False),
    "powered off": Case(_power_off, _power_on, can_stop=False),
    "without quorum": Case(_kill_majority, _start_majority),
    "hanging until the middle": Case(
        functools.partial(_signal_all, signal="STOP"),
        functools.partial(_signal_all, signal="CONT"),
        in_the_middle=_continue_when_promoted,
    ),
}
FAST = ("cut off by the WAN", "powered off")  # each takes about two minutes


def _changed(output: str) -> set[str]:
    """Return the hosts on which a playbook changed something."""
    return set(re.findall(r"^(\S+) +: .*changed=[1-9]", output, re.MULTILINE))


@pytest.mark.parametrize("name", CASES if ALL else FAST)
def test_no_acknowledged_write_is_lost_when_a_datacenter_is_replaced_and_gets_its_place_back(
    pair: Pair, name: str
) -> None:
    case = CASES[name]
    pair.healthy()
    agents = pair.restarts()
    old_hosts, new_hosts = pair.servers("dc1"), pair.servers("dc2")
    for hosts in (old_hosts, new_hosts):
        for number, host in enumerate(hosts):
            key_writer.start_writer(host, TOKEN, number)
            share(host, hosts is old_hosts)
    pair.wait_acknowledged("dc1", key_writer.SHARED_PREFIX)
    pair.wait_copied("dc1", "dc2")
    case.inject(pair)
    try:
        _fail_over(pair, case)
        for host in new_hosts:
            share(host, True)
        pair.wait_acknowledged("dc2", key_writer.SHARED_PREFIX)
    finally:
        case.heal(pair)
    pair.healthy()
    _check_kept_apart(pair, name)
    if ALL:  # what could not be stopped before is stopped now
        assert _changed(pair.play("failover", "dc2")) <= (set() if case.can_stop else set(SERVERS["dc1"]))
    for host in old_hosts:
        host.run("systemctl", "stop", key_writer.UNIT)
    pair.wait_copied("dc2", "dc1")
    if name == "cut off by the WAN":
        said = pair.refused("failback", "dc1", consul_failback_decisions=[])
        assert "app/own/" in said, said
    pair.play("failback", "dc1")
    _check_after_failback(pair)
    if ALL:
        assert not _changed(pair.play("failback", "dc1"))
    assert pair.restarts() == agents


def test_a_failover_is_refused_where_it_would_harm(pair: Pair) -> None:
    pair.healthy()
    old_hosts, new_hosts = pair.servers("dc1"), pair.servers("dc2")
    for number, host in enumerate(old_hosts):
        key_writer.start_writer(host, TOKEN, number)
    try:
        said = pair.refused("failover", "dc3")
        assert "confirm is 'dc3', and it is not confirmed" in said, said
        said = pair.refused("failover", "dc2", consul_failover_stop_units=[], consul_failover_wait="1s")
        assert f"keys are still written there, below {PREFIX}" in said, said
        new_hosts[-1].run("systemctl", "stop", "consul")
        eventually(lambda: not pair.is_healthy("dc2"), 60, "autopilot knows it", POLL_S)
        said = pair.refused("failover", "dc2")
        assert "dc2 has servers that are not healthy" in said, said
        assert all(host.run("systemctl", "is-active", key_writer.UNIT).stdout == "active\n" for host in old_hosts)
    finally:
        new_hosts[-1].run("systemctl", "start", "consul")
        for host in old_hosts:
            host.run("systemctl", "disable", "--now", key_writer.UNIT)


def _fail_over(pair: Pair, case: Case) -> None:
    thread = threading.Thread(target=case.in_the_middle, args=(pair,)) if case.in_the_middle else None
    if thread is not None:
        thread.start()
    if not case.can_stop:
        said = pair.refused("failover", "dc2", consul_failover_stop_units=[], consul_failover_max_loss="0s")
        assert "would be lost, and max_loss is 0s" in said, said
    # What is cut off goes on, and nobody can stop it.
    pair.play("failover", "dc2", **({} if case.can_stop else {"consul_failover_stop_units": []}))
    if thread is not None:
        thread.join()
    assert pair.direction["active"] == "back"
    report = json.loads((pair.agents[0].root / REPORT).read_text(encoding="utf-8"))
    print(report)
    assert report["generation"] == pair.direction["generation"] and report["steps_seconds"]["promote"] > 0


def _check_kept_apart(pair: Pair, name: str) -> None:
    """The first datacenter is back. It is not the source again, and what it wrote alone is where it was written, and is shown."""
    assert pair.register() == {"generation": pair.direction["generation"], "active": "back"}
    written = [one for host in pair.servers("dc1") for one in history_of(host) if one.is_acknowledged]
    own = {one.key for one in written if one.key.startswith(key_writer.OWN)}
    alone = own - (pair.names("dc2") or set())
    print(f"{len(alone)} of {len(own)} keys are in the first datacenter only")
    assert own <= (pair.names("dc1") or set()), "an acknowledged write is lost where it was made"
    if name != "cut off by the WAN":
        return
    assert alone, "it wrote on"
    eventually(
        lambda: pair.sets().get("back", {}).get("conflicts", {}).get("count", 0) > 0,
        CONVERGE_S,
        "the agents show what was written apart",
        0.5,
    )


def _check_after_failback(pair: Pair) -> None:
    """Every acknowledged write is there, also of what the first datacenter wrote alone, and both sides are equal."""
    assert pair.direction["active"] == "there"
    old_hosts, new_hosts = pair.servers("dc1"), pair.servers("dc2")
    values = pair.values("dc1")
    for host in new_hosts:
        written = [one for one in history_of(host) if one.key.startswith(key_writer.SHARED_PREFIX)]
        allowed = last_values(written)
        assert allowed and not {key for key, those in allowed.items() if values.get(key) not in those}
    before = {host.name: len(history_of(host)) for host in old_hosts}
    values = _check_all_is_there(pair, [*old_hosts, *new_hosts])
    for host in old_hosts:
        allowed = last_values(history_of(host)[before[host.name] :])
        assert allowed and not {key for key, those in allowed.items() if values.get(key) not in those}


def _check_all_is_there(pair: Pair, hosts: t.Sequence[Host]) -> dict[str, str]:
    """Let the writers of the first datacenter write a little more. Then every acknowledged write is on both sides; return the values."""
    old_hosts = pair.servers("dc1")
    for host in old_hosts:
        share(host, True)
        host.run("systemctl", "start", key_writer.UNIT)
    pair.wait_acknowledged("dc1", key_writer.SHARED_PREFIX)
    for host in old_hosts:
        host.run("systemctl", "stop", key_writer.UNIT)
    eventually(lambda: pair.values("dc1") == pair.values("dc2"), CONVERGE_S, "both sides are equal", 0.5)
    values = pair.values("dc2")
    written = [one for host in hosts for one in history_of(host) if one.key.startswith(key_writer.OWN)]
    assert not {one.key for one in written if one.is_acknowledged and values.get(one.key) != one.value}
    return values


@pytest.mark.skipif(not ALL, reason="make drills runs it")
def test_a_rehearsal_ends_where_it_began(pair: Pair) -> None:
    pair.healthy()
    hosts = pair.servers("dc1")
    for number, host in enumerate(hosts):
        key_writer.start_writer(host, TOKEN, number)
    agents, before = pair.restarts(), pair.register()
    pair.estate.groups["consul_rehearse_servers"] = SERVERS["dc1"]
    files = {"consul_rehearse_report": f"/{REHEARSAL}", "consul_rehearse_junit": f"/{REHEARSAL}.xml"}
    # No application of the second datacenter takes part.
    only = {"consul_failback_stop_units": [], "consul_failback_decisions": [{"prefix": PREFIX, "wins": "old"}]}
    options = {**pair.options, **files, **only}
    run = functools.partial(pair.estate.try_to_play, "consulops.failover.rehearse_failover")
    direction = {"consul_replication_direction": pair.direction}
    refused = run("-e", json.dumps(options), **direction)
    assert refused.returncode != 0 and "Set consul_rehearse_confirm" in " ".join(refused.stdout.split()), refused.stdout
    checked = run("--check", "-e", json.dumps(options), **direction)
    assert checked.returncode == 0 and "Step 1: kill consul.service on a1, a2, a3" in checked.stdout, checked.stdout
    assert pair.register() == before and all(host.http("GET", 8500, "/v1/status/leader") for host in hosts)
    began = time.monotonic()
    done = run("-e", json.dumps({**options, "consul_rehearse_confirm": "dc1"}), **direction)
    assert done.returncode == 0, done.stdout
    report = json.loads((pair.agents[0].root / REHEARSAL).read_text(encoding="utf-8"))
    print(f"{time.monotonic() - began:.0f} s", report)
    assert report["passed"] and report["generation"] == before["generation"] + 2
    assert "<failure" not in (pair.agents[0].root / f"{REHEARSAL}.xml").read_text(encoding="utf-8")
    pair.direction = {"active": "there", "generation": report["generation"]}
    assert pair.register() == {"generation": report["generation"], "active": "there"}
    status = json.loads(pair.ask("dc1", "GET", "/v1/kv/consulops/drills/datacenter-failover?raw") or b"{}")
    assert status["passed"], status
    _check_all_is_there(pair, hosts)
    assert pair.restarts() == agents

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two datacenters on two real hosts, and the link between them cut: what the check reports then, and once it is restored."""

from __future__ import annotations

import json
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.agents import make_bundle
from tests.lab.consul import eventually
from tests.lab.hosts import Host, Hosts

HOMES = {"east": "dc1", "west": "dc2"}
# Gossip over the WAN takes half a minute to give up on a server by default; what is judged is the same.
FAST_GOSSIP = {"probe_interval": "1s", "probe_timeout": "500ms", "suspicion_mult": 2}
OPTIONS = {
    "expect": {datacenter: {"servers": [name]} for name, datacenter in HOMES.items()},
    # A lone server cannot lose another one, and that has nothing to do with the link.
    "rules": [{"rule": "autopilot_unhealthy", "enabled": False}],
    "timeout": 2,
}
MEMBER_FAILED = 4  # Serf's status of a member


def start_consul(host: Host) -> None:
    """Start a lone server that joins the one of the other datacenter over the WAN."""
    other = next(name for name in HOMES if name != host.name)
    config = {
        "node_name": host.name,
        "datacenter": HOMES[host.name],
        "server": True,
        "bootstrap_expect": 1,
        "bind_addr": host.address,
        "data_dir": "/var/lib/consul",
        "retry_join_wan": [other],
        "retry_interval_wan": "1s",
        "performance": {"raft_multiplier": 1},
        "gossip_wan": FAST_GOSSIP,
        "disable_update_check": True,
    }
    host.run("install", "-m", "644", "/dev/stdin", "/etc/consul.json", stdin=json.dumps(config))
    host.run("systemd-run", "-q", "--unit=consul", "consul", "agent", "-config-file", "/etc/consul.json")


def check(host: Host, *arguments: str) -> dict[str, t.Any]:
    """Run ``consulops alert check`` on the host and return its result."""
    done = host.run(
        *("python3", "-I", "/root/consulops.pyz", "alert", "check", "--json", "--config", "/root/alert.json"),
        *("--fail-on", "never", *arguments),
        check=False,
    )
    found: dict[str, t.Any] = json.loads(done.stdout)
    return found


def is_failed_member_known(host: Host) -> bool:
    """Whether gossip over the WAN has given up on a member, as the host knows it."""
    members = json.loads(host.http("GET", 8500, "/v1/agent/members?wan=1") or b"[]")
    return any(member["Status"] == MEMBER_FAILED for member in members)


def rules(found: dict[str, t.Any]) -> list[tuple[str, str]]:
    return [(one["rule"], one["summary"]) for one in found["findings"]]


def test_a_cut_link_is_reported_on_both_sides_until_it_is_restored(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    with Hosts(tmp_path / "lab", list(HOMES)) as lab:
        for host in lab:
            (host.root / "root/consulops.pyz").write_bytes(bundle.read_bytes())
            (host.root / "root/alert.json").write_text(json.dumps(OPTIONS), encoding="utf-8")
            start_consul(host)
        for host in lab:
            eventually(lambda host=host: check(host)["verdict"] == "ok", 60, f"{host.name} is ok")
        east, west = lab
        west.unplug()
        cut = time.monotonic()

        def exposed() -> float:
            eventually(lambda: is_failed_member_known(east), 60, "gossip gives up")
            return time.monotonic() - cut

        last_ok_began = 0.0

        def reports() -> dict[str, t.Any] | None:
            nonlocal last_ok_began
            began = time.monotonic() - cut
            result = check(east)
            if result["verdict"] != "ok":
                return result
            last_ok_began = began
            return None

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(exposed)
            found = eventually(reports, 60, "the check reports it")
            judged = time.monotonic() - cut
        print(f"gossip gave up after {waiting.result():.2f} s, the check reported it after {judged:.2f} s")
        # Every check that began after that reported it, however long a check takes on a busy machine.
        assert last_ok_began <= waiting.result()
        assert rules(found) == [
            ("wan_dc_missing", "no server of dc2 can be reached from dc1"),
            ("wan_member_failed", "server west of dc2 cannot be reached from dc1 over the WAN"),
        ]
        # The check on the other host reports the same, and nothing else.
        wanted = ["wan_dc_missing", "wan_member_failed"]
        eventually(
            lambda: [rule for rule, _summary in rules(check(west))] == wanted, 60, "the other side reports it too"
        )
        both = check(east, "--datacenters", "dc1", "--datacenters", "dc2")
        assert ("consul_unreachable", "dc2") in [(one["rule"], one["datacenter"]) for one in both["findings"]]

        west.plug()
        for host in lab:
            eventually(lambda host=host: check(host)["verdict"] == "ok", 120, f"{host.name} is ok again")

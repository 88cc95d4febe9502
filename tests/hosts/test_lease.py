# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real hosts with one agent each: whatever happens to the active one, another takes over in time, and no two ever write."""

from __future__ import annotations

import time
import typing as t

import pytest

from tests.lab.agents import writers_in_turn
from tests.lab.consul import eventually
from tests.lab.hosts import Host

from .conftest import TAKEOVER_S, Estate

UNIT = "consulops-demonstration"


class Fault(t.NamedTuple):
    """Something that happens to a host, and how it ends."""

    strike: t.Callable[[Host], object]
    undo: t.Callable[[Host], object]


HELD = f"/run/systemd/system/{UNIT}.service.d/held.conf"


def _hold(host: Host) -> None:
    """Kill the process, and keep systemd from starting it again: this host must not take the lease back."""
    host.run("install", "-D", "-m", "644", "/dev/stdin", HELD, stdin="[Service]\nRestart=no\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "kill", "-s", "KILL", UNIT)


def _let_go(host: Host) -> None:
    host.run("rm", "-f", HELD)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "reset-failed", UNIT, check=False)
    host.run("systemctl", "start", UNIT)


def _power_on(host: Host) -> None:
    host.start()
    host.wait_boot()


FAULTS = {
    "killed": Fault(_hold, _let_go),
    "frozen": Fault(
        lambda host: host.run("systemctl", "kill", "-s", "STOP", UNIT),
        lambda host: host.run("systemctl", "kill", "-s", "CONT", UNIT),
    ),
    "cut off": Fault(Host.cut, Host.heal),
    "without its Consul agent": Fault(
        lambda host: host.run("systemctl", "stop", "consul"),
        lambda host: host.run("systemctl", "start", "consul"),
    ),
    "without power": Fault(Host.kill, _power_on),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_takes_over_in_time(estate: Estate, fault: str) -> None:
    estate.healthy()
    holder = estate.active()
    others = estate.others(holder)
    known = writers_in_turn(estate.sessions(holder))
    started = time.monotonic()
    try:
        FAULTS[fault].strike(holder)

        def taken() -> bool:
            return any(estate.status(host).get("state") == "active" for host in others)

        eventually(taken, TAKEOVER_S, f"another takes over from the one that is {fault}")
        took = time.monotonic() - started
    finally:
        FAULTS[fault].undo(holder)
    print(f"taken over from the one that was {fault} after {took:.1f} s")
    estate.healthy()
    now = estate.active()
    eventually(lambda: len(writers_in_turn(estate.sessions(now))) > len(known), what="the new one writes")
    assert holder.run("systemctl", "is-active", UNIT).stdout == "active\n"


def test_one_that_is_killed_and_started_again_writes_in_turn(estate: Estate) -> None:
    estate.healthy()
    holder = estate.active()
    known = len(estate.sessions(holder))
    holder.run("systemctl", "kill", "-s", "KILL", UNIT)
    eventually(lambda: len(estate.sessions(holder)) > known, TAKEOVER_S, "someone goes on")
    assert len(writers_in_turn(estate.sessions(estate.active()))) > 1


def test_a_host_that_reboots_hands_over_and_comes_back(estate: Estate) -> None:
    estate.healthy()
    holder = estate.active()
    terms = writers_in_turn(estate.sessions(holder))
    holder.reboot()
    estate.healthy()
    # Mostly another one by now; but where Consul elects a leader meanwhile, a host that boots in a second may be first.
    now = estate.active()
    eventually(lambda: len(writers_in_turn(estate.sessions(now))) > len(terms), what="another term has begun")
    assert holder.run("systemctl", "is-active", UNIT).stdout == "active\n"


def test_a_token_revoked_and_given_back(estate: Estate) -> None:
    estate.healthy()
    active = estate.active()
    rules = active.run("cat", "/etc/consulops/demonstration/policy.hcl").stdout
    policy = {"Name": "demonstration", "Rules": rules}
    assert estate.consul(active, "PUT", "/v1/acl/policy", policy)
    secret = "b2f0c1de-5e0d-4c5c-9b1c-0f4a6d7e8f90"
    token = {"Policies": [{"Name": "demonstration"}], "SecretID": secret}
    assert estate.consul(active, "PUT", "/v1/acl/token", token)
    path = "/etc/consulops/demonstration/credentials/token"
    kept = {}
    for host in estate.hosts:
        kept[host.name] = host.run("cat", path).stdout
        host.run("sh", "-c", f"cat > {path}", stdin=secret)
        host.run("systemctl", "restart", UNIT)
    try:
        active = estate.active()  # with the policy that the role wrote down, and nothing more
        passing = "/v1/health/service/consulops-demonstration?passing"
        eventually(lambda: len(estate.consul(active, "GET", passing) or []) == len(list(estate.hosts)))
        accessor = next(
            one["AccessorID"]
            for one in estate.consul(active, "GET", "/v1/acl/tokens")
            if [link["Name"] for link in one.get("Policies") or []] == ["demonstration"]
        )
        assert estate.consul(active, "DELETE", f"/v1/acl/token/{accessor}")
        eventually(lambda: all(estate.status(host)["state"] == "failing" for host in estate.hosts), 40, "all fail")
        assert estate.consul(active, "PUT", "/v1/acl/token", token)
        estate.active()
    finally:
        for host in estate.hosts:
            host.run("sh", "-c", f"cat > {path}", stdin=kept[host.name])
            host.run("systemctl", "restart", UNIT)
    writers_in_turn(estate.sessions(estate.active()))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real hosts with one agent each: whatever happens to the holder of the lease, another takes over in time, and what fails is told once."""

from __future__ import annotations

import time
import typing as t

import pytest

from tests.lab.consul import eventually
from tests.lab.hosts import Host

from .conftest import POLL_S, TAKEOVER_S, Estate, Fault, faults_of

UNIT = "consulops-alerting"


def _power_on(host: Host) -> None:
    host.start()
    host.wait_boot()


FAULTS = {**faults_of(UNIT), "without power": Fault(Host.kill, _power_on)}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_takes_over_in_time(estate: Estate, fault: str) -> None:
    estate.healthy()
    holder = estate.holder()
    others = estate.others(holder)
    service = f"while {fault}".replace(" ", "-")
    estate.set_check(holder, service, "passing")
    started = time.monotonic()
    try:
        FAULTS[fault].inject(holder)

        def is_taken() -> bool:
            return any(estate.standing(host) == "holder" for host in others)

        estate.set_check(others[0], service, "critical")
        eventually(is_taken, TAKEOVER_S, f"another takes over from the one that is {fault}", POLL_S)
        took = time.monotonic() - started
        (firing,) = estate.wait_told(service, ["firing"])
        assert firing.host in [host.name for host in others]
    finally:
        FAULTS[fault].heal(holder)
    print(f"taken over from the one that was {fault} after {took:.1f} s")
    estate.healthy()
    estate.set_check(estate.holder(), service, "passing")
    estate.wait_told(service, ["firing", "resolved"])
    assert holder.run("systemctl", "is-active", UNIT).stdout == "active\n"


def test_what_fails_while_systemd_restarts_a_killed_agent_is_told_once(estate: Estate) -> None:
    estate.healthy()
    holder = estate.holder()
    estate.set_check(holder, "restarted", "passing")
    holder.run("systemctl", "kill", "-s", "KILL", UNIT)
    estate.set_check(holder, "restarted", "critical")
    estate.wait_told("restarted", ["firing"], TAKEOVER_S)
    estate.set_check(estate.holder(), "restarted", "passing")
    estate.wait_told("restarted", ["firing", "resolved"])


def test_a_host_that_reboots_hands_over_and_comes_back(estate: Estate) -> None:
    estate.healthy()
    holder = estate.holder()
    estate.set_check(holder, "over-a-reboot", "critical")
    estate.wait_told("over-a-reboot", ["firing"])
    holder.reboot()
    estate.healthy()
    # The new holder is usually another host; but while Consul elects a leader, a host that boots in a second can win.
    estate.set_check(estate.holder(), "over-a-reboot", "passing")
    estate.wait_told("over-a-reboot", ["firing", "resolved"])
    assert holder.run("systemctl", "is-active", UNIT).stdout == "active\n"


def test_agents_recover_when_a_revoked_token_is_valid_again(estate: Estate) -> None:
    estate.healthy()
    active = estate.holder()
    rules = active.run("cat", "/etc/consulops/alerting/policy.hcl").stdout
    policy = {"Name": UNIT, "Rules": rules}
    assert estate.consul(active, "PUT", "/v1/acl/policy", policy)
    token: dict[str, t.Any] = {
        "Policies": [{"Name": UNIT}],
        "SecretID": "b2f0c1de-5e0d-4c5c-9b1c-0f4a6d7e8f90",
    }
    assert estate.consul(active, "PUT", "/v1/acl/token", token)
    path = "/etc/consulops/alerting/credentials/token"
    kept = {}
    for host in estate.hosts:
        kept[host.name] = host.run("cat", path).stdout
        host.run("sh", "-c", f"cat > {path}", stdin=token["SecretID"])
        host.run("systemctl", "restart", UNIT)
    try:
        active = estate.holder()  # with no more rights than the policy file of the role grants
        passing = f"/v1/health/service/{UNIT}?passing"
        everyone = len(list(estate.hosts))
        eventually(lambda: len(estate.consul(active, "GET", passing) or []) == everyone, every_s=POLL_S)
        accessor = next(
            one["AccessorID"]
            for one in estate.consul(active, "GET", "/v1/acl/tokens")
            if [link["Name"] for link in one.get("Policies") or []] == [UNIT]
        )
        assert estate.consul(active, "DELETE", f"/v1/acl/token/{accessor}")
        eventually(
            lambda: all(estate.standing(host) == "unknown" and estate.status(host)["problem"] for host in estate.hosts),
            40,
            "every agent reports a failure",
            POLL_S,
        )
        estate.set_check(active, "not-seen", "critical")
        assert estate.consul(active, "PUT", "/v1/acl/token", token)
        estate.wait_told("not-seen", ["firing"], 60)
    finally:
        for host in estate.hosts:
            host.run("sh", "-c", f"cat > {path}", stdin=kept[host.name])
            host.run("systemctl", "restart", UNIT)
    estate.set_check(estate.holder(), "not-seen", "passing")
    estate.wait_told("not-seen", ["firing", "resolved"])

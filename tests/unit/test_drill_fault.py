# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a drill's fault: what options are refused, the packet filter, and the script that heals."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._drill.faults import fault_plan
from ansible_collections.consulops.failover.plugins.module_utils._drill.faults.fault_plan import Fault, make_fault

UNIT = "consul.service"
PEERS = ("192.0.2.2", "192.0.2.1", "2001:db8::1")


@pytest.mark.parametrize(
    ("drill", "fault", "unit", "peers", "sentence"),
    [
        ("a b", "killed", UNIT, (), "is not a name"),
        ("d\n", "killed", UNIT, (), "is not a name"),
        ("d", "killed", "consul", (), "not the name of a service"),
        ("d", "killed", "a;reboot.service", (), "not the name of a service"),
        ("d", "killed", "../x.service", (), "not the name of a service"),
        ("d", "paused", UNIT, ("192.0.2.1",), "peers are of the fault isolated"),
        ("d", "isolated", UNIT, (), "needs peers"),
        ("d", "isolated", UNIT, ("n2",), "is not an IP address"),
        ("d", "isolated", UNIT, ("127.0.0.1",), "is not the address of another host"),
        ("d", "isolated", UNIT, ("::",), "is not the address of another host"),
    ],
)
def test_what_cannot_be_a_fault_is_refused(
    drill: str, fault: str, unit: str, peers: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        make_fault(drill, fault, unit, peers, "both")


@pytest.mark.parametrize(("seconds", "is_valid"), [(9, False), (10, True), (3600, True), (3601, False)])
def test_a_fault_has_a_time_after_which_it_heals(seconds: int, is_valid: bool) -> None:
    if is_valid:
        fault_plan.check_heal_after(seconds)
    else:
        with pytest.raises(InvalidOption, match="between 10 and 3600"):
            fault_plan.check_heal_after(seconds)


def test_the_packet_filter_lets_ssh_through_before_it_drops() -> None:
    rules = fault_plan.packet_filter(make_fault("d", "isolated", UNIT, PEERS, "both"), 2222).splitlines()
    found = [line.strip() for line in rules if line.endswith(("accept", "drop"))]
    assert found == [
        "tcp dport 2222 accept",
        "ip saddr { 192.0.2.1, 192.0.2.2 } drop",
        "ip6 saddr { 2001:db8::1 } drop",
        "tcp sport 2222 accept",
        "ip daddr { 192.0.2.1, 192.0.2.2 } drop",
        "ip6 daddr { 2001:db8::1 } drop",
    ]


@pytest.mark.parametrize(("direction", "has_input", "has_output"), [("in", True, False), ("out", False, True)])
def test_one_direction_drops_in_one_chain(direction: str, has_input: bool, has_output: bool) -> None:
    rules = fault_plan.packet_filter(make_fault("d", "isolated", UNIT, PEERS, direction), 22)
    assert ("saddr" in rules, "daddr" in rules) == (has_input, has_output)


@pytest.mark.parametrize("name", fault_plan.FAULTS)
def test_a_fault_is_read_back_from_its_marker_and_has_a_script_that_is_shell(name: str) -> None:
    fault = make_fault("d", name, UNIT, PEERS if name == "isolated" else (), "both")
    assert Fault.from_json(fault.to_json()) == fault
    subprocess.run(["sh", "-n"], input=fault_plan.heal_script(fault), text=True, check=True)


def test_the_order_of_peers_makes_no_other_fault() -> None:
    one = make_fault("d", "isolated", UNIT, PEERS, "both")
    assert one == make_fault("d", "isolated", UNIT, PEERS[::-1], "both")

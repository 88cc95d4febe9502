# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rehearsals without a Consul: what counts as isolated, which Consul may stand in, the configuration of it, and the units."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._consul.units import parse_bytes
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.archive import Meta
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal import launch
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal.errors import RehearsalRefused
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal.isolation_check import (
    problem_of_status,
    problem_of_tables,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal.server_config import server_config
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal.verdict import check_version
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.summary import Summary
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.tables import Table

ROOT = Path(__file__).resolve().parents[2]
INTERFACES = "Inter-|   Receive\n face |bytes    packets\n    lo:       0       0\n"
ROUTES = "Iface\tDestination\tGateway\n"
IPV6 = "00000000000000000000000000000001 80 00000000000000000000000000000000 00 0000 00000000 00000001 00000000 80200001       lo\n"
STATUS = "Name:\tconsul\nUid:\t61200\t61200\t61200\t61200\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n"


@pytest.mark.parametrize(
    ("interfaces", "routes", "ipv6", "problem"),
    [
        (INTERFACES, ROUTES, IPV6, None),
        (INTERFACES, ROUTES, "", None),
        (INTERFACES + "  eth0:  1 1\n", ROUTES, IPV6, "it has the network interface eth0"),
        (INTERFACES, ROUTES + "eth1\t00000000\t0100000A\n", "", "it has a route through eth1"),
        (INTERFACES, ROUTES, IPV6 + IPV6.replace("lo", "wg0"), "it has a route through wg0"),
    ],
)
def test_loopback_alone_is_isolated(interfaces: str, routes: str, ipv6: str, problem: str | None) -> None:
    assert problem_of_tables(interfaces, routes, ipv6) == problem


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("", "", None),
        ("61200\t61200\t61200\t61200", "61200\t0\t61200\t61200", "it runs as root"),
        ("CapPrm:\t0000000000000000", "CapPrm:\t0000000000001000", "it has capabilities"),
        ("CapEff:\t0000000000000000\n", "", "it has capabilities"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "it could gain rights by running a program with setuid"),
    ],
)
def test_a_process_with_rights_is_not_isolated(before: str, after: str, problem: str | None) -> None:
    assert problem_of_status(STATUS.replace(before, after)) == problem


def a_summary(version: str, *kinds: int) -> Summary:
    """Return the summary of a snapshot of a version with these record types."""
    tables = tuple(Table(str(kind), kind, 1, 1, True) for kind in kinds)
    meta = Meta.__new__(Meta)
    return Summary(meta, "dc1", (), (version,) if version else (), tables, "", ())


def test_a_consul_of_the_same_version_rehearses_without_a_word() -> None:
    assert check_version(a_summary("1.16.4", 2), "1.16.1") is None
    assert check_version(a_summary("", 2), "1.16.1") is None


def test_a_consul_of_another_version_rehearses_with_a_warning() -> None:
    warning = check_version(a_summary("1.8.7", 2), "1.19.0")
    assert warning is not None and warning.startswith("rehearsed in Consul 1.19; the servers of the snapshot run 1.8")
    assert check_version(a_summary("1.19.0", 2), "1.8.7") is not None


def test_an_older_consul_that_would_panic_is_refused() -> None:
    with pytest.raises(
        RehearsalRefused, match=r"is of Consul 1.19 and holds what Consul 1.8 does not restore \(SystemMetadata\)"
    ):
        check_version(a_summary("1.19.0", 2, 31), "1.8.7")
    with pytest.raises(RehearsalRefused, match="api-gateway"):
        check_version(replace(a_summary("1.19.0", 2), config_kinds={"api-gateway": 1}), "1.8.7")


def test_the_server_listens_nowhere_but_on_its_socket_and_has_no_token_of_its_own() -> None:
    config = json.loads(server_config("dc1", "rehearsal-1"))
    assert config["addresses"] == {"http": "unix://http.sock"} and config["bind_addr"] == "127.0.0.1"
    assert config["acl"] == {"enabled": False} and config["datacenter"] == "dc1"
    assert json.loads(server_config("Not A Datacenter", "n"))["datacenter"] == "rehearsal"
    assert json.loads(server_config("", "n"))["datacenter"] == "rehearsal"


@pytest.mark.parametrize(
    ("text", "count"),
    [("512M", 512 << 20), ("2G", 2 << 30), ("1.5g", 3 << 29), ("64 m", None), ("1048576", 1 << 20), ("2GiB", 2 << 30)],
)
def test_sizes_are_read_as_systemd_reads_them(text: str, count: int | None) -> None:
    if count is None:
        with pytest.raises(InvalidOption, match="memory_limit '64 m' is not a size"):
            parse_bytes(text, "memory_limit")
    else:
        assert parse_bytes(text, "memory_limit") == count


def a_launch(**changes: t.Any) -> launch.Launch:
    """Return a launch with some values."""
    values = {
        "binary": Path("/usr/bin/consul"),
        "config": "{}",
        "scratch": Path("/tmp"),
        "memory_bytes": 1 << 30,
        "time_s": 60.0,
    }
    return launch.Launch(**{**values, **changes})


def test_the_transient_unit_has_the_limits_and_no_shell_reads_what_is_given() -> None:
    command = launch.unit_command(a_launch(binary=Path("/opt/a b/consul")), "unit")
    assert "MemoryMax=1073741824" in command and "RuntimeMaxSec=120" in command and "PrivateNetwork=yes" in command
    assert command[-4:] == ["/opt/a b/consul", "agent", "-config-file", "server.json"]
    assert "/opt/a b" not in launch.SHELL_KEEPER


def test_the_units_of_the_guide_isolate_as_the_transient_unit_does() -> None:
    text = (ROOT / "docs" / "rehearsals.md").read_text(encoding="utf-8")
    (service,) = (block for block in re.findall(r"^```ini\n(.*?)^```", text, re.M | re.S) if "[Service]" in block)
    assert set(launch.UNIT_PROPERTIES) <= set(service.splitlines())

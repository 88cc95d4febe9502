# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Very many checks that become critical at once: told in few messages, all of them, once, with bounded memory."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

import pytest

from tests.lab.alerting import Instances, messages
from tests.lab.consul import Datacenter, eventually
from tests.lab.fill import register_checks
from tests.lab.http_service import HttpService

# CONSULOPS_STORM_CHECKS="500 5000" takes about half a minute more.
SIZES = [int(size) for size in os.environ.get("CONSULOPS_STORM_CHECKS", "500").split()]
PER_NODE = 50
TOLD_WITHIN_S = 60.0  # some seconds on a machine with nothing else to do
MOST_MESSAGES = 40
MEGABYTES_EACH = 0.03  # for each check beyond those of a small datacenter
BASE_MEGABYTES = 75.0


def told(hook: HttpService, kind: str) -> list[str]:
    """Return the key of each alert about a node of the test that was told, in order."""
    return [
        alert["incident"]
        for message in messages(hook)
        if message["kind"] == kind
        for alert in message["alerts"]
        if alert["rule"] == "check_status" and alert["node"].startswith("node-")
    ]


def peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = t.cast("re.Match[str]", re.search(r"VmHWM:\s+(\d+) kB", status))
    return int(found[1]) / 1024


@pytest.mark.parametrize("checks", SIZES)
def test_all_that_fails_at_once_is_told_in_few_messages(
    instances: Instances, datacenter: Datacenter, hook: HttpService, checks: int
) -> None:
    route = {"receiver": "hook", "group_by": ["datacenter"], "group_wait": "1s", "group_interval": "2s"}
    register_checks(datacenter, checks, per_node=PER_NODE)
    agent = instances.start(datacenter, name=f"storm-{checks}", options={"route": route})
    agent.wait("active")
    hook.reset()
    register_checks(datacenter, checks, per_node=PER_NODE, status="critical")
    eventually(lambda: len(told(hook, "firing")) >= checks, TOLD_WITHIN_S, "all are told")
    register_checks(datacenter, checks, per_node=PER_NODE)
    eventually(lambda: len(told(hook, "resolved")) >= checks, TOLD_WITHIN_S, "all ends are told")
    for kind in ("firing", "resolved"):
        keys = told(hook, kind)
        assert len(set(keys)) == len(keys) == checks
    assert set(told(hook, "firing")) == set(told(hook, "resolved"))
    assert len(messages(hook)) <= MOST_MESSAGES
    assert peak_megabytes(agent.process.pid) < BASE_MEGABYTES + MEGABYTES_EACH * checks
    assert not agent.status()["jobs"]["share"]["problem"] and agent.process.poll() is None

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshot agent rehearses: through the service, on its schedule, and says what came of it."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from pathlib import Path

import pytest
import requests

from tests.lab.agents import AgentProcess, Status
from tests.lab.consul import Datacenter, consul_binary, eventually
from tests.lab.craft import record
from tests.lab.keys import write
from tests.lab.rehearsing import RehearsalService
from tests.lab.restoring import with_records
from tests.lab.snapshotting import Snapshotters, a_policy, wait_for_policy

UNKNOWN_TYPE = 65


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory for snapshots."""
    made = tmp_path / "place"
    made.mkdir(mode=0o700)
    return made


def rehearsed(agent: AgentProcess, condition: t.Callable[[Status], t.Any], what: str) -> Status:
    """Wait until what is known of the policy's rehearsals fulfils a condition, and return it."""
    one = wait_for_policy(agent, "kept", lambda one: one["rehearsal"] and condition(one["rehearsal"]), what, 120)
    return t.cast("Status", one["rehearsal"])


def replace_newest(place: Path, scratch: Path, *extra: tuple[int, bytes]) -> None:
    """Put more records into the newest snapshot of a directory, and let its manifest describe the result."""
    (manifest,) = place.glob("*.snap.json")
    file = manifest.with_suffix("")
    bad = with_records(file, scratch / "bad.snap", *extra).read_bytes()
    described = json.loads(manifest.read_bytes())
    file.write_bytes(bad)
    manifest.write_text(json.dumps({**described, "size": len(bad), "sha256": hashlib.sha256(bad).hexdigest()}))


def test_the_newest_snapshot_is_rehearsed_by_the_service_and_one_that_does_not_restore_is_critical(
    snapshotters: Snapshotters, datacenter: Datacenter, place: Path, bundle: Path, tmp_path: Path
) -> None:
    write(datacenter, {"rehearsed/key": "value"})
    with RehearsalService(bundle, tmp_path / "s") as service:
        # Far enough apart for the second to find what was changed after the first.
        rehearse = {"interval": "15s", "service": str(service.path), "consul_binary": "/nonexistent/consul"}
        agent = snapshotters.start(datacenter, {"kept": a_policy(place, interval="365d", rehearse=rehearse)})
        found = rehearsed(agent, lambda one: one["at"], "the snapshot is rehearsed")
        assert found["ok"] is True and found["error"] == "" and 0 < found["restore_seconds"] < found["seconds"], found
        assert found["snapshot"] == next(place.glob("*.snap")).name and service.processes
        metrics = requests.get(f"{agent.url}/metrics", timeout=5).text
        assert re.search(r'^consulops_snapshot_rehearsal_ok\{policy="kept"\} 1\.0$', metrics, re.MULTILINE), metrics
        replace_newest(place, tmp_path, record(UNKNOWN_TYPE, {"Name": "of a later version"}))
        found = rehearsed(agent, lambda one: one["ok"] is False, "the next one fails")
        assert "does not restore: Consul" in found["error"] and f"msg type {UNKNOWN_TYPE}" in found["error"]
        job = agent.status()["jobs"]["rehearsal of kept"]
        assert job["problem"].startswith("the last rehearsal failed: ")
        # On a busy machine the next one may have begun.
        eventually(lambda: not list((agent.state / "rehearsal").iterdir()), what="no copy is left between two of them")
        agent.stop()
    kept = json.loads((agent.state / "rehearsal-kept.json").read_bytes())
    assert kept["is_ok"] is False and kept["good_at"] is not None, "a restart knows it"


def test_an_agent_without_the_service_says_why_it_cannot_rehearse_and_takes_snapshots_all_the_same(
    snapshotters: Snapshotters, datacenter: Datacenter, place: Path, tmp_path: Path
) -> None:
    rehearse = {"service": str(tmp_path / "nothing"), "consul_binary": str(tmp_path / "no-consul")}
    agent = snapshotters.start(datacenter, {"kept": a_policy(place, interval="365d", rehearse=rehearse)})
    found = rehearsed(agent, lambda one: one["error"], "it says why")
    assert found["at"] is None and found["ok"] is None and "there is no program" in found["error"]
    assert list(place.glob("*.snap"))


def test_a_service_that_is_not_isolated_refuses_and_one_whose_agent_is_gone_ends(
    snapshotters: Snapshotters, datacenter: Datacenter, place: Path, bundle: Path, tmp_path: Path
) -> None:
    with RehearsalService(bundle, tmp_path / "s", isolated=False) as service:
        rehearse = {"service": str(service.path), "consul_binary": consul_binary()}
        agent = snapshotters.start(datacenter, {"kept": a_policy(place, interval="365d", rehearse=rehearse)})
        found = rehearsed(agent, lambda one: one["error"], "it is refused")
        assert "it must run isolated, and it has the network interface" in found["error"]
    with RehearsalService(bundle, tmp_path / "t") as service:
        rehearse["service"] = str(service.path)
        other = snapshotters.start(
            datacenter, {"kept": a_policy(place, interval="365d", rehearse=rehearse)}, name="other"
        )
        eventually(lambda: service.processes, what="a rehearsal begins")
        assert other.stop() < 3
        eventually(lambda: service.processes[0].poll() is not None, what="the service ends")

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot agent as a real process: what it takes and keeps, where, for how long, and what it says about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests

from tests.lab.agents import run_command
from tests.lab.consul import Datacenter
from tests.lab.keys import write
from tests.lab.snapshotting import (
    Snapshotters,
    a_policy,
    litter,
    manifests,
    wait_for_snapshot,
)

HOUR_S = 3600.0


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories for snapshots."""
    made = tmp_path / "a", tmp_path / "b"
    for place in made:
        place.mkdir(mode=0o700)
    return made


def test_a_snapshot_is_kept_in_every_destination_and_shown(
    snapshotters: Snapshotters, datacenter: Datacenter, places: tuple[Path, Path], bundle: Path
) -> None:
    write(datacenter, {"shown/key": "value"})
    agent = snapshotters.start(datacenter, {"hourly": a_policy(*places)})
    status = wait_for_snapshot(agent, "hourly")
    assert status["newest"]["records"]["KVS"] >= 1 and status["next_slot"] == status["next_at"]
    for place in places:
        (manifest,) = manifests(place)
        assert manifest["policy"] == "hourly" and manifest["slot"].endswith(":00:00Z") and litter(place) == []
        assert (place / next(place.glob("*.snap")).name).stat().st_mode & 0o777 == 0o600
    assert list((agent.state / "waiting" / "hourly").iterdir()) == []
    page = requests.get(f"{agent.url}/", timeout=5).text
    assert "<h2>hourly</h2>" in page and str(places[0]) in page and "<script" not in page
    metrics = requests.get(f"{agent.url}/metrics", timeout=5).text
    assert re.search(r'^consulops_snapshot_age_seconds\{policy="hourly"\} [0-9.e-]+$', metrics, re.MULTILINE), metrics
    assert 'consulops_snapshot_destination_up{destination="b",policy="hourly"} 1.0' in metrics
    types = re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE)
    assert len(types) == len(set(types)), "no metric is there twice"
    listed = run_command(bundle, "snapshot", "list", places[0], "--verify", "--json")
    assert json.loads(listed.stdout)["snapshots"][0]["problem"] == ""
    assert agent.stop() < 3 and agent.process.returncode == 0

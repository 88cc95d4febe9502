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
from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.keys import delete, write
from tests.lab.snapshotting import (
    Snapshotters,
    a_policy,
    litter,
    manifests,
    policy_status,
    wait_for_policy,
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


def test_slot_after_slot_is_taken_once_and_the_retention_keeps_what_it_says(
    snapshotters: Snapshotters, datacenter: Datacenter, places: tuple[Path, Path]
) -> None:
    destinations = {"few": {"url": str(places[0]), "keep_last": 2}, "many": {"url": str(places[1])}}
    agent = snapshotters.start(datacenter, {"fast": a_policy(interval="1s", destinations=destinations)})
    eventually(lambda: len(manifests(places[1])) >= 5, what="five snapshots")
    agent.stop()
    slots = [one["slot"] for one in manifests(places[1])]
    assert len(slots) == len(set(slots))
    assert [one["slot"] for one in manifests(places[0])][-2:] == slots[-2:] and len(manifests(places[0])) <= 3
    assert litter(places[0]) == litter(places[1]) == []


def test_consuls_check_is_critical_when_the_newest_snapshot_is_older_than_the_objective(
    snapshotters: Snapshotters, datacenter: Datacenter, places: tuple[Path, Path]
) -> None:
    place = places[0]
    agent = snapshotters.start(
        datacenter,
        {"objective": a_policy(place, interval="1s", objective="3s")},
        service={"check_ttl": "3s"},
    )

    def work() -> tuple[str, str]:
        found = datacenter.get("/v1/health/checks/consul-snapshot")
        return next(((one["Status"], one["Output"]) for one in found if one["CheckID"].endswith("work")), ("", ""))

    eventually(lambda: manifests(place), what="there is a snapshot")
    eventually(lambda: work()[0] == "passing", what="the check passes")
    place.rename(place.with_name("away"))
    status, output = eventually(lambda: work() if work()[0] == "critical" else None, what="the check is critical")
    assert "the newest verified snapshot is" in output and "the objective is 3s: a: " in output
    assert requests.get(f"{agent.url}/policies", timeout=5).json()["policies"]["objective"]["critical"] is True
    place.with_name("away").rename(place)
    eventually(lambda: work()[0] == "passing", what="the check passes again")
    assert status == "critical"


def test_every_host_takes_its_own_without_a_lease(
    snapshotters: Snapshotters, datacenter: Datacenter, places: tuple[Path, Path]
) -> None:
    policy = {"interval": "1h", "destinations": {"local": {"url": str(places[0])}}}
    agent = snapshotters.start(datacenter, {"own": policy})
    status = wait_for_snapshot(agent, "own")
    (manifest,) = manifests(places[0])
    assert status["placement"] == "each" and manifest["stale"] is True and agent.status()["leases"] == {}


def test_after_an_outage_the_missed_slots_are_counted_and_the_last_one_is_taken(
    snapshotters: Snapshotters, datacenter: Datacenter, places: tuple[Path, Path]
) -> None:
    policies = {"outage": a_policy(places[0])}
    agent = snapshotters.start(datacenter, policies, clock=True)
    wait_for_snapshot(agent, "outage")
    agent.set_clock(5 * HOUR_S)
    status = wait_for_policy(agent, "outage", lambda one: one["missed_slots"], "the last slot is taken")
    assert status["missed_slots"] == 4 and len(manifests(places[0])) == 2
    agent.stop()
    # Another instance, with the clock as it is: the slots of the first one lie ahead and do not stop it.
    again = snapshotters.start(datacenter, policies)
    assert wait_for_snapshot(again, "outage")["missed_slots"] == 0


def test_the_commands(
    snapshotters: Snapshotters, datacenter: Datacenter, places: tuple[Path, Path], tmp_path: Path, bundle: Path
) -> None:
    config = snapshotters.config(datacenter, {"hand": a_policy(*places), "other": a_policy(places[1])})
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    assert run_command(bundle, "snapshot", "check-config", path).returncode == 0
    once = run_command(bundle, "snapshot", "once", "hand", "--config", path)
    assert once.returncode == 0 and "  a: stored" in once.stdout, once
    (manifest,) = manifests(places[0])
    assert manifest["policy"] == "hand" and manifest["slot"] == "", "it belongs to no slot"
    seen = run_command(bundle, "snapshot", "status", "--config", path, "--json")
    assert json.loads(seen.stdout)["policies"]["hand"]["destinations"]["b"]["snapshots"] == 1
    assert run_command(bundle, "snapshot", "once", "none", "--config", path).returncode == 2
    agent = snapshotters.start(datacenter, {"hand": a_policy(*places)})
    wait_for_policy(agent, "hand", lambda one: one["destinations"]["a"]["snapshots"] == 2, "the slot is taken")
    lines = run_command(bundle, "snapshot", "status", "--agent", agent.url).stdout.splitlines()
    assert lines[0].split() == ["POLICY", "STATE", "NEWEST", "OBJECTIVE", "SIZE", "NEXT"]
    assert lines[1].split()[:2] == ["hand", "ok"]
    places[0].rename(tmp_path / "away")
    failed = run_command(bundle, "snapshot", "once", "--config", path)
    assert failed.returncode == 4 and "hand, a: The directory" in failed.stderr
    assert run_command(bundle, "snapshot", "check-config", path).returncode == 2


def test_a_reload_leaves_policies_alone_that_did_not_change(
    snapshotters: Snapshotters, datacenter: Datacenter, places: tuple[Path, Path]
) -> None:
    policies = {"same": a_policy(places[0]), "changed": a_policy(places[1])}
    agent = snapshotters.start(datacenter, policies)
    for name in policies:
        wait_for_snapshot(agent, name)
    before = agent.status()["jobs"]
    changed = a_policy(places[1], objective="9h")
    agent.configure(snapshotters.config(datacenter, {"same": policies["same"], "changed": changed}))
    agent.reload()
    wait_for_policy(agent, "changed", lambda one: one["objective_s"] == 9 * HOUR_S, "it is reloaded")
    after = agent.status()["jobs"]
    assert after["policy same"]["since"] == before["policy same"]["since"]
    assert len(manifests(places[1])) == 1 and policy_status(agent, "same")["newest"]


def test_what_the_agent_publishes_is_judged_and_shown_without_it(
    snapshotters: Snapshotters, own_lab: Lab, places: tuple[Path, Path], bundle: Path
) -> None:
    """From a policy in order to one whose destination is gone, whose agent is gone, and whose status was edited."""
    datacenter = own_lab.datacenter("published")  # in a shared one agents of other tests have published too

    def check(*names: str) -> tuple[list[str], list[str]]:
        result = run_module(
            "consul_alert_check",
            url=datacenter.url,
            token=datacenter.token,
            fail_on="never",
            rules=[{"rule": f"snapshot_{name}"} for name in names],
        )
        findings = [one["check"] or one["summary"] for one in result["findings"] if one["rule"].startswith("snapshot_")]
        return findings, [one["reason"] for one in result["unknown"] if one["what"] == "snapshot policies"]

    def show(*more: str) -> tuple[list[str], str]:
        environment = {"CONSUL_HTTP_TOKEN": datacenter.token or "", "CONSUL_HTTP_ADDR": datacenter.url}
        done = run_command(bundle, "snapshot", "status", *more, environment=environment)
        return done.stdout.splitlines()[1].split()[:2], done.stderr

    assert check() == ([], []), "without an entry nothing is read"
    agent = snapshotters.start(datacenter, {"daily": a_policy(*places)}, name="good")
    folder = "/v1/kv/consulops/snapshots"
    eventually(lambda: datacenter.get(f"{folder}/good/daily/status?raw")["newest"], what="its snapshot is published")
    assert check("age", "unverified", "rehearsal_overdue") == ([], [])
    assert show("--from-consul", "--name", "good") == (["daily", "ok"], "")
    broken = {"daily": a_policy(places[0], places[0].with_name("nowhere"))}
    snapshotters.start(datacenter, broken, name="broken")
    eventually(lambda: datacenter.get(f"{folder}/broken/daily/status?raw"), what="its status is published")
    assert check("unverified") == (["snapshot/broken/daily/b/problem"], [])
    agent.stop()
    columns, message = show("--agent", agent.url, "--name", "broken")
    assert columns == ["daily", "warning"] and "Shown is what its instances published" in message
    write(datacenter, {"consulops/snapshots/good/daily/status": "edited"})
    findings, (reason,) = check("age")
    assert findings == [] and "does not hold what the snapshot agent writes" in reason
    delete(datacenter, *(f"consulops/snapshots/{name}/daily/status" for name in ("good", "broken")))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drills whose state is saved after the load, and restored into a Consul that can reach nothing."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import GuardRefused, InvalidOption

from tests.lab import keys
from tests.lab.consul import ROOT, Datacenter, Lab, consul_binary
from tests.lab.drilling import events, lines_so_far, run_drill, verdicts

DRILL = yaml.safe_load((ROOT / "roles/consul_drill/files/drills/snapshot-restores.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def saved(own_lab: Lab) -> Datacenter:
    """One server with ACLs, of which a snapshot needs a management token."""
    return own_lab.datacenter("saved", acl=True)


def options(at: Datacenter, directory: Path, **more: t.Any) -> dict[str, t.Any]:
    (directory / "snapshots").mkdir(exist_ok=True)
    token = directory / "token"
    token.write_text(str(at.token), encoding="ascii")
    given = {"url": at.url, "token_file": str(token), "confirm": at.name, "drill": DRILL, "duration": "2s"}
    paths = {"history": str(directory / "h.jsonl"), "snapshot_path": str(directory / "snapshots")}
    return {**given, **paths, "consul_binary": consul_binary(), **more}


def test_a_restored_snapshot_has_everything_that_was_acknowledged(saved: Datacenter, tmp_path: Path) -> None:
    result = run_drill(options(saved, tmp_path))
    assert verdicts(result) == {"history": "met", "snapshot_restores": "met"}, result["judgement"]["expectations"]
    (rehearsed,) = events(tmp_path / "h.jsonl", "snapshot_rehearsed")
    added = {line["value"] for line in lines_so_far(tmp_path / "h.jsonl") if line.get("f") == "add"}
    assert rehearsed["outcome"] == "restored" and set(rehearsed["added"]) == added and len(added) > 20
    # One was taken before the drill, too.
    files = sorted((tmp_path / "snapshots").glob("*.snap"))
    assert len(files) == 2 and {result["snapshot"], rehearsed["snapshot"]} == set(map(str, files))
    assert keys.read(saved, "consulops/drill/") == {}


def test_a_consul_that_does_not_start_says_nothing_about_the_snapshot(saved: Datacenter, tmp_path: Path) -> None:
    result = run_drill(options(saved, tmp_path, consul_binary="/bin/false"))
    assert verdicts(result) == {"history": "met", "snapshot_restores": "unknown"}
    assert "Not known whether the snapshot restores: " in str(result["judgement"]["expectations"])
    assert keys.read(saved, "consulops/drill/") == {}


def test_what_is_missing_is_refused_before_anything_is_written(saved: Datacenter, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="it needs snapshot_path"):
        run_drill(options(saved, tmp_path, snapshot_path=None))
    with pytest.raises(GuardRefused, match="no-such-consul"):
        run_drill(options(saved, tmp_path, consul_binary="no-such-consul"))
    assert keys.read(saved, "consulops/drill/") == {}

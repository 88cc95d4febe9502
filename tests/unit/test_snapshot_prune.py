# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops snapshot prune`` on a directory: what it deletes, what it says, and what it never touches."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.manifest import parse
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stored_snapshots import list_store, upload
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.errors import AlreadyStored
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.local_directory import LocalDirectory

from tests.lab.snapshot_files import NOON, manifest_of, written

DAY_S = 86400.0


@pytest.fixture
def store(tmp_path: Path) -> LocalDirectory:
    (tmp_path / "store").mkdir()
    return LocalDirectory(tmp_path / "store")


def put(store: LocalDirectory, tmp_path: Path, name: str, days_ago: int, **changes: t.Any) -> None:
    data = name.encode()
    upload(store, written(tmp_path, data), name, manifest_of(data, time=NOON - days_ago * DAY_S, **changes))


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "store").iterdir())


def test_a_dry_run_says_why_each_one_stays_and_deletes_nothing(
    store: LocalDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(4):
        put(store, tmp_path, f"day{day}.snap", day)
    put(store, tmp_path, "before-restore.snap", 9, safety=True)
    before = names(tmp_path)
    words = ["snapshot", "prune", str(tmp_path / "store"), "--keep-daily", "2", "--dry-run"]
    assert main(words) == 0 and names(tmp_path) == before
    lines = capsys.readouterr().out.splitlines()
    assert "keep" in lines[1] and lines[1].endswith("daily, the newest verified snapshot")
    assert "day2.snap" in lines[3] and lines[3].endswith("would go")
    assert lines[5].endswith("safety snapshot of a restore") and lines[6] == "2 snapshots would go, 3 kept"
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] and [one["name"] for one in result["deleted"]] == ["day2.snap", "day3.snap"]


def test_it_deletes_the_object_and_the_manifest_and_a_second_run_changes_nothing(
    store: LocalDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(3):
        put(store, tmp_path, f"day{day}.snap", day)
    written(tmp_path / "store", b"of another program", "foreign.snap")
    written(tmp_path / "store", b"notes", "README")
    words = ["snapshot", "prune", str(tmp_path / "store"), "--keep-last", "1", "--json"]
    assert main(words) == 0 and json.loads(capsys.readouterr().out)["changed"]
    assert names(tmp_path) == ["README", "day0.snap", "day0.snap.json", "foreign.snap"]
    assert main(words) == 0 and not json.loads(capsys.readouterr().out)["changed"]


def test_more_than_the_guard_allows_is_refused(
    store: LocalDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(4):
        put(store, tmp_path, f"day{day}.snap", day)
    before = names(tmp_path)
    words = ["snapshot", "prune", str(tmp_path / "store"), "--keep-last", "1", "--max-deletes"]
    assert main([*words, "2"]) == 3 and names(tmp_path) == before
    assert "3 snapshots of" in capsys.readouterr().err
    assert main([*words, "3"]) == 0 and names(tmp_path) == ["day0.snap", "day0.snap.json"]


def test_nothing_to_keep_is_refused(store: LocalDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, tmp_path, "day0.snap", 0)
    assert main(["snapshot", "prune", str(tmp_path / "store")]) == 2
    assert "Say what to keep" in capsys.readouterr().err


def test_policy_and_slot_are_in_the_manifest_of_the_agent_only(store: LocalDirectory, tmp_path: Path) -> None:
    manifest = manifest_of(b"x", policy="hourly", slot="2026-11-28T15:00:00Z")
    assert parse(manifest.as_bytes(), "x") == manifest
    assert "policy" not in manifest_of(b"x").as_dict()


def test_an_upload_that_was_cut_off_before_its_manifest_is_completed(store: LocalDirectory, tmp_path: Path) -> None:
    file, manifest = written(tmp_path, b"data"), manifest_of(b"data")
    store.create("a.snap", file)
    assert list_store(store)[0].problem
    upload(store, file, "a.snap", manifest)
    assert [(one.name, one.problem) for one in list_store(store)] == [("a.snap", "")]
    with pytest.raises(AlreadyStored):
        upload(store, file, "a.snap", manifest)
    with pytest.raises(AlreadyStored):
        upload(store, written(tmp_path, b"other"), "a.snap", manifest_of(b"other"))

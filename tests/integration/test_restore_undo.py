# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back from a restore of prefixes: the undo file, and the plan that a restore is bound to."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.lab import keys
from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, Lab
from tests.lab.faults import Proxy
from tests.lab.restoring import refused, restore, save
from tests.lab.tables import tables

RAW = "bin/%ff"  # a key that is not UTF-8, as it stands in a path


@pytest.fixture(scope="module")
def datacenter(shared_lab: Lab) -> Datacenter:
    """One server for this file; each test has a prefix of its own."""
    return shared_lab.datacenter("undo")


def rows(datacenter: Datacenter, prefix: str) -> list[str]:
    """Return the keys below a prefix with values and flags, byte for byte, from a snapshot."""
    return [row for row in tables(datacenter.snapshot()).get("KVS", []) if f"Key: '{prefix}" in row]


def undo_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("undo-restore-*.snap"))


def change(datacenter: Datacenter, prefix: str) -> None:
    """Overwrite, delete and create keys after a snapshot of the keys that ``create`` made."""
    keys.write(datacenter, {f"{prefix}a": (b"newer", 7), f"{prefix}extra": "not in the snapshot"})
    keys.delete(datacenter, f"{prefix}gone")
    datacenter.put(f"/v1/kv/{prefix}{RAW}", b"\x01newer")
    datacenter.request("DELETE", f"/v1/kv/{prefix}{RAW}-gone")


def create(datacenter: Datacenter, prefix: str) -> None:
    keys.write(datacenter, {f"{prefix}a": (b"old", 3), f"{prefix}gone": "back", f"{prefix}same": "same"})
    datacenter.put(f"/v1/kv/{prefix}{RAW}?flags=2", b"\xff\x00")
    datacenter.put(f"/v1/kv/{prefix}{RAW}-gone", b"\xfe")


@pytest.mark.parametrize("prune", [True, False])
def test_an_undo_file_brings_back_exactly_the_keys_before_the_restore(
    datacenter: Datacenter, tmp_path: Path, prune: bool
) -> None:
    prefix = f"exact-{prune}/"
    create(datacenter, prefix)
    path = save(datacenter, tmp_path / "good.snap")
    change(datacenter, prefix)
    before = rows(datacenter, prefix)
    safety = tmp_path / "safety"
    safety.mkdir()
    options = {"prefixes": [prefix], "prune": prune, "safety_path": safety}
    done = restore(datacenter, path, **options)
    restored = rows(datacenter, prefix)
    assert restored != before and (prune is (f"{prefix}extra" not in keys.read(datacenter)))
    undo = Path(done["undo"])
    assert undo_files(safety) == [undo] and undo.stat().st_mode & 0o777 == 0o600

    keys.write(datacenter, {f"{prefix}later": "written by others"})
    undone = restore(datacenter, undo, **options)
    assert undone["prefixes"][0]["deleted"] == 2  # the keys that the restore had created
    assert keys.read(datacenter).pop(f"{prefix}later")
    keys.delete(datacenter, f"{prefix}later")
    assert rows(datacenter, prefix) == before
    again = restore(datacenter, undo, **options)
    assert again["changed"] is False and "undo" not in again

    restore(datacenter, Path(undone["undo"]), **options)
    assert rows(datacenter, prefix) == restored


def test_an_undo_file_is_an_intact_snapshot_that_never_counts_as_a_backup(
    datacenter: Datacenter, tmp_path: Path
) -> None:
    create(datacenter, "file/")
    path = save(datacenter, tmp_path / "good.snap")
    change(datacenter, "file/")
    undo = Path(restore(datacenter, path, prefixes=["file/"])["undo"])
    listed = run_module("consul_snapshot_info", path=tmp_path, verify=True)["snapshots"]
    assert {Path(entry["path"]).name: (entry["intact"], entry["datacenter"]) for entry in listed} == {
        "good.snap": (True, "undo"),
        undo.name: (True, "undo"),
    }
    fresh = run_module("consul_snapshot", path=tmp_path, url=datacenter.url, max_age="1h", check=True)
    assert fresh["path"] == str(path)
    path.unlink()
    assert run_module("consul_snapshot", path=tmp_path, url=datacenter.url, max_age="1h", check=True)["changed"]


def test_check_mode_and_a_restore_without_changes_write_no_undo_file(datacenter: Datacenter, tmp_path: Path) -> None:
    create(datacenter, "check/")
    path = save(datacenter, tmp_path / "good.snap")
    assert restore(datacenter, path, prefixes=["check/"])["changed"] is False
    change(datacenter, "check/")
    planned = restore(datacenter, path, prefixes=["check/"], check=True)
    assert planned["changed"] and "undo" not in planned
    assert not undo_files(tmp_path)
    message = refused(datacenter, path, prefixes=["check/"], safety_path=tmp_path / "nowhere")["msg"]
    assert "for the undo file does not exist: create it." in message
    assert restore(datacenter, path, prefixes=["check/"], check=True)["prefixes"] == planned["prefixes"]


def test_an_undo_file_is_never_restored_as_a_whole_snapshot_not_even_by_consul(
    datacenter: Datacenter, tmp_path: Path
) -> None:
    create(datacenter, "whole/")
    path = save(datacenter, tmp_path / "good.snap")
    change(datacenter, "whole/")
    undo = Path(restore(datacenter, path, prefixes=["whole/"])["undo"])
    before = tables(datacenter.snapshot())
    message = refused(datacenter, undo, accept=["other_datacenter"])["msg"]
    assert "is the undo file of a restore of keys and not a whole snapshot" in message and "'whole/'" in message
    with pytest.raises(requests.HTTPError) as caught:
        datacenter.request("PUT", "/v1/snapshot", data=undo.read_bytes())
    assert "unsupported snapshot version" in caught.value.response.text
    assert tables(datacenter.snapshot()) == before


def test_the_undo_file_holds_what_another_client_wrote_while_the_restore_ran(
    datacenter: Datacenter, lab: Lab, tmp_path: Path
) -> None:
    keys.write(datacenter, {"busy/a": "old", "busy/b": "old"})
    path = save(datacenter, tmp_path / "good.snap")
    keys.write(datacenter, {"busy/a": "newer", "busy/b": "newer"})
    others = iter(["written while the restore ran"])

    def write_once(_method: str, found: str) -> None:
        value = next(others, None) if found.startswith("/v1/txn") else None
        if value is not None:
            keys.write(datacenter, {"busy/a": value})

    with Proxy(datacenter.url, lab.address()) as proxy:
        proxy.before_forward = write_once
        done = restore(proxy.url, path, prefixes=["busy/"])
    assert keys.read(datacenter, "busy/") == {"busy/a": (b"old", 0), "busy/b": (b"old", 0)}
    assert undo_files(tmp_path) == [Path(done["undo"])]
    restore(datacenter, Path(done["undo"]), prefixes=["busy/"])
    assert keys.read(datacenter, "busy/") == {"busy/a": (b"written while the restore ran", 0), "busy/b": (b"newer", 0)}


def test_a_restore_of_keys_that_loses_its_answer_names_the_undo_file(
    datacenter: Datacenter, lab: Lab, tmp_path: Path
) -> None:
    create(datacenter, "lost/")
    path = save(datacenter, tmp_path / "good.snap")
    change(datacenter, "lost/")
    before = rows(datacenter, "lost/")
    with Proxy(datacenter.url, lab.address(), "lose", "/v1/txn", "PUT") as proxy:
        failed = refused(proxy.url, path, prefixes=["lost/"])
    assert rows(datacenter, "lost/") != before, "the transaction was applied, and only its answer is lost"
    undo = undo_files(tmp_path)[0]
    assert failed["undo"] == str(undo) and f"What was there before is in {undo}" in failed["msg"]
    restore(datacenter, undo, prefixes=["lost/"])
    assert rows(datacenter, "lost/") == before


def test_a_confirmed_plan_is_the_only_one_that_is_done(datacenter: Datacenter, tmp_path: Path) -> None:
    keys.write(datacenter, {"plan/a": "old"})
    path = save(datacenter, tmp_path / "good.snap")
    keys.write(datacenter, {"plan/a": "newer", "plan/extra": "1"})
    options = {"prefixes": ["plan/"], "prune": True}
    digest = restore(datacenter, path, check=True, **options)["plan_digest"]
    keys.write(datacenter, {"plan/unseen": "not in the plan"})
    message = refused(datacenter, path, plan_digest=digest, **options)["msg"]
    assert "is not what was confirmed" in message and len(keys.read(datacenter, "plan/")) == 3
    assert not undo_files(tmp_path)
    keys.delete(datacenter, "plan/unseen")
    keys.write(datacenter, {"plan/a": "newest"})  # overwritten all the same: what is written stays as confirmed
    assert restore(datacenter, path, plan_digest=digest, **options)["changed"]
    assert keys.read(datacenter, "plan/") == {"plan/a": (b"old", 0)}


def test_a_snapshot_that_was_replaced_after_the_confirmation_is_not_sent(
    datacenter: Datacenter, tmp_path: Path
) -> None:
    path = save(datacenter, tmp_path / "good.snap")
    keys.write(datacenter, {"sent/a": "1"})
    other = save(datacenter, tmp_path / "other.snap")
    keys.write(datacenter, {"sent/b": "1"})
    digest = restore(datacenter, path, check=True)["plan_digest"]
    other.replace(path)
    assert "is not what was confirmed" in refused(datacenter, path, plan_digest=digest)["msg"]
    assert set(keys.read(datacenter, "sent/")) == {"sent/a", "sent/b"}
    assert not list(tmp_path.glob("before-restore-*"))

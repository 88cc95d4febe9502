# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store in a local directory, and the snapshots of a store."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption, LocalFailure
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import manifest as manifests
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import stored_snapshots
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.manifest import Encryption
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.errors import (
    AlreadyStored,
    NotStored,
    StoredWrong,
    StoreError,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.local_directory import LocalDirectory
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.open_store import (
    is_store_url,
    open_store,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store import (
    Store,
    StoredObject,
    StoreOptions,
)

from tests.lab.snapshot_files import NOON, manifest_of, written

PACKAGE = "ansible_collections.consulops.failover.plugins.module_utils"
DATA = os.urandom(700_000)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    place.mkdir()
    return place


@pytest.fixture
def store(place: Path) -> Store:
    return open_store(StoreOptions(str(place)))


def contents(store: Store, name: str) -> bytes:
    with store.open(name) as source:
        return b"".join(iter(lambda: source.read(100_000), b""))


def test_an_object_is_stored_whole_and_for_its_owner_only(store: Store, place: Path, tmp_path: Path) -> None:
    store.create("a.snap", written(tmp_path, DATA))
    assert contents(store, "a.snap") == DATA
    assert [found.name for found in store.objects()] == ["a.snap"]
    assert stat.S_IMODE((place / "a.snap").stat().st_mode) == 0o600


@pytest.mark.parametrize("has_links", [True, False])
def test_an_object_is_never_overwritten(
    store: Store, place: Path, tmp_path: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_links:

        def refuse(*_args: t.Any) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    store.create("a.snap", written(tmp_path, DATA))
    with pytest.raises(AlreadyStored, match="exists already"):
        store.create("a.snap", written(tmp_path, b"other"))
    assert contents(store, "a.snap") == DATA
    assert [path.name for path in place.iterdir()] == ["a.snap"]


def test_a_write_that_fails_leaves_nothing(store: Store, place: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="reading"):
        store.create("a.snap", tmp_path / "absent")
    assert list(place.iterdir()) == []


def test_deleting_what_is_not_there_is_no_error(store: Store, tmp_path: Path) -> None:
    store.create("a.snap", written(tmp_path, DATA))
    store.delete("a.snap")
    store.delete("a.snap")
    assert list(store.objects()) == []
    with pytest.raises(NotStored, match="no file a.snap"):
        contents(store, "a.snap")


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a\nb"])
def test_a_name_is_one_visible_file_name(store: Store, name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be the name"):
        store.create(name, written(tmp_path, b""))


def test_only_files_of_the_directory_are_objects(store: Store, place: Path) -> None:
    (place / "directory").mkdir()
    (place / ".hidden").touch()
    assert list(store.objects()) == []


def test_a_directory_that_does_not_exist_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="create it"):
        open_store(StoreOptions(str(tmp_path / "absent")))


def test_a_directory_that_cannot_be_looked_at_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one below a directory that may not be entered, or on a file system that is gone."""

    def refuse(*_args: t.Any, **_options: t.Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(LocalFailure, match="opening the directory .*: Permission denied"):
        open_store(StoreOptions(str(tmp_path)))


def test_what_a_url_is() -> None:
    assert is_store_url("s3://bucket/prefix/") and is_store_url("gs://b") and is_store_url("az://c/p")
    assert not is_store_url("/var/backups/a:b") and not is_store_url("relative/s3")
    with pytest.raises(InvalidOption, match="s3://, gs://, az://"):
        is_store_url("ftp://host/path")


def test_an_uploaded_snapshot_is_listed_and_fetched(store: Store, tmp_path: Path) -> None:
    manifest = manifest_of(DATA)
    assert stored_snapshots.upload(store, written(tmp_path, DATA), "a.snap", manifest).problem == ""
    [found] = stored_snapshots.list_store(store)
    assert (found.name, found.manifest, found.problem, found.time) == ("a.snap", manifest, "", NOON)
    copy = _Copy()
    stored_snapshots.fetch(store, found, copy)
    assert copy.data == DATA


def test_an_encrypted_snapshot_has_its_own_name_size_and_digest(store: Store, tmp_path: Path) -> None:
    inner = manifest_of(b"the snapshot")
    outer = manifest_of(DATA)
    encryption = Encryption("age", ("age1abc",), outer.size, outer.sha256)
    manifest = replace(inner, encryption=encryption)
    stored_snapshots.upload(store, written(tmp_path, DATA), "a.snap", manifest)
    [found] = stored_snapshots.list_store(store)
    assert found.manifest == manifest and found.object is not None
    assert (found.name, found.object.name, found.manifest_name) == ("a.snap", "a.snap.age", "a.snap.json")
    assert found.manifest is not None and found.manifest.as_dict()["format"] == 2


def test_what_came_back_wrong_gets_no_manifest(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalDirectory, "delete", _denied)
    with pytest.raises(StoredWrong, match="gave back a.snap with 700000 bytes .* Delete the object"):
        stored_snapshots.upload(store, written(tmp_path, DATA), "a.snap", manifest_of(DATA[1:]))
    [found] = stored_snapshots.list_store(store)
    assert found.manifest is None and "no manifest" in found.problem
    assert stored_snapshots.newest([found]) is None


def test_what_came_back_wrong_is_deleted_again(store: Store, place: Path, tmp_path: Path) -> None:
    """Otherwise every further attempt leaves an object."""
    for _attempt in range(2):
        with pytest.raises(StoredWrong, match="It was deleted again"):
            stored_snapshots.upload(store, written(tmp_path, DATA), "a.snap", manifest_of(DATA[1:]))
        assert list(place.iterdir()) == []


def test_an_upload_needs_no_room_for_temporary_files(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits on a full disk must be able to leave it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    stored_snapshots.upload(store, written(tmp_path, DATA), "a.snap", manifest_of(DATA))
    assert [one.problem for one in stored_snapshots.list_store(store)] == [""]


def _denied(_store: LocalDirectory, name: str) -> None:
    raise StoreError(f"deleting {name}: Permission denied.")


def test_a_changed_object_is_noticed(store: Store, place: Path, tmp_path: Path) -> None:
    stored_snapshots.upload(store, written(tmp_path, DATA), "a.snap", manifest_of(DATA))
    (place / "a.snap").write_bytes(DATA[:-1] + b"!!")
    assert "its manifest says 700000" in stored_snapshots.list_store(store)[0].problem
    (place / "a.snap").write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    [found] = stored_snapshots.list_store(store)
    assert found.problem == ""
    with pytest.raises(StoredWrong, match="damaged"):
        stored_snapshots.fetch(store, found, _Copy())


def test_a_lost_object_and_a_broken_manifest_are_problems(store: Store, place: Path, tmp_path: Path) -> None:
    for name in ("a.snap", "b.snap"):
        stored_snapshots.upload(store, written(tmp_path, DATA), name, manifest_of(DATA))
    (place / "a.snap").unlink()
    (place / "b.snap.json").write_text("{}")
    by_name = {found.name: found for found in stored_snapshots.list_store(store)}
    assert "only its manifest is left" in by_name["a.snap"].problem
    assert "not a snapshot manifest" in by_name["b.snap"].problem
    with pytest.raises(NotStored, match="no usable snapshot"):
        stored_snapshots.fetch(store, by_name["a.snap"], _Copy())


def test_manifests_that_are_known_are_not_read_again(store: Store, place: Path, tmp_path: Path) -> None:
    manifest = manifest_of(DATA)
    stored_snapshots.upload(store, written(tmp_path, DATA), "a.snap", manifest)
    (place / "a.snap.json").write_text("{}")
    assert stored_snapshots.list_store(store, {"a.snap": manifest})[0].problem == ""


def test_the_snapshot_of_a_time_is_the_newest_one_before_it(store: Store, tmp_path: Path) -> None:
    for hour in range(3):
        manifest = manifest_of(DATA, time=NOON + 3600 * hour, safety=hour == 2)
        stored_snapshots.upload(store, written(tmp_path, DATA), f"{hour}.snap", manifest)
    entries = stored_snapshots.list_store(store)
    assert [found.name for found in entries] == ["2.snap", "1.snap", "0.snap"]

    def name(**which: t.Any) -> str | None:
        found = stored_snapshots.newest(entries, **which)
        return found.name if found else None

    assert name() == "1.snap"  # the safety snapshot is of a state that was replaced
    assert name(at=NOON + 3599) == "0.snap"
    assert name(at=NOON) == "0.snap"
    assert name(at=NOON - 1) is None
    assert name(datacenter="dc2") is None


def test_a_manifest_of_a_newer_version_is_not_guessed() -> None:
    text = manifest_of(b"").as_bytes().replace(b'"format": 1', b'"format": 3')
    with pytest.raises(LocalFailure, match="newer version"):
        manifests.parse(text, "here")


def test_the_store_of_a_directory_is_a_store(place: Path) -> None:
    store: Store = LocalDirectory(place)
    assert store.shown == str(place)
    assert isinstance(StoredObject("a", 1, 2.0).size, int)


def test_only_who_needs_the_optional_libraries_imports_them() -> None:
    program = (
        f"import sys, {PACKAGE}._tasks.snapshot, {PACKAGE}._tasks.snapshot_info, {PACKAGE}._tasks.store_test\n"
        "print(sorted({'obstore', 'pyrage'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.PIPE)
    assert done.stdout.strip() == b"[]"


class _Copy:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

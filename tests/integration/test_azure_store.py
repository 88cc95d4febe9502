# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Azure Blob Storage: Azurite, where ``AZURITE_BIN`` or PATH has it (``npm install azurite``, a minute and 360 MB)."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import stored_snapshots
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.errors import (
    AlreadyStored,
    NotStored,
    StoreDenied,
    StoreError,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.object_store import (
    WHOLE_MAX,
    open_object_store,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.probe import RIGHTS, probe
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store import Store, StoreOptions

from tests.lab.object_stores import Azurite
from tests.lab.snapshot_files import manifest_of, written
from tests.lab.tls import Authority

PROGRAM = os.environ.get("AZURITE_BIN") or shutil.which("azurite-blob")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Azurite, named by AZURITE_BIN=/path/to/azurite-blob")


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> t.Iterator[Azurite]:
    assert PROGRAM is not None
    server = Azurite(PROGRAM, tmp_path_factory.mktemp("stores") / "azurite", authority)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def container(azurite: Azurite) -> str:
    return azurite.bucket("snapshots")


def opened(azurite: Azurite, container: str, place: str, user: str = "owner") -> Store:
    return open_object_store(
        StoreOptions(
            f"az://{container}/{place}",
            account=azurite.ACCOUNT,
            endpoint=azurite.url,
            ca_file=azurite.ca_file,
            credentials_file=azurite.credentials(user),
        ),
        {},
    )


@pytest.mark.parametrize("size", [300_000, 3 * WHOLE_MAX + 7])
def test_a_snapshot_is_stored_and_fetched_and_never_overwritten(
    azurite: Azurite, container: str, tmp_path: Path, size: int
) -> None:
    store, data = opened(azurite, container, f"s{size}"), os.urandom(size)
    stored_snapshots.upload(store, written(tmp_path, data), "a.snap", manifest_of(data))
    [found] = stored_snapshots.list_store(store)
    assert found.problem == "" and stored_snapshots.is_intact(store, found)
    with pytest.raises(AlreadyStored):
        store.create("a.snap", written(tmp_path, b"other"))
    store.delete("a.snap")
    with pytest.raises(NotStored):
        stored_snapshots.read_back(store, "a.snap")


def test_the_rights_are_tested(azurite: Azurite, container: str) -> None:
    found = probe(opened(azurite, container, "probed"))
    assert found.granted == dict.fromkeys(RIGHTS, True) and found.refuses_to_overwrite and not found.problems


def test_a_wrong_key_and_an_unknown_container_are_said(azurite: Azurite, container: str) -> None:
    with pytest.raises(StoreDenied, match="does not accept the credentials"):
        list(opened(azurite, container, "x", "nobody").objects())
    with pytest.raises(StoreError, match="there is no such container"):
        list(opened(azurite, "unknown", "x").objects())

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policies of the snapshot agent with a real object store: encrypted, listed, pruned, and away for a while."""

from __future__ import annotations

import json
import typing as t
import uuid
from pathlib import Path

import pyrage
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main

from tests.lab.consul import Datacenter
from tests.lab.object_stores import SeaweedFS
from tests.lab.snapshotting import manifests


class Place(t.NamedTuple):
    """A prefix of a bucket, a directory, and a configuration that uses both."""

    url: str
    store: dict[str, t.Any]
    directory: Path
    config: Path
    recipient: str

    def flags(self) -> list[str]:
        """Return the options of the store as the command takes them."""
        return [
            word for name, value in self.store.items() for word in (f"--store-{name.replace('_', '-')}", str(value))
        ]


@pytest.fixture
def place(seaweedfs: SeaweedFS, datacenter: Datacenter, tmp_path: Path) -> Place:
    bucket = seaweedfs.bucket("agent-stores")
    url = f"s3://{bucket}/{uuid.uuid4().hex}/"
    store = {"endpoint": seaweedfs.url, "ca_file": seaweedfs.ca_file, "credentials_file": seaweedfs.credentials()}
    store = {name: str(value) for name, value in store.items()}
    directory = tmp_path / "disk"
    directory.mkdir()
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    policy = {
        "recipients": [recipient],
        "destinations": {"disk": {"url": str(directory)}, "offsite": {"url": url, "store": store, "keep_last": 2}},
    }
    config = {
        "agent": "snapshot",
        "connection": {"url": datacenter.url},
        "service": {"register": False},
        "options": {"policies": {"both": policy}},
    }
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return Place(url, store, directory, path, recipient)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, t.Any]]:
    capsys.readouterr()
    code = main(["snapshot", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_snapshots_by_hand_are_encrypted_kept_in_both_places_and_pruned_in_one(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["snapshot", "check-config", str(place.config)]) == 0
    now = 1_780_315_200.0
    for hour in range(3):
        monkeypatch.setattr("time.time", lambda moment=now + 3600 * hour: moment)
        code, result = run(capsys, "once", "--config", place.config)
        assert code == 0 and result["policies"]["both"]["destinations"] == {"disk": "", "offsite": ""}
    assert [one["encryption"]["recipients"] for one in manifests(place.directory)] == [[place.recipient]] * 3
    assert len(list(place.directory.glob("*.snap.age"))) == 3 and not list(place.directory.glob("*.snap"))
    code, seen = run(capsys, "status", "--config", place.config)
    destinations = seen["policies"]["both"]["destinations"]
    assert (destinations["disk"]["snapshots"], destinations["offsite"]["snapshots"]) == (3, 2)
    assert destinations["offsite"]["newest"] == "2026-06-01T14:00:00Z" and not seen["policies"]["both"]["problem"]
    code, found = run(capsys, "prune", place.url, *place.flags(), "--keep-last", 1, "--dry-run")
    assert code == 0 and [one["policy"] for one in found["deleted"]] == ["both"]
    assert run(capsys, "prune", place.url, *place.flags(), "--keep-last", 1)[1]["changed"]
    assert not run(capsys, "prune", place.url, *place.flags(), "--keep-last", 1)[1]["changed"]
    listed = run(capsys, "list", place.url, *place.flags(), "--verify")[1]["snapshots"]
    assert len(listed) == 1 and listed[0]["problem"] == ""

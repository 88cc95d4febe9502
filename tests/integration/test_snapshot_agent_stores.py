# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policies of the snapshot agent with a real object store: encrypted, listed, pruned, and away for a while."""

from __future__ import annotations

import json
import signal
import typing as t
import uuid
from pathlib import Path

import pyrage
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stored_snapshots import list_store
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.open_store import open_store
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store import StoreOptions

from tests.lab.consul import Datacenter, eventually
from tests.lab.object_stores import SeaweedFS
from tests.lab.snapshotting import Snapshotters, end_session, manifests, wait_for_policy, wait_for_snapshot
from tests.lab.store_faults import HeldManifest, StoreProxy


class Place(t.NamedTuple):
    """A prefix of a bucket, a directory, and a configuration that uses both."""

    url: str
    store: dict[str, t.Any]
    directory: Path
    config: Path
    recipient: str
    identity_file: Path

    def flags(self) -> list[str]:
        """Return the options of the store as the command takes them."""
        return [
            word for name, value in self.store.items() for word in (f"--store-{name.replace('_', '-')}", str(value))
        ]


@pytest.fixture(scope="module")
def bucket(seaweedfs: SeaweedFS) -> str:
    """The bucket of the file; each test has a prefix of its own."""
    return seaweedfs.bucket("agent-stores")


@pytest.fixture
def place(seaweedfs: SeaweedFS, bucket: str, datacenter: Datacenter, tmp_path: Path) -> Place:
    url = f"s3://{bucket}/{uuid.uuid4().hex}/"
    store = {"endpoint": seaweedfs.url, "ca_file": seaweedfs.ca_file, "credentials_file": seaweedfs.credentials()}
    store = {name: str(value) for name, value in store.items()}
    directory = tmp_path / "disk"
    directory.mkdir()
    identity = pyrage.x25519.Identity.generate()
    recipient, identity_file = str(identity.to_public()), tmp_path / "identity"
    identity_file.write_text(f"{identity}\n", encoding="ascii")
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
    return Place(url, store, directory, path, recipient, identity_file)


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


def test_snapshots_are_verified_without_consul(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a store with and without an identity, and in a directory where one was damaged and another one exchanged."""
    now = 1_780_315_200.0
    for hour in range(3):
        monkeypatch.setattr("time.time", lambda moment=now + 3600 * hour: moment)
        assert run(capsys, "once", "--config", place.config)[0] == 0
    with_identity = ("--identity-file", place.identity_file)

    def states(*words: object) -> tuple[int, list[str]]:
        code, result = run(capsys, "verify", *words)
        return code, [one["state"] for one in result["snapshots"]]

    assert states(place.url, *place.flags(), *with_identity) == (0, ["verified"])
    assert states(place.url, *place.flags(), "--all") == (0, ["intact"] * 2)
    assert states(place.directory, "--all", *with_identity) == (0, ["verified"] * 3)
    oldest, middle, newest = sorted(place.directory.glob("*.snap.age"))
    oldest.write_bytes(oldest.read_bytes()[:-1] + b"x")
    manifest = json.loads(Path(f"{middle}"[:-4] + ".json").read_bytes())
    manifest["tables"][0]["count"] += 1
    Path(f"{middle}"[:-4] + ".json").write_text(json.dumps(manifest), encoding="utf-8")
    assert states(place.directory, "--all", *with_identity) == (5, ["verified", "broken", "broken"])
    assert states(place.directory, "--at", "2026-06-01T13:30:00Z", *with_identity) == (5, ["broken"])
    assert states(newest, *with_identity) == (0, ["verified"])
    capsys.readouterr()
    assert main(["snapshot", "verify", str(place.directory), "--all", *map(str, with_identity)]) == 5
    lines = capsys.readouterr().out.splitlines()
    assert "its number of records of " in lines[2] and len(lines) == 4
    assert "is damaged" in lines[3]


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_transfer_that_hangs_does_not_keep_the_agent_from_stopping(
    snapshotters: Snapshotters, datacenter: Datacenter, seaweedfs: SeaweedFS, place: Place, method: str
) -> None:
    """The upload, and the read-back after it."""
    with StoreProxy(seaweedfs.url, seaweedfs.ca_file) as proxy:
        proxy.fail(method, "hang", ".snap")
        store = {**place.store, "endpoint": proxy.url, "timeout": 60}
        policy = {"interval": "1h", "destinations": {"offsite": {"url": place.url, "store": store}}}
        agent = snapshotters.start(datacenter, {"hangs": policy})
        eventually(lambda: any(one[0] == method and ".snap" in one[1] for one in proxy.requests), what="it hangs")
        assert agent.stop() < 3
        assert agent.process.returncode == 0 and "did not end in time" not in agent.log()
        assert not any(path.endswith(".snap.json") for _method, path in proxy.requests), "it has no manifest"


def test_a_slot_that_is_stored_twice_after_an_upload_was_interrupted_is_recognised(
    place: Place, seaweedfs: SeaweedFS, snapshotters: Snapshotters, datacenter: Datacenter
) -> None:
    """To the second instance the upload of the first is unfinished, and the first finishes it when it holds the lease again."""
    with StoreProxy(seaweedfs.url, seaweedfs.ca_file) as proxy:
        store = {**place.store, "endpoint": proxy.url}
        policies = {"twice": {"interval": "1h", "destinations": {"offsite": {"url": place.url, "store": store}}}}
        held = HeldManifest(proxy)
        first = snapshotters.start(datacenter, policies)
        held.wait()
        second = snapshotters.start(datacenter, policies)
        second.wait("standby")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(10)
        held.release("cut-upload")
        end_session(datacenter, "twice")
        wait_for_snapshot(second, "twice")
        again = snapshotters.start(datacenter, policies, state=first.state)
        again.wait("standby")
        second.stop()
        status = wait_for_policy(again, "twice", lambda one: one["doubled_slots"], "it is recognised")
        wait_for_snapshot(again, "twice")
    assert status["doubled_slots"] == 1 and "offsite has two snapshots of" in again.log()
    stored = list_store(open_store(StoreOptions(place.url, **place.store)))
    assert len(stored) == 2 and not any(one.problem for one in stored)
    assert len({one.manifest.slot for one in stored if one.manifest}) == 1

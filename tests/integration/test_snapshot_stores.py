# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots of a real Consul into a real object store, encrypted, and back again: module, command and playbook."""

from __future__ import annotations

import json
import subprocess
import typing as t
import uuid
from pathlib import Path

import pyrage
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main

from tests.lab import keys
from tests.lab.ansible import ModuleFailed, run_module, run_our_playbook
from tests.lab.consul import Datacenter
from tests.lab.fill import fill
from tests.lab.object_stores import Rclone, SeaweedFS
from tests.lab.restoring import damage
from tests.lab.store_faults import StoreProxy
from tests.lab.tables import tables


class Place(t.NamedTuple):
    """A prefix of one test alone in the bucket: what modules need to use it, and who can read what is encrypted there."""

    path: str
    store: dict[str, t.Any]
    recipient: str
    identity_file: str
    scratch: Path

    def save(self, datacenter: Datacenter, /, **options: t.Any) -> dict[str, t.Any]:
        """Take a snapshot into the store."""
        given = {"path": self.path, "store": self.store, "scratch_path": self.scratch, **options}
        return run_module("consul_snapshot", url=datacenter.url, token=datacenter.token, **given)

    def restore(self, datacenter: Datacenter, /, **options: t.Any) -> dict[str, t.Any]:
        """Restore the newest snapshot of the store."""
        given = {
            "path": self.path,
            "store": self.store,
            "at": "latest",
            "safety_path": self.scratch,
            "identity_file": self.identity_file,
            **options,
        }
        return run_module("consul_snapshot", state="restored", url=datacenter.url, token=datacenter.token, **given)

    def info(self, **options: t.Any) -> dict[str, t.Any]:
        """List the store, or inspect a snapshot of it."""
        given = {"path": self.path, "store": self.store, "scratch_path": self.scratch, **options}
        return run_module("consul_snapshot_info", **given)

    def flags(self) -> list[str]:
        """Return the options of the store as the command takes them."""
        names = ("endpoint", "ca_file", "credentials_file")
        return [word for name in names for word in (f"--store-{name.replace('_', '-')}", str(self.store[name]))]


@pytest.fixture(scope="module")
def bucket(seaweedfs: SeaweedFS) -> str:
    return seaweedfs.bucket("snapshot-stores")


@pytest.fixture(scope="module")
def filled(datacenter: Datacenter) -> Datacenter:
    """The datacenter of the file, with every kind of record."""
    fill(datacenter, keys=200)
    return datacenter


@pytest.fixture
def place(seaweedfs: SeaweedFS, bucket: str, tmp_path: Path) -> Place:
    identity = pyrage.x25519.Identity.generate()
    identity_file = tmp_path / "identity"
    identity_file.write_text(f"{identity}\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    store = {
        "endpoint": seaweedfs.url,
        "ca_file": seaweedfs.ca_file,
        "credentials_file": seaweedfs.credentials(),
        "timeout": 20.0,
    }
    path = f"s3://{bucket}/{uuid.uuid4().hex}/"
    return Place(path, store, str(identity.to_public()), str(identity_file), scratch)


def test_a_snapshot_goes_encrypted_into_the_store_and_comes_back(filled: Datacenter, place: Place) -> None:
    saved = place.save(filled, recipients=[place.recipient])
    good = tables(filled.snapshot())
    assert saved["changed"] and saved["path"].startswith(place.path) and saved["path"].endswith(".snap.age")
    assert saved["manifest"] == saved["path"][: -len(".age")] + ".json"
    assert saved["snapshot"]["encryption"]["recipients"] == [place.recipient]
    assert saved["snapshot"]["encryption"]["size"] > saved["snapshot"]["size"]
    assert list(place.scratch.iterdir()) == []

    again = place.save(filled, recipients=[place.recipient], max_age="1h")
    assert not again["changed"] and again["path"] == saved["path"]

    [listed] = place.info(verify=True)["snapshots"]
    assert (listed["path"], listed["problem"], listed["intact"]) == (saved["path"], "", True)
    assert listed["recipients"] == [place.recipient]

    damage(filled)
    planned = place.restore(filled, check=True)
    assert planned["changed"] and planned["action"] == "restore"
    restored = place.restore(filled, plan_digest=planned["plan_digest"])
    assert restored["action"] == "restored" and restored["verified"]
    assert restored["path"] == saved["path"][: -len(".age")]
    assert {name for name, rows in tables(filled.snapshot()).items() if good.get(name) != rows} <= {"Index"}
    again = place.restore(filled)
    assert not again["changed"] and again["action"] == "unchanged"
    left = sorted(path.name for path in place.scratch.iterdir())
    assert [name for name in left if not name.startswith("before-restore-")] == [], left


def test_a_snapshot_of_a_time_is_chosen_and_one_key_of_it_restored(filled: Datacenter, place: Place) -> None:
    keys.write(filled, {"time/a": "first"})
    first = place.save(filled)
    keys.write(filled, {"time/a": "second"})
    second = place.save(filled)
    names = {row["path"] for row in place.info()["snapshots"]}
    assert names == {first["path"], second["path"]} and len(names) == 2
    inspected = place.info(path=first["path"], key="time/a", show_value=True)
    assert inspected["key"]["value"] == "first" and inspected["snapshot"]["path"] == first["path"]
    assert place.info(at="latest", key="time/a", show_value=True)["key"]["value"] == "second"
    restored = place.restore(filled, path=first["path"], at=None, prefixes=["time/"], identity_file=None)
    assert restored["action"] == "restored" and restored["path"] == first["path"]
    assert keys.read(filled, "time/a") == {"time/a": (b"first", 0)}
    with pytest.raises(ModuleFailed, match="no usable snapshot of datacenter dc1 from 2001-.* or before"):
        place.restore(filled, at="2001-01-01T00:00:00Z")


@pytest.mark.parametrize("identity", ["none", "another"])
def test_without_the_right_identity_nothing_is_sent(
    filled: Datacenter, place: Place, tmp_path: Path, identity: str
) -> None:
    saved = place.save(filled, recipients=[place.recipient])
    other = tmp_path / "other"
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    with pytest.raises(ModuleFailed) as caught:
        place.restore(filled, identity_file=None if identity == "none" else str(other))
    message = caught.value.result["msg"]
    assert saved["path"] in message and "\n" not in message
    assert ("set identity_file" if identity == "none" else "is one of its recipients") in message
    assert list(place.scratch.iterdir()) == []


def test_what_was_exchanged_in_the_store_is_not_restored(
    filled: Datacenter, place: Place, seaweedfs: SeaweedFS
) -> None:
    place.save(filled)
    with StoreProxy(seaweedfs.url, seaweedfs.ca_file) as proxy:
        proxy.choose = lambda method, path: "flip" if method == "GET" and path.endswith(".snap") else ""
        with pytest.raises(ModuleFailed, match="is not the file that its manifest describes"):
            place.restore(filled, store={**place.store, "endpoint": proxy.url})
    assert list(place.scratch.iterdir()) == []


def test_an_upload_that_fails_is_said_and_does_not_count(
    filled: Datacenter, place: Place, seaweedfs: SeaweedFS
) -> None:
    with StoreProxy(seaweedfs.url, seaweedfs.ca_file) as proxy:
        proxy.fail("PUT", "503")
        with pytest.raises(ModuleFailed, match="storing consul-.* 503 SlowDown"):
            place.save(filled, store={**place.store, "endpoint": proxy.url})
    assert place.info()["snapshots"] == [] and list(place.scratch.iterdir()) == []


def test_options_that_contradict_each_other_are_refused(filled: Datacenter, place: Place) -> None:
    for options, words in (
        ({"safety_path": None}, "needs safety_path"),
        ({"at": None}, "set at to latest or a time"),
        ({"path": place.path + "a.snap"}, "leave out at"),
        ({"at": "yesterday"}, "is not a time"),
    ):
        with pytest.raises(ModuleFailed, match=words):
            place.restore(filled, **options)
    with pytest.raises(ModuleFailed, match="is no public key"):
        place.save(filled, recipients=["age1nonsense"])
    with pytest.raises(ModuleFailed, match="for one or the other"):
        place.save(filled, recipients=[place.recipient], passphrase_file=place.identity_file)


def test_an_encrypted_snapshot_in_a_directory(filled: Datacenter, place: Place, tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    saved = place.save(filled, path=f"{directory}/", store=None, recipients=[place.recipient])
    assert saved["path"].endswith(".snap.age") and Path(saved["path"]).stat().st_mode & 0o777 == 0o600
    [listed] = place.info(path=directory, store=None, verify=True)["snapshots"]
    assert (listed["path"], listed["problem"], listed["intact"]) == (saved["path"], "", True)
    inspected = place.info(path=saved["path"], store=None, identity_file=place.identity_file)
    assert inspected["snapshot"]["datacenter"] == "dc1" and inspected["snapshot"]["problem"] == ""
    again = place.restore(filled, path=saved["path"], store=None, at=None)
    assert again["action"] == "unchanged"
    assert place.restore(filled, path=f"{directory}/", store=None)["action"] == "unchanged"


def run_command(*words: object) -> int:
    return main([str(word) for word in words])


def test_the_command_tests_lists_saves_and_inspects(
    filled: Datacenter, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", filled.url)
    assert run_command("snapshot", "test-store", place.path, *place.flags()) == 0
    said = capsys.readouterr().out
    assert said.count("granted") == 4 and "refused by the store itself" in said
    assert run_command("snapshot", "list", place.path, *place.flags()) == 0
    assert capsys.readouterr().out == "no snapshots\n", "the probe was deleted"
    words = ("snapshot", "save", place.path, "--recipients", place.recipient, *place.flags())
    assert run_command(*words) == 0
    capsys.readouterr()
    assert run_command("snapshot", "list", place.path, "--verify", *place.flags()) == 0
    assert "verified" in capsys.readouterr().out
    words = ("snapshot", "inspect", place.path, "--at", "latest", "--identity-file", place.identity_file)
    assert run_command(*words, *place.flags()) == 0
    assert "matches its manifest" in capsys.readouterr().out
    words = ("snapshot", "diff", place.path, "--at", "latest", "--identity-file", place.identity_file)
    assert run_command(*words, *place.flags()) == 0
    words = ("snapshot", "restore", place.path, "--at", "latest", "--identity-file", place.identity_file, "--check")
    assert run_command(*words, "--safety-path", place.scratch, *place.flags()) == 0


@pytest.mark.parametrize(
    ("user", "missing"),
    [
        ("reader", {"write": "missing", "list": "granted", "read": "not tested", "delete": "not tested"}),
        ("writer", {"write": "granted", "list": "missing", "read": "missing", "delete": "granted"}),
    ],
)
def test_the_command_names_the_rights_that_are_missing(
    place: Place, seaweedfs: SeaweedFS, capsys: pytest.CaptureFixture[str], user: str, missing: dict[str, str]
) -> None:
    flags = place._replace(store={**place.store, "credentials_file": seaweedfs.credentials(user)}).flags()
    assert run_command("snapshot", "test-store", place.path, "--json", *flags) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["rights"] == missing and result["left"] is None
    assert ("s3:PutObject" if user == "reader" else "s3:GetObject") in result["msg"]


def test_the_command_says_when_its_probe_could_not_be_deleted(
    place: Place, seaweedfs: SeaweedFS, capsys: pytest.CaptureFixture[str]
) -> None:
    with StoreProxy(seaweedfs.url, seaweedfs.ca_file) as proxy:
        proxy.fail("DELETE", "403")
        flags = place._replace(store={**place.store, "endpoint": proxy.url}).flags()
        assert run_command("snapshot", "test-store", place.path, *flags) == 1
    shown = capsys.readouterr()
    assert "s3:DeleteObject" in shown.err and "was left there" in shown.err and "missing" in shown.out


def test_the_command_says_when_a_store_overwrites(
    rclone: Rclone, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    name = rclone.bucket(f"b{uuid.uuid4().hex}")
    flags = ("--store-endpoint", rclone.url, "--store-credentials-file", rclone.credentials())
    assert run_command("snapshot", "test-store", f"s3://{name}/x", *flags) == 0
    shown = capsys.readouterr()
    assert "NOT refused by the store" in shown.out and "ignores If-None-Match" in shown.err


def test_the_playbook_restores_from_a_store(filled: Datacenter, place: Place, tmp_path: Path) -> None:
    place.save(filled, recipients=[place.recipient])
    keys.write(filled, {"app/later": "x"})
    variables: dict[str, t.Any] = {
        "consul_restore_path": place.path,
        "consul_restore_at": "latest",
        "consul_restore_store": place.store,
        "consul_restore_identity_file": place.identity_file,
        "consul_restore_safety_path": str(place.scratch),
        "consul_restore_confirm": "dc1",
        "consul_connection": {"url": filled.url},
        "consul_restore_agents": "localhost",
        "consul_restore_agent_connection": {"url": filled.url},
        "consul_restore_agent_grace": 60,
    }
    done: subprocess.CompletedProcess[str] = run_our_playbook(tmp_path / "run", "restore", variables)
    assert done.returncode == 0, done.stdout
    assert keys.read(filled, "app/later") == {}

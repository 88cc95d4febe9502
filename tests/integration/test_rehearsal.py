# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rehearsals in a real Consul that can reach nothing: what restores, what does not, limits, isolation, and that nothing is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import typing as t
from pathlib import Path

import pyrage
import pytest

from tests.lab import craft
from tests.lab.agents import run_command
from tests.lab.ansible import ModuleFailed, run_module, run_task
from tests.lab.consul import Datacenter, consul_binary, eventually
from tests.lab.rehearsing import left, rehearsing, wait_for_step
from tests.lab.restoring import save, with_records

REHEARSE = "consul_snapshot_rehearse"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def good(secured: Datacenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of a datacenter with ACLs and every kind of record."""
    return save(secured, tmp_path_factory.mktemp("good") / "good.snap")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The directory for private files of a rehearsal, which must be empty afterwards."""
    made = tmp_path / "scratch"
    made.mkdir(mode=0o700)
    return made


def rehearse(path: Path | str, scratch: Path, **options: t.Any) -> dict[str, t.Any]:
    """Run the module, and check that it leaves nothing."""
    try:
        return run_module(REHEARSE, path=path, consul_binary=consul_binary(), scratch_path=scratch, **options)
    finally:
        assert left(scratch) == []


def refused(path: Path | str, scratch: Path, **options: t.Any) -> str:
    """Return the one sentence with which the module fails."""
    with pytest.raises(ModuleFailed) as caught:
        rehearse(path, scratch, **options)
    assert "\n" not in caught.value.result["msg"] and caught.value.result.get("exception") is None
    return str(caught.value.result["msg"])


def test_a_good_snapshot_restores_table_by_table(good: Path, scratch: Path) -> None:
    before = good.read_bytes()
    result = rehearse(good, scratch)
    assert result["verified"] and not result["changed"] and result["wrong"] == []
    tables = {row["table"]: row for row in result["tables"]}
    # The tokens of the snapshot, and no other: the throw-away Consul adds none of its own.
    for table in ("KVS", "ACLToken", "ACLPolicy", "ConfigEntry", "PreparedQuery", "Intention"):
        row = tables[table]
        assert row["expected"] == row["restored"] > 0 and row["differing"] == row["written"] == 0, row
    assert all(row["differing"] == 0 for row in result["tables"])
    assert result["snapshot"]["datacenter"] == "secured" and result["consul"]["version"]
    assert result["consul"]["peak_bytes"] > 10 * MEGABYTE
    assert 0 < result["seconds"]["restore"] < sum(result["seconds"].values())
    assert good.read_bytes() == before


def test_check_mode_says_what_would_be_rehearsed_and_starts_nothing(good: Path, scratch: Path) -> None:
    result = run_module(REHEARSE, check=True, path=good, consul_binary=consul_binary(), scratch_path=scratch)
    assert result["would_rehearse"] and result["consul"] == {"binary": consul_binary()} and "tables" not in result


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            craft.record(0, {"Node": "a", "Check": {"Node": "b", "CheckID": "c"}}),
            'check node "b" does not match node "a"',
        ),
        (craft.record(65, {"Name": "of a later version"}), "msg type 65"),
    ],
)
def test_a_snapshot_that_decodes_and_does_not_restore_is_caught(
    good: Path, scratch: Path, tmp_path: Path, record: tuple[int, bytes], words: str
) -> None:
    bad = with_records(good, tmp_path / "bad.snap", record)
    message = refused(bad, scratch)
    assert "does not restore: Consul " in message and "ended while it was restoring: panic: " in message
    assert words in message


def test_a_snapshot_of_which_consul_keeps_another_state_is_caught(good: Path, scratch: Path, tmp_path: Path) -> None:
    bad = with_records(good, tmp_path / "bad.snap", craft.key("twice", b"1"), craft.key("twice", b"2"))
    message = refused(bad, scratch)
    assert "does not restore as it is: after the restore" in message and "1 records are not as" in message
    assert "KVS twice" in message


def test_a_damaged_snapshot_is_not_sent_to_consul(good: Path, scratch: Path, tmp_path: Path) -> None:
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    bad = tmp_path / "damaged.snap"
    bad.write_bytes(bytes(data))
    assert "is not a usable snapshot" in refused(bad, scratch)


def test_an_encrypted_snapshot_of_a_store_is_rehearsed_with_its_identity_only(
    secured: Datacenter, scratch: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    keys = {name: pyrage.x25519.Identity.generate() for name in ("right", "wrong")}
    files = {name: tmp_path / name for name in keys}
    for name, key in keys.items():
        files[name].touch(mode=0o600)
        files[name].write_text(f"{key}\n", encoding="ascii")
    recipients = [str(keys["right"].to_public())]
    run_module("consul_snapshot", path=store, url=secured.url, token=secured.token, recipients=recipients)
    result = rehearse(store, scratch, at="latest", datacenter="secured", identity_file=files["right"])
    assert result["verified"] and result["snapshot"]["records"] > 200
    assert "cannot be decrypted" in refused(store, scratch, at="latest", identity_file=files["wrong"])
    assert "is encrypted" in refused(store, scratch, at="latest")
    assert "has no usable snapshot of datacenter other" in refused(store, scratch, at="latest", datacenter="other")


def test_limits_of_memory_and_time_end_a_rehearsal(scratch: Path, tmp_path: Path, good: Path) -> None:
    large = craft.write(tmp_path / "large.snap", *(craft.key(f"k/{n}", os.urandom(500_000)) for n in range(80)))
    message = refused(large, scratch, memory_limit="80M")
    assert "needed more memory than 80.0 MB" in message and "Raise memory_limit" in message
    message = refused(good, scratch, time_limit="0.05")
    assert "was not done within 0.05 s (it was starting Consul)" in message
    assert "less than the 64M" in refused(good, scratch, memory_limit="1M")


def test_a_consul_that_is_none_is_said_so(good: Path, scratch: Path, tmp_path: Path) -> None:
    with pytest.raises(ModuleFailed, match="there is no program no-such-consul"):
        run_module(REHEARSE, path=good, consul_binary="no-such-consul", scratch_path=scratch)
    script = tmp_path / "consul"
    script.write_text("#!/bin/sh\necho this is not Consul >&2; exit 3\n", encoding="ascii")
    script.chmod(0o755)
    with pytest.raises(ModuleFailed, match="did not start .*: this is not Consul. Nothing is known"):
        run_module(REHEARSE, path=good, consul_binary=script, scratch_path=scratch)
    assert left(scratch) == []


def test_without_isolation_nothing_is_restored(good: Path, scratch: Path, bundle: Path) -> None:
    no_network = ("unshare", "--user", "--map-root-user", "sh", "-c")
    done = rehearsing(
        bundle,
        good,
        scratch=scratch,
        before=(*no_network, 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"', "limited"),
    )
    _stdout, stderr = done.communicate(timeout=60)
    assert done.returncode == 3 and "Traceback" not in stderr
    last = stderr.splitlines()[-1]
    assert "The rehearsal is refused: a Consul that can reach nothing cannot be started here" in last
    assert "user.max_net_namespaces" in last and left(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", ["restoring"])
def test_a_rehearsal_that_is_killed_leaves_nothing(
    good: Path, scratch: Path, bundle: Path, number: signal.Signals, step: str
) -> None:
    with rehearsing(bundle, good, scratch=scratch) as process:
        wait_for_step(process, step)
        assert left(scratch) != []
        process.send_signal(number)
        process.wait(30)
    eventually(lambda: left(scratch) == [], what="nothing is left")


def test_the_command_shows_the_tables_and_the_verdict(good: Path, scratch: Path, bundle: Path) -> None:
    words = ("snapshot", "rehearse", good, "--consul-binary", consul_binary(), "--scratch-path", scratch)
    done = run_command(bundle, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("TABLE ") and "\nrestores: " in done.stdout
    steps = [line for line in done.stderr.splitlines() if line.startswith("consulops: ")]
    assert [step.partition(": ")[2] for step in steps][-3:] == ["starting Consul", "restoring", "reading back"]
    result = json.loads(run_command(bundle, *words, "--json", "--check").stdout)
    assert result["would_rehearse"] is True


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test of this file is it then")
def test_a_user_without_rights_rehearses_in_a_user_namespace(good: Path, bundle: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="consulops-test-") as name:
        place = Path(name)
        place.chmod(0o777)
        for source in (bundle, good):
            (place / source.name).write_bytes(source.read_bytes())
            (place / source.name).chmod(0o644)
        shutil.copy(consul_binary(), place / "consul")
        words = (
            "snapshot",
            "rehearse",
            place / good.name,
            "--consul-binary",
            place / "consul",
            "--scratch-path",
            place,
        )
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3")
        done = run_command(place / bundle.name, *words, "--json", python=nobody)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["verified"] and result["isolation"] == "namespaces"
        assert sorted(path.name for path in place.iterdir()) == sorted(["consul", bundle.name, good.name])


def test_ansible_runs_the_module_from_its_own_package(good: Path, scratch: Path, tmp_path: Path) -> None:
    options = {"path": good, "consul_binary": consul_binary(), "scratch_path": scratch}
    result = run_task(tmp_path / "ansible", f"consulops.failover.{REHEARSE}", options)
    assert result.get("verified") is True, result

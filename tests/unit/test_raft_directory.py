# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Raft snapshots on a server's disk: found, checked by their CRC, read like a snapshot file, packed into one."""

from __future__ import annotations

import base64
import io
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import (
    GuardRefused,
    InvalidOption,
    LocalFailure,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import raft_directory, salvage
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.archive_writer import ArchiveStream
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.crc64 import Crc64
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.errors import BadSnapshot
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.raft_directory import RaftSnapshotStream
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.summary import summarize
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import craft

RECORDS = (craft.key("a/b", b"value", 3), *craft.node("one"))


def crc_bit_by_bit(data: bytes) -> bytes:
    """CRC-64/XZ by its definition, which shares nothing with the code under test."""
    register = (1 << 64) - 1
    for byte in data:
        register ^= byte
        for _bit in range(8):
            register = register >> 1 ^ (0xC96C5795D7870F42 if register & 1 else 0)
    return (register ^ (1 << 64) - 1).to_bytes(8, "big")


def make(directory: Path, state: bytes | None = None, **changed: t.Any) -> Path:
    """Write a Raft snapshot as a server does; ``changed`` overrides fields of its meta.json."""
    state = craft.state(RECORDS) if state is None else state
    directory.mkdir(parents=True)
    (directory / "state.bin").write_bytes(state)
    values = json.loads(craft.meta(len(state), ID=directory.name))
    values.update({"CRC": base64.b64encode(crc_bit_by_bit(state)).decode(), **changed})
    (directory / "meta.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
    return directory


def test_the_checksum_is_gos_crc64_ecma() -> None:
    checksum = Crc64()
    checksum.update(b"123456789")
    assert checksum.digest() == bytes.fromhex("995dc9bbdf1939fa")  # the check value of CRC-64/XZ


@given(
    st.lists(
        st.binary(max_size=300) | st.integers(60, 20_000).map(lambda size: bytes([7, size % 251]) * size), max_size=4
    )
)
def test_the_checksum_does_not_depend_on_how_the_data_is_cut(pieces: list[bytes]) -> None:
    whole, cut = Crc64(), Crc64()
    whole.update(b"".join(pieces))
    for piece in pieces:
        cut.update(piece)
    assert whole.digest() == cut.digest()
    start = b"".join(pieces)[:500]
    short = Crc64()
    short.update(start)
    assert short.digest() == crc_bit_by_bit(start)


@pytest.mark.parametrize("level", [0, 6])
@pytest.mark.parametrize("chunk", [1, 700, 1 << 20])
def test_a_raft_snapshot_reads_like_the_snapshot_file_of_the_same_records(
    tmp_path: Path, level: int, chunk: int
) -> None:
    found = raft_directory.find(make(tmp_path / "2-10-1795378925993"))
    with RaftSnapshotStream(found, level=level) as stream:
        data = b"".join(iter(lambda: stream.read(chunk), b""))
    as_file = summarize(io.BytesIO(craft.snapshot(*RECORDS)), "x", as_of=0)
    read = summarize(io.BytesIO(data), "x", as_of=0)
    assert (read.digest, read.tables, read.meta.index) == (as_file.digest, as_file.tables, as_file.meta.index)
    assert b"CRC" not in found.meta_json and found.taken_s == 1795378925.993


def test_a_state_that_is_shorter_than_it_was_is_not_packed() -> None:
    stream = ArchiveStream(b"{}", io.BytesIO(b"short"), 10, level=0)
    with pytest.raises(BadSnapshot, match="became shorter"):
        while stream.read(100):
            pass


def test_the_newest_usable_snapshot_of_a_server_is_found_from_any_of_its_directories(tmp_path: Path) -> None:
    snapshots = tmp_path / "data" / "raft" / "snapshots"
    make(snapshots / "2-9-1795378920000")
    good = make(snapshots / "2-10-1795378925993")
    make(snapshots / "10-11-1795378926000", CRC="AAAAAAAAAAA=")
    make(snapshots / "3-12-1795378927000.tmp")
    for path in (snapshots, snapshots.parent, snapshots.parent.parent):
        assert raft_directory.is_raft_directory(path)
        found = raft_directory.find(path)
        assert found.directory == good
        assert len(found.skipped) == 1 and "10-11-1795378926000 is not a usable Raft snapshot" in found.skipped[0]
    assert raft_directory.find(snapshots / "2-9-1795378920000").skipped == ()


def damaged(directory: Path, name: str, data: bytes | None) -> Path:
    make(directory)
    if data is None:
        (directory / name).unlink()
    else:
        (directory / name).write_bytes(data)
    return directory


STATE = craft.state(RECORDS)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("state.bin", None, "it has no state.bin"),
        ("meta.json", None, "it has no meta.json"),
        ("state.bin", STATE[:-1], f"its state.bin has {len(STATE) - 1} bytes, and meta.json says {len(STATE)}"),
        ("state.bin", STATE[:-1] + b"x", "its state.bin does not have the CRC that meta.json gives"),
        ("meta.json", b"{}", "its meta.json is not the description of a Raft snapshot"),
        ("meta.json", b"[" * 100_000, "its meta.json is not the description of a Raft snapshot"),
        ("meta.json", craft.meta(len(STATE)), "its meta.json is not the description of a Raft snapshot"),
        ("meta.json", craft.meta(len(STATE), CRC="no base64!"), "its meta.json is not the description"),
        ("meta.json", craft.meta(len(STATE), CRC="AAAAAAAAAAA="), "does not have the CRC"),
        ("meta.json", bytes(2 << 20), "its meta.json is too large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_a_damaged_directory_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, name: str, data: bytes | None, words: str
) -> None:
    directory = damaged(tmp_path / "2-10-1795378925993", name, data)
    with pytest.raises(BadSnapshot) as caught:
        salvage.salvage(directory, str(tmp_path / "out.snap"), 0)
    message = str(caught.value)
    assert (
        message.startswith(f"{directory} is not a usable Raft snapshot: ") and words in message and "\n" not in message
    )
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]


def test_records_that_cannot_be_decoded_are_not_packed(tmp_path: Path) -> None:
    directory = make(tmp_path / "2-10-1795378925993", STATE + b"\x02\xc1")
    with pytest.raises(BadSnapshot, match=r"the Raft snapshot .* is not a usable snapshot: record 5 at byte"):
        salvage.salvage(directory, str(tmp_path / "out.snap"), 0)
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]


def test_a_directory_of_another_kind_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    craft.write(tmp_path / "backups" / "a.snap", *RECORDS)
    assert not raft_directory.is_raft_directory(tmp_path / "backups")
    for path, words in (
        (tmp_path / "backups", "is not a directory of Raft snapshots: name DATA_DIR/raft/snapshots"),
        (tmp_path / "backups" / "a.snap", "is not a directory"),
        (tmp_path / "nowhere", "is not a directory"),
    ):
        with pytest.raises(InvalidOption, match=words):
            salvage.salvage(path, str(tmp_path / "out.snap"), 0)
    (tmp_path / "raft" / "snapshots").mkdir(parents=True)
    assert not raft_directory.is_raft_directory(tmp_path)
    (tmp_path / "raft" / "wal").mkdir()
    assert raft_directory.is_raft_directory(tmp_path)
    with pytest.raises(BadSnapshot, match="holds no Raft snapshot: the server has not written one yet"):
        raft_directory.find(tmp_path)


def test_a_directory_without_rights_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: Path) -> t.NoReturn:
        raise PermissionError(13, "Permission denied")  # as for a user who is not root

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(LocalFailure, match="Permission denied. The user that runs this needs the right to do so"):
        raft_directory.find(tmp_path)


def test_a_salvage_writes_a_private_file_with_a_manifest_and_replaces_nothing(tmp_path: Path) -> None:
    directory = make(tmp_path / "raft" / "2-10-1795378925993")
    salvaged = salvage.salvage(directory, str(tmp_path / "out.snap"), 0)
    assert salvaged.path == tmp_path / "out.snap" and salvaged.path.stat().st_mode & 0o777 == 0o600
    found = json.loads((tmp_path / "out.snap.json").read_text(encoding="utf-8"))
    assert (found["time"], found["index"], found["stale"]) == ("2026-11-22T20:22:05Z", 10, True)
    with pytest.raises(GuardRefused, match="exists and would be replaced"):
        salvage.salvage(directory, str(tmp_path / "out.snap"), 0)
    with pytest.raises(LocalFailure, match="does not exist"):
        salvage.salvage(directory, str(tmp_path / "none" / "out.snap"), 0)
    named = salvage.salvage(directory, f"{tmp_path}/", 0).path
    assert named.name == "consul-dc1-20261122T202205Z-10.snap"


def test_the_servers_of_a_snapshot_are_those_with_the_service_of_consul_and_have_the_ids_of_their_nodes() -> None:
    def registered(name: str, service: str, **more: str) -> tuple[int, bytes]:
        fields = {"Node": name, "Address": "192.0.2.7", "Datacenter": "dc1", "ModifyIndex": 5, **more}
        return craft.record(0, {**fields, "Service": {"ID": service, "Service": service, "ModifyIndex": 6}})

    records = (
        registered("s2", "consul", ID="id-2"),
        registered("s1", "consul", ID="id-1"),
        registered("client", "web", ID="id-3"),
        registered("old", "consul"),
        registered("elsewhere", "consul", ID="id-4", PeerName="other"),
    )
    found = summarize(io.BytesIO(craft.snapshot(*records)), "x", as_of=0)
    assert [(server.name, server.id) for server in found.server_nodes] == [("old", ""), ("s1", "id-1"), ("s2", "id-2")]
    assert found.servers == ("old", "s1", "s2") and {server.address for server in found.server_nodes} == {"192.0.2.7"}

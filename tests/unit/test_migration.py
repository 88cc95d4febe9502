# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots of two versions are compared by meaning, and nothing else is excused.

The snapshots are those that real servers wrote: tests/fixtures/consul-versions/README.md.
"""

from __future__ import annotations

import functools
import gzip
import io
import tarfile
import typing as t
from pathlib import Path

import msgpack
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import restore_plan
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.compare import Comparison, compare

from tests.lab import craft
from tests.lab.consul import ROOT

FIXTURES = ROOT / "tests" / "fixtures" / "consul-versions"
PAIRS = [
    ("1.8.7.snap", "1.8.7-restored-into-1.23-dev.snap"),
    ("1.16.4.snap", "1.16.4-restored-into-1.23-dev.snap"),
]
Record = tuple[int, t.Any]


@functools.cache
def read(name: str) -> list[Record]:
    """Return (type, decoded record) of every record of a fixture, maps as dicts with bytes as names."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress((FIXTURES / name).read_bytes()))) as archive:
        member = archive.extractfile("state.bin")
        assert member is not None
        data = member.read()
    stream = io.BytesIO(data)
    unpacker = msgpack.Unpacker(stream, raw=True, strict_map_key=False, max_buffer_size=len(data))
    unpacker.unpack()  # the header
    found: list[Record] = []
    while unpacker.tell() < len(data):
        kind = data[unpacker.tell()]
        unpacker.read_bytes(1)
        found.append((kind, unpacker.unpack()))
    return found


def packed(state: t.Iterable[Record]) -> list[tuple[int, bytes]]:
    return [craft.record(kind, value) for kind, value in state]


def entry_of(value: bytes) -> tuple[bytes, dict[bytes, t.Any], dict[bytes, t.Any]]:
    """Return (kind, request, entry) of a ConfigEntry record."""
    unpacker = msgpack.Unpacker(io.BytesIO(value), raw=True, strict_map_key=False)
    kind, request = unpacker.unpack(), unpacker.unpack()
    return kind, request, request[b"Entry"]


def with_entry(value: bytes, change: t.Callable[[dict[bytes, t.Any]], None]) -> bytes:
    kind, request, entry = entry_of(value)
    change(entry)
    return bytes(msgpack.packb(kind, use_bin_type=False) + msgpack.packb(request, use_bin_type=False))


def compared(tmp_path: Path, before: t.Iterable[Record], after: t.Iterable[Record]) -> Comparison:
    one = craft.write(tmp_path / "one.snap", *packed(before))
    other = craft.write(tmp_path / "other.snap", *packed(after))
    with one.open("rb") as first, other.open("rb") as second:
        return compare((first, "one"), (second, "other"), as_of=0)


def of_files(before: str, after: str) -> Comparison:
    with (FIXTURES / before).open("rb") as first, (FIXTURES / after).open("rb") as second:
        return compare((first, before), (second, after), as_of=0)


def durable(found: Comparison) -> list[tuple[str, str, str]]:
    tables = {table.table for table in found.tables if table.durable}
    return [(row.table, row.name, row.change) for row in found.differences if row.table in tables]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_nothing_is_left_of_a_restore_into_a_newer_version_but_what_its_leader_added(before: str, after: str) -> None:
    found = of_files(before, after)
    verified = restore_plan.verify(found)
    assert verified.wrong == ()
    assert [(row.table, row.change) for row in verified.since] == [("ACLToken", "added")]
    assert [row[:1] + row[2:] for row in durable(found)] == [("ACLToken", "added")]
    assert verified.migrated["Register"] >= 10 and verified.migrated["ACLToken"] == 5


def upgraded(before: str, after: str) -> list[Record]:
    """Return what the newer leader made of a snapshot, without the token of its own configuration."""
    known = {value[b"AccessorID"] for kind, value in read(before) if kind == 17}
    return [(kind, value) for kind, value in read(after) if kind != 17 or value[b"AccessorID"] in known]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_snapshot_from_before_a_rolling_upgrade_compares_equal(tmp_path: Path, before: str, after: str) -> None:
    found = compared(tmp_path, read(before), upgraded(before, after))
    assert found.equal and durable(found) == []
    assert sum(found.migrated.values()) > 10


@pytest.mark.parametrize("name", [pair[0] for pair in PAIRS] + ["1.23-dev.snap"])
def test_between_equal_versions_nothing_is_migrated(name: str) -> None:
    found = of_files(name, name)
    assert found.equal and found.migrated == {}


def test_snapshots_of_one_version_are_compared_to_the_byte(tmp_path: Path) -> None:
    """An empty map instead of none is a difference there."""
    state = read("1.8.7.snap")
    empty = [(kind, {**value, b"Meta": {}} if kind == 12 else value) for kind, value in state]
    none = [(kind, {**value, b"Meta": None} if kind == 12 else value) for kind, value in state]
    assert compared(tmp_path, state, empty).equal
    assert [row[0] for row in durable(compared(tmp_path, empty, none))] == ["Intention"]


# ------------------------------------------------------------------------------------------ what is never excused


def _first(
    kind: int, where: t.Callable[[t.Any], bool], change: t.Callable[[t.Any], t.Any]
) -> t.Callable[[list[Record]], list[Record]]:
    """Return a mutation of the first record of a type that ``where`` accepts: ``change`` returns its new value, None removes it."""

    def mutate(state: list[Record]) -> list[Record]:
        found: list[Record] = []
        is_done = False
        for one, value in state:
            if one == kind and not is_done and where(value):
                is_done = True
                value = change(value)
                if value is None:
                    continue
            found.append((one, value))
        assert is_done
        return found

    return mutate


def _any(_value: t.Any) -> bool:
    return True


def _set(name: bytes, content: t.Any) -> t.Callable[[t.Any], t.Any]:
    return lambda value: {**value, name: content}


def _is_ordinary(value: t.Any) -> bool:
    return not value[b"ID"].startswith(b"00000000-")


def _external(part: bytes) -> t.Callable[[t.Any], bool]:
    return lambda value: value[b"Node"].startswith(b"ext-") and bool(value[part])


def _action(value: bytes) -> bytes:
    def deny(entry: dict[bytes, t.Any]) -> None:
        entry[b"Sources"][0][b"Action"] = b"deny"

    return with_entry(value, deny)


def _entry_kind(kind: bytes) -> t.Callable[[t.Any], bool]:
    return lambda value: entry_of(value)[0] == kind


def _protocol(value: bytes) -> bytes:
    return with_entry(value, lambda entry: entry.update({b"Protocol": b"tcp"}))


MUTATIONS = {
    "the value of a key": _first(2, _any, _set(b"Value", b"another")),
    "the flags of a key": _first(2, _any, _set(b"Flags", 7)),
    "a lost key": _first(2, _any, lambda value: None),
    "the rules of a policy": _first(19, _is_ordinary, _set(b"Rules", b'key_prefix "" { policy = "write" }')),
    "the policies of a token": _first(17, lambda value: bool(value[b"Policies"]), _set(b"Policies", None)),
    "a lost token": _first(17, _any, lambda value: None),
    "the address of a node": _first(
        0, lambda value: value[b"Node"].startswith(b"ext-"), _set(b"Address", b"192.0.2.99")
    ),
    "a lost service": _first(0, _external(b"Service"), lambda value: None),
    "the port of a service": _first(
        0, _external(b"Service"), lambda value: {**value, b"Service": {**value[b"Service"], b"Port": 12345}}
    ),
    "the protocol of a config entry": _first(22, _entry_kind(b"service-defaults"), _protocol),
    "a role's description": _first(23, _any, _set(b"Description", b"another")),
    "the service of a query": _first(
        7, _any, lambda value: {**value, b"Service": {**value[b"Service"], b"Service": b"another"}}
    ),
    "the CA's private key": _first(14, _any, _set(b"PrivateKey", b"another")),
}


@pytest.mark.parametrize("mutation", [*MUTATIONS, "the action of an intention"])
@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_single_change_of_what_a_newer_leader_wrote_is_found(
    tmp_path: Path, before: str, after: str, mutation: str
) -> None:
    state = upgraded(before, after)
    intentions = _first(22, _entry_kind(b"service-intentions"), _action)
    changed = MUTATIONS.get(mutation, intentions)(state)
    found = compared(tmp_path, read(before), changed)
    assert not found.equal and durable(found), mutation
    assert durable(compared(tmp_path, state, changed)), "between equal versions too"

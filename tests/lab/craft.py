# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Crafts snapshots: record types of other Consul versions, damaged and hostile containers.

Shares no code with the reader under test, and so none of its mistakes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import typing as t
from pathlib import Path

import msgpack

END = bytes(1024)  # exactly two zero blocks: Consul refuses more


def key(name: str | bytes, value: bytes | None = b"v", flags: int = 0, **other: t.Any) -> tuple[int, bytes]:
    """Return a KVS record."""
    fields = {
        "CreateIndex": 1,
        "Flags": flags,
        "Key": name.encode() if isinstance(name, str) else name,
        "LockIndex": 0,
        "ModifyIndex": 1,
        "Session": b"",
        "Value": value,
        **other,
    }
    return record(2, fields)


def node(name: str, *, agent: bool = False, address: str = "192.0.2.1", **check: t.Any) -> list[tuple[int, bytes]]:
    """Return the Register records of one node: itself, a service and a check."""
    base = {"Node": name, "Address": address, "Datacenter": "dc1", "CreateIndex": 5, "ModifyIndex": 5}
    service: dict[str, t.Any] = {"ID": "web", "Service": "web", "Tags": None, "Meta": {}, "ModifyIndex": 6}
    health = {"Node": name, "CheckID": "serfHealth" if agent else "up", "Status": "passing", "Output": "", **check}
    return [
        record(0, {**base, "Service": None, "Check": None}),
        record(0, {**base, "Service": service, "Check": None}),
        record(0, {**base, "Service": None, "Check": health}),
    ]


def record(kind: int, value: t.Any) -> tuple[int, bytes]:
    """Return (type number, its bytes in state.bin); text is packed as Go packs it."""
    return kind, bytes([kind]) + msgpack.packb(value, use_bin_type=False)


def raw_record(kind: int, data: bytes) -> tuple[int, bytes]:
    """Return a record whose msgpack bytes are given."""
    return kind, bytes([kind]) + data


def config_entry(kind: str, entry: t.Mapping[t.Any, t.Any], packed: bytes | None = None) -> tuple[int, bytes]:
    """Return a ConfigEntry record: msgpack inside msgpack, twice. ``packed`` replaces the inner entry's bytes."""
    inner = msgpack.packb(dict(entry), use_bin_type=False) if packed is None else packed
    blob = msgpack.packb(kind.encode(), use_bin_type=False)
    blob += msgpack.packb({"Datacenter": "dc1", "Entry": inner}, use_bin_type=False)
    return 22, bytes([22]) + msgpack.packb(blob, use_bin_type=True)


def state(records: t.Iterable[tuple[int, bytes]], last_index: int = 10) -> bytes:
    """Return state.bin of records."""
    header: bytes = msgpack.packb({"LastIndex": last_index})
    return header + b"".join(data for _kind, data in records)


def meta(state_size: int, **changed: t.Any) -> bytes:
    """Return meta.json."""
    values = {
        "Version": 1,
        "ID": "2-10-1795378925993",
        "Index": 10,
        "Term": 2,
        "Peers": "",
        "Configuration": {"Servers": [{"Suffrage": 0, "ID": "x", "Address": "127.0.0.1:8300"}]},
        "ConfigurationIndex": 1,
        "Size": state_size,
        **changed,
    }
    return (json.dumps(values, separators=(",", ":")) + "\n").encode()


def sums(members: t.Mapping[str, bytes]) -> bytes:
    """Return SHA256SUMS."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items()).encode()


def members_of(records: t.Iterable[tuple[int, bytes]]) -> dict[str, bytes]:
    """Return the three files of a snapshot."""
    body = state(records)
    found = {"meta.json": meta(len(body)), "state.bin": body}
    return {**found, "SHA256SUMS": sums(found)}


def tar(members: t.Mapping[str, bytes], end: bytes = END, **header: t.Any) -> bytes:
    """Return a tar archive; ``header`` overrides fields of every member's header."""
    out = io.BytesIO()
    for name, data in members.items():
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o600
        for field, value in header.items():
            setattr(info, field, value)
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
        out.write(data + bytes(-len(data) % 512))
    out.write(end)
    return out.getvalue()


def pack(members: t.Mapping[str, bytes], end: bytes = END) -> bytes:
    """Return a whole snapshot file of given members."""
    return gzip.compress(tar(members, end), 6, mtime=0)


def snapshot(*records: tuple[int, bytes]) -> bytes:
    """Return a whole snapshot file of records."""
    return pack(members_of(records))


def write(path: Path, *records: tuple[int, bytes]) -> Path:
    """Write a snapshot file of records and return its path."""
    path.write_bytes(snapshot(*records))
    return path

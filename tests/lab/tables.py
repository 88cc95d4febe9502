# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decodes a snapshot independently of the code under test, so that tests can compare two states."""

from __future__ import annotations

import gzip
import io
import tarfile
import typing as t

import msgpack

# Type numbers of the records that a restore must bring back exactly. Source: agent/structs/structs.go.
DURABLE = {2: "KVS", 7: "PreparedQuery", 9: "Autopilot", 12: "Intention", 13: "ConnectCA", 14: "ProviderState"}
DURABLE.update({15: "CAConfig", 17: "ACLToken", 19: "ACLPolicy", 22: "ConfigEntry", 23: "ACLRole"})
DURABLE.update({25: "ACLBindingRule", 27: "ACLAuthMethod", 0: "Register"})
INDEXES = ("CreateIndex", "ModifyIndex", "LockIndex")


def tables(snapshot: bytes) -> dict[str, list[str]]:
    """Return the durable records of a snapshot as sorted text, by table, without Raft indexes and keys below consulops/."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(snapshot))) as archive:
        member = archive.extractfile("state.bin")
        assert member is not None
        state = member.read()
    unpacker = msgpack.Unpacker(None, raw=False, unicode_errors="surrogateescape", strict_map_key=False)
    unpacker.feed(state)
    unpacker.unpack()
    found: dict[str, list[str]] = {}
    agents = set()
    registrations = []
    while unpacker.tell() < len(state):
        kind = unpacker.read_bytes(1)[0]
        record = unpacker.unpack()
        if kind == 0:
            registrations.append(record)
            if (record.get("Check") or {}).get("CheckID") == "serfHealth":
                agents.add(record["Node"])
        elif kind in DURABLE and not (kind == 2 and record["Key"].startswith("consulops/")):
            if kind == 2:
                record = {field: record[field] for field in ("Key", "Value", "Flags")}
            found.setdefault(DURABLE[kind], []).append(_text(_decoded(record)))
    for record in registrations:
        if record["Node"] not in agents:
            if record.get("Check"):
                record["Check"] = {**record["Check"], "Output": "", "Status": ""}
            found.setdefault("Register", []).append(_text(record))
    return {table: sorted(rows) for table, rows in found.items()}


def _decoded(record: t.Any) -> t.Any:
    """Decode the msgpack inside config entries."""
    if not isinstance(record, (str, bytes)):
        return record
    blob = record.encode("utf-8", "surrogateescape") if isinstance(record, str) else record
    unpacker = msgpack.Unpacker(None, raw=False, unicode_errors="surrogateescape", strict_map_key=False)
    unpacker.feed(blob)
    return [
        {**value, "Entry": _decoded(value["Entry"])} if isinstance(value, dict) and "Entry" in value else value
        for value in unpacker
    ]


def _text(value: t.Any) -> str:
    if isinstance(value, dict):
        kept = {field: _text(inner) for field, inner in value.items() if field not in INDEXES}
        return "{" + ", ".join(f"{field}: {kept[field]}" for field in sorted(kept)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return repr(value)

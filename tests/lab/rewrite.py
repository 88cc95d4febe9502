# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes single records of a real snapshot. Shares no code with the reader under test.

Text is decoded with surrogate escapes, so that any bytes come back as they were.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import typing as t

import msgpack

from tests.lab import craft

CONFIG_ENTRY = 22

Record = dict[str, t.Any]
Change = t.Callable[[int, Record], t.Optional[Record]]


def rewritten(snapshot: bytes, change: Change, *extra: tuple[int, bytes], index: int | None = None) -> bytes:
    """Return a snapshot in which ``change(type, record)`` replaced each record that is a map, or dropped it with None.

    Of a config entry, the entry is given. ``extra`` records are added at the end. Index (if no ``index`` is given) and term stay
    as they are.
    """
    members = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(snapshot))) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            members[member.name] = content.read()
    state = members["state.bin"]
    unpacker = _unpacker(state)
    unpacker.skip()
    parts = [state[: unpacker.tell()]]
    while unpacker.tell() < len(state):
        kind = unpacker.read_bytes(1)[0]
        value = unpacker.unpack()
        if kind == CONFIG_ENTRY:
            inner = _unpacker(_bytes(value))
            entry_kind, body = inner.unpack(), inner.unpack()
            inner_entry = body["Entry"]
            is_packed = not isinstance(inner_entry, dict)  # proxy-defaults are msgpack once more
            entry = change(kind, _unpacker(_bytes(inner_entry)).unpack() if is_packed else inner_entry)
            if entry is not None:
                parts.append(_entry(entry_kind, {**body, "Entry": _packed(entry) if is_packed else entry}))
        elif isinstance(value, dict):
            record = change(kind, value)
            parts += [] if record is None else [bytes([kind]) + _packed(record)]
        else:
            parts.append(bytes([kind]) + _packed(value))
    body = b"".join(parts) + b"".join(data for _kind, data in extra)
    described = {**json.loads(members["meta.json"]), "Size": len(body)}
    if index is not None:
        described["Index"] = index
    meta = json.dumps(described, separators=(",", ":")).encode() + b"\n"
    files = {"meta.json": meta, "state.bin": body}
    return craft.pack({**files, "SHA256SUMS": craft.sums(files)})


def maps_of(snapshot: bytes, kind: int) -> list[Record]:
    """Return the records of a type that is a map, as rewritten() gives them, for craft.record()."""
    found: list[Record] = []

    def note(of: int, record: Record) -> Record:
        if of == kind:
            found.append({field: _bytes(value) if isinstance(value, str) else value for field, value in record.items()})
        return record

    rewritten(snapshot, note)
    return found


def _entry(kind: str, body: Record) -> bytes:
    blob: bytes = msgpack.packb(_packed(kind) + _packed(body), use_bin_type=True)
    return bytes([CONFIG_ENTRY]) + blob


def _unpacker(data: bytes) -> t.Any:
    unpacker = msgpack.Unpacker(None, raw=False, strict_map_key=False, unicode_errors="surrogateescape")
    unpacker.feed(data)
    return unpacker


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _packed(value: t.Any) -> bytes:
    return t.cast(bytes, msgpack.packb(value, use_bin_type=False, unicode_errors="surrogateescape"))

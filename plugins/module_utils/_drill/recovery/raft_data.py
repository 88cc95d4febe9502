# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Raft has on a server's disk: the last index and term, and the newest configuration, of the log or of a snapshot.

Servers do not have the library for MessagePack, so the few types that Raft's log entries consist of are decoded here.
"""

from __future__ import annotations

import json
import struct
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .bolt_file import BoltFile, UnreadableBolt

CONFIGURATION = 5  # the type of a log entry. Source: raft/log.go, LogConfiguration
VOTER = 0  # source: raft/configuration.go
DEEPEST = 8


class Server(t.NamedTuple):
    """A server of Raft's configuration; the address is with its port."""

    id: str
    address: str
    is_voter: bool


@dataclass(frozen=True)
class RaftData:
    """The state of a server's Raft data. An index is 0 where nothing was ever written, None where it cannot be read."""

    index: int | None
    term: int | None
    source: str
    servers: tuple[Server, ...] | None
    problem: str = ""


def read_raft_data(data_dir: Path) -> RaftData:
    """Return the state of the Raft data below a data directory; what is wrong with it is in ``problem``. Raises OSError."""
    raft = data_dir / "raft"
    log_file = raft / "raft.db"
    try:
        found = [state for state in map(_of_snapshot, _snapshots(raft)) if state]
        newest = max(found, key=lambda one: (one.term or 0, one.index or 0), default=RaftData(0, 0, "none", None))
        if log_file.exists():
            with BoltFile(log_file) as log:
                return _with_log(log, newest)
    except (UnreadableBolt, KeyError, TypeError) as error:
        return RaftData(None, None, "none", None, f"The Raft data in {raft} cannot be read: {error}.")
    if (raft / "wal").is_dir():
        problem = f"The Raft log in {raft}/wal can only be read by Consul; what stands here is of the newest Raft snapshot, and older."
        return RaftData(newest.index or None, newest.term or None, "snapshot", newest.servers, problem)
    return newest


def _snapshots(raft: Path) -> list[Path]:
    folder = raft / "snapshots"
    return [path for path in folder.iterdir() if path.suffix != ".tmp"] if folder.is_dir() else []


def _of_snapshot(directory: Path) -> RaftData | None:
    try:
        meta = json.loads((directory / "meta.json").read_bytes())
        servers = [
            Server(str(one["ID"]), str(one["Address"]), one["Suffrage"] == VOTER)
            for one in meta["Configuration"]["Servers"]
        ]
        return RaftData(int(meta["Index"]), int(meta["Term"]), "snapshot", tuple(servers))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None  # Consul does not load such a snapshot either, but the one before it


def _with_log(log: BoltFile, snapshot: RaftData) -> RaftData:
    """Return the state with the entries of the log. A configuration in the log is newer than a snapshot's if its index is."""
    last: t.Mapping[bytes, t.Any] | None = None
    for key, value in log.newest("logs"):
        entry = decode(value)
        if int.from_bytes(key, "big") <= (snapshot.index or 0):
            break
        last = last or entry
        if entry[b"Type"] == CONFIGURATION:
            return RaftData(last[b"Index"], last[b"Term"], "log", _servers(entry[b"Data"]))
    return snapshot if last is None else RaftData(last[b"Index"], last[b"Term"], "log", snapshot.servers)


def _servers(data: bytes) -> tuple[Server, ...]:
    found = decode(data)[b"Servers"] or []
    return tuple(Server(one[b"ID"].decode(), one[b"Address"].decode(), one[b"Suffrage"] == VOTER) for one in found)


def decode(data: bytes) -> dict[bytes, t.Any]:
    """Return the map that a MessagePack value is; strings stay bytes. Raises UnreadableBolt."""
    try:
        found, _end = _value(data, 0, 0)
    except (IndexError, struct.error, TypeError) as error:
        raise UnreadableBolt("an entry of its log is not one of Raft") from error
    if not isinstance(found, dict):
        raise UnreadableBolt("an entry of its log is not one of Raft")
    return found


# First byte: size of the length or number that follows, and what it is.
_SIZED = {
    **{0xC4 + power: (1 << power, "bytes") for power in range(3)},
    **{0xC7 + power: (1 << power, "extension") for power in range(3)},
    **{0xCC + power: (1 << power, "unsigned") for power in range(4)},
    **{0xD0 + power: (1 << power, "signed") for power in range(4)},
    **{0xD9 + power: (1 << power, "bytes") for power in range(3)},
    **{0xDC: (2, "list"), 0xDD: (4, "list"), 0xDE: (2, "map"), 0xDF: (4, "map")},
}
_PLAIN = {0xC0: None, 0xC2: False, 0xC3: True}


def _value(data: bytes, at: int, depth: int) -> tuple[t.Any, int]:
    """Return the value at a position, and the position after it. Source: https://github.com/msgpack/msgpack, spec.md"""
    first, at = data[at], at + 1
    if first < 0x80 or first >= 0xE0:
        return (first if first < 0x80 else first - 0x100), at
    if first in _PLAIN:
        return _PLAIN[first], at
    if first < 0xC0:
        kind, number = (
            ("map", first & 15) if first < 0x90 else ("list", first & 15) if first < 0xA0 else ("bytes", first & 31)
        )
    elif (
        first in (0xCA, 0xCB) or 0xD4 <= first <= 0xD8
    ):  # floats and extensions of a fixed length, which are not asked for
        kind, number = "bytes", {0xCA: 4, 0xCB: 8}.get(first) or 1 + (1 << first - 0xD4)
    elif first in _SIZED:
        size, kind = _SIZED[first]
        number, at = int.from_bytes(_cut(data, at, size), "big", signed=kind == "signed"), at + size
    else:
        raise UnreadableBolt("an entry of its log is not one of Raft")
    return _longer(data, at, kind, number, depth + 1)


def _longer(data: bytes, at: int, kind: str, number: int, depth: int) -> tuple[t.Any, int]:
    if kind in ("unsigned", "signed"):
        return number, at
    if kind in ("bytes", "extension"):
        size = number + (kind == "extension")
        return _cut(data, at, size), at + size
    if depth > DEEPEST:
        raise UnreadableBolt("an entry of its log is not one of Raft")
    found = []
    for _item in range(number * (2 if kind == "map" else 1)):
        item, at = _value(data, at, depth)
        found.append(item)
    return (dict(zip(found[::2], found[1::2])) if kind == "map" else found), at


def _cut(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise UnreadableBolt("an entry of its log is cut short")
    return data[at : at + size]

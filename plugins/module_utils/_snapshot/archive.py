# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The container of a Consul snapshot: gzip(tar(meta.json, state.bin, SHA256SUMS)), read in one pass.

Everything is checked while it streams by, in bounded memory: gzip CRC, tar members, both SHA-256 sums, the size in
meta.json and the msgpack framing of every record. Used by summary.py.
Source: https://github.com/hashicorp/consul/tree/main/snapshot
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import typing as t
from dataclasses import dataclass

from .._consul._libraries import msgpack, require
from .._consul.units import human_bytes
from .errors import BadSnapshot, DamagedArchive
from .gunzip import CHUNK, GZIP_MAGIC, GunzipReader, Source

BLOCK = 512  # of a tar archive
MAX_SMALL_MEMBER = 1 << 20  # meta.json is some 250 bytes, SHA256SUMS 150; a hundred servers make meta.json 20 KB
MAX_RECORD = 1 << 26  # a value is 512 KB at most by default; a server set to take 50 MB still fits
MAX_ITEMS = (
    1 << 14
)  # entries of one list or map: msgpack allocates the number that is claimed, and they nest 1,024 deep
COORDINATES = 6  # CoordinateBatchUpdate: one list that may have an entry per node, more than MAX_ITEMS
MAX_DRAIN = 1 << 29  # bytes that are read after a bad record to learn whether the checksum is wrong too
MEMBERS = ("meta.json", "state.bin", "SHA256SUMS")

_END = bytes(BLOCK)


@dataclass(frozen=True)
class Meta:
    """meta.json, the description of the Raft snapshot. ``size`` is that of state.bin in bytes."""

    id: str
    index: int
    term: int
    version: int
    size: int
    servers: tuple[str, ...]

    @property
    def taken_ms(self) -> int:
        """When the server made it, in milliseconds since 1970, from the id (``term-index-ms``); 0 if unknown."""
        last = self.id.rpartition("-")[2]
        return int(last) if last.isdigit() else 0


Record = tuple[int, t.Any, int]


class Archive:
    """Reads one snapshot: iterate ``records()`` to its end, then ``meta`` and ``last_index`` are known and verified.

    Raises BadSnapshot, MissingLibrary and whatever the source raises.
    """

    def __init__(self, source: Source) -> None:
        require("msgpack")
        self._gzip = GunzipReader(source)
        self._meta: Meta | None = None
        self._sums: dict[str, str] = {}
        self._hashes: dict[str, str] = {}
        self._state_size = 0
        self.last_index = 0

    @property
    def meta(self) -> Meta:
        """meta.json; known once ``records()`` has ended."""
        if self._meta is None:
            raise BadSnapshot("the archive has no meta.json")
        return self._meta

    def records(self) -> t.Iterator[Record]:
        """Yield (type number, record, size in bytes with the type byte) of every record in the file's order.

        Strings are bytes, lists are tuples, and a map is a list of pairs: some config entries have maps as keys.
        The record of a CoordinateBatchUpdate is the number of its entries that name no node.
        """
        while True:
            header = self._gzip.exactly(BLOCK, "a tar header")
            if header == _END:
                break
            name, size = _parse_header(header)
            if name in self._hashes:
                raise BadSnapshot(f"the archive holds {name} twice")
            member = _Member(self._gzip, name, size)
            if name == "state.bin":
                yield from self._state(member)
            elif name == "meta.json":
                self._meta = parse_meta(member.small())
            else:
                self._sums = _parse_sums(member.small())
            self._hashes[name] = member.finish()
        self._finish()

    def damage(self) -> str:
        """After a BadSnapshot: read on and return the error of the gzip checksum, "" without one.

        A flipped bit often shows first as an invalid record; the user needs to know that the file is damaged.
        """
        try:
            for _piece in range(MAX_DRAIN // CHUNK):
                if not self._gzip.read(CHUNK):
                    break
        except DamagedArchive as error:
            return str(error)
        except BadSnapshot:
            pass
        return ""

    def _state(self, member: _Member) -> t.Iterator[Record]:
        self._state_size = member.size
        if self._meta is not None:
            self._check_size(self._meta)
        most_items = min(MAX_ITEMS, max(member.size, BLOCK))  # msgpack allocates the number that is claimed
        unpacker = msgpack.Unpacker(
            member,
            raw=True,
            strict_map_key=False,
            use_list=False,
            object_pairs_hook=list,
            read_size=CHUNK,
            max_buffer_size=MAX_RECORD,
            max_array_len=most_items,
            max_map_len=most_items,
        )
        number, start = 0, 0
        read_bytes, tell, unpack = unpacker.read_bytes, unpacker.tell, unpacker.unpack
        try:
            header = unpack()
            self.last_index = _last_index(header)
            start = tell()
            while True:
                kind = read_bytes(1)
                if not kind:
                    break
                number += 1
                record = _unnamed_coordinates(unpacker) if kind[0] == COORDINATES else unpack()
                end = tell()
                yield kind[0], record, end - start
                start = end
        except msgpack.OutOfData:
            raise BadSnapshot(f"state.bin ends in the middle of {_nth(number)}") from None
        except (msgpack.FormatError, msgpack.StackError):
            raise BadSnapshot(f"{_nth(number)} at byte {start} of state.bin is not msgpack") from None
        except (ValueError, msgpack.BufferFull) as error:
            reason = "is not msgpack"
            if isinstance(error, msgpack.BufferFull) or "exceeds" in str(error):
                reason = f"claims to be longer than the file or than {human_bytes(MAX_RECORD)}"
            raise BadSnapshot(f"{_nth(number)} at byte {start} of state.bin {reason}") from None
        except MemoryError:
            raise BadSnapshot(f"{_nth(number)} at byte {start} of state.bin does not fit into memory") from None

    def _check_size(self, meta: Meta) -> None:
        if meta.size != self._state_size:
            raise BadSnapshot(f"meta.json says state.bin has {meta.size} bytes, the archive holds {self._state_size}")

    def _finish(self) -> None:
        for name in MEMBERS:
            if name not in self._hashes:
                raise BadSnapshot(f"the archive has no {name}")
        if self._gzip.exactly(BLOCK, "the end of the archive") != _END:
            raise BadSnapshot("the archive does not end as a tar must")
        self._gzip.expect_end()
        self._check_size(self.meta)
        for name in ("meta.json", "state.bin"):
            if self._sums.get(name) != self._hashes[name]:
                raise BadSnapshot(f"{name} does not have the SHA-256 sum that SHA256SUMS gives: it was altered")
        if set(self._sums) != {"meta.json", "state.bin"}:
            raise BadSnapshot("SHA256SUMS names other files than meta.json and state.bin")


def unpack_values(blob: bytes) -> list[t.Any]:
    """Decode the msgpack values that follow each other in a record's inner blob. Raises BadSnapshot."""
    unpacker = msgpack.Unpacker(
        raw=True,
        strict_map_key=False,
        use_list=False,
        object_pairs_hook=list,
        max_buffer_size=max(len(blob), 1),
        max_array_len=min(len(blob), MAX_ITEMS),
        max_map_len=min(len(blob), MAX_ITEMS),
    )
    values: list[t.Any] = []
    end = 0
    try:
        unpacker.feed(blob)
        while True:
            values.append(unpacker.unpack())
            end = unpacker.tell()
    except msgpack.OutOfData:
        if end != len(blob):
            raise BadSnapshot("a config entry is cut short inside") from None
    except (msgpack.UnpackException, ValueError):
        raise BadSnapshot("a config entry is not msgpack inside") from None
    return values


def _unnamed_coordinates(unpacker: t.Any) -> int:
    """Read the entries of a list one by one and return how many name no node. Raises what msgpack raises."""
    unnamed = 0
    for _entry in range(_list_length(unpacker)):
        entry = unpacker.unpack()
        try:
            is_named = bool(dict(entry)[b"Node"])
        except (KeyError, TypeError, ValueError):  # without the field, or not a map
            is_named = False
        unnamed += not is_named
    return unnamed


def _list_length(unpacker: t.Any) -> int:
    """Read the header of a list, or nil, which Go writes for an empty one, and return the list's length."""
    code = _exactly(unpacker, 1)[0]
    if code == 0xC0:
        return 0
    if 0x90 <= code <= 0x9F:
        return code & 0x0F
    if code in (0xDC, 0xDD):
        return int.from_bytes(_exactly(unpacker, 2 if code == 0xDC else 4), "big")
    raise ValueError("not a list")


def _exactly(unpacker: t.Any, size: int) -> bytes:
    data: bytes = unpacker.read_bytes(size)
    if len(data) < size:
        raise msgpack.OutOfData
    return data


def _nth(number: int) -> str:
    return f"record {number}" if number else "the header"


def _last_index(header: t.Any) -> int:
    if not isinstance(header, list) or len(header) != 1 or header[0][0] != b"LastIndex":
        raise BadSnapshot("state.bin does not begin with Consul's header")
    if not isinstance(header[0][1], int):
        raise BadSnapshot("the header of state.bin has no index")
    return header[0][1]


def _parse_header(block: bytes) -> tuple[str, int]:
    """Return name and size of a tar member. Raises BadSnapshot for any but the three plain files of a snapshot."""
    if block.startswith(GZIP_MAGIC):
        raise BadSnapshot("it is gzipped twice (Consul does that for a client that accepts gzip): gunzip it once")
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
    except tarfile.HeaderError:
        raise BadSnapshot("what is compressed in it is not a tar archive") from None
    if info.name not in MEMBERS or not info.isfile():
        raise BadSnapshot(f"the archive holds {info.name[:80]!r}, which no snapshot has")
    if info.size < 0 or (info.name != "state.bin" and info.size > MAX_SMALL_MEMBER):
        raise BadSnapshot(f"{info.name} claims to have {info.size} bytes, which no snapshot has")
    return info.name, info.size


def parse_meta(text: bytes) -> Meta:
    """Return the contents of meta.json. Raises BadSnapshot."""
    try:
        values = json.loads(text)
        servers = (values.get("Configuration") or {}).get("Servers") or []
        return Meta(
            id=str(values["ID"]),
            index=int(values["Index"]),
            term=int(values["Term"]),
            version=int(values["Version"]),
            size=int(values["Size"]),
            servers=tuple(str(server["Address"]) for server in servers),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadSnapshot("meta.json is not the description of a Raft snapshot") from None


def _parse_sums(text: bytes) -> dict[str, str]:
    sums: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) != 2 or words[1] in sums:
            raise BadSnapshot("SHA256SUMS is not a list of sums")
        sums[words[1]] = words[0]
    return sums


class _Member:
    """One file of the archive, read from the decompressed stream and hashed."""

    def __init__(self, source: GunzipReader, name: str, size: int) -> None:
        self.size = size
        self._source = source
        self._name = name
        self._left = size
        self._hash = hashlib.sha256()

    def read(self, size: int = CHUNK) -> bytes:
        """Return up to ``size`` bytes, b"" at the end of the member."""
        if not self._left:
            return b""
        data = self._source.read(min(size, self._left))
        if not data:
            raise BadSnapshot(f"the file ends in the middle of {self._name}")
        self._left -= len(data)
        self._hash.update(data)
        return data

    def small(self) -> bytes:
        pieces = []
        while self._left:
            pieces.append(self.read())
        return b"".join(pieces)

    def finish(self) -> str:
        """Read what is left and the padding; return the SHA-256 of the member."""
        while self._left:
            self.read()
        self._source.exactly(-self.size % BLOCK, f"the padding of {self._name}")
        return self._hash.hexdigest()

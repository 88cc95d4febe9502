# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The undo file of a restore of prefixes: what it overwrites, deletes and creates, on disk before anything is written.

It is a snapshot file that holds only keys: the ones to bring back as KVS records, the ones to delete again as Tombstone
records, and one reserved key that says what the file is. consul_snapshot takes it in place of a snapshot.
"""

from __future__ import annotations

import json
import logging
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .._consul._libraries import msgpack
from .._consul.kv import Entry
from .._consul.private_file import PrivateFile, sweep_abandoned
from . import records, save
from .archive import Meta
from .archive_writer import ArchiveStream
from .errors import BadSnapshot
from .gunzip import Source
from .manifest import Manifest, of_summary
from .prefix_plan import PrefixPlan
from .sources import HashingSource
from .summary import Summary, summarize

log = logging.getLogger("consulops")

UNDO_KEY = b"consulops/undo"
UNDO_NAME = "undo-restore-{datacenter}-{time}-{index}.snap"
FORMAT = 1
# Raft knows the versions 0 and 1 and refuses any other before it changes something (seen on 1.8.7), so nobody replaces a
# datacenter by an undo file with Consul's own tools.
META_VERSION = 1000
COMPRESSION_LEVEL = 6

Before = t.Mapping[bytes, t.Optional[Entry]]  # each key that a restore writes, as it was; None: there was none


@dataclass(frozen=True)
class Undoable:
    """Which restore an undo file belongs to: the datacenter and the prefixes."""

    datacenter: str
    prefixes: tuple[str, ...]

    def as_bytes(self) -> bytes:
        """Return the value of the key that marks an undo file."""
        values = {"format": FORMAT, "datacenter": self.datacenter, "prefixes": self.prefixes}
        return json.dumps(values, sort_keys=True).encode()


def is_undo_file(meta: Meta) -> bool:
    """Return whether a file is an undo file. A key of that name in a datacenter's own snapshot does not make one."""
    return meta.version == META_VERSION


def read_undoable(value: bytes) -> Undoable:
    """Return what the value of UNDO_KEY says. Raises BadSnapshot."""
    try:
        found = json.loads(value)
        if found["format"] > FORMAT:
            raise BadSnapshot("The undo file was written by a newer version of this collection: update the collection.")
        return Undoable(str(found["datacenter"]), tuple(map(str, found["prefixes"])))
    except (ValueError, KeyError, TypeError):
        raise BadSnapshot("The undo file does not say which restore it belongs to.") from None


class UndoFile:
    """The undo file of one restore, in ``directory``; ``now`` is in seconds since 1970.

    ``add`` writes it: before the first key is written, and again when a plan is made again because another client wrote.
    """

    def __init__(self, directory: Path, about: Undoable, now: float) -> None:
        self._directory = directory
        self._about = about
        self._now = now
        self._before: dict[bytes, Entry | None] = {}
        self.path: Path | None = None

    def add(self, plans: t.Iterable[PrefixPlan], written: t.Container[bytes] = ()) -> None:
        """Put on disk what these plans change; keys that the restore has ``written`` already stay as first noted.

        Raises LocalFailure.
        """
        found = {key: live for plan in plans for key, live in _before(plan) if key not in written}
        if self.path is not None and all(self._before.get(key, _UNSEEN) == live for key, live in found.items()):
            return
        self._before.update(found)
        self._write()

    def _write(self) -> None:
        sweep_abandoned(self._directory)
        with PrivateFile(self._directory) as data, PrivateFile(self._directory) as description:
            manifest = _pack(data, self._before, self._about, self._now)
            target, name = (self._directory, UNDO_NAME) if self.path is None else (self.path, None)
            self.path = save.put_in_place(data, description, target, name, manifest)
        log.debug("what the restore changes, %d keys, is in %s", len(self._before), self.path)


def needed_bytes(plans: t.Iterable[PrefixPlan]) -> int:
    """Return how many bytes of keys and values the undo file of these plans holds."""
    return sum(len(key) + (len(live.value) if live else 0) for plan in plans for key, live in _before(plan))


_UNSEEN = object()


def _before(plan: PrefixPlan) -> t.Iterator[tuple[bytes, Entry | None]]:
    """Yield the keys that a plan writes or deletes, as they are."""
    for change in plan.changes:
        yield change.key.encode(), change.live
    for raw in plan.raw:
        yield raw.key, raw.live


def _pack(data: PrivateFile, before: Before, about: Undoable, now: float) -> Manifest:
    """Write the archive, decoding it on the way; return its manifest. Raises LocalFailure."""
    index = max((live.modify_index for live in before.values() if live), default=0)
    size = sum(map(len, _state(before, about, index)))
    archive = ArchiveStream(
        _meta(size, index, now), _Pieces(_state(before, about, index)), size, level=COMPRESSION_LEVEL
    )
    source = HashingSource(archive, copy_to=data)
    summary: Summary = summarize(source, "the undo file", as_of=now)
    manifest = of_summary(
        summary, time=now, node=None, stale=False, size=source.size, sha256=source.sha256, safety=True
    )
    return replace(manifest, datacenter=about.datacenter)


def _meta(state_size: int, index: int, now: float) -> bytes:
    """Return meta.json as Consul writes it."""
    values = {
        "Version": META_VERSION,
        "ID": f"0-{index}-{int(now * 1000)}",
        "Index": index,
        "Term": 0,
        "Peers": None,
        "Configuration": {"Servers": []},
        "ConfigurationIndex": 0,
        "Size": state_size,
    }
    return (json.dumps(values, separators=(",", ":")) + "\n").encode()


def _state(before: Before, about: Undoable, index: int) -> t.Iterator[bytes]:
    """Yield the parts of state.bin: the header and a record for each key."""
    packer = msgpack.Packer(use_bin_type=False)  # Go packs text and bytes alike
    yield packer.pack({"LastIndex": index})
    yield _kvs(packer, Entry("", about.as_bytes(), 0, index), UNDO_KEY)
    for key, live in sorted(before.items()):
        if live is not None:
            yield _kvs(packer, live, key)
        else:
            yield bytes([records.TOMBSTONE]) + packer.pack({"Index": index, "Key": key})


def _kvs(packer: t.Any, live: Entry, key: bytes) -> bytes:
    fields = {
        "CreateIndex": live.create_index,
        "Flags": live.flags,
        "Key": key,
        "LockIndex": 0,
        "ModifyIndex": live.modify_index,
        "Session": "",  # a lock is not brought back: its session may be gone
        "Value": live.value,
    }
    return bytes([records.KVS]) + t.cast(bytes, packer.pack(fields))


class _Pieces(Source):
    """Pieces of bytes as a source."""

    def __init__(self, pieces: t.Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def read(self, size: int) -> bytes:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = piece
        data, self._left = self._left[:size], self._left[size:]
        return data

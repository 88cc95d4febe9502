# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides which keys must be written, and how, to make a KV prefix hold what a snapshot holds. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._consul import key_path
from .._consul.digest import RESERVED_PREFIX, short_digest
from .._consul.kv import Entry
from .._consul.txn import Operation


@dataclass(frozen=True)
class Contents:
    """What a prefix should hold: ``keys`` with value and flags, and ``absent``, keys that must not be there.

    A snapshot says of no key that it must not be there; an undo file (undo_file.py) names those that a restore created.
    """

    keys: t.Mapping[bytes, tuple[bytes, int]]
    absent: frozenset[bytes] = frozenset()


@dataclass(frozen=True)
class PrefixOptions:
    """``prune``: delete keys that the snapshot does not have. ``break_locks``: write keys that a session holds."""

    prune: bool = False
    break_locks: bool = False


@dataclass(frozen=True)
class Change:
    """One key that is not as it should be. ``change``: created, updated or deleted; digests, no values.

    ``live`` is the key as it is now, None when there is none.
    """

    key: str
    change: str
    before: str | None
    after: str | None
    live: Entry | None
    operation: Operation = field(repr=False)


@dataclass(frozen=True)
class RawChange:
    """One key that is not UTF-8, as it should be. ``value`` None deletes it; ``live`` is the key as it is now, or None."""

    key: bytes
    value: bytes | None = field(repr=False)
    flags: int
    live: Entry | None

    @property
    def index(self) -> int:
        """The Raft index of the live key, 0 when there is none."""
        return self.live.modify_index if self.live else 0

    @property
    def change(self) -> str:
        """What is done: created, updated or deleted."""
        if self.value is None:
            return "deleted"
        return "updated" if self.live else "created"


@dataclass(frozen=True)
class PrefixPlan:
    """What it takes to restore one prefix.

    ``kept``: how many live keys the snapshot does not have and that stay. ``locked``: keys that differ and that a live
    session holds; they are not written. ``raw``: keys that are not UTF-8, which a transaction cannot carry; they are
    written one by one.
    """

    prefix: str
    changes: tuple[Change, ...]
    unchanged: int
    kept: int
    locked: tuple[str, ...]
    raw: tuple[RawChange, ...]


def plan(
    prefix: str,
    contents: Contents,
    live: t.Iterable[Entry],
    raw_live: t.Mapping[bytes, Entry],
    options: PrefixOptions,
) -> PrefixPlan:
    """Compare what a prefix should hold (``contents``) with what it holds.

    ``raw_live`` holds the keys of ``contents`` that are not UTF-8, as they are now.
    """
    changes: list[Change] = []
    locked: list[str] = []
    unchanged = kept = 0
    left = {key: content for key, content in contents.keys.items() if is_text(key)}
    for entry in live:
        key = entry.key.encode()
        if key_path.REPLACEMENT in entry.key and key not in left and key not in contents.absent:
            continue  # a key that is not UTF-8: this name does not say which
        content = left.pop(key, None)
        goes = content is None and (key in contents.absent or (options.prune and not key.startswith(RESERVED_PREFIX)))
        before = short_digest(entry.value)
        if content == (entry.value, entry.flags):
            unchanged += 1
        elif entry.session and not options.break_locks and (content is not None or goes):
            locked.append(entry.key)
        elif content is not None:
            operation = Operation("cas", entry.key, content[0], content[1], index=entry.modify_index)
            changes.append(Change(entry.key, "updated", before, short_digest(content[0]), entry, operation))
        elif goes:
            operation = Operation("delete-cas", entry.key, index=entry.modify_index)
            changes.append(Change(entry.key, "deleted", before, None, entry, operation))
        else:
            kept += 1
    for key, (value, flags) in sorted(left.items()):
        operation = Operation("cas", key.decode(), value, flags, index=0)
        changes.append(Change(key.decode(), "created", None, short_digest(value), None, operation))
    raw = []
    for key, (value, flags) in sorted(contents.keys.items()):
        if is_text(key):
            continue
        now = raw_live.get(key)
        if now is not None and (now.value, now.flags) == (value, flags):
            unchanged += 1
        else:
            raw.append(RawChange(key, value, flags, now))
    raw += [
        RawChange(key, None, 0, raw_live[key])
        for key in sorted(contents.absent)
        if not is_text(key) and key in raw_live
    ]
    changes.sort(key=lambda change: change.change == "deleted")  # deletes last
    return PrefixPlan(prefix, tuple(changes), unchanged, kept, tuple(locked), tuple(raw))


def is_text(key: bytes) -> bool:
    """Return whether a key is UTF-8, which JSON, and so a transaction, can carry."""
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True

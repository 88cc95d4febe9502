# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The largest folders of the key-value store in a snapshot, and how they grew since the snapshot before. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .tables import OTHER_KEYS, Prefix

DEPTH = 1  # path elements of a folder: more would be as many labels as a store has applications times their parts
LARGEST = 20  # folders that are kept by name
NO_FOLDER = "(no folder)"
OTHERS = OTHER_KEYS.decode()


@dataclass(frozen=True)
class FolderGrowth:
    """One folder: its keys, the bytes of their records, and how many bytes more that is (None: nothing to compare with)."""

    prefix: str
    keys: int
    bytes: int
    growth: int | None


def largest(found: t.Iterable[Prefix]) -> tuple[Prefix, ...]:
    """Return the largest folders; the others, and keys without a folder, are one row each."""
    folders: dict[str, list[int]] = {}
    for one in found:
        name = one.prefix if one.prefix.endswith("/") or one.prefix == OTHERS else NO_FOLDER
        counter = folders.setdefault(name, [0, 0])
        counter[0] += one.keys
        counter[1] += one.bytes
    ordered = sorted(
        ((name, counter) for name, counter in folders.items() if name != OTHERS), key=lambda row: (-row[1][1], row[0])
    )
    rows = [Prefix(name, keys, size) for name, (keys, size) in ordered[:LARGEST]]
    rest = [counter for _name, counter in ordered[LARGEST:]] + ([folders[OTHERS]] if OTHERS in folders else [])
    if rest:
        rows.append(Prefix(OTHERS, sum(keys for keys, _size in rest), sum(size for _keys, size in rest)))
    return tuple(rows)


def growth(newest: t.Sequence[Prefix], before: t.Sequence[Prefix]) -> tuple[FolderGrowth, ...]:
    """Return the folders of the newest snapshot, beside the one before (nothing: unknown); the fastest growing first.

    A folder that the one before does not name is new, or was too small to be named there.
    """
    sizes = {one.prefix: one.bytes for one in before}
    rows = [
        FolderGrowth(one.prefix, one.keys, one.bytes, one.bytes - sizes.get(one.prefix, 0) if before else None)
        for one in newest
    ]
    if before:
        gone = sizes.keys() - {one.prefix for one in newest}
        rows += [FolderGrowth(name, 0, 0, -sizes[name]) for name in gone]
    return tuple(sorted(rows, key=lambda row: (-(row.growth or 0), -row.bytes, row.prefix)))

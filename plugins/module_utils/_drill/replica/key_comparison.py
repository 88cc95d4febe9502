# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares the keys of a drill in two datacenters, without its locks, which belong to one datacenter."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._consul import kv
from ..._consul.client import Client
from ..._consul.digest import SetDigest, kv_bytes
from ..lock_workload import FOLDER as LOCKS


@dataclass(frozen=True)
class SideDigest:
    """The keys of one side: how many, and their digest, which does not depend on the name of the folder."""

    keys: int
    digest: str


def side_digest(client: Client, root: str) -> SideDigest:
    """Read all keys below a folder. Raises a ConsulError."""
    found = SetDigest()
    for shard in kv.read_shards(client, root, consistency="consistent"):
        for entry in shard.entries:
            name = entry.key[len(root) :]
            if not name.startswith(LOCKS):
                found.add(kv_bytes(name.encode("utf-8", "surrogateescape"), entry.value, entry.flags))
    return SideDigest(found.count, found.hexdigest())


def names_below(client: Client, root: str) -> set[str]:
    """Return the names of all keys below a folder, relative to it. Raises a ConsulError."""
    return {name[len(root) :] for name in kv.list_keys(client, root, consistency="consistent")}


def numbers_in(names: t.Iterable[str], folder: str) -> list[int]:
    """Return the numbers of the keys of a folder; whatever else is there is left out."""
    found = (name[len(folder) :] for name in names if name.startswith(folder))
    return sorted(int(number) for number in found if number.isdecimal())

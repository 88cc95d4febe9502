# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that stand in for snapshots where their contents do not matter, with manifests that describe them."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

from ansible_collections.consulops.failover.plugins.module_utils._snapshot.manifest import Manifest

NOON = 1_780_315_200.0  # 2026-06-01T12:00:00Z


def manifest_of(data: bytes, **changes: t.Any) -> Manifest:
    """Return a manifest that describes ``data``."""
    values: dict[str, t.Any] = {
        "datacenter": "dc1",
        "time": NOON,
        "consul_version": "1.8.7",
        "node": "server-1",
        "servers": ("server-1",),
        "raft_id": "2-10-1780315200000",
        "index": 10,
        "term": 2,
        "stale": False,
        "tables": (),
        "digest": "00" * 32,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return Manifest(**{**values, **changes})


def written(directory: Path, data: bytes, name: str = "file") -> Path:
    """Write a file and return its path."""
    path = directory / name
    path.write_bytes(data)
    return path

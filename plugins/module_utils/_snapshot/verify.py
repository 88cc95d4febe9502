# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifies stored snapshots without Consul: fetches, decrypts and decodes each, and compares what it holds with its manifest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from .._consul.errors import Error
from . import fetched_file, load_check, stored_snapshots
from .encryption.age_format import DecryptionKeys
from .manifest import Manifest
from .sources import SnapshotFile
from .stored_snapshots import StoredSnapshot
from .stores.store import Store
from .summary import Summary, summarize

# Decoded and compared; only compared with the digest of the stored file, because nothing opens it here; not usable.
VERIFIED, INTACT, BROKEN = "verified", "intact", "broken"


@dataclass(frozen=True)
class Verification:
    """What verifying one snapshot found. ``reason`` is why it is broken, ``remarks`` are what a restore of it would miss."""

    found: StoredSnapshot
    state: str
    reason: str
    remarks: tuple[str, ...]
    took_s: float


def verify(store: Store, found: StoredSnapshot, keys: DecryptionKeys, directory: Path) -> Verification:
    """Verify one snapshot of a store; private copies are in ``directory`` meanwhile. An error becomes the reason."""
    started = time.monotonic()
    state, reason = BROKEN, found.problem
    remarks: tuple[str, ...] = ()
    if found.manifest is not None and not found.problem:
        try:
            if found.manifest.encryption and not (keys.identity_file or keys.passphrase_file):
                is_intact = stored_snapshots.is_intact(store, found)
                state = INTACT if is_intact else BROKEN
                reason = "" if is_intact else "the stored file is not the one that its manifest describes"
            else:
                with fetched_file.fetched(store, found, keys, directory) as path, SnapshotFile(path) as source:
                    # As of its own time: what has expired since was part of its digest.
                    summary = summarize(source, found.name, as_of=found.manifest.time)
                reason = difference(found.manifest, summary)
                state = BROKEN if reason else VERIFIED
                remarks = _remarks(found.manifest, summary)
        except Error as error:
            reason = str(error).rstrip(".")
    return Verification(found, state, reason, remarks, time.monotonic() - started)


def difference(manifest: Manifest, summary: Summary) -> str:
    """Return how the contents of a snapshot differ from its manifest, "" if they do not. Pure."""
    for what, described, read in (
        ("datacenter", manifest.datacenter, summary.datacenter),
        ("Raft index", manifest.index, summary.meta.index),
        *((f"number of records of {table.name}", table.count, summary.count(table.name)) for table in manifest.tables),
        ("number of tables", len(manifest.tables), len(summary.tables)),
        ("digest", manifest.digest, summary.digest),
    ):
        if described != read:
            return f"its {what} is {read}, and its manifest says {described}"
    return ""


def _remarks(manifest: Manifest, summary: Summary) -> tuple[str, ...]:
    left_out = [f"Consul left records out of it: {'; '.join(manifest.missing)}"] if manifest.missing else []
    return (*left_out, *load_check.upgrade_warnings(summary.problems))

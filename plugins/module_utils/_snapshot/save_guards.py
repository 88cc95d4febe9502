# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decisions about a snapshot: where it goes, whether one is fresh enough, whether it shrank suspiciously."""

from __future__ import annotations

import re
import string
import typing as t
from pathlib import Path

from .._consul.errors import InvalidOption
from .._consul.private_file import os_errors_as
from .._consul.units import compact_timestamp
from .manifest import Manifest, manifest_path
from .snapshot_directory import SnapshotEntry
from .tables import Table

DEFAULT_NAME = "consul-{datacenter}-{time}-{index}.snap"
NAME_FIELDS = ("datacenter", "time", "index", "term", "version", "node")
SMALL_TABLE = 20  # records; a smaller table may shrink for ordinary reasons
CLOCK_SKEW_S = 60.0
MAX_NAME = 255  # bytes of a file name on every common file system


def check_name(pattern: str) -> None:
    """Raise InvalidOption unless ``pattern`` is a visible file name made of text and known fields."""
    try:
        parts = [part for part in string.Formatter().parse(pattern) if part[1] is not None]
    except ValueError as error:
        raise InvalidOption(f"name {pattern!r} is not a pattern: {error}.") from None
    known = ", ".join(f"{{{field}}}" for field in NAME_FIELDS)
    for _text, field, spec, conversion in parts:
        if field not in NAME_FIELDS:
            raise InvalidOption(f"name {pattern!r} has the unknown field {{{field}}}: it may have {known}.")
        if spec or conversion:
            raise InvalidOption(f"name {pattern!r} formats {{{field}}}: write the field alone.")
    if "/" in pattern or pattern.startswith(".") or not pattern.endswith(".snap") or not pattern.isprintable():
        raise InvalidOption(f"name {pattern!r} must be a visible file name that ends in .snap, without any directory.")


def file_name(pattern: str, manifest: Manifest) -> str:
    """Return the name of a snapshot file in a directory."""
    values = {
        "datacenter": manifest.datacenter,
        "time": compact_timestamp(manifest.time),
        "index": str(manifest.index),
        "term": str(manifest.term),
        "version": manifest.consul_version,
        "node": manifest.node or "unknown",
    }
    return pattern.format(**{field: re.sub(r"[^A-Za-z0-9._-]+", "_", value) for field, value in values.items()})


def is_fresh(entry: SnapshotEntry, datacenter: str, max_age_s: float, now: float, *, accept_missing: bool) -> bool:
    """Return whether an entry whose file was just verified makes a new snapshot of the datacenter unnecessary.

    Without ``accept_missing`` it must have been compared with the live API and lack nothing.
    """
    manifest = entry.manifest
    return (
        manifest is not None
        and entry.intact is True
        and manifest.datacenter == datacenter
        and -CLOCK_SKEW_S <= now - manifest.time <= max_age_s
        and (accept_missing or (manifest.cross_checked and not manifest.missing))
    )


def shrunk(before: t.Sequence[Table], after: t.Sequence[Table], max_shrink_percent: float) -> tuple[str, ...]:
    """Return a sentence for each durable table that lost more than the given share of its records."""
    now = {table.name: table.count for table in after}
    findings = []
    for table in sorted(before, key=lambda row: row.name):
        left = now.get(table.name, 0)
        if table.durable and table.count >= SMALL_TABLE and left < table.count * (1 - max_shrink_percent / 100):
            percent = 100 * (table.count - left) / table.count
            findings.append(f"{table.name} went from {table.count} to {left} records (-{percent:.0f} %)")
    return tuple(findings)


def destination(path: str) -> tuple[Path, bool]:
    """Return (path, whether it is a directory, which gets a named file). Raises InvalidOption and LocalFailure."""
    target = readable_path(path, "path")
    with os_errors_as(f"reading the status of {path}"):
        if path.endswith("/") or target.is_dir():
            return target, True
        if target.exists() and not target.is_file():
            raise InvalidOption(f"path {path} is neither a file nor a directory: it would be replaced by a file.")
    if target.name.endswith((".json", ".consulops-part")):
        raise InvalidOption(
            f"path {path} ends like a manifest or part file of this collection: name the snapshot, for example consul.snap."
        )
    check_target(target)
    return target, False


def readable_path(text: str, option: str) -> Path:
    """Return an option as a path. Raises InvalidOption for text that cannot be one."""
    if "\0" in text:
        raise InvalidOption(f"{option} holds a NUL character, which no path has.")
    return Path(text)


def check_target(target: Path) -> None:
    """Raise unless a snapshot and its manifest can have these names."""
    manifest = manifest_path(target)
    if len(manifest.name.encode()) > MAX_NAME:
        raise InvalidOption(f"path: the file name {target.name[:40]}… is too long: {MAX_NAME - 5} bytes at the most.")
    with os_errors_as(f"reading the status of {manifest}"):
        if manifest.is_dir():
            raise InvalidOption(f"path: {manifest} is a directory, and the manifest would have that name.")


def free_name(target: Path) -> Path:
    """Return the target, with a number added when a file of that name exists: no file is replaced."""
    number = 1
    found = target
    while found.exists() or manifest_path(found).exists():
        number += 1
        found = target.with_name(f"{target.name[: -len('.snap')]}-{number}.snap")
    return found

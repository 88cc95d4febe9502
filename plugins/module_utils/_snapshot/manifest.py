# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifest beside a snapshot file (``NAME.snap.json``): what the file holds, where and when it was taken."""

from __future__ import annotations

import datetime
import json
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from .._consul.errors import LocalFailure
from .._consul.private_file import os_errors_as
from .._consul.units import TIME_FORMAT, timestamp
from .._consul.version import VERSION
from .kv_growth import largest
from .summary import Summary
from .tables import Prefix, Table

FORMAT = 1
ENCRYPTED_FORMAT = 2  # an older version of the collection must not take the encrypted file for a damaged one
SUFFIX = ".json"


@dataclass(frozen=True)
class Encryption:
    """How the stored file is encrypted, for whom (public keys; none with a passphrase), and its own size and digest."""

    format: str
    recipients: tuple[str, ...]
    size: int
    sha256: str

    def as_dict(self) -> dict[str, t.Any]:
        """Return the description as plain data."""
        return {
            "format": self.format,
            "recipients": list(self.recipients),
            "size": self.size,
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Manifest:
    """What is known about one snapshot file. Sizes are bytes, ``time`` seconds since 1970, digests hexadecimal.

    ``safety``: taken before a restore, of the state that was replaced. ``cross_checked``: the counts were compared with
    the live API; ``missing`` and ``unchecked`` are the outcome (crosscheck.Verdict). ``size`` and ``sha256`` are those of
    the snapshot itself; ``encryption`` describes the encrypted file, None when the file is the snapshot.
    ``folders``: the largest folders of the key-value store; not stored beside an encrypted snapshot, because names may tell something.
    ``policy`` and ``slot`` are those of the snapshot agent: which of its policies took it, and the planned time (RFC 3339).
    """

    datacenter: str
    time: float
    consul_version: str
    node: str | None
    servers: tuple[str, ...]
    raft_id: str
    index: int
    term: int
    stale: bool
    tables: tuple[Table, ...]
    digest: str
    size: int
    sha256: str
    safety: bool = False
    cross_checked: bool = False
    missing: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    collection_version: str = VERSION
    encryption: Encryption | None = None
    policy: str = ""
    slot: str = ""
    folders: tuple[Prefix, ...] = ()

    @property
    def stored_size(self) -> int:
        """The bytes of the file that the manifest stands beside."""
        return self.encryption.size if self.encryption else self.size

    @property
    def stored_sha256(self) -> str:
        """The SHA-256 of the file that the manifest stands beside."""
        return self.encryption.sha256 if self.encryption else self.sha256

    def count(self, table: str) -> int:
        """Return how many records a table has."""
        return next((row.count for row in self.tables if row.name == table), 0)

    def as_dict(self) -> dict[str, t.Any]:
        """Return the manifest as plain data: what is written to the file and returned by the modules."""
        encryption = {} if self.encryption is None else {"encryption": self.encryption.as_dict()}
        planned = {"policy": self.policy, "slot": self.slot} if self.policy else {}
        return {
            "format": FORMAT if self.encryption is None else ENCRYPTED_FORMAT,
            "collection_version": self.collection_version,
            "consul_version": self.consul_version,
            "datacenter": self.datacenter,
            "node": self.node,
            "servers": list(self.servers),
            "time": timestamp(self.time),
            "raft_id": self.raft_id,
            "index": self.index,
            "term": self.term,
            "stale": self.stale,
            "size": self.size,
            "sha256": self.sha256,
            "digest": self.digest,
            "tables": [asdict(table) for table in self.tables],
            "safety": self.safety,
            "cross_checked": self.cross_checked,
            "missing": list(self.missing),
            "unchecked": list(self.unchecked),
            **encryption,
            **planned,
            **({"folders": [asdict(one) for one in self.folders]} if self.folders else {}),
        }

    def as_bytes(self) -> bytes:
        """Return the contents of the manifest file."""
        return (json.dumps(self.as_dict(), indent=2, sort_keys=True) + "\n").encode()


def of_summary(
    summary: Summary,
    *,
    time: float,
    node: str | None,
    stale: bool,
    size: int,
    sha256: str,
    safety: bool = False,
) -> Manifest:
    """Return the manifest of a snapshot that was just read."""
    return Manifest(
        datacenter=summary.datacenter,
        time=time,
        consul_version=", ".join(summary.consul_versions),
        node=node,
        servers=summary.servers,
        raft_id=summary.meta.id,
        index=summary.meta.index,
        term=summary.meta.term,
        stale=stale,
        tables=summary.tables,
        digest=summary.digest,
        size=size,
        sha256=sha256,
        safety=safety,
        folders=largest(summary.kv),
    )


def manifest_path(snapshot: Path) -> Path:
    """Return where the manifest of a snapshot file is."""
    return snapshot.with_name(snapshot.name + SUFFIX)


def load(path: Path) -> Manifest | None:
    """Read a manifest file; None when there is none. Raises LocalFailure when it cannot be understood."""
    with os_errors_as(f"reading {path}"):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
    return parse(text, str(path))


def parse(text: bytes, shown: str) -> Manifest:
    """Return the manifest that a file or object named ``shown`` holds. Raises LocalFailure when it cannot be understood."""
    try:
        values = json.loads(text)
        if values["format"] > ENCRYPTED_FORMAT:
            raise LocalFailure(f"{shown} was written by a newer version of this collection; update the collection.")
        return _from_values(values)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise LocalFailure(f"{shown} is not a snapshot manifest.") from None


def _encryption(values: t.Mapping[str, t.Any]) -> Encryption:
    return Encryption(
        format=str(values["format"]),
        recipients=tuple(map(str, values["recipients"])),
        size=int(values["size"]),
        sha256=str(values["sha256"]),
    )


def _from_values(values: t.Mapping[str, t.Any]) -> Manifest:
    moment = datetime.datetime.strptime(values["time"], TIME_FORMAT).replace(tzinfo=datetime.timezone.utc)
    return Manifest(
        datacenter=str(values["datacenter"]),
        time=moment.timestamp(),
        consul_version=str(values["consul_version"]),
        node=None if values["node"] is None else str(values["node"]),
        servers=tuple(map(str, values["servers"])),
        raft_id=str(values["raft_id"]),
        index=int(values["index"]),
        term=int(values["term"]),
        stale=bool(values["stale"]),
        tables=tuple(
            Table(
                name=str(row["name"]),
                type=int(row["type"]),
                count=int(row["count"]),
                bytes=int(row["bytes"]),
                durable=bool(row["durable"]),
                digest=str(row["digest"]),
            )
            for row in values["tables"]
        ),
        digest=str(values["digest"]),
        size=int(values["size"]),
        sha256=str(values["sha256"]),
        safety=bool(values["safety"]),
        cross_checked=bool(values["cross_checked"]),
        missing=tuple(map(str, values["missing"])),
        unchecked=tuple(map(str, values["unchecked"])),
        collection_version=str(values["collection_version"]),
        encryption=_encryption(values["encryption"]) if "encryption" in values else None,
        policy=str(values.get("policy", "")),
        slot=str(values.get("slot", "")),
        folders=tuple(
            Prefix(str(row["prefix"]), int(row["keys"]), int(row["bytes"])) for row in values.get("folders", ())
        ),
    )

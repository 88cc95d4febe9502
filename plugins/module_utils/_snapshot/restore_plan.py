# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides what a restore does: nothing, report a drift, refuse, or restore; and judges the result. Pure."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from .._consul.units import human_bytes
from . import records
from .compare import Comparison, Difference
from .summary import Summary

RECEIPT_KEY = "consulops/restore"

UNKNOWN_TYPES, UNKNOWN_KINDS = "unknown_types", "unknown_kinds"
OTHER_DATACENTER, LOST_TOKEN, LOW_DISK = "other_datacenter", "lost_token", "low_disk"
ATTEMPTED_BEFORE = "attempted_before"

Version = tuple[int, int]

# Since which Consul version a server restores a record type. One type that it does not restore makes the leader panic,
# and after a second attempt a lone server cannot start any more (seen on 1.8.7). Types without a line here were never
# part of a snapshot, or are Enterprise's.
_SINCE: dict[int, Version] = {
    **dict.fromkeys((0, 2, 3, 5, 6, 7, 9, 12, 13, 14, 15, 16, 17, 19, 22, 23, 25, 27, 29, 30), (1, 8)),
    31: (1, 9),
    32: (1, 11),
    33: (1, 11),
    34: (1, 11),
    35: (1, 13),
    38: (1, 13),
    40: (1, 13),
    42: (1, 16),
}
# Legacy ACLs: still restored by 1.8, no longer by the newest; where in between is not known.
_ONLY_OLD: dict[int, Version] = {4: (1, 11), 11: (1, 11)}


@dataclass(frozen=True)
class Receipt:
    """What a restore writes into the restored state: which snapshot, when, and the snapshot's index."""

    digest: str
    sha256: str
    restored_at: str
    index: int

    def as_bytes(self) -> bytes:
        """Return the value of the receipt's key."""
        return json.dumps({"format": 1, **self.__dict__}, sort_keys=True).encode()


def read_receipt(value: bytes) -> Receipt | None:
    """Return the receipt that a key's value holds, None when it is not one."""
    try:
        found = json.loads(value)
        return Receipt(str(found["digest"]), str(found["sha256"]), str(found["restored_at"]), int(found["index"]))
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class RestoreFacts:
    """What was read before deciding.

    ``token_in_file``: whether the token in use is in the snapshot, None when there are no ACLs or no token.
    ``file_sha256`` identifies the file. ``datacenter`` is the one that would be restored. ``attempted``: when this
    file was sent before without its outcome becoming known, None when it was not.
    ``refused_kinds``: kinds of config entries in the snapshot that the target's servers reject as unknown.
    ``needed_bytes``: room for the safety snapshot, of which the disk has ``free_bytes``.
    """

    file: Summary
    file_sha256: str
    live: Summary
    datacenter: str
    attempted: str | None
    receipt: Receipt | None
    token_in_file: bool | None
    refused_kinds: tuple[str, ...]
    free_bytes: int
    needed_bytes: int


@dataclass(frozen=True)
class Refusal:
    """A reason not to restore, and the name by which the user can accept it (option ``accept``)."""

    override: str
    sentence: str


@dataclass(frozen=True)
class Decision:
    """``action`` is unchanged, drifted, refused or restore."""

    action: str
    reason: str
    refusals: tuple[Refusal, ...] = ()


def decide(facts: RestoreFacts, *, force: bool, accept: t.Container[str]) -> Decision:
    """Decide by comparing contents; a restore that was done already is not repeated unless ``force`` is set."""
    if facts.file.digest == facts.live.digest:
        return Decision("unchanged", "the live state is what the snapshot holds")
    if not force and facts.receipt is not None and facts.receipt.sha256 == facts.file_sha256:
        return Decision(
            "drifted",
            f"this snapshot was restored at {facts.receipt.restored_at} and the datacenter was written to since; "
            "restoring it again would undo that and needs force",
        )
    refusals = tuple(refusal for refusal in _refusals(facts) if refusal.override not in accept)
    if refusals:
        return Decision("refused", "; ".join(refusal.sentence for refusal in refusals), refusals)
    return Decision("restore", "the live state differs from the snapshot")


def _refusals(facts: RestoreFacts) -> t.Iterator[Refusal]:
    version = oldest_version(facts.live.consul_versions)
    shown = ".".join(map(str, version)) if version else "an unknown version"
    types = unknown_types((table.type for table in facts.file.tables), version)
    if types:
        names = ", ".join(records.type_name(kind) for kind in types)
        yield Refusal(
            UNKNOWN_TYPES,
            f"the snapshot holds record types that Consul {shown} does not restore ({names}): its leader would crash",
        )
    if facts.refused_kinds:
        yield Refusal(
            UNKNOWN_KINDS,
            "the snapshot holds config entries of kinds that the servers do not know "
            f"({', '.join(facts.refused_kinds)}): the leader would crash",
        )
    if not facts.file.datacenter or facts.file.datacenter != facts.datacenter:
        yield Refusal(
            OTHER_DATACENTER,
            f"the snapshot is of datacenter {facts.file.datacenter or '(it does not say)'!r} "
            f"and this is {facts.datacenter!r}",
        )
    if facts.attempted is not None:
        yield Refusal(
            ATTEMPTED_BEFORE,
            f"this snapshot was sent at {facts.attempted} and the outcome is not known; look for 'failed to restore snapshot' "
            "in the leader's log and check the state, because a second failed restore could keep the servers from starting",
        )
    if facts.token_in_file is False:
        yield Refusal(
            LOST_TOKEN,
            "the token in use is not in the snapshot and would be invalid after the restore: use one that is in it",
        )
    if facts.free_bytes < facts.needed_bytes:
        yield Refusal(
            LOW_DISK,
            f"the safety snapshot needs some {human_bytes(facts.needed_bytes)} and there are "
            f"{human_bytes(facts.free_bytes)} free in its directory",
        )


def oldest_version(versions: t.Iterable[str]) -> Version | None:
    """Return the lowest of the servers' versions as (major, minor), None when one of them is not known."""
    found = [re.match(r"(\d+)\.(\d+)", version) for version in versions]
    if not found or None in found:
        return None
    return min((int(match[1]), int(match[2])) for match in found if match)


def unknown_types(types: t.Iterable[int], version: Version | None) -> tuple[int, ...]:
    """Return the record types that a server of that version does not restore; None counts as the oldest, 1.8."""
    at = version or (1, 8)

    def restores(kind: int) -> bool:
        if kind in _ONLY_OLD:
            return at < _ONLY_OLD[kind]
        return kind in _SINCE and _SINCE[kind] <= max(at, (1, 8))

    return tuple(sorted({kind for kind in types if not restores(kind)}))


@dataclass(frozen=True)
class Verification:
    """How the live state after a restore compares with the snapshot.

    ``wrong``: differences that the restore should not have left. ``since``: what was written after it, by others.
    """

    wrong: tuple[Difference, ...]
    since: tuple[Difference, ...]


def verify(comparison: Comparison) -> Verification:
    """Separate what the restore left wrong from what was written after it, with an index above the snapshot's."""
    restored = comparison.before.meta.index
    durable = {table.table for table in comparison.tables if table.durable}
    later = [difference for difference in comparison.differences if difference.index > restored]
    # Deleting a folder leaves one tombstone with the folder's name.
    deleted = tuple(found.name for found in later if found.table == records.type_name(records.TOMBSTONE))
    written = {found.name for found in later if found.table == records.type_name(records.INDEX)}
    wrong: list[Difference] = []
    since: list[Difference] = []
    for difference in comparison.differences:
        if difference.table not in durable:
            continue
        deleted_since = difference.change == "removed" and (
            difference.name.startswith(deleted)
            if difference.table == records.type_name(records.KVS)
            else bool(written.intersection(_INDEX_OF.get(difference.table, ())))
        )
        (since if difference.index > restored or deleted_since else wrong).append(difference)
    return Verification(tuple(wrong), tuple(since))


# Which of Consul's own table indexes move when a record of a table is deleted.
_INDEX_OF: dict[str, tuple[str, ...]] = {
    "Register": ("nodes", "services", "checks"),
    "ACLToken": ("acl-tokens",),
    "ACLPolicy": ("acl-policies",),
    "ACLRole": ("acl-roles",),
    "ACLBindingRule": ("acl-binding-rules",),
    "ACLAuthMethod": ("acl-auth-methods",),
    "ConfigEntry": ("config-entries",),
    "Intention": ("connect-intentions",),
    "PreparedQuery": ("prepared-queries",),
}

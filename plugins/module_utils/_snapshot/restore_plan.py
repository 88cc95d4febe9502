# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides what a restore does: nothing, report a drift, refuse, or restore; and judges the result. Pure."""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass, field

from .._consul.errors import GuardRefused
from .._consul.units import human_bytes, some_of
from . import records, version_rules
from .compare import Comparison, Difference
from .record_checks import FIELD
from .summary import Summary

UNKNOWN_TYPES, UNKNOWN_KINDS, INCOMPLETE_RECORDS = "unknown_types", "unknown_kinds", "incomplete_records"
OTHER_DATACENTER, LOST_TOKEN, LOW_DISK = "other_datacenter", "lost_token", "low_disk"
ATTEMPTED_BEFORE = "attempted_before"


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
    ``needed_bytes``: room for the safety snapshot, of which the disk has ``free_bytes``. ``is_migrated``: whether the live state is
    what servers of another version make of the snapshot. ``agent_version``: that of the agent that answers, None when the
    token may not know it. The catalog may be wrong: after a restore across versions it names the servers' version of the
    snapshot until they register again. So both count, and each guard goes by the one that is worse for it.
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
    is_migrated: bool = False
    agent_version: str | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that the servers may run, in the catalog and by the agent that answers."""
        return (*self.live.consul_versions, *((self.agent_version,) if self.agent_version else ()))


def plan_digest(facts: RestoreFacts) -> str:
    """Return a digest of what a restore sends, and where to: the file and the datacenter."""
    return hashlib.sha256(f"{facts.datacenter}\n{facts.file_sha256}".encode()).hexdigest()


def check_plan(planned: str, confirmed: str | None) -> None:
    """Raise GuardRefused when a plan was confirmed and this is another one."""
    if confirmed is not None and planned != confirmed:
        raise GuardRefused(
            "What would be restored is not what was confirmed: the snapshot file, the datacenter or the keys changed since. "
            "Nothing was changed. Review the plan again"
        )


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
    if facts.is_migrated:
        return Decision("unchanged", "the live state is what servers of another version make of the snapshot")
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
    newest = version_rules.newest_version(facts.versions)
    # Without a server in the catalog, the agent may be newer than all of them.
    version = version_rules.oldest_version(facts.versions) if facts.live.consul_versions else None
    types = version_rules.unknown_types((table.type for table in facts.file.tables), version, newest)
    if types:
        names = ", ".join(records.type_name(kind) for kind in types)
        shown = version_rules.shown(version) if version else "an unknown version"
        yield Refusal(
            UNKNOWN_TYPES,
            f"the snapshot holds record types that Consul {shown} does not restore ({names}): its leader would crash",
        )
    incomplete = [
        problem
        for problem in facts.file.problems
        if problem.cause == FIELD and (problem.applies_to(version) or problem.applies_to(newest))
    ]
    if incomplete:
        yield Refusal(
            INCOMPLETE_RECORDS,
            f"the snapshot holds records on which the leader would crash ({some_of([row.sentence for row in incomplete])})",
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


@dataclass(frozen=True)
class Verification:
    """How the live state after a restore compares with the snapshot.

    ``wrong``: differences that the restore should not have left. ``since``: what was written after it, by others. ``migrated``: how
    many records of each table the servers' version made different, which is as it should be.
    """

    wrong: tuple[Difference, ...]
    since: tuple[Difference, ...]
    migrated: t.Mapping[str, int] = field(default_factory=dict)


def verify(comparison: Comparison) -> Verification:
    """Separate what the restore left wrong from what was written after it, with an index above the snapshot's.

    A table's own index shows that records were deleted since. Where another version of Consul runs, the leader has
    written to most tables by itself, so an index that a record was written at shows no deletion there.
    """
    restored = comparison.before.meta.index
    durable = {table.table for table in comparison.tables if table.durable}
    later = [difference for difference in comparison.differences if difference.index > restored]
    # Deleting a folder leaves one tombstone with the folder's name.
    deleted = tuple(found.name for found in later if found.table == records.type_name(records.TOMBSTONE))
    index_table = records.type_name(records.INDEX)
    explained: set[int] = set()
    if comparison.other_version:
        explained = {found.index for found in later if found.table != index_table} | comparison.migrated_at
    written = {found.name for found in later if found.table == index_table and found.index not in explained}
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
    return Verification(tuple(wrong), tuple(since), comparison.migrated)


def downgrade_warnings(facts: RestoreFacts) -> tuple[str, ...]:
    """Return a warning when servers of an older version than the snapshot's would load it: nobody tests that direction."""
    written_by = version_rules.newest_version(facts.file.consul_versions)
    oldest = version_rules.oldest_version(facts.versions)
    if written_by is None or oldest is None or written_by <= oldest:
        return ()
    in_catalog = version_rules.oldest_version(facts.live.consul_versions)
    who = "the servers run" if in_catalog == oldest else "the agent that answers runs"
    return (
        f"the snapshot is of Consul {version_rules.shown(written_by)} and {who} {version_rules.shown(oldest)}: "
        "fields that this version does not know are lost",
    )


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

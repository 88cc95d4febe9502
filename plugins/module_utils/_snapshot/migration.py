# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recognizes what another version of Consul made of the same records; everything else stays a difference.

Each rule names what Consul does. Seen means in the snapshots of tests/fixtures/consul-versions: those of 1.8.7 and 1.16.4,
and what 1.23-dev made of them after a restore. A change that no rule describes exactly is not excused. Pure.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from . import records
from .kept_records import KeptRecord, KeptRecords, Name
from .unset_fields import decoded, equal_but_unset

CA_PROVIDER_STATE, VIRTUAL_IP, FREE_VIRTUAL_IP = 14, 32, 33
SERVICE_INTENTIONS = b"service-intentions"
MANAGEMENT_POLICY = b"00000000-0000-0000-0000-000000000001"
READ_ONLY_POLICY, READ_ONLY_POLICY_NAME = b"00000000-0000-0000-0000-000000000002", b"builtin/global-read-only"

# One grant in a line, or the lines of a block that grants something below the empty prefix.
_FULL_GRANT = re.compile(rb'[a-z_]+ = "write"\Z')
_READ_GRANTS = re.compile(rb'(\s*([a-z_]+ = "read"|[a-z_]+ "" \{(\s*[a-z_]+ = "read")+\s*\}))+\s*\Z')

# Fields of a service-intentions entry and its sources that a migrated intention does not set.
_ENTRY_FIELDS = {b"Kind", b"Name", b"Sources", b"Hash"}
_SOURCE_FIELDS = {
    b"Action": b"Action",
    b"Description": b"Description",
    b"LegacyCreateTime": b"CreatedAt",
    b"LegacyID": b"ID",
    b"LegacyMeta": b"Meta",
    b"LegacyUpdateTime": b"UpdatedAt",
    b"Name": b"SourceName",
    b"Precedence": b"Precedence",
    b"Type": b"SourceType",
}
_INTENTION_FIELDS = {*_SOURCE_FIELDS.values(), b"DestinationName", b"DestinationNS", b"SourceNS", b"Hash"}

# Types of which a rule asks when a record was written.
DATED = frozenset({records.ACL_POLICY, VIRTUAL_IP})
# Types of which a rule recognizes records that only one side has.
_ONE_SIDED = {
    records.INTENTION,
    records.CONFIG_ENTRY,
    records.ACL_POLICY,
    CA_PROVIDER_STATE,
    VIRTUAL_IP,
    FREE_VIRTUAL_IP,
}


@dataclass(frozen=True)
class TwoStates:
    """What is known of two states beside their records.

    ``before_index`` and ``after_index``: the Raft index up to which each reaches. ``other_version``: they are known to be of
    different versions. ``before_is_newer``: by the versions in their catalogs; what the records show counts more.
    """

    before_index: int
    after_index: int
    other_version: bool = False
    before_is_newer: bool = False


class Recognized(t.NamedTuple):
    """The records that differ only because another version of Consul stored them.

    ``before_is_newer``: some of them only because a newer version made the before side of the after side.
    """

    names: set[Name]
    before_is_newer: bool


def migrated(
    before: KeptRecords,
    after: KeptRecords,
    states: TwoStates,
    *,
    differing: t.Container[Name],
    absent_before: t.Container[Name],
) -> Recognized:
    """Recognize records of two states.

    ``before`` and ``after`` hold each side's records, of which those named in ``differing`` differ; ``absent_before`` names
    those that do not count on the before side. Unless the versions are known to differ, a record with fields that the
    other side lacks, and nothing else, must show it before any other rule applies.
    """
    sides = _Sides()
    for one, other in zip(before.parts(), after.parts()):
        sides.add(
            _by_name(row for row in one if row.full_name in differing and row.full_name not in absent_before),
            _by_name(row for row in other if row.full_name in differing),
        )
    if not (sides.same or states.other_version):
        return Recognized(set(), False)
    # A newer version knows more fields. It has made its state of the older one, so its state reaches further; the state
    # after a restore reaches further than the snapshot, so a restore that lost a record is never excused like this.
    is_reverse = sides.further_bytes < 0 if sides.further_bytes else states.before_is_newer
    is_reverse = is_reverse and states.before_index > states.after_index
    older, newer, older_index = sides.only_before, sides.only_after, states.before_index
    if is_reverse:
        older, newer, older_index = newer, older, states.after_index
    by_leader = sides.rewritten[is_reverse] | _intentions(older, newer)
    by_leader |= _virtual_ips(newer, older_index) | _read_only_policy(newer, older_index)
    return Recognized(
        sides.same | by_leader | _ca_states(older, newer),
        bool(is_reverse and by_leader - sides.rewritten[False]),
    )


class _Sides:
    """The records that differ. Those that only one side has are kept where a rule may recognize them.

    ``same``: records that are equal but for fields of one side that hold no value. ``further_bytes``: how many more bytes they
    have on the after side. ``rewritten``: records that are equal but for what a newer version computes or drops, where
    the after side is the newer one (False) and where the before side is (True).
    """

    def __init__(self) -> None:
        self.same: set[Name] = set()
        self.further_bytes = 0
        self.rewritten: dict[bool, set[Name]] = {False: set(), True: set()}
        self.only_before: Records = {}
        self.only_after: Records = {}

    def add(self, before: Records, after: Records) -> None:
        """Take all records of some names of both sides."""
        for name, rows in before.items():
            if name in after:
                self._compare(name, rows, after[name])
            elif rows[0].kind in _ONE_SIDED:
                self.only_before[name] = rows
        for name, rows in after.items():
            if name not in before and rows[0].kind in _ONE_SIDED:
                self.only_after[name] = rows

    def _compare(self, name: Name, before: list[_Record], after: list[_Record]) -> None:
        kind = before[0].kind
        one, other = [row.value for row in before], [row.value for row in after]
        if _is_equal(one, other, kind):
            self.same.add(name)
            self.further_bytes += len(after[0].content) - len(before[0].content)
        elif len(one) == len(other) == 1 and kind in _REWRITES:
            for is_reverse, pair in ((False, (one[0], other[0])), (True, (other[0], one[0]))):
                older, newer = _REWRITES[kind](*pair)
                if _is_equal([older], [newer], kind):
                    self.rewritten[is_reverse].add(name)


def _single(side: Records, kind: int) -> dict[Name, _Record]:
    """Return the records of a type whose name is theirs alone."""
    return {name: rows[0] for name, rows in side.items() if len(rows) == 1 and rows[0].kind == kind}


class _Record(t.NamedTuple):
    """A record that is decoded whenever it is looked at. One that cannot be decoded is the same as no other."""

    kind: int
    written_at: int
    content: bytes

    @property
    def value(self) -> t.Any:
        try:
            return decoded(self.content)
        except (ValueError, RecursionError):
            return object()  # is equal to nothing

    @property
    def fields(self) -> dict[bytes, t.Any]:
        """The fields of a record that is a map, those of the entry of a config entry."""
        value = self.value
        if self.kind == records.CONFIG_ENTRY and isinstance(value, tuple) and len(value) == 2:
            value = value[1]
        return value if isinstance(value, dict) else {}


Records = dict[Name, list[_Record]]  # of one side


def _by_name(side: t.Iterable[KeptRecord]) -> Records:
    found: Records = {}
    for row in side:
        found.setdefault(row.full_name, []).append(_Record(row.kind, row.written_at, row.content))
    return found


def _is_equal(before: list[t.Any], after: list[t.Any], kind: int) -> bool:
    try:
        return equal_but_unset(before, after, kind)
    except (TypeError, ValueError, RecursionError):  # a value that could not be decoded, or that is nested too deeply
        return False


# One record on both sides: what is computed or dropped is taken out of both, the rest must be equal.


def _rewritten_entry(older: t.Any, newer: t.Any) -> tuple[t.Any, t.Any]:
    """Newer versions store a hash of a config entry's fields in it, which changes with the fields that they know (seen)."""
    return _without_hash_of_entry(older), _without_hash_of_entry(newer)


def _without_hash_of_entry(value: t.Any) -> t.Any:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict):
        return value[0], _without(value[1], b"Hash")
    return value


def _rewritten_token(older: t.Any, newer: t.Any) -> tuple[t.Any, t.Any]:
    """The legacy type "management" is dropped from a token whose policies hold global-management (seen)."""
    if not (isinstance(older, dict) and isinstance(newer, dict)):
        return older, newer
    if b"Type" in newer or older.get(b"Type") != b"management":
        return older, newer
    links = older.get(b"Policies")
    ids = [link.get(b"ID") for link in links if isinstance(link, dict)] if isinstance(links, tuple) else []
    return (_without(older, b"Type") if MANAGEMENT_POLICY in ids else older), newer


def _rewritten_policy(older: t.Any, newer: t.Any) -> tuple[t.Any, t.Any]:
    """The leader brings global-management up to date: it also grants what newer versions know (seen: mesh, peering).

    Only further lines that grant everything are recognized, in a policy that nobody can edit and that grants everything.
    """
    if not (isinstance(older, dict) and isinstance(newer, dict)):
        return older, newer
    if older.get(b"ID") != MANAGEMENT_POLICY or not _grants_more(older.get(b"Rules"), newer.get(b"Rules")):
        return older, newer
    return _without(older, b"Rules", b"Hash"), _without(newer, b"Rules", b"Hash")


def _grants_more(older: t.Any, newer: t.Any) -> bool:
    """Return whether the rules ``newer`` are those ``older`` with further lines between them that grant write access."""
    if not (isinstance(older, bytes) and isinstance(newer, bytes)):
        return False
    expected = older.split(b"\n")
    position = 0
    for line in newer.split(b"\n"):
        if position < len(expected) and line == expected[position]:
            position += 1
        elif not _FULL_GRANT.match(line):
            return False
    return position == len(expected)


_REWRITES: dict[int, t.Callable[[t.Any, t.Any], tuple[t.Any, t.Any]]] = {
    records.CONFIG_ENTRY: _rewritten_entry,
    records.ACL_TOKEN: _rewritten_token,
    records.ACL_POLICY: _rewritten_policy,
}


# Records that are on one side only.


def _ca_states(older: Records, newer: Records) -> set[Name]:
    """The built-in CA's state gets another ID, a newer digest of its key; the key and certificates are the same (seen)."""
    removed, added = _single(older, CA_PROVIDER_STATE), _single(newer, CA_PROVIDER_STATE)
    if len(removed) != 1 or len(added) != 1:
        return set()
    ((old, before),), ((new, after),) = removed.items(), added.items()
    same = _is_equal([_without(before.fields, b"ID")], [_without(after.fields, b"ID")], CA_PROVIDER_STATE)
    return {old, new} if same else set()


def _intentions(older: Records, newer: Records) -> set[Name]:
    """Since 1.9 the leader replaces intentions by one service-intentions entry for each destination (seen).

    All intentions of a destination must be sources of its entry, unchanged, and the entry must have no other.
    """
    by_destination: dict[bytes, list[tuple[Name, dict[bytes, t.Any]]]] = {}
    for name, record in _single(older, records.INTENTION).items():
        destination = record.fields.get(b"DestinationName")
        if isinstance(destination, bytes):
            by_destination.setdefault(destination, []).append((name, record.fields))
    found: set[Name] = set()
    for name, record in _single(newer, records.CONFIG_ENTRY).items():
        entry = record.fields
        if entry.get(b"Kind") != SERVICE_INTENTIONS or not isinstance(entry.get(b"Name"), bytes):
            continue
        intentions = by_destination.get(entry[b"Name"], [])
        if intentions and _is_entry_of(entry, [fields for _name, fields in intentions]):
            found |= {name, *(intention for intention, _fields in intentions)}
    return found


def _is_entry_of(entry: dict[bytes, t.Any], intentions: list[dict[bytes, t.Any]]) -> bool:
    sources = entry.get(b"Sources")
    if not isinstance(sources, tuple) or not all(isinstance(source, dict) for source in sources):
        return False
    if any(entry[field] for field in entry.keys() - _ENTRY_FIELDS):
        return False
    for fields in intentions:
        namespaces = {fields.get(b"SourceNS"), fields.get(b"DestinationNS")}
        if namespaces != {b"default"} or any(fields[field] for field in fields.keys() - _INTENTION_FIELDS):
            return False
    expected = [{field: fields.get(old) for field, old in _SOURCE_FIELDS.items()} for fields in intentions]
    return _is_equal(expected, list(sources), records.CONFIG_ENTRY)


def _virtual_ips(newer: Records, older_index: int) -> set[Name]:
    """Since 1.11 the leader gives services of the mesh virtual addresses, and keeps a counter of the free ones (seen).

    Only where the older side has none at all, and no address that a user chose.
    """
    found: set[Name] = set()
    for name, rows in newer.items():
        values = [row.value for row in rows if isinstance(row.value, dict)]
        if len(values) != len(rows):
            continue
        if rows[0].kind == VIRTUAL_IP:
            if all(row.written_at > older_index for row in rows) and not any(
                value.get(b"ManualIPs") for value in values
            ):
                found.add(name)
        elif rows[0].kind == FREE_VIRTUAL_IP and all(value.get(b"IsCounter") is True for value in values):
            found.add(name)
    return found


def _read_only_policy(newer: Records, older_index: int) -> set[Name]:
    """A newer leader adds the built-in policy global-read-only, which nobody can edit and which grants only reading (seen)."""
    return {
        name
        for name, record in _single(newer, records.ACL_POLICY).items()
        if record.written_at > older_index
        and record.fields.get(b"ID") == READ_ONLY_POLICY
        and record.fields.get(b"Name") == READ_ONLY_POLICY_NAME
        and not record.fields.get(b"Datacenters")
        and isinstance(record.fields.get(b"Rules"), bytes)
        and _READ_GRANTS.match(record.fields[b"Rules"])
    }


def _without(fields: dict[bytes, t.Any], *names: bytes) -> dict[bytes, t.Any]:
    return {field: value for field, value in fields.items() if field not in names}

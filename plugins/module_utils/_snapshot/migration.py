# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a leader of another version makes of the records of a snapshot, so that it is not taken for a difference.

A server writes every record again with the fields that its version has. A newer leader also turns some records into others.
Each rule here was seen on 1.8.7 and 1.16.4 restored into 1.23-dev (tests/fixtures/consul-versions); nothing else is excused.
The rules apply only when the two sides are of different versions: see FieldNames.
"""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, field

from . import records

MEANING_BYTES = 8  # of the hash of a record's meaning: what is kept and compared

INTENTION, CONFIG_ENTRY = records.INTENTION, records.CONFIG_ENTRY
CA_PROVIDER_STATE, SERVICE_VIRTUAL_IP, FREE_VIRTUAL_IP = 14, 32, 33

# Policies whose text is that of the server's version; Consul refuses to change them.
BUILT_IN_POLICIES = frozenset({"00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"})
# Tables that versions before 1.11 do not have; a newer leader fills them from the other tables.
DERIVED_TABLES = frozenset(map(records.type_name, (SERVICE_VIRTUAL_IP, FREE_VIRTUAL_IP)))

# Maps with names that users choose: an empty value is one of theirs.
_USERS_MAPS = frozenset({b"Meta", b"NodeMeta", b"Config", b"Opaque", b"TaggedAddresses", b"Header"})
_INTENTIONS_KIND = b"service-intentions"


class FieldNames:
    """The names of the fields that the records of each type have. Other names mean another version: Consul writes all of them."""

    def __init__(self) -> None:
        self._names: dict[int, set[t.Any]] = {}

    def add(self, kind: int, record: t.Any) -> None:
        """Note the fields of a record, if it is the first of its type: a server writes all records of a snapshot alike."""
        if kind in self._names:
            return
        if kind == CONFIG_ENTRY:
            entry_kind, entry = records.config_entry(record)
            if entry_kind == b"service-defaults":  # other kinds are not in every snapshot, and have other fields
                self._names[kind] = set(records.fields(entry))
        elif isinstance(record, dict):
            self._names[kind] = set(record)

    def differ_from(self, other: FieldNames) -> bool:
        """Return whether some type of record has other fields on the other side."""
        return any(other._names.get(kind, names) != names for kind, names in self._names.items())


def meaning(kind: int, record: t.Any) -> int:
    """Return a number that is equal for records of one type and name that mean the same in every version. Raises BadSnapshot."""
    content: t.Any
    if kind == CONFIG_ENTRY:
        entry_kind, entry = records.config_entry(record)
        content = (entry_kind, _config_entry(entry))
    elif isinstance(record, dict):
        content = _record(kind, record)
    else:
        content = record
    digest = hashlib.blake2b(bytes([kind % 256]) + records.canonical_value(content), digest_size=MEANING_BYTES)
    return int.from_bytes(digest.digest(), "big")


def _record(kind: int, record: t.Mapping[bytes, t.Any]) -> t.Any:
    kept = {name: value for name, value in record.items() if name not in records.INDEX_FIELDS}
    if kind == records.ACL_POLICY and records.text(record.get(b"ID")) in BUILT_IN_POLICIES:
        return (record.get(b"ID"),)
    if kind == records.ACL_TOKEN and record.get(b"Policies") and not record.get(b"Rules"):
        kept.pop(b"Type", None)  # of the legacy ACL system; Consul derived the policies from it
    if kind == CA_PROVIDER_STATE:
        kept.pop(b"ID", None)  # computed from the certificate, in another way since 1.9
    if kind == records.REGISTER:
        kept = {name: _without_indexes(value) for name, value in records.without_check_state(kept).items()}
    return _without_defaults(kept)


def _config_entry(entry: t.Any) -> t.Any:
    kept = {
        name: value
        for name, value in records.fields(entry).items()
        if name not in records.INDEX_FIELDS and name != b"Hash"  # of the contents, and of the version's fields
    }
    return _without_defaults(kept)


def _without_indexes(value: t.Any) -> t.Any:
    """Return a service or check of a node without the Raft indexes of its own."""
    return [pair for pair in value if pair[0] not in records.INDEX_FIELDS] if isinstance(value, list) else value


def _without_defaults(value: t.Any, of_user: bool = False) -> t.Any:
    """Return a value without the fields that are empty or at their default, whichever version has them."""
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else value
        kept = [(name, _without_defaults(inner, of_user or name in _USERS_MAPS)) for name, inner in pairs]
        return [(name, inner) for name, inner in kept if of_user or not _is_default(inner)]
    if isinstance(value, tuple):
        return tuple(_without_defaults(item, of_user) for item in value)
    return value


def _is_default(value: t.Any) -> bool:
    return value is None or value in (b"", "", 0, False) or (isinstance(value, (list, tuple, dict)) and not value)


# -----------------------------------------------------------------------------------------------------------------------------
# Records that become others


class _Source(t.NamedTuple):
    """Who may connect to a service, or may not, as both forms of an intention say it."""

    name: t.Any
    action: t.Any
    description: t.Any
    meta: t.Any
    legacy_id: t.Any


@dataclass
class Intentions:
    """The intentions of one side, in the form of before 1.9 by ID and of since then by destination."""

    legacy: dict[str, tuple[str, _Source]] = field(default_factory=dict)
    entries: dict[str, frozenset[_Source] | None] = field(default_factory=dict)

    def add(self, kind: int, record: t.Any) -> None:
        """Note a record if it is an intention."""
        if kind == INTENTION:
            self.legacy[records.name(kind, record)] = _legacy(record)
        elif kind == CONFIG_ENTRY:
            entry_kind, entry = records.config_entry(record)
            if entry_kind == _INTENTIONS_KIND:
                inner = records.fields(entry)
                self.entries[records.text(inner.get(b"Name"))] = _sources(inner)

    def migrated_to(self, other: Intentions) -> tuple[frozenset[str], frozenset[str]]:
        """Return the IDs of the intentions that the other side holds as config entries, and the names of these entries.

        A destination counts only when its entry holds all of its intentions and nothing else.
        """
        by_destination: dict[str, dict[str, _Source]] = {}
        for identity, (destination, source) in self.legacy.items():
            by_destination.setdefault(destination, {})[identity] = source
        ids: set[str] = set()
        names: set[str] = set()
        for destination, sources in by_destination.items():
            if other.entries.get(destination) == frozenset(sources.values()):
                ids |= set(sources)
                names.add(f"{records.text(_INTENTIONS_KIND)}/{destination}")
        return frozenset(ids), frozenset(names)


def _legacy(record: t.Mapping[bytes, t.Any]) -> tuple[str, _Source]:
    source = _Source(
        record.get(b"SourceName"),
        record.get(b"Action"),
        record.get(b"Description") or b"",
        _meta(record.get(b"Meta")),
        record.get(b"ID"),
    )
    return records.text(record.get(b"DestinationName")), source


def _sources(entry: t.Mapping[bytes, t.Any]) -> frozenset[_Source] | None:
    """Return the sources of an entry, None when it says more than intentions of before 1.9 can."""
    if _without_defaults({name: entry.get(name) for name in (b"JWT", b"Meta")}):
        return None
    found = set()
    sources = entry.get(b"Sources")
    for value in sources if isinstance(sources, tuple) else ():
        source = records.fields(value)
        if _without_defaults({name: source.get(name) for name in (b"Permissions", b"Peer", b"SamenessGroup")}):
            return None
        found.add(
            _Source(
                source.get(b"Name"),
                source.get(b"Action"),
                source.get(b"Description") or b"",
                _meta(source.get(b"LegacyMeta")),
                source.get(b"LegacyID"),
            )
        )
    return frozenset(found)


def _meta(value: t.Any) -> t.Any:
    return frozenset(records.fields(value).items())

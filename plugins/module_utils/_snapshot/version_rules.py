# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each version of Consul can load from a snapshot: record types, kinds of config entries, fields, legacy ACLs.

A server that meets anything else in a snapshot, or in its own data after an upgrade, panics. "Seen on 1.8.7" means
restored into a real server, one crafted snapshot for each rule; "index" means that the field is in an index of Consul's
tables which takes no empty value (agent/consul/state/*_schema.go); the rest says its source.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._consul.errors import InvalidOption
from . import records

Version = tuple[int, int]

# The versions whose rules are known: the oldest that was tested, and the newest whose snapshots were seen.
OLDEST: Version = (1, 8)
NEWEST: Version = (1, 23)
MAX_SHOWN = 40  # characters of an option that is not a version, in the error

# The ends of a range of versions that loads something.
ALWAYS: Version = (0, 0)
NEVER: Version = (9999, 0)

# Since which version a server restores a record type. Types without a line here were never part of a snapshot, or are
# Enterprise's. Source: the restorers in agent/consul/fsm/snapshot*.go; that a type without one panics was seen on 1.8.7.
TYPES_SINCE: t.Mapping[int, Version] = {
    **dict.fromkeys((0, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15, 16, 17, 19, 22, 23, 25, 27, 29, 30), (1, 8)),
    31: (1, 9),
    32: (1, 11),
    33: (1, 11),
    34: (1, 11),
    35: (1, 13),
    38: (1, 13),
    40: (1, 13),
    42: (1, 16),
}

# Since which version the legacy ACL system is gone: records of its types (hashicorp/consul#11232 kept loading them for
# a while), and the rules that a token of that system carries in itself. A token without AccessorID loads in 1.14 and
# panics in 1.16.4 (hashicorp/consul#21368); the same change removed all of it, so 1.15 stands for each of them.
LEGACY_ACL_GONE: Version = (1, 15)
TYPES_GONE: t.Mapping[int, Version] = {4: LEGACY_ACL_GONE, 11: LEGACY_ACL_GONE}

# Since which version a server knows a kind of config entry. "invalid config entry kind" panics (seen on 1.8.7).
# Source: agent/structs/config_entry*.go and Consul's changelog.
KINDS_SINCE: t.Mapping[str, Version] = {
    **dict.fromkeys(
        (
            "ingress-gateway",
            "proxy-defaults",
            "service-defaults",
            "service-resolver",
            "service-router",
            "service-splitter",
            "terminating-gateway",
        ),
        (1, 8),
    ),
    "service-intentions": (1, 9),
    "mesh": (1, 10),
    "exported-services": (1, 11),
    "api-gateway": (1, 15),
    "bound-api-gateway": (1, 15),
    "http-route": (1, 15),
    "inline-certificate": (1, 15),
    "tcp-route": (1, 15),
    "control-plane-request-limit": (1, 16),
    "jwt-provider": (1, 16),
    "sameness-group": (1, 16),
    "file-system-certificate": (1, 19),
}


@dataclass(frozen=True)
class FieldRule:
    """A field that a record must have for a server to load it; ``path`` leads to it through inner maps.

    ``is_uuid``: it must also be a UUID. ``may_be_empty``: only a value that is no UUID is wrong. ``since``: the first
    version that does not load the record.
    """

    path: tuple[bytes, ...]
    is_uuid: bool = False
    may_be_empty: bool = False
    since: Version = OLDEST

    @property
    def name(self) -> str:
        """The field as Consul names it, for example ``Service.ID``."""
        return ".".join(part.decode() for part in self.path)


def _text(*path: bytes) -> FieldRule:
    return FieldRule(path)


def _uuid(*path: bytes) -> FieldRule:
    return FieldRule(path, is_uuid=True)


def _uuid_or_empty(*path: bytes) -> FieldRule:
    return FieldRule(path, is_uuid=True, may_be_empty=True)


# Seen on 1.8.7, each field absent, empty and (for a UUID) "zzz", unless a line says otherwise. Not here because a server
# loads it: an empty Status of a check (it becomes critical), empty names of services, queries and intentions, nodes and
# checks that a session names, links of tokens and roles. The types whose rules are more than fields of a map are in
# record_checks.py: Register, KVS, ConfigEntry, CoordinateBatchUpdate, ServiceVirtualIP and those of peerings.
FIELD_RULES: t.Mapping[int, tuple[FieldRule, ...]] = {
    records.SESSION: (_uuid(b"ID"), _text(b"Node")),
    4: (_text(b"ID"),),
    records.TOMBSTONE: (_text(b"Key"),),
    records.PREPARED_QUERY: (_uuid(b"ID"), _uuid_or_empty(b"Session")),
    records.INTENTION: (_uuid(b"ID"),),
    13: (_text(b"ID"),),
    14: (_text(b"ID"),),
    records.INDEX: (_text(b"Key"),),
    records.ACL_TOKEN: (
        _text(b"SecretID"),
        _uuid_or_empty(b"AccessorID"),
        FieldRule((b"AccessorID",), since=LEGACY_ACL_GONE),  # 1.8.7 loads it and gives the token one
    ),
    records.ACL_POLICY: (_uuid(b"ID"), _text(b"Name")),
    records.ACL_ROLE: (_uuid(b"ID"), _text(b"Name")),
    records.ACL_BINDING_RULE: (_uuid(b"ID"), _text(b"AuthMethod")),
    records.ACL_AUTH_METHOD: (_text(b"Name"),),
    records.FEDERATION_STATE: (_text(b"State", b"Datacenter"),),
    # Types of newer versions: index, not seen.
    records.SYSTEM_METADATA: (_text(b"Key"),),
    33: (_text(b"IP"),),
}
# Since which version the names of a session's checks may not be empty. 1.8.7 loads them (seen); newer: index
# (agent/consul/state/session_ce.go), since the session tables were rewritten for 1.11.
SESSION_CHECKS_NAMED: Version = (1, 11)

# Protobuf inside bytes: the numbers of the fields. Source: proto/private/pbpeering/peering.proto; index, not seen.
PROTOBUF_FIELDS: t.Mapping[int, t.Mapping[int, str]] = {
    35: {1: "ID", 2: "Name"},
    38: {2: "PeerName"},
    40: {1: "PeerID"},
}


def parse_version(text: str) -> Version | None:
    """Return a server's version (``1.16.4+ent``, ``1.23.0-dev``) as (major, minor), None when it is not one."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})(?![\d])", text)
    return (int(match[1]), int(match[2])) if match else None


def requested_version(text: str, option: str) -> Version:
    """Return a version that a user names, ``1.16`` or ``1.16.4``. Raises InvalidOption for one whose rules are not known."""
    found = parse_version(text) if re.fullmatch(r"\d+\.\d+(\.\d+)?([-+][0-9A-Za-z.+-]*)?", text) else None
    if found is None:
        raise InvalidOption(
            f"{option} {text[:MAX_SHOWN]!r} is not a version of Consul: write for example 1.16 or 1.16.4."
        )
    if not OLDEST <= found <= NEWEST:
        raise InvalidOption(
            f"{option} {text!r}: what this version loads is not known; known are {shown(OLDEST)} to {shown(NEWEST)}."
        )
    return found


def shown(version: Version) -> str:
    """Return a version for people: ``1.15``."""
    return ".".join(map(str, version))


def oldest_version(versions: t.Iterable[str]) -> Version | None:
    """Return the lowest of the servers' versions as (major, minor), None when one of them is not known."""
    found = [parse_version(version) for version in versions]
    known = [version for version in found if version is not None]
    return min(known) if known and len(known) == len(found) else None


def newest_version(versions: t.Iterable[str]) -> Version | None:
    """Return the highest of the servers' versions as (major, minor), None when one of them is not known."""
    found = [parse_version(version) for version in versions]
    known = [version for version in found if version is not None]
    return max(known) if known and len(known) == len(found) else None


def unknown_types(types: t.Iterable[int], version: Version | None, newest: Version | None = None) -> tuple[int, ...]:
    """Return the record types that servers of that version do not restore; None counts as the oldest, 1.8.

    ``newest``: the highest version among the servers, when they are of several.
    """
    at = max(version or OLDEST, OLDEST)
    last = max(newest or at, at)
    return tuple(sorted({kind for kind in types if not _loads(TYPES_SINCE.get(kind), TYPES_GONE.get(kind), at, last)}))


def unknown_kinds(kinds: t.Iterable[str], version: Version) -> tuple[str, ...]:
    """Return the kinds of config entries that servers of that version do not know."""
    return tuple(sorted({kind for kind in kinds if not _loads(KINDS_SINCE.get(kind), None, version, version)}))


def _loads(since: Version | None, gone: Version | None, oldest: Version, newest: Version) -> bool:
    return since is not None and since <= oldest and (gone is None or newest < gone)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds the records that some version of Consul cannot load, while a snapshot is decoded; used by summary.py.

What is checked, and where each rule comes from, is in version_rules.py.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._consul.units import count_of
from . import records
from .protobuf import strings_of
from .version_rules import (
    ALWAYS,
    FIELD_RULES,
    KINDS_SINCE,
    LEGACY_ACL_GONE,
    NEVER,
    OLDEST,
    PROTOBUF_FIELDS,
    SESSION_CHECKS_NAMED,
    TYPES_GONE,
    TYPES_SINCE,
    FieldRule,
    Version,
    shown,
)

MAX_NAMED = 1000  # records of one problem that are named; all are counted
MAX_NAME = 300  # characters of a name that are kept: a key may be as long as a record

# Causes of problems.
FIELD, LEGACY_ACL, RECORD_TYPE, CONFIG_KIND = "field", "legacy_acl", "record_type", "config_kind"

_LOADED_BY_ALL = frozenset(kind for kind, since in TYPES_SINCE.items() if since <= OLDEST and kind not in TYPES_GONE)

# memdb's UUIDFieldIndex takes 36 characters, hexadecimal digits and dashes (seen on 1.8.7).
_UUID = re.compile(rb"[0-9a-fA-F-]{36}")


@dataclass(frozen=True)
class NamedRecord:
    """A record: its place in state.bin, counted from 1, and its name within its table; never a secret."""

    number: int
    name: str


@dataclass(frozen=True)
class _Reason:
    """Why records of a type are loaded only by versions from ``since`` on and before ``gone``."""

    cause: str
    what: str
    since: Version = ALWAYS
    gone: Version = NEVER


@dataclass(frozen=True)
class RecordProblem:
    """The records of a table that are loaded only by versions from ``since`` on and before ``gone``, for one reason.

    ``cause`` is FIELD, LEGACY_ACL (other versions load such a token without its rules), RECORD_TYPE or CONFIG_KIND.
    ``records`` are the first MAX_NAMED of ``count``.
    """

    cause: str
    table: str
    what: str
    since: Version
    gone: Version
    count: int
    records: tuple[NamedRecord, ...]

    def applies_to(self, version: Version | None) -> bool:
        """Return whether servers of a version do not load these records; of one that is not known (None), they may not."""
        return version is None or not self.since <= version < self.gone

    @property
    def sentence(self) -> str:
        """The problem with its first record: ``ACLToken, record 41: no AccessorID; Consul 1.15 and later cannot load it``."""
        first = self.records[0]
        named = f" ({first.name})" if first.name not in ("", self.table) else ""
        text = f"{self.table}, record {first.number}{named}: {self.what}; {self._versions()}"
        return text if self.count == 1 else f"{text} ({count_of(self.count - 1, 'more record')} like it)"

    def _versions(self) -> str:
        if self.cause == LEGACY_ACL:
            return f"Consul {shown(self.gone)} and later ignores them"
        if self.since == NEVER:
            return "no known version of Consul loads it"
        if self.gone == NEVER:
            return f"Consul before {shown(self.since)} cannot load it"
        return "Consul cannot load it" if self.gone <= OLDEST else f"Consul {shown(self.gone)} and later cannot load it"


class RecordChecks:
    """Checks records as they are decoded. The records of one node must follow each other, as Consul writes them."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, _Reason], tuple[list[int], list[NamedRecord]]] = {}
        self._node: t.Any = None
        self._peer: t.Any = None
        self._services: set[bytes] = set()

    def add(self, number: int, kind: int, record: t.Any) -> None:
        """Check a record of any type but KVS; ``number`` is its place in state.bin, counted from 1."""
        if kind == records.REGISTER:
            # A catalogue may have more records than any other table but KVS, so nothing is made for a complete one.
            for what in self._registration_problems(record):
                self._note(number, kind, record, _field_reason(what))
            return
        if kind not in _LOADED_BY_ALL:
            self._note(number, kind, record, _type_reason(kind))
        for reason in _reasons(kind, record):
            self._note(number, kind, record, reason)

    def add_key(self, number: int, key: bytes, session: t.Any) -> None:
        """Check a key and the session that holds it, empty when none does."""
        if not key:
            self._note(number, records.KVS, {b"Key": key}, _field_reason("no Key"))
        if session and not _is_uuid(session):
            self._note(number, records.KVS, {b"Key": key}, _field_reason("Session is not a UUID"))

    def listed(self) -> tuple[RecordProblem, ...]:
        """Return the problems, in order of table and reason."""
        found = [
            RecordProblem(
                reason.cause,
                records.type_name(kind),
                reason.what,
                reason.since,
                reason.gone,
                count[0],
                tuple(named),
            )
            for (kind, reason), (count, named) in self._found.items()
        ]
        return tuple(sorted(found, key=lambda problem: (problem.table, problem.cause, problem.what, problem.gone)))

    def _note(self, number: int, kind: int, record: t.Any, reason: _Reason) -> None:
        count, named = self._found.setdefault((kind, reason), ([0], []))
        count[0] += 1
        if len(named) < MAX_NAMED:
            named.append(NamedRecord(number, _name(kind, record)[:MAX_NAME]))

    def _registration_problems(self, record: t.Any) -> t.Sequence[str]:
        node, service, check = record[b"Node"], record.get(b"Service"), record.get(b"Check")
        peer = record.get(b"PeerName")
        if node != self._node or peer != self._peer:
            self._node, self._peer = node, peer
            self._services.clear()
        found: list[str] = []
        if not node:
            found.append("no Node")
        node_id = record.get(b"ID")
        if node_id and not _is_uuid(node_id):
            found.append("ID is not a UUID")
        if service:
            service_id = records.fields(service).get(b"ID")
            if isinstance(service_id, bytes) and service_id:
                self._services.add(service_id.lower())
            else:
                found.append("no Service.ID")
        if check:
            fields = records.fields(check)
            if not fields.get(b"CheckID"):
                found.append("no Check.CheckID")
            if fields.get(b"Node") != node:
                found.append("Check.Node is another node")
            service_id = fields.get(b"ServiceID")
            if service_id and not (isinstance(service_id, bytes) and service_id.lower() in self._services):
                found.append("Check.ServiceID is no service of the node")
        return found


def _reasons(kind: int, record: t.Any) -> t.Iterator[_Reason]:
    """Yield why a record of a type other than Register and KVS is not loaded by some version."""
    if kind == records.COORDINATES:
        if record:
            yield _field_reason("no Node")
        return
    for rule in FIELD_RULES.get(kind, ()):
        what = _field_problem(rule, record)
        if what:
            yield _field_reason(what, rule.since)
    if kind == records.ACL_TOKEN:
        if record.get(b"Rules") or (record.get(b"Type") == b"management" and not record.get(b"Policies")):
            yield _LEGACY_RULES
    elif kind == records.SESSION:
        if not all(_session_checks(record)):
            yield _field_reason("a check without name", SESSION_CHECKS_NAMED)
    elif kind == records.CONFIG_ENTRY:
        yield from _config_entry_reasons(record)
    elif kind == _SERVICE_VIRTUAL_IP:
        # Since 1.13 the name is one level further in, beside the peer's.
        service = records.fields(record.get(b"Service"))
        if not (service.get(b"Name") or records.fields(service.get(b"ServiceName")).get(b"Name")):
            yield _field_reason("no Service.Name")
    elif kind in PROTOBUF_FIELDS:
        found = strings_of(record) if isinstance(record, bytes) else {}
        for field_number, name in PROTOBUF_FIELDS[kind].items():
            if not found.get(field_number):
                yield _field_reason(f"no {name}")


def _session_checks(session: t.Any) -> t.Iterator[t.Any]:
    """Yield the names of the checks that a session depends on; versions before 1.7 have them in Checks."""
    for field in (b"Checks", b"NodeChecks", b"ServiceChecks"):
        checks = session.get(field)
        for check in checks if isinstance(checks, tuple) else ():
            yield records.fields(check).get(b"ID") if field == b"ServiceChecks" else check


_SERVICE_VIRTUAL_IP = 32
_LEGACY_RULES = _Reason(LEGACY_ACL, "rules of the legacy ACL system", gone=LEGACY_ACL_GONE)


def _config_entry_reasons(record: t.Any) -> t.Iterator[_Reason]:
    entry_kind, entry = records.config_entry(record)
    inner = records.fields(entry)
    if not entry_kind or not inner.get(b"Kind"):
        yield _field_reason("no Kind")
    if not inner.get(b"Name"):
        yield _field_reason("no Name")
    if entry_kind:
        kind = records.text(entry_kind)
        since = KINDS_SINCE.get(kind, NEVER)
        if since > OLDEST:
            yield _Reason(CONFIG_KIND, f"kind {kind}", since=since)


def _type_reason(kind: int) -> _Reason:
    gone = TYPES_GONE.get(kind)
    if gone is not None:
        return _Reason(RECORD_TYPE, "a record type of the legacy ACL system", gone=gone)
    return _Reason(RECORD_TYPE, "its record type", since=TYPES_SINCE.get(kind, NEVER))


def _field_reason(what: str, gone: Version = OLDEST) -> _Reason:
    return _Reason(FIELD, what, gone=gone)


def _field_problem(rule: FieldRule, record: t.Any) -> str:
    value = record.get(rule.path[0])
    for part in rule.path[1:]:
        value = records.fields(value).get(part)
    if not value:
        return "" if rule.may_be_empty else f"no {rule.name}"
    return f"{rule.name} is not a UUID" if rule.is_uuid and not _is_uuid(value) else ""


def _is_uuid(value: t.Any) -> bool:
    return isinstance(value, bytes) and _UUID.fullmatch(value) is not None


def _name(kind: int, record: t.Any) -> str:
    if kind == records.COORDINATES:
        return ""
    name = records.name(kind, record)
    # Without an AccessorID only its description says which token it is.
    description = record.get(b"Description") if kind == records.ACL_TOKEN else None
    return f"{name} {records.text(description)!r}" if description and not record.get(b"AccessorID") else name

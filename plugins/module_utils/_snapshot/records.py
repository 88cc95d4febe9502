# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record types of a snapshot: their tables, the name of a record, and its canonical bytes.

Canonical bytes leave out what changes without any change of the contents (Raft indexes, check output): equal contents
give equal bytes, whichever server wrote them and in whatever order.
Source of the numbers: Consul's agent/structs/structs.go; entries are only ever added.
"""

from __future__ import annotations

import hashlib
import typing as t

from .._consul._libraries import msgpack
from .._consul.digest import RESERVED_PREFIX, kv_bytes
from .archive import COORDINATES, unpack_values
from .errors import BadSnapshot

REGISTER, KVS, SESSION, TOMBSTONE, PREPARED_QUERY, INTENTION = 0, 2, 3, 5, 7, 12
ACL_TOKEN, ACL_POLICY, ACL_ROLE, ACL_BINDING_RULE, ACL_AUTH_METHOD = 17, 19, 23, 25, 27
INDEX = 16
CONFIG_ENTRY, FEDERATION_STATE, SYSTEM_METADATA = 22, 30, 31

TYPES = {
    0: "Register",
    1: "Deregister",
    2: "KVS",
    3: "Session",
    4: "ACL",
    5: "Tombstone",
    6: "CoordinateBatchUpdate",
    7: "PreparedQuery",
    8: "Txn",
    9: "Autopilot",
    10: "Area",
    11: "ACLBootstrap",
    12: "Intention",
    13: "ConnectCA",
    14: "ConnectCAProviderState",
    15: "ConnectCAConfig",
    16: "Index",
    17: "ACLToken",
    18: "ACLTokenDelete",
    19: "ACLPolicy",
    20: "ACLPolicyDelete",
    21: "ConnectCALeaf",
    22: "ConfigEntry",
    23: "ACLRole",
    24: "ACLRoleDelete",
    25: "ACLBindingRule",
    26: "ACLBindingRuleDelete",
    27: "ACLAuthMethod",
    28: "ACLAuthMethodDelete",
    29: "ChunkingState",
    30: "FederationState",
    31: "SystemMetadata",
    32: "ServiceVirtualIP",
    33: "FreeVirtualIP",
    34: "KindServiceNames",
    35: "Peering",
    36: "PeeringDelete",
    37: "PeeringTerminateByID",
    38: "PeeringTrustBundle",
    39: "PeeringTrustBundleDelete",
    40: "PeeringSecret",
    41: "RaftLogVerifierCheckpoint",
    42: "Resource",
    43: "UpdateVirtualIP",
    44: "Census",
    45: "FeatureGate",
}

# Nodes that run a Consul agent register themselves, their services and checks again after a restore. They get a
# separate table; Register keeps the nodes that only the catalogue knows.
AGENT_TABLE = "Register (agents)"

# Tables that Consul changes by itself: reported, never part of the durable digest.
EPHEMERAL_TYPES = frozenset({SESSION, TOMBSTONE, COORDINATES, INDEX, 29, FEDERATION_STATE, SYSTEM_METADATA, 34, 44, 45})

# Types whose outermost value is not a map: a list, protobuf, or msgpack inside bytes.
NOT_MAPS = frozenset({COORDINATES, CONFIG_ENTRY, 35, 38, 40, 42})

# Objects that touch_replicated.py creates and deletes are called after this; like the keys below consulops/ they are
# never part of a digest or a comparison.
TOUCH_PREFIX = "consulops-touch-"
# Since 1.11 most kinds for a service get it a virtual address, which stays reserved when the entry is deleted. A gateway gets none.
TOUCH_ENTRY_KIND = "terminating-gateway"

SERF_CHECK = b"serfHealth"
_INDEXES = frozenset({b"CreateIndex", b"ModifyIndex", b"LockIndex"})
_CHECK_STATE = frozenset({b"Output", b"Status"})

# The field that names a record within its table. ACLToken never falls back to its SecretID.
_NAME_FIELDS = {
    SESSION: b"ID",
    PREPARED_QUERY: b"ID",
    INTENTION: b"ID",
    13: b"ID",
    14: b"ID",
    15: b"ClusterID",
    INDEX: b"Key",
    ACL_TOKEN: b"AccessorID",
    ACL_POLICY: b"ID",
    ACL_ROLE: b"ID",
    ACL_BINDING_RULE: b"ID",
    ACL_AUTH_METHOD: b"Name",
    SYSTEM_METADATA: b"Key",
}

_TOUCH_NAME_FIELDS = {ACL_POLICY: b"Name", ACL_ROLE: b"Name", ACL_TOKEN: b"Description"}

_packer: t.Any = None


def type_name(kind: int) -> str:
    """Return Consul's name of a record type, ``Unknown(65)`` for one that this version does not know."""
    return TYPES.get(kind, f"Unknown({kind})")


def is_durable(table: str, kind: int) -> bool:
    """Return whether a restore must bring a table back."""
    return kind not in EPHEMERAL_TYPES and table != AGENT_TABLE


def shaped(kind: int, value: t.Any) -> t.Any:
    """Return a record as a dict of its fields where its type is a map; inner maps stay lists of pairs.

    Raises BadSnapshot when a record of a known type cannot be one.
    """
    if kind not in TYPES or kind in NOT_MAPS:
        return value
    if not isinstance(value, list):
        raise BadSnapshot(f"a {type_name(kind)} record is not a map")
    record = fields(value)
    if kind == KVS:
        record[b"Key"] = key_fields(value)[0]
    if kind == REGISTER:
        if record.get(b"Node") is None:
            record[b"Node"] = b""
        if not isinstance(record[b"Node"], bytes):
            raise BadSnapshot("a Register record has a node whose name is no text")
    return record


def key_fields(value: t.Any) -> tuple[bytes, bytes, int, t.Any]:
    """Return (key, value, flags, session) of a KVS record as it was decoded. Raises BadSnapshot.

    The key is empty when the record has none, the session when nothing holds the key.
    """
    try:
        # Go writes a struct's fields in alphabetical order: CreateIndex, Flags, Key, LockIndex, ModifyIndex, Session,
        # Value. Taking them by place halves the time of reading a large KV; any other order is looked up by name.
        _create, (flags_field, flags), (key_field, key), _lock, _modify, holder, (value_field, content) = value
        session_field, session = holder
        if flags_field != b"Flags" or key_field != b"Key" or session_field != b"Session" or value_field != b"Value":
            raise ValueError
    except (ValueError, TypeError):
        record = fields(value)
        flags, key, content = record.get(b"Flags"), record.get(b"Key"), record.get(b"Value")
        session = record.get(b"Session")
    if content is None:
        content = b""
    if key is None:
        key = b""
    if not (isinstance(key, bytes) and isinstance(content, bytes) and isinstance(flags, int) and flags >= 0):
        raise BadSnapshot("a KVS record has no key, value or flags")
    return key, content, flags, session


def fields(value: t.Any) -> dict[bytes, t.Any]:
    """Return an inner map as a dict, an empty one for nil or anything else."""
    try:
        return dict(value) if isinstance(value, list) else {}
    except TypeError:
        return {}


def is_reserved(kind: int, record: t.Any) -> bool:
    """Return whether a record is this collection's own, which no digest and no comparison counts."""
    if kind == KVS:
        return t.cast(bytes, record[b"Key"]).startswith(RESERVED_PREFIX)
    if kind == CONFIG_ENTRY:
        entry_kind, entry = config_entry(record)
        return entry_kind == TOUCH_ENTRY_KIND.encode() and _is_touch_name(fields(entry).get(b"Name"))
    field = _TOUCH_NAME_FIELDS.get(kind)
    return field is not None and _is_touch_name(record.get(field))


def _is_touch_name(value: t.Any) -> bool:
    return isinstance(value, bytes) and value.startswith(TOUCH_PREFIX.encode())


def canonical(kind: int, record: t.Any) -> bytes:
    """Return bytes that are equal exactly when two records of a type mean the same. Raises BadSnapshot."""
    if kind == KVS:
        return kv_bytes(record[b"Key"], record.get(b"Value") or b"", record[b"Flags"])
    if kind == CONFIG_ENTRY:
        record = config_entry(record)
    elif kind == REGISTER:
        # The node's indexes, and those of its service or check one level down.
        return bytes([kind]) + _pack(_sorted(_without_check_state(record), index_levels=2))
    return bytes([kind]) + _pack(_sorted(record, index_levels=1))


def config_entry(blob: t.Any) -> tuple[bytes, t.Any]:
    """Return (kind, entry) of a config entry, which is msgpack inside msgpack twice. Raises BadSnapshot."""
    values = unpack_values(blob) if isinstance(blob, bytes) else []
    if len(values) != 2 or not isinstance(values[0], bytes) or not isinstance(values[1], list):
        raise BadSnapshot("a ConfigEntry record has not the form of one")
    entry = fields(values[1]).get(b"Entry")
    if isinstance(entry, bytes):
        inner = unpack_values(entry)
        entry = inner[0] if len(inner) == 1 else tuple(inner)
    return values[0], entry


def name(kind: int, record: t.Any) -> str:
    """Return the readable name of a record within its table; never a secret. Raises BadSnapshot."""
    if kind in (KVS, TOMBSTONE):
        return text(record.get(b"Key"))
    if kind == REGISTER:
        return _registration_name(record)
    if kind == CONFIG_ENTRY:
        entry_kind, entry = config_entry(record)
        return f"{text(entry_kind)}/{text(fields(entry).get(b'Name'))}"
    if kind == FEDERATION_STATE:
        return text(fields(record.get(b"State")).get(b"Datacenter"))
    field = _NAME_FIELDS.get(kind)
    value = record.get(field) if field and isinstance(record, dict) else None
    if isinstance(value, bytes) and value:
        return text(value)
    if kind in TYPES and kind not in NOT_MAPS and kind != ACL_TOKEN:
        return type_name(kind)
    return "#" + hashlib.blake2b(_pack(_sorted(record)), digest_size=8).hexdigest()


def name_bytes(kind: int, record: t.Any) -> bytes:
    """Return the name of a record as bytes; text() of it is name(). Raises BadSnapshot."""
    if kind in (KVS, TOMBSTONE):
        key = record.get(b"Key")
        return key if isinstance(key, bytes) else b"?"
    return name(kind, record).encode()


def modify_index(kind: int, record: t.Any) -> int:
    """Return the Raft index at which a record was last written, 0 when it does not say.

    A KVS record may be given as it was decoded.
    """
    if kind == CONFIG_ENTRY:
        inner = fields(config_entry(record)[1])
    elif kind == REGISTER:
        inner = fields(record.get(b"Check")) or fields(record.get(b"Service")) or record
    else:
        inner = record if isinstance(record, dict) else fields(record)
    index = inner.get(b"Value" if kind == INDEX else b"ModifyIndex")
    return index if isinstance(index, int) else 0


def text(value: t.Any) -> str:
    """Return a key or name as text; bytes that are not UTF-8 are escaped."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else "?"


def expires_at(record: t.Any) -> float | None:
    """Return when an ACL token expires in seconds since 1970, None when it does not.

    The time is Go's time.MarshalBinary: a version byte, seconds since the year 1, nanoseconds, zone.
    """
    value = record.get(b"ExpirationTime")
    if not isinstance(value, bytes) or len(value) < 13:
        return None
    seconds = int.from_bytes(value[1:9], "big") - 62135596800
    return seconds + int.from_bytes(value[9:13], "big") / 1e9 if seconds > -62135596800 else None


def _registration_name(record: t.Any) -> str:
    label = "node " + text(record[b"Node"])
    if record.get(b"PeerName"):
        label += " of peer " + text(record[b"PeerName"])
    for part, field, label_of in ((b"Service", b"ID", "service"), (b"Check", b"CheckID", "check")):
        inner = fields(record.get(part))
        if inner:
            label += f", {label_of} {text(inner.get(field))}"
    return label


def _without_check_state(record: dict[bytes, t.Any]) -> dict[bytes, t.Any]:
    check = record.get(b"Check")
    if not isinstance(check, list):
        return record
    kept = [(field, value) for field, value in check if not (isinstance(field, bytes) and field in _CHECK_STATE)]
    return {**record, b"Check": kept}


def _sorted(value: t.Any, index_levels: int = 0) -> t.Any:
    """Return a value with its maps as sorted lists of pairs, and without Raft indexes in the outer ``index_levels`` maps.

    Further in, a field called CreateIndex is a user's setting.
    """
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else value
        kept = (
            (_pack(_sorted(field)), _sorted(inner, index_levels - 1))
            for field, inner in pairs
            if not (index_levels > 0 and isinstance(field, bytes) and field in _INDEXES)
        )
        return ["map", *sorted(kept, key=_first)]
    if isinstance(value, tuple):
        return ["list", *(_sorted(item, index_levels) for item in value)]
    return value


def _first(pair: tuple[bytes, t.Any]) -> bytes:
    return pair[0]


def _pack(value: t.Any) -> bytes:
    global _packer
    if _packer is None:
        _packer = msgpack.Packer(use_bin_type=True)
    return t.cast(bytes, _packer.pack(value))

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads keys: one, all below a prefix, or a whole tree shard by shard, which keeps memory small.

Source: https://developer.hashicorp.com/consul/api-docs/kv
"""

from __future__ import annotations

import binascii
import hashlib
import logging
import typing as t
from dataclasses import dataclass, field

from .client import Client
from .digest import RESERVED_PREFIX, SetDigest, kv_bytes
from .key_path import is_addressable, key_path
from .response import MAX_BODY, Response
from .shard_plan import SHARD_KEYS, ShardSpec, plan_shards

log = logging.getLogger("consulops")


class Entry(t.NamedTuple):
    """One key as Consul holds it. ``session`` is that of the lock's holder, "" when the key is not locked."""

    key: str
    value: bytes
    flags: int
    modify_index: int
    create_index: int = 0
    lock_index: int = 0
    session: str = ""

    def __repr__(self) -> str:
        return f"Entry({self.key!r}, {len(self.value)} bytes, flags={self.flags}, modify_index={self.modify_index})"


class Decoded(dict[str, bytes]):
    """Values by their base64 text: values that two reads with the same instance have in common are decoded once."""

    def __missing__(self, text: str) -> bytes:
        value = self[text] = binascii.a2b_base64(text)
        return value


@dataclass(frozen=True)
class Shard:
    """All keys below a prefix at one moment: ``index`` is the X-Consul-Index of that read."""

    prefix: str
    entries: tuple[Entry, ...]
    index: int


# What to do with an answer that Consul filtered by ACLs: called with its prefix or key. Without it Filtered is raised.
OnPartial = t.Callable[[str], None]


@dataclass(frozen=True)
class Names:
    """The names of all keys below a prefix, in Consul's order. ``index`` is the highest index of these keys and of deletions below.

    ``digest`` is that of the answer that has them.
    """

    names: list[str]
    index: int
    digest: bytes = field(default=b"", repr=False)


def list_keys(
    client: Client,
    prefix: str = "",
    *,
    separator: str = "",
    consistency: str = "default",
    on_partial: OnPartial | None = None,
) -> list[str]:
    """Return the names of all keys below a prefix in Consul's order; with a separator, names end at its next occurrence."""
    return read_names(client, prefix, separator=separator, consistency=consistency, on_partial=on_partial).names


def read_names(
    client: Client,
    prefix: str = "",
    *,
    separator: str = "",
    consistency: str = "default",
    on_partial: OnPartial | None = None,
    like: Names | None = None,
) -> Names:
    """Return what ``list_keys`` returns, and its index. An answer that is the same as that of ``like`` has its names."""
    params = {"keys": "", **({"separator": separator} if separator else {})}
    response = client.get(
        key_path(prefix), params, consistency=consistency, absent_ok=True, partial_ok=on_partial is not None
    )
    if on_partial and response.is_filtered:
        on_partial(prefix)
    if response.status == 404:
        return Names([], response.index)
    digest = hashlib.blake2b(response.body).digest()
    if like is not None and like.names and digest == like.digest:
        return Names(like.names, response.index, digest)
    names = response.strings()
    # Consul answers 404 then; only for the root, or where everything was filtered, an empty list is its answer.
    if prefix and not names and not response.is_filtered:
        raise response.invalid()
    return Names(names, response.index, digest)


def index_query(spec: ShardSpec) -> dict[str, str]:
    """Return the parameters of the query whose index is that of a shard, and whose answer has no values.

    The index is the highest at which a key of the shard was written or deleted (observed on 1.8.7; Consul forgets deletions after a
    while). For a shard without keys and deletions it is the highest of all keys.
    """
    return {} if spec.exact else {"keys": "", "separator": "/"}


def read_shard(
    client: Client,
    prefix: str,
    *,
    consistency: str = "default",
    max_stale_s: float | None = None,
    max_bytes: int = MAX_BODY,
    decoded: Decoded | None = None,
    on_partial: OnPartial | None = None,
) -> Shard:
    """Read every key below a prefix in one request. Raises ResponseTooLarge when the response has more than ``max_bytes``.

    When a stale response is older than ``max_stale_s``, or its server knows no leader, the leader is asked instead.
    """
    return _read(client, prefix, {"recurse": ""}, consistency, max_stale_s, max_bytes, decoded, on_partial)


def read_shards(
    client: Client, prefix: str = "", *, consistency: str = "default", shard_keys: int = SHARD_KEYS
) -> t.Iterator[Shard]:
    """Read every key below a prefix, about ``shard_keys`` at a time; memory holds one shard and all names.

    Shards do not overlap. A key that is created during the read may be missed, as in any read that is not a snapshot.
    """
    names = sorted(list_keys(client, prefix, consistency=consistency))
    specs = plan_shards(names, prefix, shard_keys)
    log.debug("reading %d keys below %r in %d requests", len(names), prefix, len(specs))
    for spec in specs:
        read = read_key if spec.exact else read_shard
        yield read(client, spec.prefix, consistency=consistency)


def read_key(
    client: Client,
    key: str | bytes,
    *,
    consistency: str = "default",
    max_stale_s: float | None = None,
    on_partial: OnPartial | None = None,
) -> Shard:
    """Read one key by its exact name, which need not be UTF-8; the shard is empty when the key does not exist."""
    return _read(client, key, {}, consistency, max_stale_s, MAX_BODY, on_partial=on_partial)


def _read(
    client: Client,
    key: str | bytes,
    params: dict[str, t.Any],
    consistency: str,
    max_stale_s: float | None,
    max_bytes: int,
    decoded: Decoded | None = None,
    on_partial: OnPartial | None = None,
) -> Shard:
    path, partial_ok = key_path(key), on_partial is not None
    response = client.get(
        path, params, consistency=consistency, absent_ok=True, partial_ok=partial_ok, max_bytes=max_bytes
    )
    too_old = max_stale_s is not None and (response.last_contact_ms > max_stale_s * 1000 or not response.known_leader)
    if consistency == "stale" and too_old:
        log.debug("the stale answer of %s is too old, asking the leader", response.request_line)
        response = client.get(path, params, absent_ok=True, partial_ok=partial_ok, max_bytes=max_bytes)
    name = key if isinstance(key, str) else ""
    if on_partial and response.is_filtered:
        on_partial(name)
    return Shard(name, entries_of(response, decoded), response.index)


def check_readable(client: Client, prefix: str) -> None:
    """Raise PermissionDenied unless the token may read below the prefix: a denied list looks empty, a denied key does not.

    A rule for a single key below the prefix is not noticed; ``txn.present_of`` notices it.
    """
    if not is_addressable(prefix):
        return  # such a name cannot stand in a request
    client.get(key_path(f"{prefix}{'canary' if prefix.endswith('/') or not prefix else ''}"), absent_ok=True)


def entries_of(response: Response, decoded: Decoded | None = None) -> tuple[Entry, ...]:
    """Return the keys of a response, none for a 404.

    Raises InvalidResponse for anything else than a list of keys, an empty list included: where there are no keys, Consul
    answers 404, and what was not read must not pass for absent.
    """
    if response.status == 404 or (response.is_filtered and response.body.strip() in (b"[]", b"null")):
        return ()
    value_of = binascii.a2b_base64 if decoded is None else decoded.__getitem__

    def convert(items: t.Any) -> tuple[Entry, ...]:
        found = tuple(
            Entry(
                item["Key"],
                b"" if item["Value"] is None else value_of(item["Value"]),
                item["Flags"],
                item["ModifyIndex"],
                item["CreateIndex"],
                item["LockIndex"],
                item.get("Session", ""),
            )
            for item in items
        )
        if not found or not isinstance(items, list) or not all(map(_is_well_typed, found)):
            raise TypeError
        return found

    return response.parse(convert)


_ENTRY_TYPES = (str, bytes, int, int, int, int, str)


def _is_well_typed(entry: Entry) -> bool:
    return tuple(map(type, entry)) == _ENTRY_TYPES  # exact types: a bool is not a number


def digest_of(entries: t.Iterable[Entry]) -> SetDigest:
    """Return the digest of keys, values and flags; the same as that of a snapshot's KV table.

    Keys below ``consulops/`` do not count. Names that are not UTF-8 arrive mangled from the API, so with them the two digests
    differ.
    """
    digest = SetDigest()
    for entry in entries:
        key = entry.key.encode()
        if not key.startswith(RESERVED_PREFIX):
            digest.add(kv_bytes(key, entry.value, entry.flags))
    return digest

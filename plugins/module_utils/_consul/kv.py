# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everyone's one way to Consul's key/value store: shard reads, a digest, compare-and-set batches.

Reading shard by shard keeps memory small; writing by transactions is some 20 times faster than key by key.
Source: https://developer.hashicorp.com/consul/api-docs/kv and …/txn
"""

from __future__ import annotations

import binascii
import bisect
import json
import os
import re
import sys
import typing as t
from dataclasses import dataclass, field

from . import errors
from .client import MAX_BODY, Client, Response
from .digest import RESERVED_PREFIX, SetDigest, kv_bytes

SHARD_KEYS = 1000
TXN_OPS_NEW = 128  # Consul >= 1.14
TXN_OPS_OLD = 64  # Consul < 1.14, which refuses 65 with "transaction contains too many operations (65 > 64)"
TXN_BYTES = 500_000  # servers refuse bodies above 524,288 bytes by default (514,166 was taken, 535,542 was not)

STALE = "index is stale"  # how Consul refuses a compare-and-set

_quoted = json.encoder.encode_basestring_ascii

REPLACEMENT = "\ufffd"  # what Consul's JSON shows for bytes of a key that are not UTF-8


class Entry(t.NamedTuple):
    """One key as Consul holds it. ``session`` is "" when nobody holds the lock."""

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
    """Values by their base64 text. Of two stores that are read with the same one, what both hold is decoded once."""

    def __missing__(self, text: str) -> bytes:
        value = self[text] = binascii.a2b_base64(text)
        return value


@dataclass(frozen=True)
class Shard:
    """All keys below a prefix at one moment: ``index`` is the X-Consul-Index of that read."""

    prefix: str
    entries: tuple[Entry, ...]
    index: int


_WITH_VALUE = frozenset({"set", "cas", "lock", "unlock"})  # verbs of a transaction
_WITH_INDEX = frozenset({"cas", "delete-cas", "check-index"})


@dataclass  # not frozen: tens of thousands are made, and a frozen one takes three times as long to make
class Operation:
    """One operation of a transaction. ``cas`` with index 0 creates; ``delete-cas`` deletes what has that index."""

    verb: str
    key: str
    value: bytes = field(default=b"", repr=False)
    flags: int = 0
    index: int = 0
    session: str = ""

    def as_json(self) -> str:
        """Return the operation as /v1/txn takes it. Put together by hand: a general encoder takes three times as long."""
        text = f'{{"KV":{{"Verb":"{self.verb}","Key":{_quoted(self.key)}'
        if self.verb in _WITH_VALUE:
            text += f',"Value":"{binascii.b2a_base64(self.value, newline=False).decode()}","Flags":{self.flags}'
        if self.verb in _WITH_INDEX:
            text += f',"Index":{self.index}'
        if self.session:
            text += f',"Session":{_quoted(self.session)}'
        return text + "}}"

    @property
    def size(self) -> int:
        """How many bytes the operation takes in a request, at the most."""
        return len(self.value) * 4 // 3 + 12 * len(self.key) + 160


def _transaction(operations: t.Sequence[Operation]) -> bytes:
    """Return the body of a transaction."""
    return f"[{','.join([operation.as_json() for operation in operations])}]".encode()


class Refusal(t.NamedTuple):
    """An operation that was not applied, and what Consul said."""

    operation: Operation
    reason: str


class Committed(t.NamedTuple):
    """The outcome of writing many operations: how many were applied, which were refused, in how many transactions."""

    applied: int
    refused: tuple[Refusal, ...]
    transactions: int


# ---------------------------------------------------------------------------------------------------------------
# Reading


def list_keys(client: Client, prefix: str = "", *, separator: str = "", consistency: str = "default") -> list[str]:
    """Return the names of all keys below a prefix, sorted as Consul sorts them; with a separator only up to the next."""
    params = {"keys": "", **({"separator": separator} if separator else {})}
    response = client.get(_path(prefix), params, consistency=consistency, absent_ok=True)
    if response.status == 404:
        return []
    names = response.json()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise errors.InvalidResponse(
            f"{response.request_line}: the answer is no list of keys. Does something else listen there?", 200
        )
    return names


def read_shard(
    client: Client,
    prefix: str,
    *,
    consistency: str = "default",
    max_stale_s: float | None = None,
    max_bytes: int = MAX_BODY,
    decoded: Decoded | None = None,
) -> Shard:
    """Read every key below a prefix in one request. Raises ResponseTooLarge when the answer has more than ``max_bytes``.

    A stale answer that is older than ``max_stale_s``, or of a server that knows no leader, is asked for again from the leader.
    """
    return _read(client, prefix, {"recurse": ""}, consistency, max_stale_s, max_bytes, decoded)


def read_shards(
    client: Client, prefix: str = "", *, consistency: str = "default", shard_keys: int = SHARD_KEYS
) -> t.Iterator[Shard]:
    """Read every key below a prefix, some ``shard_keys`` at a time, so that memory holds one shard and all names.

    Shards do not overlap. A key that is created meanwhile may be missed, as with any read that is not a snapshot.
    """
    for shard_prefix in plan_shards(sorted(list_keys(client, prefix, consistency=consistency)), prefix, shard_keys):
        if shard_prefix.exact:
            yield read_key(client, shard_prefix.prefix, consistency=consistency)
        else:
            yield read_shard(client, shard_prefix.prefix, consistency=consistency)


class ShardSpec(t.NamedTuple):
    """One request of a sharded read: all keys below ``prefix``, or with ``exact`` the key of that name alone."""

    prefix: str
    exact: bool = False


def plan_shards(keys: t.Sequence[str], prefix: str, shard_keys: int) -> list[ShardSpec]:
    """Split sorted keys into disjoint prefixes of at most ``shard_keys`` keys each, where names allow it. Pure.

    A prefix is only cut where an address can carry it: not inside a path element that a client or Consul would
    rewrite (``//``, ``/./``, ``/../``), nor at bytes that are not UTF-8.
    """
    if not keys:
        return []
    if len(keys) <= shard_keys:
        return [ShardSpec(prefix)]
    common = os.path.commonprefix([keys[0], keys[-1]])
    shards = []
    first = int(keys[0] == common)
    if first:
        if not is_addressable(common):
            return [ShardSpec(prefix)]
        shards.append(ShardSpec(common, exact=True))
    while first < len(keys):
        start = keys[first][: len(common) + 1]
        if not is_addressable(start):
            return [ShardSpec(prefix)]
        last = _end_of(keys, start, first)
        shards += plan_shards(keys[first:last], start, shard_keys)
        first = last
    return shards


def _end_of(keys: t.Sequence[str], start: str, first: int) -> int:
    """Return where the keys that begin with ``start`` end, among sorted keys, the first of which is known."""
    if start[-1] == chr(sys.maxunicode):
        return len(keys)
    return bisect.bisect_left(keys, start[:-1] + chr(ord(start[-1]) + 1), first)


def digest_of(entries: t.Iterable[Entry]) -> SetDigest:
    """Return the digest of keys, values and flags; the same as that of a snapshot's KV table.

    Keys of our own (``consulops/``) do not count. Keys that are not UTF-8 arrive mangled from the API, so with them the
    two digests differ.
    """
    digest = SetDigest()
    for entry in entries:
        key = entry.key.encode()
        if not key.startswith(RESERVED_PREFIX):
            digest.add(kv_bytes(key, entry.value, entry.flags))
    return digest


def read_key(
    client: Client, key: str | bytes, *, consistency: str = "default", max_stale_s: float | None = None
) -> Shard:
    """Read one key by its exact name, which need not be UTF-8; the shard is empty when there is none."""
    return _read(client, key, {}, consistency, max_stale_s, MAX_BODY)


def _read(
    client: Client,
    key: str | bytes,
    params: dict[str, t.Any],
    consistency: str,
    max_stale_s: float | None,
    max_bytes: int,
    decoded: Decoded | None = None,
) -> Shard:
    path = _path(key)
    response = client.get(path, params, consistency=consistency, absent_ok=True, max_bytes=max_bytes)
    too_old = max_stale_s is not None and (response.last_contact_ms > max_stale_s * 1000 or not response.known_leader)
    if consistency == "stale" and too_old:
        response = client.get(path, params, absent_ok=True, max_bytes=max_bytes)
    return Shard(key if isinstance(key, str) else "", entries_of(response, decoded), response.index)


def check_readable(client: Client, prefix: str) -> None:
    """Raise PermissionDenied unless the token may read below the prefix: a denied list looks empty, a denied key does not.

    A rule for single keys below the prefix is not seen; ``present_of`` sees those.
    """
    if not is_addressable(prefix):
        return  # such a name cannot be asked for by itself
    client.get(_path(f"{prefix}{'canary' if prefix.endswith('/') or not prefix else ''}"), absent_ok=True)


def present_of(client: Client, keys: t.Sequence[str]) -> set[str]:
    """Return which of these keys exist, each asked for by its own name and answered by the leader.

    Raises PermissionDenied, naming the key, where the token may not read one: such a key is not absent, it is unknown.
    A transaction of ``check-index`` operations is read-only and checks the right to read each key (seen on 1.8.7), which
    lists and ``get`` operations do not: those leave out what may not be read.
    """
    present = set()
    for start in range(0, len(keys), TXN_OPS_OLD):
        batch = keys[start : start + TXN_OPS_OLD]
        body = _transaction([Operation("check-index", key) for key in batch])
        response = client.put("/v1/txn", {"consistent": ""}, body, conflict_ok=True)
        if response.status == 200:
            _check_applied(response)
        said = {} if response.status == 200 else _failures(response, batch)
        _check_denied(
            response, said, batch, 'Reading it needs key "…" { policy = "read" }, or the like for its prefix.'
        )
        present |= {key for number, key in enumerate(batch) if "doesn't exist" not in said.get(number, "")}
    return present


def write_raw(client: Client, key: bytes, value: bytes, flags: int, index: int) -> bool:
    """Write one key whose name need not be UTF-8 (a transaction's JSON could not carry it) by compare-and-set.

    ``index`` 0 creates. Returns whether it was written.
    """
    return bool(client.put(_path(key), {"flags": flags, "cas": index}, value).json())


def _path(key: str | bytes) -> str:
    """Return the address of a key; bytes that are not UTF-8 stand in it as surrogates, which the client quotes back."""
    return "/v1/kv/" + (key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key)


def is_addressable(prefix: str) -> bool:
    """Tell whether a key or prefix arrives as it is in an address: clients and Consul rewrite ``//`` and ``/../``."""
    if REPLACEMENT in prefix or "//" in prefix or prefix.startswith("/"):
        return False
    return not any(element in (".", "..") for element in prefix.split("/"))


def entries_of(response: Response, decoded: Decoded | None = None) -> tuple[Entry, ...]:
    """Return the keys of an answer. An answer that is not Consul's is no empty one: raises InvalidResponse."""
    value_of = binascii.a2b_base64 if decoded is None else decoded.__getitem__
    if response.status == 404:
        return ()
    items = response.json()
    try:
        if not isinstance(items, list):
            raise TypeError
        found = tuple(
            Entry(
                item["Key"],
                value_of(item["Value"] or ""),
                item["Flags"],
                item["ModifyIndex"],
                item["CreateIndex"],
                item["LockIndex"],
                item.get("Session", ""),
            )
            for item in items
        )
        if not all(isinstance(entry.key, str) and isinstance(entry.modify_index, int) for entry in found):
            raise TypeError
        return found
    except (TypeError, LookupError, ValueError, AttributeError):
        raise errors.InvalidResponse(
            f"{response.request_line}: the answer holds no keys as Consul writes them. Does something else listen there?",
            200,
        ) from None


# ---------------------------------------------------------------------------------------------------------------
# Writing


class Writer:
    """Writes operations in transactions as large as the servers take; finds that limit out at the first refusal.

    ``fence`` is an operation that every transaction begins with: when it fails, nothing is written and Conflict raised.
    With ``skip_denied`` a key that the token may not write is refused alone; otherwise PermissionDenied is raised.
    Several threads may commit at once.
    """

    def __init__(
        self,
        client: Client,
        max_ops: int | None = None,
        fence: Operation | None = None,
        *,
        skip_denied: bool = False,
    ) -> None:
        self._client = client
        self._skip_denied = skip_denied
        self._fence = [] if fence is None else [fence]
        self.max_ops = max_ops or TXN_OPS_NEW

    def commit(self, operations: t.Iterable[Operation]) -> Committed:
        """Write operations in order; a refused one is left out and the rest of its transaction is sent again.

        Each transaction is all or nothing. Raises a ConsulError when the outcome of one is not known; what was
        applied before stays applied.
        """
        applied, transactions = 0, 0
        refused: list[Refusal] = []
        waiting: list[list[Operation]] = []
        fresh = batches(operations, lambda: self.max_ops - len(self._fence), TXN_BYTES - 1000 * len(self._fence))
        while True:
            batch = waiting.pop(0) if waiting else next(fresh, None)
            if batch is None:
                break
            transactions += 1
            try:
                response = self._send(batch)
            except errors.RequestTooLarge as error:
                if len(batch) > 1:
                    waiting = self._smaller(batch, error) + waiting
                    continue
                refusal = self._put_alone(batch[0], error)
                applied += refusal is None
                refused += [refusal] if refusal else []
                continue
            if response.status == 200:
                _check_applied(response)
                applied += len(batch)
                continue
            failed = self._failed(response, batch)
            refused += [Refusal(batch[number], reason) for number, reason in sorted(failed.items())]
            rest = [operation for number, operation in enumerate(batch) if number not in failed]
            if rest:
                waiting.insert(0, rest)
        return Committed(applied, tuple(refused), transactions)

    def _send(self, batch: t.Sequence[Operation]) -> Response:
        return self._client.put("/v1/txn", body=_transaction([*self._fence, *batch]), conflict_ok=True)

    def _failed(self, response: Response, batch: t.Sequence[Operation]) -> dict[int, str]:
        """Return which operations of a batch failed. Raises Conflict when the fence did."""
        first = len(self._fence)
        keys = [operation.key for operation in (*self._fence, *batch)]
        failed = _failures(response, keys)
        if not self._skip_denied:
            _check_denied(response, failed, keys, "Nothing of this transaction was written.")
        if any(number < first for number in failed):
            raise errors.Conflict(
                f"{response.request_line}: {failed[0]}. Nothing of this transaction was written.", 409, failed[0]
            )
        return {number - first: reason for number, reason in failed.items()}

    def _put_alone(self, operation: Operation, error: errors.RequestTooLarge) -> Refusal | None:
        """Write one value that no transaction can carry (base64 makes it a third longer) by its own PUT; return why not, if not.

        The fence is looked at just before it, since a PUT has none.
        """
        reason = error.consul_message or str(error)
        if operation.verb in ("cas", "set") and is_addressable(operation.key):
            params = {"flags": operation.flags, **({"cas": operation.index} if operation.verb == "cas" else {})}
            try:
                self._check_fence()
                if self._client.put(_path(operation.key), params, operation.value).json():
                    return None
                reason = STALE
            except errors.RequestTooLarge as alone:
                reason = alone.consul_message or str(alone)
            except errors.PermissionDenied as denied:
                if not self._skip_denied:
                    raise
                reason = denied.consul_message or str(denied)
        return Refusal(operation, reason)

    def _check_fence(self) -> None:
        if self._fence:
            response = self._send([])
            if response.status != 200:
                self._failed(response, [])

    def _smaller(self, batch: list[Operation], error: errors.RequestTooLarge) -> list[list[Operation]]:
        """Cut a batch that was too large."""
        limit = re.search(r"too many operations \(\d+ > (\d+)\)", error.consul_message)
        if limit is not None:
            self.max_ops = int(limit[1])
        elif len(batch) > TXN_OPS_OLD:
            self.max_ops = TXN_OPS_OLD
        room = self.max_ops - len(self._fence)
        size = min(room, (len(batch) + 1) // 2) if limit is None else room
        return [batch[start : start + size] for start in range(0, len(batch), size)]


def batches(
    operations: t.Iterable[Operation], max_ops: t.Callable[[], int], max_bytes: int
) -> t.Iterator[list[Operation]]:
    """Group operations in order, each group within both limits; one that is too large alone stands alone.

    ``max_ops`` is asked anew for each group, since what is learned from the first counts for the next.
    """
    batch: list[Operation] = []
    size, most = 0, max_ops()
    for operation in operations:
        more = operation.size
        if batch and (len(batch) >= most or size + more > max_bytes):
            yield batch
            batch, size, most = [], 0, max_ops()
        batch.append(operation)
        size += more
    if batch:
        yield batch


def _check_applied(response: Response) -> None:
    """Raise InvalidResponse unless it was Consul that said that a transaction was applied."""
    if response.body.startswith(b'{"Results":'):
        return  # as Consul writes it; decoding it all would take longer than sending it
    found = response.json()
    if not isinstance(found, dict) or "Results" not in found:
        raise errors.InvalidResponse(
            f"{response.request_line}: the answer is not that of a transaction. Does something else listen there?", 200
        )


def _failures(response: Response, keys: t.Sequence[str]) -> dict[int, str]:
    """Return which operations of a transaction failed, and why. Raises when Consul names none."""
    try:
        failed = {int(item["OpIndex"]): str(item["What"]) for item in response.json()["Errors"] or ()}
    except (TypeError, LookupError, ValueError):
        failed = {}
    if not failed or not all(0 <= number < len(keys) for number in failed):
        raise errors.Conflict(f"{response.request_line}: 409 without saying which operation. Nothing was written.", 409)
    return failed


def _check_denied(response: Response, failed: t.Mapping[int, str], keys: t.Sequence[str], rest: str) -> None:
    """Raise PermissionDenied, naming the key, when the token may not do one of the operations."""
    denied = [number for number, reason in sorted(failed.items()) if "permission denied" in reason.lower()]
    if denied:
        more = f" (and {len(denied) - 1} more)" if len(denied) > 1 else ""
        raise errors.PermissionDenied(
            f"{response.request_line}: {failed[denied[0]]} for the key {keys[denied[0]]!r}{more}. {rest}",
            403,
            failed[denied[0]],
        )

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes keys in transactions: operations, batches within the servers' limits, and what a transaction refused.

A transaction is some 20 times faster than writing key by key.
Source: https://developer.hashicorp.com/consul/api-docs/txn
"""

from __future__ import annotations

import binascii
import json
import logging
import re
import typing as t
from dataclasses import dataclass, field

from . import errors, failures
from .client import Client
from .key_path import is_addressable, key_path
from .response import Response

log = logging.getLogger("consulops")

TXN_OPS_NEW = 128  # Consul >= 1.14
TXN_OPS_OLD = 64  # Consul < 1.14, which refuses 65 with "transaction contains too many operations (65 > 64)"
TXN_BYTES = 500_000  # servers refuse bodies above 524,288 bytes by default (514,166 was accepted, 535,542 was not)

STALE = "index is stale"  # how Consul refuses a compare-and-set

_quoted = json.encoder.encode_basestring_ascii
_WITH_VALUE = frozenset({"set", "cas", "lock", "unlock"})  # verbs of a transaction
_WITH_INDEX = frozenset({"cas", "delete-cas", "check-index"})


@dataclass  # not frozen: tens of thousands are made, and construction would take three times as long
class Operation:
    """One operation of a transaction. ``cas`` with index 0 creates; ``delete-cas`` deletes the key if it has that index."""

    verb: str
    key: str
    value: bytes = field(default=b"", repr=False)
    flags: int = 0
    index: int = 0
    session: str = ""

    def as_json(self) -> str:
        """Return the operation as /v1/txn takes it. Built by hand: the json module takes three times as long."""
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
        """An upper bound of the bytes that the operation takes in a request."""
        return len(self.value) * 4 // 3 + 12 * len(self.key) + 160


def _transaction(operations: t.Sequence[Operation]) -> bytes:
    """Return the body of a transaction."""
    return f"[{','.join([operation.as_json() for operation in operations])}]".encode()


class Refusal(t.NamedTuple):
    """An operation that was not applied, and Consul's reason."""

    operation: Operation
    reason: str


class Committed(t.NamedTuple):
    """The outcome of writing many operations: how many were applied, which were refused, in how many transactions."""

    applied: int
    refused: tuple[Refusal, ...]
    transactions: int


class Writer:
    """Writes operations in transactions as large as the servers accept; learns that limit from the first refusal.

    ``fence`` is an operation, or several, that every transaction begins with: when one fails, nothing is written and Conflict is
    raised.
    With ``skip_denied`` a key that the token may not write is refused by itself; otherwise PermissionDenied is raised.
    Several threads may commit at once.
    """

    def __init__(
        self,
        client: Client,
        max_ops: int | None = None,
        fence: Operation | t.Sequence[Operation] | None = None,
        *,
        skip_denied: bool = False,
    ) -> None:
        self._client = client
        self._skip_denied = skip_denied
        self._fence = [fence] if isinstance(fence, Operation) else list(fence or ())
        self.max_ops = max_ops or TXN_OPS_NEW

    @property
    def room(self) -> int:
        """How many operations a transaction can have besides the fence."""
        return self.max_ops - len(self._fence)

    def commit(self, operations: t.Iterable[Operation]) -> Committed:
        """Write operations in order; a refused one is left out and the rest of its transaction is sent again.

        Each transaction is all or nothing. Raises a ConsulError when the outcome of one is unknown; earlier ones stay applied.
        """
        applied, transactions = 0, 0
        refused: list[Refusal] = []
        waiting: list[list[Operation]] = []
        fresh = batches(operations, lambda: self.room, TXN_BYTES - 1000 * len(self._fence))
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
        log.debug("wrote %d operations in %d transactions, %d refused", applied, transactions, len(refused))
        return Committed(applied, tuple(refused), transactions)

    def commit_whole(self, operations: t.Sequence[Operation]) -> bool:
        """Write all operations in one transaction, or none: return False when Consul refuses one of them, or so many.

        Raises Conflict when the fence failed, or another ConsulError when the outcome is not known.
        """
        if len(operations) > self.room or sum(operation.size for operation in operations) > TXN_BYTES:
            return False
        try:
            response = self._send(operations)
        except errors.RequestTooLarge:
            return False
        if response.status != 200:
            self._failed(response, operations)
            return False
        _check_applied(response)
        return True

    def _send(self, batch: t.Sequence[Operation]) -> Response:
        return self._client.put("/v1/txn", body=_transaction([*self._fence, *batch]), conflict_ok=True)

    def _failed(self, response: Response, batch: t.Sequence[Operation]) -> dict[int, str]:
        """Return which operations of a batch failed. Raises Conflict when the fence did."""
        first = len(self._fence)
        keys = [operation.key for operation in (*self._fence, *batch)]
        failed = _failures(response, keys)
        if not self._skip_denied:
            _check_denied(response, failed, keys, "Nothing of this transaction was written.")
        if min(failed) < first:
            reason = failed[min(failed)].reason
            raise errors.Conflict(
                f"{response.request_line}: {reason}. Nothing of this transaction was written.", 409, reason
            )
        return {number - first: failure.reason for number, failure in failed.items()}

    def _put_alone(self, operation: Operation, error: errors.RequestTooLarge) -> Refusal | None:
        """Write one value that is too large for a transaction (base64 makes it a third longer) by a PUT of its own.

        Returns the refusal, None when it was written. The fence is checked just before, since a PUT has none.
        """
        reason = error.consul_message or str(error)
        if operation.verb in ("cas", "set") and is_addressable(operation.key):
            params = {"flags": operation.flags, **({"cas": operation.index} if operation.verb == "cas" else {})}
            try:
                self._check_fence()
                if self._client.put(key_path(operation.key), params, operation.value).boolean():
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
        """Split a batch that was too large."""
        limit = re.search(r"too many operations \(\d+ > (\d+)\)", error.consul_message)
        if limit is not None:
            self.max_ops = int(limit[1])
        elif len(batch) > TXN_OPS_OLD:
            self.max_ops = TXN_OPS_OLD
        log.debug("a transaction of %d operations was too large, the limit is now %d", len(batch), self.max_ops)
        size = min(self.room, (len(batch) + 1) // 2) if limit is None else self.room
        return [batch[start : start + size] for start in range(0, len(batch), size)]


def batches(
    operations: t.Iterable[Operation], max_ops: t.Callable[[], int], max_bytes: int
) -> t.Iterator[list[Operation]]:
    """Group operations in order, each group within both limits; an operation above the limits is a group of its own.

    ``max_ops`` is called for each group, since the limit may be learned from the first one.
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
    """Raise InvalidResponse unless Consul confirmed that a transaction was applied."""
    if response.body.startswith(b'{"Results":'):
        return  # as Consul writes it; decoding it all would take longer than sending the transaction
    if "Results" not in response.object():
        raise response.invalid()


class _Failure(t.NamedTuple):
    """Why an operation of a transaction failed, and the accessor ID of the denied token where Consul says it, else ""."""

    reason: str
    accessor_id: str


def _failures(response: Response, keys: t.Sequence[str]) -> dict[int, _Failure]:
    """Return which operations of a transaction failed, and why. Raises InvalidResponse when the response names none."""
    failed = response.parse(lambda body: {int(item["OpIndex"]): _failure(str(item["What"])) for item in body["Errors"]})
    if not failed or not all(0 <= number < len(keys) for number in failed):
        raise response.invalid()
    return failed


def _failure(consul_message: str) -> _Failure:
    found = failures.denial(consul_message)
    return _Failure(consul_message, "") if found is None else _Failure(found.reason, found.accessor_id)


def _check_denied(response: Response, failed: t.Mapping[int, _Failure], keys: t.Sequence[str], rest: str) -> None:
    """Raise PermissionDenied, naming the key, when the token may not do one of the operations."""
    denied = [number for number, failure in sorted(failed.items()) if "permission denied" in failure.reason.lower()]
    if denied:
        more = f" (and {len(denied) - 1} more)" if len(denied) > 1 else ""
        first = failed[denied[0]]
        raise errors.PermissionDenied(
            f"{response.request_line}: {failures.DENIED} for the key {keys[denied[0]]!r}{more}. {rest}",
            403,
            first.reason,
            accessor_id=first.accessor_id,
        )


class WrittenKey(t.NamedTuple):
    """What Consul says of a key that it has just written."""

    modify_index: int
    lock_index: int


def write_one(client: Client, operation: Operation, fence: Operation) -> WrittenKey | Refusal:
    """Write one key in a transaction, once, and return the indexes that it has now, or why Consul refused it.

    A PUT of the key would not say its index. Raises Conflict when the fence failed: nothing was written.
    """
    response = client.put("/v1/txn", body=_transaction([fence, operation]), conflict_ok=True)
    if response.status == 200:
        return response.parse(lambda body: WrittenKey(*(_index(body["Results"][-1]["KV"][n]) for n in _INDEXES)))
    keys = [fence.key, operation.key]
    failed = _failures(response, keys)
    _check_denied(response, failed, keys, "Nothing of this transaction was written.")
    if 0 in failed:
        reason = failed[0].reason
        raise errors.Conflict(f"{response.request_line}: {reason}. Nothing was written.", 409, reason)
    return Refusal(operation, failed[1].reason)


_INDEXES = ("ModifyIndex", "LockIndex")


def _index(found: t.Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool):
        raise TypeError
    return found


def present_of(client: Client, keys: t.Sequence[str]) -> set[str]:
    """Return which of these keys exist, according to the leader.

    Raises PermissionDenied, naming the key, where the token may not read one: such a key is unknown, not absent.
    A transaction of ``check-index`` operations is read-only and checks the right to read each key (observed on 1.8.7). Lists
    and ``get`` operations do not: they leave out what may not be read.
    """
    present = set()
    for start in range(0, len(keys), TXN_OPS_OLD):
        batch = keys[start : start + TXN_OPS_OLD]
        body = _transaction([Operation("check-index", key) for key in batch])
        response = client.put("/v1/txn", {"consistent": ""}, body, conflict_ok=True)
        if response.status == 200:
            _check_applied(response)
        failed = {} if response.status == 200 else _failures(response, batch)
        _check_denied(
            response, failed, batch, 'Reading it needs key "…" { policy = "read" }, or the like for its prefix.'
        )
        absent = {number for number, failure in failed.items() if "doesn't exist" in failure.reason}
        present |= {key for number, key in enumerate(batch) if number not in absent}
    return present


def write_raw(client: Client, key: bytes, value: bytes, flags: int, index: int) -> bool:
    """Write one key whose name need not be UTF-8, which a transaction's JSON could not carry, by compare-and-set.

    ``index`` 0 creates. Returns whether it was written.
    """
    return client.put(key_path(key), {"flags": flags, "cas": index}, value).boolean()


def delete_raw(client: Client, key: bytes, index: int) -> bool:
    """Delete one key whose name need not be UTF-8 if it still has that index. Returns whether it was deleted."""
    return client.delete(key_path(key), {"cas": index}).boolean()

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two sides of a replication: a client and how it is read. Reads are retried while Consul has no leader."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._consul import kv, shard_plan, txn
from .._consul.client import Client
from .._consul.key_path import key_path
from .._consul.kv import Shard
from .._consul.retry import RetryPolicy
from .request import ReplicationRequest


@dataclass(frozen=True)
class Side:
    """One side. ``consistency`` is default, consistent or stale; ``max_stale_s`` bounds the age of stale answers.

    ``on_partial`` is called with the prefix or key of each answer that Consul filtered by ACLs; without it such an answer raises
    Filtered.
    """

    client: Client
    retry: RetryPolicy
    consistency: str = "default"
    max_stale_s: float | None = None
    on_partial: kv.OnPartial | None = None

    def list_keys(self, prefix: str) -> list[str]:
        """Return the names of all keys below a prefix. Raises a ConsulError."""
        return self.retry.run(
            lambda: kv.list_keys(self.client, prefix, consistency=self.consistency, on_partial=self.on_partial)
        )

    def read_names(self, prefix: str, like: kv.Names | None = None) -> kv.Names:
        """Return the names of all keys below a prefix, and their index; of equal answers only one is decoded. Raises a ConsulError."""
        return self.retry.run(
            lambda: kv.read_names(
                self.client, prefix, consistency=self.consistency, on_partial=self.on_partial, like=like
            )
        )

    def read_index(self, spec: shard_plan.ShardSpec) -> int:
        """Return the index of a shard. Raises a ConsulError."""
        params = kv.index_query(spec)
        return self.retry.run(
            lambda: (
                self.client.get(
                    key_path(spec.prefix), params, consistency=self.consistency, absent_ok=True, partial_ok=True
                ).index
            )
        )

    def read(
        self, spec: shard_plan.ShardSpec, max_bytes: int | None = None, decoded: kv.Decoded | None = None
    ) -> Shard:
        """Read one shard. ``decoded`` shares decoded values between the two sides.

        Raises ResponseTooLarge when the answer has more than ``max_bytes``, or another ConsulError.
        """
        if spec.exact:
            return self.read_key(spec.prefix)
        limit = {} if max_bytes is None else {"max_bytes": max_bytes}
        return self.retry.run(
            lambda: kv.read_shard(
                self.client,
                spec.prefix,
                consistency=self.consistency,
                max_stale_s=self.max_stale_s,
                decoded=decoded,
                on_partial=self.on_partial,
                **limit,
            )
        )

    def read_key(self, key: str) -> Shard:
        """Read one key by its name. The shard is empty when it does not exist. Raises a ConsulError."""
        return self.retry.run(
            lambda: kv.read_key(
                self.client,
                key,
                consistency=self.consistency,
                max_stale_s=self.max_stale_s,
                on_partial=self.on_partial,
            )
        )

    def existing_of(self, keys: t.Sequence[str]) -> set[str]:
        """Return which of these keys exist, confirmed by the leader key by key. Raises PermissionDenied or another ConsulError."""
        return self.retry.run(lambda: txn.present_of(self.client, keys))


class Sides(t.NamedTuple):
    """The source and the destination of a replication."""

    source: Side
    destination: Side
    partial: set[str]  # prefixes and keys of the source of which the token sees only a part: nothing in them is deleted

    @classmethod
    def of(cls, source: Client, destination: Client, request: ReplicationRequest) -> Sides:
        """Return the sides of a request. Its consistency is for the source; the destination is read by its leader."""
        retry = RetryPolicy(request.retry_s)
        partial: set[str] = set()
        at_source = Side(source, retry, request.consistency, request.max_stale_s, on_partial=partial.add)
        return cls(at_source, Side(destination, retry), partial)

    def sees_all(self, prefix: str) -> bool:
        """Return whether nothing below a prefix of the source was filtered in what was read so far."""
        return not any(part.startswith(prefix) or prefix.startswith(part) for part in self.partial)

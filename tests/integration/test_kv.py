# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys and values on real Consul: shards, batches, limits, and refused operations."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors, kv, txn
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.txn import Operation

from tests.lab.consul import Datacenter, consul_version
from tests.lab.fill import fill_kv, new_token

from .conftest import MakeClient

VALUE_BYTES = 524_288  # kv_max_value_size by default


def entries(client: Client, prefix: str, **options: t.Any) -> dict[str, kv.Entry]:
    """Read a prefix shard by shard."""
    return {entry.key: entry for shard in kv.read_shards(client, prefix, **options) for entry in shard.entries}


def test_shards_are_small_disjoint_and_complete(dc1: Datacenter, make_client: MakeClient) -> None:
    fill_kv(dc1, 700, value_bytes=8, prefix="shards/")
    dc1.put("/v1/kv/shards/web", "a key named like a folder")
    client = make_client(dc1)
    shards = list(kv.read_shards(client, "shards/", shard_keys=50))
    names = [entry.key for shard in shards for entry in shard.entries]
    assert sorted(names) == sorted(dc1.get("/v1/kv/shards/?keys"))
    assert len(set(names)) == len(names) == 701
    assert max(len(shard.entries) for shard in shards) <= 50
    assert all(shard.index > 0 for shard in shards)


def test_values_survive_byte_for_byte(dc1: Datacenter, make_client: MakeClient) -> None:
    values = {
        "bytes/all": bytes(range(256)),
        "bytes/empty": b"",
        "bytes/long": b"x" * 300_000,
        "bytes/ünï/cödé ☃": b"snow",
        "bytes/q?a#b%2F+&=": b"odd",
        "bytes/" + "k" * 300: b"long name",
        "bytes/folder/": b"a folder",
        "bytes/a//b": b"two slashes",
    }
    client = make_client(dc1)
    operations = [Operation("cas", key, value, flags=number) for number, (key, value) in enumerate(values.items())]
    committed = txn.Writer(client).commit(operations)
    assert (committed.applied, committed.refused) == (len(values), ())
    found = entries(client, "bytes/", shard_keys=1)
    assert {key: entry.value for key, entry in found.items()} == values
    assert [found[key].flags for key in values] == list(range(len(values)))


def test_a_prefix_without_keys_has_no_shards(dc1: Datacenter, make_client: MakeClient) -> None:
    client = make_client(dc1)
    assert list(kv.read_shards(client, "nothing/here/")) == []
    assert kv.read_shard(client, "nothing/here/").entries == ()


def test_the_transaction_limit_is_learned_from_a_refusal(
    dc1: Datacenter, shared_lab: object, make_client: MakeClient
) -> None:
    writer = txn.Writer(make_client(dc1))
    committed = writer.commit([Operation("set", f"probe/{number:04d}", b"v") for number in range(300)])
    limit = 64 if consul_version(dc1.servers[0].binary) < (1, 14) else 128
    assert committed.applied == 300 and committed.refused == ()
    assert writer.max_ops == limit
    again = writer.commit([Operation("delete", f"probe/{number:04d}") for number in range(300)])
    assert again.transactions == -(-300 // limit)
    assert dc1.request("GET", "/v1/kv/?keys").json().count("probe/0000") == 0


def test_several_threads_may_write_with_one_writer(dc1: Datacenter, make_client: MakeClient) -> None:
    client = make_client(dc1)
    parts = []
    for part in range(4):
        parts.append([Operation("cas", f"threads/{part}/{number:03d}", b"v") for number in range(150)])
        parts[-1].insert(75, Operation("cas", f"threads/{part}/large", b"x" * 400_000))  # no transaction carries it
        parts[-1].append(Operation("cas", f"threads/{part}/000", b"stale", index=1))
    writer = txn.Writer(client)
    with ThreadPoolExecutor(len(parts)) as pool:
        committed = list(pool.map(writer.commit, parts))
    for part, done in enumerate(committed):
        assert done.applied == 151
        assert [refusal.operation.key for refusal in done.refused] == [f"threads/{part}/000"]
    found = entries(client, "threads/")
    assert len(found) == 4 * 151 and {len(entry.value) for entry in found.values()} == {1, 400_000}
    assert writer.max_ops == (64 if consul_version(dc1.servers[0].binary) < (1, 14) else 128)


def test_values_that_two_reads_share_are_decoded_once_and_others_are_not_mixed_up(
    dc1: Datacenter, make_client: MakeClient
) -> None:
    for key, value in {
        "one/a": b"same",
        "two/a": b"same",
        "one/b": b"1",
        "two/b": b"2",
        "one/c": b"",
        "two/c": b"",
    }.items():
        dc1.put(f"/v1/kv/decoded/{key}", value.decode())
    client, decoded = make_client(dc1), kv.Decoded()
    one = kv.read_shard(client, "decoded/one/", decoded=decoded).entries
    two = kv.read_shard(client, "decoded/two/", decoded=decoded).entries
    assert [entry.value for entry in one] == [b"same", b"1", b""]
    assert [entry.value for entry in two] == [b"same", b"2", b""]
    assert one[0].value is two[0].value


def test_batches_stay_under_the_byte_limit(dc1: Datacenter, make_client: MakeClient) -> None:
    operations = [Operation("set", f"heavy/{number}", b"x" * 200_000) for number in range(8)]
    committed = txn.Writer(make_client(dc1), max_ops=64).commit(operations)
    assert committed.applied == 8 and committed.refused == ()


def test_only_the_value_that_is_too_large_is_refused(dc1: Datacenter, make_client: MakeClient) -> None:
    operations = [
        Operation("set", "mixed/a", b"1"),
        Operation("set", "mixed/huge", b"x" * (VALUE_BYTES + 1)),
        Operation("set", "mixed/b", b"2"),
    ]
    client = make_client(dc1)
    committed = txn.Writer(client).commit(operations)
    assert committed.applied == 2
    assert [refusal.operation.key for refusal in committed.refused] == ["mixed/huge"]
    assert set(entries(client, "mixed/")) == {"mixed/a", "mixed/b"}


def test_a_conflict_is_reported_and_the_rest_applied(dc1: Datacenter, make_client: MakeClient) -> None:
    dc1.put("/v1/kv/cas/there", "original")
    client = make_client(dc1)
    stale = entries(client, "cas/")["cas/there"].modify_index
    dc1.put("/v1/kv/cas/there", "edited meanwhile")
    committed = txn.Writer(client).commit(
        [
            Operation("cas", "cas/new", b"created", index=0),
            Operation("cas", "cas/there", b"mine", index=stale),
            Operation("delete-cas", "cas/there", index=stale),
            Operation("cas", "cas/other", b"created too", index=0),
        ]
    )
    assert committed.applied == 2
    assert {refusal.operation.verb for refusal in committed.refused} == {"cas", "delete-cas"}
    assert all("index is stale" in refusal.reason for refusal in committed.refused)
    found = entries(client, "cas/")
    assert found["cas/there"].value == b"edited meanwhile"
    assert set(found) == {"cas/new", "cas/there", "cas/other"}


def test_a_denied_key_is_a_permission_error_and_writes_nothing(secured: Datacenter, make_client: MakeClient) -> None:
    token = new_token(secured, 'key_prefix "mine/" { policy = "write" }', "kv-narrow")
    client = make_client(secured, token=token)
    operations = [Operation("set", "mine/a", b"1"), Operation("set", "theirs/a", b"1")]
    with pytest.raises(errors.PermissionDenied, match="Nothing of this transaction was written"):
        txn.Writer(client).commit(operations)
    assert "mine/a" not in secured.get("/v1/kv/?keys")
    assert txn.Writer(client).commit(operations[:1]).applied == 1

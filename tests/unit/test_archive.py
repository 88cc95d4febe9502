# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Crafted snapshots: records of other versions, damaged containers, hostile lengths, each with its error."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tracemalloc
import typing as t

import msgpack
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import records
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.archive import MAX_RECORD
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.errors import BadSnapshot
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.summary import Summary, summarize
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import craft


def read(data: bytes, **options: t.Any) -> Summary:
    return summarize(io.BytesIO(data), "x.snap", **{"as_of": 0, **options})


def refusal(data: bytes, memory: int = 24 << 20) -> str:
    """Read what must be refused, in at most ``memory`` bytes, and return the message."""
    tracemalloc.start()
    try:
        with pytest.raises(BadSnapshot) as caught:
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory, f"{peak} bytes"
    message = str(caught.value)
    assert message.startswith("x.snap is not a usable snapshot: ") and "\n" not in message
    return message


def packed(*found: tuple[int, bytes], **changed: bytes) -> bytes:
    return craft.pack({**craft.members_of(found), **changed})


KEY = craft.key("a/b", b"value", 3)


def test_a_crafted_snapshot_is_read() -> None:
    found = read(craft.snapshot(KEY, *craft.node("one")), kv_depth=1)
    assert found.records == 4 and found.count("KVS") == 1
    assert [(row.prefix, row.keys) for row in found.kv] == [("a/", 1)]
    assert found.meta.taken_ms == 1795378925993


def test_record_types_of_newer_versions_and_enterprise_are_shown_by_number() -> None:
    found = read(
        craft.snapshot(
            KEY,
            craft.record(32, {"Service": "web", "IP": b"\xf0\x00\x00\x01"}),
            craft.raw_record(35, msgpack.packb(b"\x0a\x04peer")),
            craft.raw_record(42, msgpack.packb(b"\x0a\x02id")),
            craft.raw_record(65, msgpack.packb(b"\x0a\x11Builtin Default Namespace")),
            craft.record(99, {"Whatever": [1, 2.5, None, {"deep": msgpack.ExtType(5, b"x")}]}),
            craft.raw_record(100, msgpack.packb("just text")),
            craft.raw_record(101, b"\x81\x81\xa1a\x01\x02"),  # a map whose key is a map
        )
    )
    names = {table.name: table.count for table in found.tables}
    assert names == {
        "KVS": 1,
        "ServiceVirtualIP": 1,
        "Peering": 1,
        "Resource": 1,
        "Unknown(65)": 1,
        "Unknown(99)": 1,
        "Unknown(100)": 1,
        "Unknown(101)": 1,
    }


def test_config_entries_with_maps_as_keys_are_read() -> None:
    inner = b"\x82\xa4Name\xa2gw\xa6Routes\x81\x81\xa4Kind\xa4http\xc3"
    found = read(craft.snapshot(craft.config_entry("bound-api-gateway", {}, inner)))
    assert found.config_kinds == {"bound-api-gateway": 1}


# ------------------------------------------------------------------------------------------------------ bad files


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><title>502</title>", "it is not gzip data but begins with '<!DOCTYPE html>"),
        (b"\x1f\x8b\x08\x00", "its gzip stream does not end"),
        (gzip.compress(b"hello world" * 100), "not a tar archive"),
        (gzip.compress(craft.snapshot(craft.key("a", random.randbytes(2000)))), "it is gzipped twice"),
        (craft.snapshot(KEY)[:-1], "cut short"),
        (craft.snapshot(KEY) + b"\0", "more data after the end of the gzip stream"),
        (craft.snapshot(KEY) + craft.snapshot(KEY), "more data after the end of the gzip stream"),
        (craft.pack(craft.members_of([KEY]), end=bytes(512)), "ends where the end of the archive should be"),
        (craft.pack(craft.members_of([KEY]), end=bytes(10240)), "more data after the archive"),
        (craft.pack({}), "the archive has no meta.json"),
        (craft.pack({"evil.sh": b"x"}), "holds 'evil.sh', which no snapshot has"),
        (craft.pack({"../../etc/passwd": b"x"}), "which no snapshot has"),
        (packed(KEY, SHA256SUMS=b"nonsense"), "SHA256SUMS is not a list of sums"),
        (packed(KEY, **{"SHA256SUMS": craft.sums({"meta.json": b"", "state.bin": b""})}), "it was altered"),
        (packed(KEY, **{"meta.json": b"{}"}), "meta.json is not the description"),
        (packed(KEY, **{"meta.json": b"[" * 100_000}), "meta.json is not the description"),
        (packed(KEY, **{"meta.json": craft.meta(999)}), "meta.json says state.bin has 999 bytes"),
        (packed(KEY, **{"meta.json": bytes(2 << 20)}), "meta.json claims to have 2097152 bytes"),
        (packed(KEY, **{"state.bin": b"\x00"}), "meta.json says state.bin has"),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",  # some differ from one second to the next
)
def test_each_bad_container_has_a_specific_message(data: bytes, words: str) -> None:
    assert words in refusal(data)


def _with_state(state: bytes) -> bytes:
    members = {"meta.json": craft.meta(len(state)), "state.bin": state}
    return craft.pack({**members, "SHA256SUMS": craft.sums(members)})


HEADER = craft.state([])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (b"", "state.bin ends in the middle of the header"),
        (b"\x01", "does not begin with Consul's header"),
        (HEADER + KEY[1][:-1], "state.bin ends in the middle of record 1"),
        (HEADER + b"\x02", "state.bin ends in the middle of record 1"),
        (HEADER + b"\x02\xc1", "record 1 at byte 12 of state.bin is not msgpack"),
        (HEADER + KEY[1] + b"\x02\xc0", "a KVS record has no key, value or flags"),
        (HEADER + b"\x02\x81\xa3Key\x05", "a KVS record has no key, value or flags"),
        (HEADER + b"\x00\x81\xa4Node\x05", "a Register record has a node whose name is no text"),
        (HEADER + b"\x16\xc4\x01\xc1", "a config entry is not msgpack inside"),
        (HEADER + b"\x16\x01", "a ConfigEntry record has not the form of one"),
        (HEADER + b"\x63\xc6\xff\xff\xff\xff", "ends in the middle of record 1"),
        (HEADER + b"\x63\xdb\xff\xff\xff\xff", "ends in the middle of record 1"),
        (HEADER + b"\x63\xdd\xff\xff\xff\xff", "claims to be longer than the file"),
        (HEADER + b"\x63\xdf\xff\xff\xff\xff", "claims to be longer than the file"),
        (HEADER + b"\x63\xc9\xff\xff\xff\xff\x05", "claims to be longer than the file"),
        (HEADER + b"\x63" + b"\x91" * 5000 + b"\xc0", "is not msgpack"),
        (HEADER + b"\x63" + b"\x91" * 900 + b"\xc0", "nested too deeply"),
    ],
)
def test_each_bad_record_has_a_specific_message(state: bytes, words: str) -> None:
    assert words in refusal(_with_state(state))


def test_a_record_longer_than_the_limit_is_refused_even_if_it_is_complete() -> None:
    state = HEADER + b"\x63\xc6" + struct.pack(">I", 4 * MAX_RECORD) + bytes(4 * MAX_RECORD)
    data = _with_state(state)
    del state
    assert "claims to be longer than the file or than 64.0 MB" in refusal(data, memory=3 * MAX_RECORD)


def test_a_gzip_bomb_ends_at_its_first_impossible_record() -> None:
    state = HEADER + bytes(64 << 20)
    assert "a Register record is not a map" in refusal(_with_state(state))


def test_a_bomb_in_a_small_member_is_refused_by_its_header() -> None:
    assert "SHA256SUMS claims to have" in refusal(craft.pack({"SHA256SUMS": bytes(64 << 20)}))


def test_links_and_devices_are_not_members_of_a_snapshot() -> None:
    for kind in (b"1", b"2", b"3", b"5"):
        data = gzip.compress(craft.tar({"meta.json": b""}, type=kind))
        assert "which no snapshot has" in refusal(data)


def test_a_member_that_comes_twice_is_refused() -> None:
    members = craft.members_of([KEY])
    body = craft.tar({"meta.json": members["meta.json"]}, end=b"") + craft.tar(members)
    assert "holds meta.json twice" in refusal(gzip.compress(body))


def test_members_in_another_order_are_read_as_consul_reads_them() -> None:
    members = craft.members_of([KEY])
    turned = {name: members[name] for name in ("SHA256SUMS", "state.bin", "meta.json")}
    assert read(craft.pack(turned)).digest == read(craft.pack(members)).digest


# --------------------------------------------------------------------------------------------------------- digests

names = st.binary(min_size=1, max_size=20).filter(
    lambda name: not name.startswith(b"consulops/")
)  # no digest has those
keys = st.dictionaries(names, st.tuples(st.binary(max_size=40), st.integers(0, 2**64 - 1)))


@given(contents=keys, order=st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_order_or_indexes(contents: dict[bytes, tuple[bytes, int]], order: t.Any) -> None:
    found = [craft.key(key, value, flags) for key, (value, flags) in contents.items()]
    turned = [craft.key(key, value, flags, ModifyIndex=77) for key, (value, flags) in contents.items()]
    order.shuffle(turned)
    assert read(craft.snapshot(*found)).digest == read(craft.snapshot(*turned)).digest


@given(contents=keys, extra=st.binary(min_size=21, max_size=30).map(lambda name: b"x" + name), data=st.data())
def test_any_change_of_keys_changes_the_digest(
    contents: dict[bytes, tuple[bytes, int]], extra: bytes, data: st.DataObject
) -> None:
    changed = dict(contents)
    if contents and data.draw(t.cast("st.SearchStrategy[t.Any]", st.booleans())):
        deletion = data.draw(st.sampled_from(sorted(contents)))
        value, flags = contents[deletion]
        change = data.draw(st.sampled_from(["value", "flags", "gone"]))
        if change == "gone":
            del changed[deletion]
        else:
            changed[deletion] = (value + b"x", flags) if change == "value" else (value, flags ^ 1)
    else:
        changed[extra] = (b"", 0)
    before, after = (
        read(craft.snapshot(*[craft.key(key, value, flags) for key, (value, flags) in side.items()]))
        for side in (contents, changed)
    )
    assert before.digest != after.digest


def test_moving_a_byte_from_value_to_key_changes_the_digest() -> None:
    assert read(craft.snapshot(craft.key("ab", b"c"))).digest != read(craft.snapshot(craft.key("a", b"bc"))).digest


def test_an_empty_value_is_nil_in_some_versions_and_no_difference() -> None:
    assert read(craft.snapshot(craft.key("a", None))).digest == read(craft.snapshot(craft.key("a", b""))).digest


def test_fields_in_any_order_are_the_same_record() -> None:
    straight = craft.record(19, {"ID": "1", "Name": "n", "Rules": "r", "CreateIndex": 1})
    turned = craft.record(19, {"CreateIndex": 9, "Rules": "r", "Name": "n", "ID": "1"})
    assert read(craft.snapshot(straight)).digest == read(craft.snapshot(turned)).digest


def test_a_key_record_with_its_fields_in_another_order_is_read_the_same() -> None:
    turned = craft.record(2, {"Value": b"value", "Key": "a/b", "Flags": 3, "New": 1})
    assert read(craft.snapshot(turned)).digest == read(craft.snapshot(KEY)).digest


def test_containers_nested_in_each_other_cannot_claim_memory() -> None:
    for claim in (b"\xdd\x00\x0f\xff\xff", b"\xdf\x00\x0f\xff\xff", b"\xdc\x3f\xff", b"\xde\x3f\xff"):
        refusal(_with_state(HEADER + b"\x63" + claim * 900 + bytes(1 << 20)), memory=300 << 20)
        blob = claim * 900 + bytes(1 << 20)
        refusal(craft.snapshot(craft.config_entry("k", {}, blob)), memory=300 << 20)


def test_a_list_of_all_nodes_coordinates_is_skipped() -> None:
    nodes = [{"Node": f"n{number}", "Coord": {"Vec": [0.1] * 8}} for number in range(20_000)]
    assert read(craft.snapshot(craft.record(6, nodes))).count("CoordinateBatchUpdate") == 1


def test_a_setting_named_like_an_index_is_part_of_the_digest() -> None:
    one, two = (
        craft.config_entry("proxy-defaults", {"Name": "global", "ModifyIndex": 5, "Config": {"CreateIndex": value}})
        for value in (1, 2)
    )
    assert read(craft.snapshot(one)).digest != read(craft.snapshot(two)).digest


def test_metadata_named_like_an_index_is_part_of_the_digest() -> None:
    one, two = (craft.record(19, {"ID": "1", "Meta": {"ModifyIndex": text}}) for text in ("1", "2"))
    assert read(craft.snapshot(one)).digest != read(craft.snapshot(two)).digest


def test_reserved_keys_are_not_part_of_the_digest() -> None:
    assert read(craft.snapshot(KEY, craft.key("consulops/status/x"))).digest == read(craft.snapshot(KEY)).digest


def test_nodes_with_an_agent_have_a_separate_table() -> None:
    found = read(craft.snapshot(*craft.node("external"), *craft.node("member", agent=True)))
    assert (found.count("Register"), found.count("Register (agents)")) == (3, 3)
    moved = read(craft.snapshot(*craft.node("external"), *craft.node("member", agent=True, address="192.0.2.9")))
    assert moved.digest == found.digest
    moved = read(craft.snapshot(*craft.node("external", address="192.0.2.9"), *craft.node("member", agent=True)))
    assert moved.digest != found.digest
    failing = read(craft.snapshot(*craft.node("external", Status="critical"), *craft.node("member", agent=True)))
    assert failing.digest == found.digest


def _go_time(seconds: int) -> bytes:
    return b"\x01" + (seconds + 62135596800).to_bytes(8, "big") + bytes(4) + b"\xff\xff"


def test_a_token_is_part_of_the_digest_until_it_expires() -> None:
    lasting = craft.record(17, {"AccessorID": "a", "SecretID": "s", "ExpirationTime": None})
    passing = craft.record(17, {"AccessorID": "b", "SecretID": "t", "ExpirationTime": _go_time(1000)})
    both, one = craft.snapshot(lasting, passing), craft.snapshot(lasting)
    assert read(both, as_of=999).digest != read(one, as_of=999).digest
    assert read(both, as_of=1001).digest == read(one, as_of=1001).digest
    assert read(both, as_of=1001).count("ACLToken") == 2


def test_a_store_without_folders_is_not_listed_key_by_key() -> None:
    found = read(craft.snapshot(*[craft.key(f"key-{number}") for number in range(20_010)]), kv_depth=2)
    assert len(found.kv) == 20_001
    assert {row.prefix: row.keys for row in found.kv}["(other keys)"] == 10


def test_names_never_show_a_secret() -> None:
    legacy = {b"AccessorID": b"", b"SecretID": b"s3cret-id"}
    assert "s3cret" not in records.name(records.ACL_TOKEN, legacy)
    assert records.name(records.KVS, {b"Key": b"a/\xff"}) == "a/\\xff"

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which records some version of Consul cannot load: found while decoding, judged by version.

The rules were seen on 1.8.7, where tests/integration/test_incomplete_records.py shows some of them; the snapshots in
tests/fixtures/consul-versions are of real servers.
"""

from __future__ import annotations

import io
import typing as t
from pathlib import Path

import msgpack
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import load_check, version_rules
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.errors import BadSnapshot
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.protobuf import strings_of
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.record_checks import (
    MAX_NAMED,
    RecordProblem,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.summary import summarize
from hypothesis import given
from hypothesis import strategies as st

from tests.lab import craft

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "consul-versions"
ID = "11111111-2222-3333-4444-555555555555"
NODE = {"Node": "n", "Address": "192.0.2.1", "Service": None, "Check": None}


def problems(*found: tuple[int, bytes]) -> tuple[RecordProblem, ...]:
    return summarize(io.BytesIO(craft.snapshot(*found)), "x.snap", as_of=0).problems


def reasons(*found: tuple[int, bytes]) -> list[str]:
    return [f"{problem.table}: {problem.what}" for problem in problems(*found)]


def registration(**fields: t.Any) -> tuple[int, bytes]:
    return craft.record(0, {**NODE, **fields})


def protobuf(**strings: str) -> bytes:
    """Return a message whose fields are called after their numbers: ``_1="x"``."""
    return b"".join(bytes([int(name[1:]) << 3 | 2, len(text)]) + text.encode() for name, text in strings.items())


# ---------------------------------------------------------------------------------------------- what decoding finds


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (craft.key(""), "KVS: no Key"),
        (craft.record(2, {"Flags": 0, "Value": b"v"}), "KVS: no Key"),
        (craft.record(2, {"Flags": 0, "Key": None}), "KVS: no Key"),
        (craft.key("a", Session="zzz"), "KVS: Session is not a UUID"),
        (craft.record(5, {"Key": ""}), "Tombstone: no Key"),
        (craft.record(0, {"Address": "192.0.2.1"}), "Register: no Node"),
        (registration(Node=""), "Register: no Node"),
        (registration(Node=None), "Register: no Node"),
        (registration(ID="zzz"), "Register: ID is not a UUID"),
        (registration(Service={"ID": "", "Service": "web"}), "Register: no Service.ID"),
        (registration(Check={"Node": "n", "CheckID": "", "Status": "passing"}), "Register: no Check.CheckID"),
        (registration(Check={"CheckID": "c"}), "Register: Check.Node is another node"),
        (
            registration(Check={"Node": "n", "CheckID": "c", "ServiceID": "gone"}),
            "Register: Check.ServiceID is no service of the node",
        ),
        (craft.record(3, {"Node": "n"}), "Session: no ID"),
        (craft.record(3, {"ID": "zzz", "Node": "n"}), "Session: ID is not a UUID"),
        (craft.record(3, {"ID": ID, "Node": ""}), "Session: no Node"),
        (craft.record(6, [{"Node": "n"}, {"Node": ""}]), "CoordinateBatchUpdate: no Node"),
        (craft.record(6, [{"Segment": ""}]), "CoordinateBatchUpdate: no Node"),
        (craft.record(7, {"ID": ""}), "PreparedQuery: no ID"),
        (craft.record(7, {"ID": ID, "Session": "zzz"}), "PreparedQuery: Session is not a UUID"),
        (craft.record(12, {"ID": ""}), "Intention: no ID"),
        (craft.record(13, {"ID": ""}), "ConnectCA: no ID"),
        (craft.record(14, {}), "ConnectCAProviderState: no ID"),
        (craft.record(16, {"Key": "", "Value": 5}), "Index: no Key"),
        (craft.record(17, {"AccessorID": ID}), "ACLToken: no SecretID"),
        (craft.record(17, {"SecretID": "s"}), "ACLToken: no AccessorID"),
        (craft.record(17, {"SecretID": "s", "AccessorID": "zzz"}), "ACLToken: AccessorID is not a UUID"),
        (craft.record(19, {"Name": "p"}), "ACLPolicy: no ID"),
        (craft.record(19, {"ID": ID, "Name": ""}), "ACLPolicy: no Name"),
        (craft.record(23, {"ID": ID}), "ACLRole: no Name"),
        (craft.record(25, {"ID": ID}), "ACLBindingRule: no AuthMethod"),
        (craft.record(27, {}), "ACLAuthMethod: no Name"),
        (craft.record(30, {"State": None}), "FederationState: no State.Datacenter"),
        (craft.config_entry("proxy-defaults", {"Kind": "proxy-defaults"}), "ConfigEntry: no Name"),
        (craft.config_entry("", {"Kind": "proxy-defaults", "Name": "global"}), "ConfigEntry: no Kind"),
        (craft.config_entry("proxy-defaults", {"Name": "global"}), "ConfigEntry: no Kind"),
    ],
)
def test_a_record_that_1_8_7_cannot_load_is_found(record: tuple[int, bytes], reason: str) -> None:
    assert reasons(record) == [reason]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (craft.record(31, {"Key": ""}), "SystemMetadata: no Key"),
        (craft.record(32, {"Service": {"ServiceName": {"Name": ""}}}), "ServiceVirtualIP: no Service.Name"),
        (craft.record(33, {"IP": b""}), "FreeVirtualIP: no IP"),
        (craft.raw_record(35, msgpack.packb(protobuf(_2="peer"))), "Peering: no ID"),
        (craft.raw_record(35, msgpack.packb(protobuf(_1=ID))), "Peering: no Name"),
        (craft.raw_record(38, msgpack.packb(protobuf(_1="domain"))), "PeeringTrustBundle: no PeerName"),
        (craft.raw_record(40, msgpack.packb(b"")), "PeeringSecret: no PeerID"),
    ],
)
def test_a_record_of_a_newer_type_that_lacks_an_indexed_field_is_found(record: tuple[int, bytes], reason: str) -> None:
    assert reason in reasons(record)


@pytest.mark.parametrize(
    "records",
    [
        craft.node("n"),
        craft.node("n", agent=True),
        [registration(Check={"Node": "n", "CheckID": "c", "Status": ""})],  # a server makes it critical
        [registration(Service={"ID": "Web"}), registration(Check={"Node": "n", "CheckID": "c", "ServiceID": "web"})],
        [craft.key("a", Session=ID)],
        [
            craft.record(
                3, {"ID": ID, "Node": "unknown", "NodeChecks": ["serfHealth"], "ServiceChecks": [{"ID": "web"}]}
            )
        ],
        [craft.record(6, [{"Node": "n"}])],
        [craft.raw_record(6, b"\xc0")],  # an empty list, as Go writes it
        [craft.record(7, {"ID": ID, "Name": ""})],
        [craft.record(17, {"SecretID": "s", "AccessorID": ID, "Policies": [{"ID": "", "Name": "gone"}]})],
        [craft.config_entry("proxy-defaults", {"Kind": "proxy-defaults", "Name": "global"})],
    ],
)
def test_a_record_that_1_8_7_loads_is_no_problem(records: list[tuple[int, bytes]]) -> None:
    assert problems(*records) == ()


FIELDS = st.sampled_from(
    ["ID", "Node", "Name", "Key", "Kind", "Session", "Service", "Check", "CheckID", "ServiceID", "NodeChecks", "Checks"]
    + [
        "ServiceChecks",
        "State",
        "Datacenter",
        "IP",
        "Description",
        "AccessorID",
        "Policies",
        "Rules",
        "Flags",
        "PeerName",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**64 - 1) | st.text(max_size=3) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=6,
)


@given(kind=st.integers(0, 66), record=st.dictionaries(FIELDS, VALUES, max_size=6) | VALUES)
def test_a_record_of_any_shape_is_a_problem_or_no_snapshot_and_never_a_traceback(kind: int, record: t.Any) -> None:
    try:
        found = problems(craft.record(kind, record))
    except BadSnapshot:
        return
    assert all("record 1" in problem.sentence for problem in found)


def test_a_problem_names_the_place_and_the_record_and_never_a_secret() -> None:
    token = {"AccessorID": "", "SecretID": "s3cret", "Description": "from the old days", "Type": "client"}
    found = problems(craft.key("a"), craft.record(17, token))[0]
    assert found.sentence.startswith("ACLToken, record 2 (#")
    assert found.sentence.endswith(" 'from the old days'): no AccessorID; Consul 1.15 and later cannot load it")
    assert "s3cret" not in str(found)
    nameless = problems(craft.record(3, {"Node": "n"}), craft.record(3, {"Node": "n"}))[0]
    assert nameless.sentence == "Session, record 1: no ID; Consul cannot load it (1 more record like it)"


def test_all_records_of_a_problem_are_counted_and_some_are_named() -> None:
    found = problems(*[craft.record(16, {"Key": "", "Value": number}) for number in range(MAX_NAMED + 5)])[0]
    assert (found.count, len(found.records), found.records[-1].number) == (MAX_NAMED + 5, MAX_NAMED, MAX_NAMED)


def test_a_list_of_all_nodes_coordinates_is_checked_entry_by_entry() -> None:
    nodes = [{"Node": f"n{number}"} for number in range(70_000)]
    assert reasons(craft.record(6, nodes)) == []
    assert reasons(craft.record(6, [*nodes, {}])) == ["CoordinateBatchUpdate: no Node"]


@given(st.binary(max_size=60))
def test_any_bytes_are_a_protobuf_message_or_none(data: bytes) -> None:
    assert all(isinstance(text, bytes) for text in strings_of(data).values())


def test_the_strings_of_a_protobuf_message_are_found_between_other_fields() -> None:
    message = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1a\x02ab" + b"\x25" + bytes(4) + b"\x2a\x00"
    assert strings_of(message) == {3: b"ab", 5: b""}
    assert strings_of(b"\xff" * 1000) == {} and strings_of(b"\x0a\x05ab") == {}


# ------------------------------------------------------------------------------------------------- versions and files


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("*.snap")))
def test_no_record_of_a_real_server_is_incomplete_for_any_version(name: str) -> None:
    found = summarize(io.BytesIO((FIXTURES / name).read_bytes()), name, as_of=0).problems
    assert [problem.sentence for problem in found if problem.cause not in ("record_type", "config_kind")] == []


@pytest.mark.parametrize(
    ("name", "loaded_by"),
    [
        ("1.8.7.snap", ["1.8", "1.9", "1.14", "1.15", "1.23"]),
        ("1.16.4.snap", ["1.11", "1.16", "1.23"]),
        ("1.23-dev.snap", ["1.11", "1.16", "1.23"]),
        ("1.8.7-restored-into-1.23-dev.snap", ["1.11", "1.23"]),
    ],
)
def test_a_real_snapshot_is_restorable_in_its_own_version_and_those_that_know_its_types(
    name: str, loaded_by: list[str]
) -> None:
    found = summarize(io.BytesIO((FIXTURES / name).read_bytes()), name, as_of=0).problems
    versions = load_check.requested_versions(["1.8", "1.9", "1.10", *loaded_by], "restorable_in")
    checks = load_check.load_checks(found, versions)
    assert {version_rules.shown(check.version) for check in checks if check.restorable} >= set(loaded_by)
    if "1.8" not in loaded_by:
        assert not checks[0].restorable
        types = {problem.table for problem in checks[0].problems if problem.cause == "record_type"}
        assert types == {"SystemMetadata", "ServiceVirtualIP", "FreeVirtualIP"}
        assert [problem.what for problem in checks[0].problems if problem.cause == "config_kind"] == [
            "kind service-intentions"
        ]


def versions_that_load(*found: tuple[int, bytes]) -> list[str]:
    asked = ["1.8", "1.9", "1.14", "1.15", "1.16", "1.23"]
    checks = load_check.load_checks(problems(*found), load_check.requested_versions(asked, "restorable_in"))
    return [version for version, check in zip(asked, checks) if check.restorable]


def test_what_a_version_loads_depends_on_types_kinds_fields_and_legacy_acls() -> None:
    token = {"AccessorID": ID, "SecretID": "s", "Policies": None}
    assert versions_that_load(craft.key("a")) == ["1.8", "1.9", "1.14", "1.15", "1.16", "1.23"]
    assert versions_that_load(craft.record(31, {"Key": "k"})) == ["1.9", "1.14", "1.15", "1.16", "1.23"]
    assert versions_that_load(craft.config_entry("jwt-provider", {"Kind": "jwt-provider", "Name": "okta"})) == [
        "1.16",
        "1.23",
    ]
    assert versions_that_load(craft.record(17, {**token, "AccessorID": ""})) == ["1.8", "1.9", "1.14"]
    assert versions_that_load(craft.record(17, {**token, "Rules": 'key "" {}'})) == ["1.8", "1.9", "1.14"]
    assert versions_that_load(craft.record(17, {**token, "Type": "management"})) == ["1.8", "1.9", "1.14"]
    for checks in ({"NodeChecks": ["ok", ""]}, {"ServiceChecks": [{"ID": ""}]}, {"Checks": [""]}):
        assert versions_that_load(craft.record(3, {"ID": ID, "Node": "n", **checks})) == ["1.8", "1.9"]
    assert versions_that_load(craft.record(4, {"ID": "old"})) == ["1.8", "1.9", "1.14"]
    assert versions_that_load(craft.record(19, {"ID": ID})) == []


def test_what_a_future_version_wrote_is_loaded_by_no_known_version() -> None:
    future = (craft.record(65, {}), craft.config_entry("warp-drive", {"Kind": "warp-drive", "Name": "x"}))
    assert versions_that_load(*future) == []
    sentences = [problem.sentence for problem in problems(*future)]
    assert sentences[0] == (
        "ConfigEntry, record 2 (warp-drive/x): kind warp-drive; no known version of Consul loads it"
    )
    assert sentences[1].startswith("Unknown(65), record 1 (#") and "no known version" in sentences[1]


@pytest.mark.parametrize(
    ("text", "version"), [("1.8", (1, 8)), ("1.16.4", (1, 16)), ("1.16.4+ent", (1, 16)), ("1.23.0-dev", (1, 23))]
)
def test_a_known_version_can_be_asked_for(text: str, version: tuple[int, int]) -> None:
    assert version_rules.requested_version(text, "restorable_in") == version


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latest", "'latest' is not a version of Consul"),
        ("", "is not a version"),
        ("1", "is not a version"),
        ("1.x", "is not a version"),
        ("v1.16", "is not a version"),
        ("1.16.4 ", "is not a version"),
        ("1.7.9", "known are 1.8 to 1.23"),
        ("1.99", "known are 1.8 to 1.23"),
        ("2.0", "known are 1.8 to 1.23"),
        ("1." + "9" * 5000, "is not a version|known are"),
    ],
)
def test_an_unknown_version_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(InvalidOption, match=words) as caught:
        version_rules.requested_version(text, "restorable_in")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("restorable_in '")


def test_a_saved_state_warns_of_the_upgrade_that_its_servers_would_not_survive() -> None:
    token = {"AccessorID": "", "SecretID": "s", "Rules": 'key "" {}'}
    first, second = load_check.upgrade_warnings(problems(craft.record(17, token)))
    assert first.startswith(
        "this snapshot, and this datacenter's own data, will not load in Consul 1.15 and later: ACLT"
    )
    assert "ignores them" in second
    assert load_check.upgrade_warnings(problems(craft.record(31, {"Key": "k"}))) == ()


def test_the_newest_server_decides_about_fields() -> None:
    assert version_rules.newest_version(["1.10.3", "1.9.1+ent"]) == (1, 10)
    assert version_rules.newest_version([]) is None and version_rules.newest_version(["1.9.0", "?"]) is None

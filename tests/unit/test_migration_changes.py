# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every single change in what a newer leader made of a snapshot is found, and what its restore left wrong is called wrong.

The snapshots are those of real servers in tests/fixtures/consul-versions: what 1.8.7 and 1.16.4 wrote, and what a server of
1.23-dev made of it after a restore. That comparison is also the verification of a restore.
"""

from __future__ import annotations

import functools
import io
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import restore_plan
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.compare import Comparison, compare_source
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.index import SnapshotIndex, index_snapshot

from tests.lab import craft
from tests.lab.rewrite import Record, maps_of, rewritten

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "consul-versions"
REGISTER, KVS, QUERY, INTENTION, CA_STATE = 0, 2, 7, 12, 14
TOKEN, POLICY, ENTRY, ROLE, BINDING_RULE, METHOD, VIRTUAL_IP = 17, 19, 22, 23, 25, 27, 32
MANAGEMENT_POLICY, READ_ONLY_POLICY = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))
ID = "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Pair:
    """A snapshot, what a newer leader made of it, and how many records of each durable table it stored in its own way."""

    before: str
    leader_token: str
    migrated: dict[str, int]

    @property
    def after(self) -> str:
        return self.before + "-restored-into-1.23-dev"


PAIRS = [
    Pair(
        "1.8.7",
        "d289b886-18d2-23ed-c346-77fe1f9dbeb7",
        {
            "ACLBindingRule": 1,
            "ACLPolicy": 3,
            "ACLRole": 1,
            "ACLToken": 5,
            "ConfigEntry": 4,
            "ConnectCAProviderState": 2,
            "FreeVirtualIP": 1,
            "Intention": 1,
            "PreparedQuery": 1,
            "Register": 15,
            "ServiceVirtualIP": 1,
        },
    ),
    Pair(
        "1.16.4",
        "46d32a52-148c-bf30-78f9-4f824cd7a424",
        {"ACLBindingRule": 1, "ACLRole": 1, "ACLToken": 5, "ConfigEntry": 1, "Register": 10},
    ),
]
pairs = pytest.mark.parametrize("pair", PAIRS, ids=[pair.before for pair in PAIRS])


def content(name: str) -> bytes:
    return (FIXTURES / f"{name}.snap").read_bytes()


@functools.cache
def index_of(name: str) -> SnapshotIndex:
    return index_snapshot(io.BytesIO(content(name)), name, as_of=0)


def with_state(before: str, after: bytes, **options: t.Any) -> Comparison:
    return compare_source(index_of(before), io.BytesIO(after), "after", as_of=0, **options)


def durable(found: Comparison) -> dict[str, str]:
    tables = {table.table for table in found.tables if table.durable}
    return {f"{row.table} {row.name}": row.change for row in found.differences if row.table in tables}


# ------------------------------------------------------------------------------------------------- the pairs as they are


@pairs
def test_only_the_leaders_own_token_is_left_of_a_restore_into_a_newer_version(pair: Pair) -> None:
    found = with_state(pair.before, content(pair.after))
    assert durable(found) == {f"ACLToken {pair.leader_token}": "added"}
    assert found.other_version and not found.equal
    assert found.migrated == pair.migrated
    agents = next(table for table in found.tables if table.table == "Register (agents)")
    assert agents.migrated and not agents.durable and not agents.changed


@pairs
def test_a_restore_into_a_newer_version_is_verified_so_it_leaves_its_receipt(pair: Pair) -> None:
    verification = restore_plan.verify(with_state(pair.before, content(pair.after)))
    assert verification.wrong == ()
    assert [row.name for row in verification.since] == [pair.leader_token]
    assert verification.migrated == pair.migrated


@pairs
def test_an_older_snapshot_equals_the_state_after_a_rolling_upgrade(pair: Pair) -> None:
    # The upgraded servers have had their management token since before the snapshot.
    upgraded = rewritten(content(pair.after), lambda _kind, row: _without(row, "AccessorID", pair.leader_token))
    found = with_state(pair.before, upgraded)
    assert found.equal and durable(found) == {}
    assert found.before.digest != found.after.digest
    assert restore_plan.verify(found) == restore_plan.Verification((), (), pair.migrated)


@pairs
def test_a_snapshot_equals_itself_by_its_digest_and_nothing_is_migrated(pair: Pair) -> None:
    for name in (pair.before, pair.after):
        found = with_state(name, content(name))
        assert found.equal and not found.differences
        assert not found.migrated and not found.other_version
        assert found.before.digest == found.after.digest


def test_snapshots_of_two_datacenters_are_not_equal_whatever_their_versions() -> None:
    found = with_state("1.8.7", content("1.23-dev"))
    assert not found.equal
    assert {row.split()[0] for row in durable(found)} >= {"ACLToken", "ConnectCA", "ConnectCAConfig"}


# ------------------------------------------------------------------------------------------- every change in them is found


def _without(record: Record, field: str, value: str) -> Record | None:
    return None if record.get(field) == value else record


def changing(kind: int, field: str, value: t.Any, **named: t.Any) -> t.Callable[[int, Record], Record]:
    """Set a field (``Service.Port``) of the records of a type whose fields are ``named``."""

    def change(found: int, record: Record) -> Record:
        if found != kind or any(record.get(name) != wanted for name, wanted in named.items()):
            return record
        changed: Record = _with(record, field.split("."), value)
        return changed

    return change


def _with(record: t.Any, path: list[str], value: t.Any) -> t.Any:
    if not path:
        return value(record) if callable(value) else value
    if isinstance(record, list):
        position = int(path[0])
        return [*record[:position], _with(record[position], path[1:], value), *record[position + 1 :]]
    return {**record, path[0]: _with(record.get(path[0]), path[1:], value)}


def dropping(kind: int, **named: t.Any) -> t.Callable[[int, Record], Record | None]:
    def change(found: int, record: Record) -> Record | None:
        return None if found == kind and all(record.get(name) == value for name, value in named.items()) else record

    return change


def _drop_service(kind: int, record: Record) -> Record | None:
    service = record.get("Service") if kind == REGISTER else None
    return None if service and service["ID"] == "legacy-ext-3" else record


def _set_port(kind: int, record: Record) -> Record:
    service = record.get("Service") if kind == REGISTER else None
    return {**record, "Service": {**service, "Port": 98}} if service and service["ID"] == "legacy-ext-2" else record


INTENTIONS = {"ConfigEntry", "Intention"}  # of an older version and as a newer one stores them

# What is changed, the tables in which it may be found, and the change.
MUTATIONS: dict[str, tuple[set[str], t.Callable[[int, Record], Record | None]]] = {
    "value of a key": ({"KVS"}, changing(KVS, "Value", "x", Key="app/web/000000")),
    "flags of a key": ({"KVS"}, changing(KVS, "Flags", 9, Key="app/web/000005")),
    "lost key": ({"KVS"}, dropping(KVS, Key="app/web/000010")),
    "rules of a policy": (
        {"ACLPolicy"},
        changing(POLICY, "Rules", 'key_prefix "" { policy = "write" }', Name="readers"),
    ),
    "name of a policy": ({"ACLPolicy"}, changing(POLICY, "Name", "writers", Name="readers")),
    "lost policy": ({"ACLPolicy"}, dropping(POLICY, Name="readers")),
    "policy for one datacenter": ({"ACLPolicy"}, changing(POLICY, "Datacenters", ["dc1"], Name="readers")),
    "roles of a token": ({"ACLToken"}, changing(TOKEN, "Roles", None, Description="reader 1")),
    "policies of a token": (
        {"ACLToken"},
        changing(TOKEN, "Policies", [{"ID": MANAGEMENT_POLICY, "Name": "global-management"}], Description="reader 0"),
    ),
    "secret of a token": ({"ACLToken"}, changing(TOKEN, "SecretID", ID, Description="reader 2")),
    "local token": ({"ACLToken"}, changing(TOKEN, "Local", True, Description="reader 2")),
    "lost token": ({"ACLToken"}, dropping(TOKEN, Description="reader 2")),
    "new kind of rights of a token": (
        {"ACLToken"},
        changing(TOKEN, "TemplatedPolicies", [{"TemplateName": "builtin/dns"}], Description="reader 2"),
    ),
    "policies of a role": ({"ACLRole"}, changing(ROLE, "Policies", None)),
    "selector of a binding rule": ({"ACLBindingRule"}, changing(BINDING_RULE, "Selector", "value.x == 1")),
    "variables of a binding rule": ({"ACLBindingRule"}, changing(BINDING_RULE, "BindVars", {"Name": "x"})),
    "setting of an auth method": ({"ACLAuthMethod"}, changing(METHOD, "Config.BoundAudiences", ["other"])),
    "lost service": ({"Register"}, _drop_service),
    "port of a service": ({"Register"}, _set_port),
    "address of a node": ({"Register"}, changing(REGISTER, "Address", "192.0.2.9", Node="ext-0")),
    "node of a peer": ({"Register"}, changing(REGISTER, "PeerName", "other", Node="ext-0")),
    "locality of a node": ({"Register"}, changing(REGISTER, "Locality", {"Region": "eu"}, Node="ext-0")),
    "protocol of a service": ({"ConfigEntry"}, changing(ENTRY, "Protocol", "grpc", Kind="service-defaults")),
    "time-out of a resolver": ({"ConfigEntry"}, changing(ENTRY, "ConnectTimeout", 1, Kind="service-resolver")),
    "subset without settings": (
        {"ConfigEntry"},
        changing(ENTRY, "Subsets", {"v1": {"Filter": "", "OnlyPassing": False}}, Kind="service-resolver"),
    ),
    "setting of the proxies": ({"ConfigEntry"}, changing(ENTRY, "Config", {"a": {"b": 2.0}}, Kind="proxy-defaults")),
    "empty setting of the proxies": (
        {"ConfigEntry"},
        changing(ENTRY, "Config", {"a": {"b": 1.0}, "C": ""}, Kind="proxy-defaults"),
    ),
    "new field of the proxies": ({"ConfigEntry"}, changing(ENTRY, "Mode", "transparent", Kind="proxy-defaults")),
    "lost config entry": ({"ConfigEntry"}, dropping(ENTRY, Kind="service-resolver")),
    "service of a query": ({"PreparedQuery"}, changing(QUERY, "Service.Service", "api")),
    "key of the built-in CA": ({"ConnectCAProviderState"}, changing(CA_STATE, "PrivateKey", "other")),
    "action of an intention": (INTENTIONS, changing(ENTRY, "Sources.0.Action", "deny", Kind="service-intentions")),
    "source of an intention": (INTENTIONS, changing(ENTRY, "Sources.0.Name", "api", Kind="service-intentions")),
    "permissions of an intention": (
        INTENTIONS,
        changing(ENTRY, "Sources.0.Permissions", [{"Action": "deny"}], Kind="service-intentions"),
    ),
    "further source of an intention": (
        INTENTIONS,
        changing(ENTRY, "Sources", lambda sources: [*sources, {**sources[0], "Name": "*"}], Kind="service-intentions"),
    ),
    "JWT of an intention": (INTENTIONS, changing(ENTRY, "JWT", {"Providers": []}, Kind="service-intentions")),
    "lost intention": (INTENTIONS, dropping(ENTRY, Kind="service-intentions")),
    "built-in policy that grants less": (
        {"ACLPolicy"},
        changing(
            POLICY,
            "Rules",
            lambda rules: rules.replace('operator = "write"', 'operator = "read"'),
            ID=MANAGEMENT_POLICY,
        ),
    ),
    "name of the built-in policy": ({"ACLPolicy"}, changing(POLICY, "Name", "other", ID=MANAGEMENT_POLICY)),
    "read-only policy that writes": (
        {"ACLPolicy"},
        changing(POLICY, "Rules", lambda rules: rules.replace('acl = "read"', 'acl = "write"'), ID=READ_ONLY_POLICY),
    ),
    "another name of the read-only policy": ({"ACLPolicy"}, changing(POLICY, "Name", "other", ID=READ_ONLY_POLICY)),
    "no request headers": ({"ConfigEntry"}, changing(ENTRY, "MaxRequestHeadersKB", 0, Kind="proxy-defaults")),
    "limits without a limit": (
        {"ConfigEntry"},
        changing(ENTRY, "UpstreamConfig", {"Defaults": {"Limits": {"MaxConnections": 0}}}, Kind="service-defaults"),
    ),
    "virtual address that a user chose": (
        {"ServiceVirtualIP"},
        changing(VIRTUAL_IP, "ManualIPs", ["198.51.100.1"]),
    ),
}


# Written by the leader itself or since: not to be told from a user's later change, so listed as written since.
WRITTEN_SINCE = {
    "another name of the read-only policy",
    "built-in policy that grants less",
    "key of the built-in CA",
    "name of the built-in policy",
    "read-only policy that writes",
    "virtual address that a user chose",
}


@functools.cache
def unchanged(name: str) -> bytes:
    return rewritten(content(name), lambda _kind, record: record)


@pairs
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_single_change_of_a_migrated_state_is_found(pair: Pair, name: str) -> None:
    tables, change = MUTATIONS[name]
    changed = rewritten(content(pair.after), change)
    assert changed != unchanged(pair.after), "the mutation changes something"
    found = with_state(pair.before, changed)
    differences = durable(found)
    assert differences.pop(f"ACLToken {pair.leader_token}") == "added"
    assert not found.equal and differences and {row.split()[0] for row in differences} <= tables
    # What only the restore can have left so is wrong.
    assert restore_plan.verify(found).wrong or name in WRITTEN_SINCE


# --------------------------------------------------------------------------------------------------- the reverse order


@pairs
def test_what_a_newer_leader_made_is_recognized_in_the_reverse_order_too(pair: Pair) -> None:
    found = with_state(pair.after, content(pair.before))
    assert durable(found) == {f"ACLToken {pair.leader_token}": "removed"}
    assert found.migrated == pair.migrated
    # The entry of the intentions is not in 1.8.7, nor can it be loaded there.
    assert found.before_is_newer == (pair.before == "1.8.7")


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_single_change_is_found_in_the_reverse_order_too(name: str) -> None:
    pair = PAIRS[0]
    tables, change = MUTATIONS[name]
    before = index_snapshot(io.BytesIO(rewritten(content(pair.after), change)), "changed", as_of=0)
    differences = durable(compare_source(before, io.BytesIO(content(pair.before)), "before", as_of=0))
    assert differences.pop(f"ACLToken {pair.leader_token}") == "removed"
    assert differences and {row.split()[0] for row in differences} <= tables


def test_what_a_restore_lost_is_not_taken_for_the_reverse_of_a_migration() -> None:
    """The state after a restore reaches further than the snapshot."""
    lost = rewritten(content("1.8.7"), lambda _kind, record: record, index=1000)
    found = with_state("1.8.7-restored-into-1.23-dev", lost)
    assert not found.before_is_newer
    tables = {"ACLPolicy", "ACLToken", "ConfigEntry", "FreeVirtualIP", "Intention", "ServiceVirtualIP"}
    assert {row.split()[0] for row in durable(found)} == tables


# ------------------------------------------------------------------------------------ no rule applies to equal versions


def _new_hash(kind: int, record: Record) -> Record:
    return {**record, "Hash": 1} if kind == ENTRY and record["Kind"] == "service-defaults" else record


def _new_ca_state_id(kind: int, record: Record) -> Record:
    return {**record, "ID": "00:11"} if kind == CA_STATE else record


def _more_grants(kind: int, record: Record) -> Record:
    if kind != POLICY or record["ID"] != MANAGEMENT_POLICY:
        return record
    return {**record, "Rules": record["Rules"].replace('mesh = "write"', 'mesh = "write"\nnovel = "write"')}


@pytest.mark.parametrize("change", [_new_hash, _new_ca_state_id, _more_grants])
def test_what_another_version_may_change_is_a_difference_between_equal_versions(
    change: t.Callable[[int, Record], Record],
) -> None:
    name = PAIRS[0].after
    changed = rewritten(content(name), change)
    found = with_state(name, changed)
    assert not found.equal and durable(found) and not found.migrated and not found.other_version
    # The version that the servers are known to run makes the difference.
    found = with_state(name, changed, versions=("1.24.0",))
    assert found.equal and not durable(found) and found.other_version


def test_a_table_index_shows_no_deletion_where_the_leader_itself_wrote() -> None:
    pair = PAIRS[0]
    lost = rewritten(content(pair.after), dropping(TOKEN, Description="reader 2"))
    assert [row.table for row in restore_plan.verify(with_state(pair.before, lost)).wrong] == ["ACLToken"]
    deleted_later = rewritten(
        content(pair.after),
        lambda kind, row: (
            {**row, "Value": 53}
            if kind == 16 and row["Key"] == "acl-tokens"
            else dropping(TOKEN, Description="reader 2")(kind, row)
        ),
    )
    verification = restore_plan.verify(with_state(pair.before, deleted_later))
    assert verification.wrong == () and {row.change for row in verification.since} == {"added", "removed"}


def test_all_intentions_of_a_destination_must_be_in_its_entry() -> None:
    [intention] = maps_of(content("1.8.7"), INTENTION)
    second = craft.record(INTENTION, {**intention, "ID": ID, "SourceName": "api"})
    before = index_snapshot(io.BytesIO(rewritten(content("1.8.7"), lambda _kind, row: row, second)), "two", as_of=0)
    after = content(PAIRS[0].after)
    found = compare_source(before, io.BytesIO(after), "one", as_of=0)
    assert {row.split()[0] for row in durable(found)} == {"Intention", "ConfigEntry", "ACLToken"}

    def add_source(kind: int, row: Record) -> Record:
        if kind != ENTRY or row["Kind"] != "service-intentions":
            return row
        return {**row, "Sources": [{**row["Sources"][0], "Name": "api", "LegacyID": ID}, *row["Sources"]]}

    found = compare_source(before, io.BytesIO(rewritten(after, add_source)), "both", as_of=0)
    assert durable(found) == {f"ACLToken {PAIRS[0].leader_token}": "added"}
    assert found.migrated["Intention"] == 2


def test_a_record_of_a_name_that_the_other_side_has_twice_is_not_recognized() -> None:
    name = PAIRS[0].before
    [one], [other] = (maps_of(content(side), ROLE) for side in (name, PAIRS[0].after))
    after = rewritten(content(name), dropping(ROLE), craft.record(ROLE, one), craft.record(ROLE, other))
    found = with_state(name, after)
    assert durable(found) == {f"ACLRole {one['ID'].decode()}": "changed"} and not found.equal


def test_a_datacenter_without_acls_and_config_entries_shows_its_version_too() -> None:
    before, after = (
        rewritten(content(name), lambda kind, row: row if kind in (REGISTER, KVS) else None)
        for name in (PAIRS[1].before, PAIRS[1].after)
    )
    found = compare_source(index_snapshot(io.BytesIO(before), "before", as_of=0), io.BytesIO(after), "after", as_of=0)
    assert found.equal and found.migrated == {"Register": 10}

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The logical digest: the same for the same contents, another one after any durable change, whatever the order."""

from __future__ import annotations

import io
import time
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import kv
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.summary import Summary, summarize

from tests.lab.consul import Datacenter, Lab, consul_binary, consul_version, eventually
from tests.lab.fill import auth_method, fill, register_external
from tests.lab.tls import Authority

from .conftest import MakeClient


@pytest.fixture(scope="module")
def datacenter(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Datacenter]:
    with Lab(tmp_path_factory.mktemp("digest")) as lab:
        found = lab.datacenter(acl=True)
        fill(found, keys=50)
        yield found


def summary(datacenter: Datacenter) -> Summary:
    return summarize(io.BytesIO(datacenter.snapshot()), "it", as_of=time.time())


def digests(found: Summary) -> dict[str, str]:
    return {table.name: table.digest for table in found.tables if table.durable}


def test_two_snapshots_of_an_idle_datacenter_differ_in_bytes_and_not_in_digest(datacenter: Datacenter) -> None:
    one, two = datacenter.snapshot(), datacenter.snapshot()
    assert one != two
    first, second = (summarize(io.BytesIO(data), "it", as_of=time.time()) for data in (one, two))
    assert first.digest == second.digest
    assert digests(first) == digests(second)


def test_writing_the_same_again_changes_indexes_and_not_the_digest(datacenter: Datacenter) -> None:
    def write(mine: str) -> Summary:
        datacenter.put("/v1/kv/app/web/000000", "the same")
        datacenter.put("/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "http"})
        datacenter.put("/v1/kv/consulops/status/mine", mine)
        return summary(datacenter)

    before, after = write("our own keys"), write("never count")
    assert after.meta.index > before.meta.index
    assert after.digest == before.digest


def _policy(datacenter: Datacenter) -> dict[str, t.Any]:
    found: dict[str, t.Any] = next(p for p in datacenter.get("/v1/acl/policies") if p["Name"] == "readers")
    return found


def _edit_policy(datacenter: Datacenter) -> None:
    policy = _policy(datacenter)
    datacenter.put(f"/v1/acl/policy/{policy['ID']}", {**policy, "Rules": 'key_prefix "a" { policy = "read" }'})


def _edit_token(datacenter: Datacenter) -> None:
    token = next(t for t in datacenter.get("/v1/acl/tokens") if t["Description"] == "reader 0")
    datacenter.put(f"/v1/acl/token/{token['AccessorID']}", {**token, "Description": "reader zero"})


def _edit_role(datacenter: Datacenter) -> None:
    role = datacenter.get("/v1/acl/roles")[0]
    datacenter.put(f"/v1/acl/role/{role['ID']}", {**role, "Description": "edited"})


def _edit_binding_rule(datacenter: Datacenter) -> None:
    rule = datacenter.get("/v1/acl/binding-rules")[0]
    datacenter.put(f"/v1/acl/binding-rule/{rule['ID']}", {**rule, "BindName": "api"})


def _edit_query(datacenter: Datacenter) -> None:
    query = datacenter.get("/v1/query")[0]
    datacenter.put(f"/v1/query/{query['ID']}", {"Name": "nearest-web", "Service": {"Service": "api"}})


def _edit_intention(datacenter: Datacenter) -> None:
    intention = datacenter.get("/v1/connect/intentions")[0]
    datacenter.put(
        f"/v1/connect/intentions/{intention['ID']}",
        {"SourceName": "web", "DestinationName": "db", "Action": "deny"},
    )


def _edit_autopilot(datacenter: Datacenter) -> None:
    config = datacenter.get("/v1/operator/autopilot/configuration")
    datacenter.put("/v1/operator/autopilot/configuration", {**config, "MaxTrailingLogs": 251})


def _edit_ca(datacenter: Datacenter) -> None:
    config = datacenter.get("/v1/connect/ca/configuration")
    config["Config"]["LeafCertTTL"] = "71h"
    datacenter.put("/v1/connect/ca/configuration", config)


def _rotate_ca(datacenter: Datacenter) -> None:
    authority = Authority(datacenter.servers[0].directory / "new-root")
    config = datacenter.get("/v1/connect/ca/configuration")
    config["Config"]["PrivateKey"] = authority.key_pem()
    config["Config"]["RootCert"] = authority.ca_path.read_text(encoding="utf-8")
    datacenter.put("/v1/connect/ca/configuration", config)


VERSION = consul_version(consul_binary())
CHANGES: list[tuple[str, t.Callable[[Datacenter], t.Any], set[str]]] = [
    ("a key's value", lambda dc: dc.put("/v1/kv/app/web/000000", "new"), {"KVS"}),
    ("a key's flags", lambda dc: dc.put("/v1/kv/app/api/000001?flags=99", "same"), {"KVS"}),
    ("flags alone", lambda dc: dc.put("/v1/kv/app/api/000001?flags=98", "same"), {"KVS"}),
    ("a new empty key", lambda dc: dc.put("/v1/kv/empty", ""), {"KVS"}),
    ("a key deleted", lambda dc: dc.request("DELETE", "/v1/kv/app/db/000002"), {"KVS"}),
    ("an external node", lambda dc: register_external(dc, "ext-1", address="192.0.2.77"), {"Register"}),
    ("an external service", lambda dc: register_external(dc, "ext-2", Tags=["new"]), {"Register"}),
    ("a policy", _edit_policy, {"ACLPolicy"}),
    ("a token", _edit_token, {"ACLToken"}),
    ("a role", _edit_role, {"ACLRole"}),
    ("an auth method", lambda dc: dc.put("/v1/acl/auth-method/jwt-one", _described()), {"ACLAuthMethod"}),
    ("a binding rule", _edit_binding_rule, {"ACLBindingRule"}),
    ("a prepared query", _edit_query, {"PreparedQuery"}),
    ("an intention", _edit_intention, {"Intention" if VERSION < (1, 9) else "ConfigEntry"}),
    (
        "a config entry",
        lambda dc: dc.put("/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "grpc"}),
        {"ConfigEntry"},
    ),
    ("autopilot", _edit_autopilot, {"Autopilot"}),
    ("the CA's configuration", _edit_ca, {"ConnectCAConfig"}),
    ("the CA's root", _rotate_ca, {"ConnectCA", "ConnectCAConfig", "ConnectCAProviderState"}),
]


def _described() -> dict[str, t.Any]:
    return {**auth_method("jwt-one"), "Description": "edited"}


@pytest.mark.parametrize(("what", "change", "tables"), CHANGES, ids=[change[0] for change in CHANGES])
def test_every_durable_change_changes_the_digest_of_its_table_only(
    datacenter: Datacenter, what: str, change: t.Callable[[Datacenter], t.Any], tables: set[str]
) -> None:
    before = summary(datacenter)
    change(datacenter)

    def changed_tables() -> set[str]:
        found = digests(summary(datacenter))
        return {name for name in found | digests(before) if found.get(name) != digests(before).get(name)}

    # The CA writes its parts one after the other, after the answer.
    assert eventually(lambda: changed_tables() if changed_tables() >= tables else None, 10, what) == tables
    assert summary(datacenter).digest != before.digest


def test_tables_that_consul_changes_by_itself_are_not_part_of_the_digest(datacenter: Datacenter) -> None:
    before = summary(datacenter)
    datacenter.put("/v1/session/create", {"Name": "passing"})
    datacenter.put("/v1/agent/service/register", {"Name": "registers-itself-again"})
    datacenter.put(
        "/v1/catalog/register",
        {
            "Node": "ext-3",
            "Address": "192.0.2.1",
            "SkipNodeUpdate": True,
            "Check": {"CheckID": "chk-ext-3", "Name": "reachable", "Status": "critical", "Output": "gone"},
        },
    )
    after = eventually(lambda: _later(datacenter, before), what="the new service in the catalogue")
    assert after.digest == before.digest
    of_agents = [one.table("Register (agents)") for one in (before, after)]
    assert of_agents[0] and of_agents[1] and of_agents[0].digest != of_agents[1].digest


def _later(datacenter: Datacenter, before: Summary) -> Summary | None:
    found = summary(datacenter)
    return found if found.services > before.services else None


def test_the_digest_of_live_keys_is_that_of_the_snapshots_table(
    datacenter: Datacenter, make_client: MakeClient
) -> None:
    client = make_client(datacenter)
    entries = [entry for shard in kv.read_shards(client, shard_keys=7) for entry in shard.entries]
    table = summary(datacenter).table("KVS")
    assert table is not None
    assert kv.digest_of(entries).hexdigest() == table.digest
    assert kv.digest_of(reversed(entries)).hexdigest() == table.digest

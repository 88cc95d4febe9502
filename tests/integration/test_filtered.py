# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Consul left out because of ACLs is unknown, never absent.

Consul 1.8.7 does not say what it left out; answers that 1.23-dev gave stand in for its own where a test names them.
"""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors, kv, txn

from tests.lab import keys
from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import Datacenter, consul_binary, consul_version
from tests.lab.faults import Proxy
from tests.lab.fill import new_token, register_checks, set_status
from tests.lab.recorded import NEW, OLD, recorded

from .conftest import MakeClient

SAYS_WHAT_IT_LEFT_OUT = consul_version(consul_binary()) >= (1, 9)


def replicate(task: dict[str, t.Any], **options: t.Any) -> dict[str, t.Any]:
    return run_module("consul_kv_replicate", **{**task, **options})


@pytest.fixture
def newer(secured: Datacenter) -> t.Iterator[Proxy]:
    """A datacenter that answers reads of checks and of app/ as 1.23-dev answered a token with half of the rights."""

    def answer(method: str, path: str) -> t.Any:
        path, _mark, query = path.partition("?")
        if method == "GET" and path == "/v1/health/state/any":
            return recorded(NEW, "health_state_any.half_rights")
        if method == "GET" and path == "/v1/kv/app/":
            return recorded(NEW, "kv_keys.half_rights" if "keys" in query else "kv_recurse.half_rights")
        return None

    with Proxy(secured.url, secured.servers[0].address) as proxy:
        proxy.replay = answer
        yield proxy


@pytest.fixture
def silent(secured: Datacenter) -> Datacenter:
    """A datacenter whose Consul does not say what it left out."""
    if SAYS_WHAT_IT_LEFT_OUT:
        pytest.skip("hints are for Consul before 1.9, which does not say what it left out")
    return secured


@pytest.mark.parametrize(
    ("name", "rights"),
    [("kv_keys.half_rights", "app/"), ("kv_keys.no_rights", "app/"), ("kv_recurse.no_rights", "app/")],
)
def test_a_partial_answer_is_an_error_unless_the_caller_takes_it(
    newer: Proxy, secured: Datacenter, make_client: MakeClient, name: str, rights: str
) -> None:
    newer.replay = lambda method, path: recorded(NEW, name)
    client = make_client(url=newer.url, token=secured.token)
    read = kv.list_keys if "keys" in name else kv.read_shard
    with pytest.raises(errors.Filtered, match=f'leaves out what the token may not see.*key_prefix "{rights}"'):
        read(client, "app/")
    partial: list[str] = []
    read(client, "app/", on_partial=partial.append)
    assert partial == ["app/"]


def test_a_transaction_that_left_keys_out_is_an_error(
    newer: Proxy, secured: Datacenter, make_client: MakeClient
) -> None:
    newer.replay = lambda method, path: recorded(NEW, "txn_get_b.half_rights")
    with pytest.raises(errors.Filtered, match="PUT /v1/txn"):
        make_client(url=newer.url, token=secured.token).put("/v1/txn", body=b"[]")


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_denied_operation_of_a_transaction_is_refused_without_the_accessor_id(
    newer: Proxy, secured: Datacenter, make_client: MakeClient, version: str
) -> None:
    newer.replay = lambda method, path: recorded(version, "txn_set_b.half_rights")
    client = make_client(url=newer.url, token=secured.token)
    refused = txn.Writer(client, skip_denied=True).commit([txn.Operation("set", "app/b", b"1")]).refused
    assert [one.reason.partition(":")[0] for one in refused] == ["Permission denied"]
    assert "AccessorID" not in refused[0].reason
    with pytest.raises(errors.PermissionDenied, match="Permission denied for the key 'app/b'"):
        txn.present_of(client, ["app/b"])


def test_an_alert_check_that_sees_a_part_is_unknown_and_closes_the_gate(newer: Proxy, secured: Datacenter) -> None:
    check: dict[str, t.Any] = {"url": newer.url, "token": secured.token}
    with pytest.raises(ModuleFailed) as failure:
        run_module("consul_alert_check", **check)
    result = failure.value.result
    assert result["verdict"] == "unknown"
    blind = [one for one in result["findings"] if one["rule"] == "acl_token_blind"]
    assert [(one["severity"], one["check"]) for one in blind] == [("warning", "/v1/health/state/any")]
    assert [one["what"] for one in result["unknown"]] == ["/v1/health/state/any"]
    rules = [{"rule": "acl_token_blind", "enabled": False}]
    assert run_module("consul_alert_check", **check, rules=rules)["verdict"] == "ok"


def test_an_alert_check_hints_at_missing_rights_where_consul_does_not_say_what_it_left_out(secured: Datacenter) -> None:
    register_checks(secured, 10)
    try:
        set_status(secured, "node-00000", "check-0", "critical")
        policy = 'node "secured-s1" { policy = "read" }\nservice "consul" { policy = "read" }\nagent_prefix "" { policy = "read" }'
        token = new_token(secured, f'{policy}\noperator = "read"', "narrow")
        result = run_module("consul_alert_check", url=secured.url, token=token, fail_on="never")
        assert [one["rule"] for one in result["findings"]] == ["acl_token_blind"]
        if not SAYS_WHAT_IT_LEFT_OUT:
            assert 'node_prefix "" read and service_prefix "" read' in result["findings"][0]["summary"]
    finally:
        secured.put("/v1/catalog/deregister", {"Node": "node-00000"})


def test_an_alert_check_hints_at_what_the_policies_of_its_token_deny(silent: Datacenter) -> None:
    rules = (
        'node_prefix "" { policy = "read" }\nservice_prefix "" { policy = "read" }\nagent_prefix "" { policy = "read" }'
    )
    rules += '\noperator = "read"\nservice "web" { policy = "deny" }'
    tokens = {
        name: new_token(silent, rules + acl, name) for name, acl in (("reads-acl", '\nacl = "read"'), ("not", ""))
    }
    check: dict[str, t.Any] = {"url": silent.url, "fail_on": "never"}
    (found,) = run_module("consul_alert_check", **check, token=tokens["reads-acl"])["findings"]
    assert found["rule"] == "acl_token_blind" and 'its policies deny service "web"' in found["summary"]
    assert run_module("consul_alert_check", **check, token=tokens["not"])["findings"] == []


def assert_partial(result: dict[str, t.Any]) -> None:
    """Assert that a result says of the prefix app/ that it is not known whole."""
    assert [row["verified"] for row in result["prefixes"]] == [False]
    assert [one.partition(",")[0] for one in result["unchecked"]] == [
        "keys of the source: the source's token sees only a part of the keys below 'app/'"
    ]


def test_a_replication_that_sees_a_part_of_the_source_deletes_nothing_and_says_so(
    newer: Proxy, secured: Datacenter
) -> None:
    keys.write(secured, {"app/a": "1", "app/b": "2"})
    side = {"url": secured.url, "token": secured.token}
    task: dict[str, t.Any] = {
        "source": side,
        "destination": side,
        "prefixes": [{"source": "app/", "destination": "copy/"}],
        "name": "filtered",
    }
    copied = replicate(task)["prefixes"][0]["created"]
    before = keys.read(secured, "copy/")
    assert copied == len(before) >= 2
    task["source"] = {"url": newer.url, "token": secured.token}
    for check in (True, False):
        with pytest.raises(ModuleFailed) as failure:
            replicate(task, check=check)
        result = failure.value.result
        assert "copy/b" in [row["key"] for row in result["prefixes"][0]["deferred_deletes"]]
        assert "sees only a part of the keys below 'app/'" in result["msg"] and 'key_prefix "app/"' in result["msg"]
        assert "nothing is deleted, because the source" in json.dumps(result["warnings"])
        assert keys.read(secured, "copy/") == before
        assert_partial(result)
    fresh = {**task, "name": "fresh", "prefixes": [{"source": "app/", "destination": "fresh/"}]}
    for changed in (True, False):  # also where there is nothing to delete, and nothing to do
        result = replicate(fresh)
        assert result["changed"] is changed
        assert_partial(result)
    newer.replay = lambda method, path: recorded(NEW, "kv_keys.no_rights") if path.startswith("/v1/kv/app/?") else None
    with pytest.raises(ModuleFailed, match="There is nothing to copy, and nothing was changed"):
        replicate(task)
    keys.delete(secured, "app/a", "app/b")


def test_a_replication_hints_at_what_the_policies_of_its_source_token_deny(silent: Datacenter) -> None:
    """1.8.7 does not say what it left out. A run names what the policies deny, and goes on."""
    keys.write(silent, {"team/a": "1", "team/hidden": "2"})
    rules = 'key_prefix "" { policy = "read" }\nkey "team/hidden" { policy = "deny" }\nacl = "read"\nagent_prefix "" { policy = "read" }'
    token = new_token(silent, rules, "hides-a-key")
    task: dict[str, t.Any] = {
        "source": {"url": silent.url, "token": token},
        "destination": {"url": silent.url, "token": silent.token},
        "prefixes": [{"source": "team/", "destination": "hinted/"}],
        "name": "hinted",
    }
    (warning,) = replicate(task)["warnings"]
    assert "keys may be missing, because the policies of the source's token deny key " in json.dumps(warning)
    assert "team/hidden" in json.dumps(warning)
    assert set(keys.read(silent, "hinted/")) == {"hinted/a"}
    task["prefixes"][0]["exclude"] = ["hidden"]
    assert not replicate(task).get("warnings")
    keys.delete(silent, "team/a", "team/hidden")


def test_a_cross_check_that_sees_a_part_of_a_list_says_so(newer: Proxy, secured: Datacenter, tmp_path: t.Any) -> None:
    partial = recorded(NEW, "catalog_nodes.no_rights")
    newer.replay = lambda method, path: partial if path.startswith("/v1/catalog/nodes") else None
    saved = run_module(
        "consul_snapshot", state="saved", url=newer.url, token=secured.token, path=str(tmp_path / "one.snap")
    )
    assert any(one.startswith("nodes: the token sees a part") for one in saved["snapshot"]["unchecked"])

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rules of a policy deny, in every form that Consul takes, and when a token's policies are read at all."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.token_rules import (
    DenyRule,
    denied_by_policies,
    deny_rules,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.faults import Proxy, Recorded

SELF = "/v1/acl/token/self"
ANSWERS: dict[str, t.Any] = {
    SELF: {"Policies": [{"ID": "p1"}], "Roles": [{"ID": "r1"}]},
    "/v1/acl/role/r1": {"Policies": [{"ID": "p1"}, {"ID": "p2"}]},
    "/v1/acl/policy/p1": {"Rules": 'node_prefix "" { policy = "read" }'},
    "/v1/acl/policy/p2": {"Rules": 'service "web" { policy = "deny" }'},
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ('service_prefix "" { policy = "read" }\nservice "web" { policy = "deny" }', ['service "web"']),
        (
            'key_prefix "app/" {\n  policy = "write"\n}\nkey_prefix "app/secret/" {policy="deny"}',
            ['key_prefix "app/secret/"'],
        ),
        ('service "web" { policy = "read" intentions = "deny" }', []),
        ('service "web" { intentions = "read"\n policy = "deny" }', ['service "web"']),
        ('acl = "deny"\noperator = "deny"\nkey "a" { policy = "list" }', []),
        ('# key "a" { policy = "deny" }\n// key "b" { policy = "deny" }\n/* key "c" { policy = "deny" } */', []),
        ('key "a#{b" { policy = "deny" } key "//c" { policy = "deny" }', ['key "//c"', 'key "a#{b"']),
        ('key = { "a" = { policy = "deny" } }', ['key "a"']),
        ('{"service_prefix": {"": {"policy": "deny"}, "w": {"policy": "read"}}}', ['service_prefix ""']),
        ('{"key": [{"a": {"policy": "deny"}}], "acl": "read"}', ['key "a"']),
        ('namespace "n" { service "web" { policy = "deny" } }', ['service "web"']),
    ],
)
def test_rules_that_deny_are_found_in_hcl_and_json(text: str, found: list[str]) -> None:
    assert [str(rule) for rule in sorted(deny_rules(text))] == found


@given(st.text('{}="#/*: \n\\akeypolicydeny'))
def test_no_text_of_a_policy_is_too_strange(text: str) -> None:
    deny_rules(text)


@pytest.fixture(scope="module")
def server() -> t.Iterator[Proxy]:
    """A server that gives the answers that a test sets; nothing is behind it."""
    with Proxy("http://127.0.0.1:1", "127.0.0.1") as proxy:
        yield proxy


def denied(server: Proxy, changed: dict[str, Recorded] | None = None, token: str = "secret") -> list[DenyRule]:
    """Return what a token's policies deny on a server that answers as 1.8.7, but for some answers."""

    def answer(method: str, path: str) -> Recorded:
        return (changed or {}).get(path) or (200, {}, json.dumps(ANSWERS[path]).encode())

    server.replay = answer
    with Client(endpoint.resolve({"url": server.url, "token": token}, {})) as client:
        return denied_by_policies(client)


def test_the_policies_of_a_token_and_of_its_roles_are_read(server: Proxy) -> None:
    assert denied(server) == [DenyRule("service", "web")]


def test_the_rules_of_a_legacy_token_are_read(server: Proxy) -> None:
    legacy = json.dumps({"Rules": 'key "a" { policy = "deny" }', "Policies": None}).encode()
    assert denied(server, {SELF: (200, {}, legacy)}) == [DenyRule("key", "a")]


@pytest.mark.parametrize("path", list(ANSWERS))
@pytest.mark.parametrize("answer", [(403, {}, b"Permission denied"), (200, {}, b"null"), (200, {}, b"[1]")])
def test_policies_that_cannot_be_read_are_no_hint(server: Proxy, path: str, answer: Recorded) -> None:
    assert denied(server, {path: answer}) == []


def test_a_server_that_says_what_it_leaves_out_is_not_asked_further(server: Proxy) -> None:
    newer: Recorded = (200, {"X-Consul-Default-ACL-Policy": "deny"}, json.dumps(ANSWERS[SELF]).encode())
    server.requests.clear()
    assert denied(server, {SELF: newer}) == []
    assert [path for _method, path in server.requests] == [SELF]
    # The anonymous token is never told.
    assert denied(server, {SELF: newer}, token="") == [DenyRule("service", "web")]

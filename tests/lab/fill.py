# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fills a real datacenter with every kind of record that a snapshot holds."""

from __future__ import annotations

import base64
import json
import random
import secrets
import typing as t

from .consul import Datacenter

TXN_MAX_OPS = 64  # Consul < 1.14


def fill(datacenter: Datacenter, keys: int = 200) -> None:
    """Write keys, services, external nodes, a session, a query, config entries, an intention and (with ACLs) ACLs."""
    fill_kv(datacenter, keys)
    fill_catalogue(datacenter)
    fill_queries(datacenter)
    fill_config(datacenter)
    if datacenter.token:
        fill_acl(datacenter)


def fill_kv(datacenter: Datacenter, count: int, value_bytes: int = 256, prefix: str = "app/", seed: int = 1) -> None:
    """Write ``count`` keys ``app/<service>/<number>`` with random values, 64 in a transaction."""
    source = random.Random(seed)
    services = ("web", "api", "db", "cache", "queue")
    operations: list[dict[str, t.Any]] = []
    for number in range(count):
        value = base64.b64encode(source.randbytes(value_bytes)).decode()
        key = f"{prefix}{services[number % len(services)]}/{number:06d}"
        operations.append({"KV": {"Verb": "set", "Key": key, "Value": value, "Flags": number % 7}})
    for start in range(0, count, TXN_MAX_OPS):
        datacenter.put("/v1/txn", json.dumps(operations[start : start + TXN_MAX_OPS]))


def fill_catalogue(datacenter: Datacenter, external_nodes: int = 5) -> None:
    """Register services on the agent and on external nodes, each with a check, and create a session."""
    for name in ("web", "api"):
        datacenter.put("/v1/agent/service/register", {"Name": name, "Port": 80, "Tags": ["v1"]})
    for number in range(external_nodes):
        register_external(datacenter, f"ext-{number}")
    datacenter.put("/v1/session/create", {"Name": "fill", "Checks": []})


def register_external(datacenter: Datacenter, node: str, address: str = "192.0.2.1", **service: t.Any) -> None:
    """Register a node without an agent, with one service and one check."""
    datacenter.put(
        "/v1/catalog/register",
        {
            "Node": node,
            "Address": address,
            "Service": {
                "Service": "legacy",
                "ID": f"legacy-{node}",
                "Port": 99,
                "Meta": {"team": "core"},
                **service,
            },
            "Check": {"Node": node, "CheckID": f"chk-{node}", "Name": "reachable", "Status": "passing"},
        },
    )


def register_checks(datacenter: Datacenter, checks: int, per_node: int = 10, status: str = "passing") -> None:
    """Register checks on nodes without agents, or give them a status: ``check-0`` … on ``node-00000`` …"""
    for node in range(checks // per_node):
        rows = [
            {
                "Node": f"node-{node:05d}",
                "CheckID": f"check-{number}",
                "Name": "a check",
                "Status": status,
                "Output": "x" * 100,
            }
            for number in range(per_node)
        ]
        datacenter.put("/v1/catalog/register", {"Node": f"node-{node:05d}", "Address": "192.0.2.1", "Checks": rows})


def set_status(datacenter: Datacenter, node: str, check: str, status: str) -> None:
    """Set a check of a node without an agent."""
    body = {"Node": node, "CheckID": check, "Name": check, "Status": status, "Output": f"it is {status}"}
    datacenter.put(
        "/v1/catalog/register", {"Node": node, "Address": "192.0.2.1", "SkipNodeUpdate": True, "Check": body}
    )


def fill_queries(datacenter: Datacenter) -> None:
    datacenter.request("POST", "/v1/query", json={"Name": "nearest-web", "Service": {"Service": "web"}})


def fill_config(datacenter: Datacenter) -> None:
    """Write config entries of several kinds and an intention."""
    datacenter.put("/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "http"})
    datacenter.put("/v1/config", {"Kind": "service-resolver", "Name": "web", "ConnectTimeout": "5s"})
    datacenter.put("/v1/config", {"Kind": "proxy-defaults", "Name": "global", "Config": {"a": {"b": 1}}})
    datacenter.request(
        "POST", "/v1/connect/intentions", json={"SourceName": "web", "DestinationName": "db", "Action": "allow"}
    )


def fill_acl(datacenter: Datacenter) -> None:
    """Create a policy, a role, tokens, an auth method and a binding rule."""
    policy = datacenter.put("/v1/acl/policy", {"Name": "readers", "Rules": 'key_prefix "" { policy = "read" }'})
    role = datacenter.put("/v1/acl/role", {"Name": "reader", "Policies": [{"ID": policy["ID"]}]})
    for number in range(3):
        datacenter.put("/v1/acl/token", {"Description": f"reader {number}", "Roles": [{"ID": role["ID"]}]})
    datacenter.put("/v1/acl/auth-method", auth_method("jwt-one"))
    datacenter.put(
        "/v1/acl/binding-rule", {"AuthMethod": "jwt-one", "BindType": "service", "BindName": "web", "Selector": ""}
    )


def auth_method(name: str) -> dict[str, t.Any]:
    """Return a JWT auth method with a public key whose private key is thrown away."""
    return {
        "Name": name,
        "Type": "jwt",
        "Config": {
            "JWTValidationPubKeys": [_PUBLIC_KEY],
            "BoundAudiences": ["consul"],
            "JWTSupportedAlgs": ["ES256"],
        },
    }


def new_token(datacenter: Datacenter, rules: str, name: str = "narrow") -> str:
    """Create a policy with the given rules and return the SecretID of a new token that has it.

    The policy's name begins with ``name`` and is new: tests of several files share a datacenter.
    """
    policy = datacenter.put("/v1/acl/policy", {"Name": f"{name}-{secrets.token_hex(4)}", "Rules": rules})
    token = datacenter.put("/v1/acl/token", {"Description": name, "Policies": [{"ID": policy["ID"]}]})
    return t.cast(str, token["SecretID"])


def _public_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


_PUBLIC_KEY = _public_key()

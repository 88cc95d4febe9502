# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules with which the policies of a token deny something, on servers that do not say what they leave out of an answer.

A hint only: most tokens may not read their own policies. Source: https://developer.hashicorp.com/consul/docs/security/acl/acl-rules
"""

from __future__ import annotations

import re
import typing as t

from . import errors
from .acl_filter import HEADER_OF_NEWER
from .client import Client

_TOKENS = re.compile(r'"((?:[^"\\]|\\.)*)"|#[^\n]*|//[^\n]*|/\*.*?\*/|([{}=:])|([\w.-]+)', re.DOTALL)
_PREFIX = "_prefix"


class DenyRule(t.NamedTuple):
    """A rule that denies: ``resource`` is for example key, node or service, ``name`` the name or its beginning."""

    resource: str
    name: str
    is_prefix: bool = False

    def __str__(self) -> str:
        return f'{self.resource}{_PREFIX if self.is_prefix else ""} "{self.name}"'


def denied_by_policies(client: Client) -> list[DenyRule]:
    """Return what the policies of the client's token deny, also those of its roles.

    Empty where Consul says itself what it leaves out, where the policies cannot be read, and without ACLs.
    """
    try:
        response = client.get("/v1/acl/token/self")
        # The anonymous token is never told what was left out.
        if HEADER_OF_NEWER in response.headers and client.endpoint.token is not None:
            return []
        token = response.object()
        texts = [str(token.get("Rules") or "")]  # of a legacy token
        policies = _ids(token, "Policies")
        for role in _ids(token, "Roles"):
            policies += _ids(client.get(f"/v1/acl/role/{role}").object(), "Policies")
        for policy in dict.fromkeys(policies):
            texts.append(str(client.get(f"/v1/acl/policy/{policy}").object().get("Rules") or ""))
    except errors.ConsulError:
        return []
    return sorted({rule for text in texts for rule in deny_rules(text)})


def _ids(owner: t.Mapping[str, t.Any], field: str) -> list[str]:
    links = owner.get(field)
    return (
        [str(link["ID"]) for link in links if isinstance(link, dict) and "ID" in link]
        if isinstance(links, list)
        else []
    )


def deny_rules(text: str) -> list[DenyRule]:
    """Return the rules of a policy, in HCL or JSON, that deny the right to read something by name."""
    found: list[DenyRule] = []
    path: list[list[str]] = []  # the names before each open brace
    names: list[str] = []
    is_value = False
    for match in _TOKENS.finditer(text):
        quoted, mark, word = match.groups()
        if mark == "{":
            path.append(names)
            names, is_value = [], False
        elif mark == "}":
            path, names, is_value = path[:-1], [], False
        elif mark:
            is_value = True
        elif quoted is not None or word is not None:
            names.append(_unquoted(quoted) if word is None else word)
            if is_value:
                where = [name for level in path for name in level][-2:]
                if names[-2:] == ["policy", "deny"] and len(where) == 2:
                    resource, is_prefix = where[0], where[0].endswith(_PREFIX)
                    found.append(DenyRule(resource[: -len(_PREFIX)] if is_prefix else resource, where[1], is_prefix))
                names, is_value = [], False
    return found


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)

# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers from which Consul left out what the token may not see.

Since 1.11 Consul says so, to every token but the anonymous one. Older servers, 1.8.7 among them, do not.
Source: https://developer.hashicorp.com/consul/api-docs/api-structure#results-filtered-by-acls, and seen on 1.23-dev.
"""

from __future__ import annotations

import typing as t

from . import errors

HEADER = "X-Consul-Results-Filtered-By-ACLs"
# Servers that send this header also say what they filter: 1.23-dev does, 1.8.7 does neither. (Versions 1.9 and 1.10, which were not
# seen, send this header only, and then nothing is known of what they left out.)
HEADER_OF_NEWER = "X-Consul-Default-ACL-Policy"
TRANSACTION_PATH = "/v1/txn"
_IN_TRANSACTION = b'"ResultsFilteredByACLs":true'
_LAST_BYTES = 512  # the fields after a transaction's results

_CATALOG = 'node_prefix "" { policy = "read" } and service_prefix "" { policy = "read" }'
# What a token needs to see everything that an endpoint can list, by the beginning of its path.
_NEEDED: t.Mapping[str, str] = {
    "/v1/kv/": 'key_prefix "{name}" {{ policy = "read" }}',
    "/v1/txn": 'key_prefix "" { policy = "read" }',
    "/v1/session/": 'session_prefix "" { policy = "read" }',
    "/v1/coordinate/": 'node_prefix "" { policy = "read" }',
    "/v1/query": 'query_prefix "" { policy = "read" }',
    "/v1/event/": 'event_prefix "" { policy = "read" }',
    "/v1/config/": 'service_prefix "" { policy = "read" }',
    "/v1/connect/intentions": 'service_prefix "" { policy = "read", intentions = "read" }',
    "/v1/acl/": 'acl = "read"',
}


def is_filtered(path: str, headers: t.Mapping[str, str], body: bytes) -> bool:
    """Return whether Consul says of an answer that something was left out."""
    if headers.get(HEADER, "").lower() == "true":
        return True
    return path == TRANSACTION_PATH and _IN_TRANSACTION in body[-_LAST_BYTES:]


def needed_rights(path: str) -> str:
    """Return the rules of a policy with which nothing is left out of an answer."""
    for beginning, rules in _NEEDED.items():
        if path.startswith(beginning):
            return rules.format(name=path[len(beginning) :]) if "{name}" in rules else rules
    return _CATALOG


def filtered(request_line: str, path: str, status: int) -> errors.Filtered:
    """Return the error of an answer that must be complete and is not."""
    return errors.Filtered(
        f"{request_line}: the answer leaves out what the token may not see. To see all of it the token needs {needed_rights(path)}.",
        status,
    )

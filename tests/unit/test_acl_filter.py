# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which recorded answers Consul filtered by ACLs, and what the token must be given."""

from __future__ import annotations

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.acl_filter import is_filtered, needed_rights
from requests.structures import CaseInsensitiveDict

from tests.lab.recorded import NEW, OLD, answers

# With half of the rights the token sees the only node.
LISTS = ("health_state_any", "kv_recurse", "kv_keys", "catalog_services", "catalog_nodes", "txn_get_b")
FILTERED = {f"{name}.{rights}" for name in LISTS for rights in ("no_rights", "half_rights")} - {
    "catalog_nodes.half_rights"
}


@pytest.mark.parametrize(("version", "filtered"), [(NEW, FILTERED), (OLD, set())])
def test_the_answers_that_consul_filtered_are_recognised(version: str, filtered: set[str]) -> None:
    found = {
        name
        for name, answer in answers(version).items()
        if is_filtered(
            answer["request"].split()[1].partition("?")[0],
            CaseInsensitiveDict(answer["headers"]),
            answer["body"].encode(),
        )
    }
    assert found == filtered


@pytest.mark.parametrize(
    ("path", "rights"),
    [
        ("/v1/kv/app/", 'key_prefix "app/" { policy = "read" }'),
        ("/v1/kv/a{b}", 'key_prefix "a{b}" { policy = "read" }'),
        ("/v1/health/state/any", 'node_prefix "" { policy = "read" } and service_prefix "" { policy = "read" }'),
        ("/v1/session/list", 'session_prefix "" { policy = "read" }'),
        ("/v1/acl/tokens", 'acl = "read"'),
    ],
)
def test_the_rights_are_those_of_the_list(path: str, rights: str) -> None:
    assert needed_rights(path) == rights

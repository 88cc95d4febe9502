# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Operations of a transaction and how they are grouped."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import kv, txn
from ansible_collections.consulops.failover.plugins.module_utils._consul.txn import Operation
from hypothesis import given
from hypothesis import strategies as st

operations = st.lists(
    st.builds(Operation, st.just("set"), st.text(max_size=20), st.binary(max_size=300), st.integers(0, 9)), max_size=80
)


@given(todo=operations, max_ops=st.integers(1, 20), max_bytes=st.integers(200, 3000))
def test_batches_keep_order_and_limits_and_lose_nothing(todo: list[Operation], max_ops: int, max_bytes: int) -> None:
    made = list(txn.batches(todo, lambda: max_ops, max_bytes))
    assert [operation for batch in made for operation in batch] == todo
    for batch in made:
        assert 1 <= len(batch) <= max_ops
        assert len(batch) == 1 or sum(operation.size for operation in batch) <= max_bytes


@given(st.builds(Operation, st.sampled_from(["set", "cas"]), st.text(max_size=30), st.binary(max_size=99)))
def test_the_size_of_an_operation_is_never_underestimated(operation: Operation) -> None:
    assert len(operation.as_json()) <= operation.size


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (Operation("set", "k", b"v", 3), {"Verb": "set", "Key": "k", "Value": "dg==", "Flags": 3}),
        (Operation("cas", "k", b"", index=0), {"Verb": "cas", "Key": "k", "Value": "", "Flags": 0, "Index": 0}),
        (Operation("delete-cas", "k", index=9), {"Verb": "delete-cas", "Key": "k", "Index": 9}),
        (Operation("check-not-exists", "k"), {"Verb": "check-not-exists", "Key": "k"}),
    ],
)
def test_operations_are_what_the_transaction_api_takes(operation: Operation, fields: dict[str, object]) -> None:
    assert json.loads(operation.as_json()) == {"KV": fields}


@given(st.text(), st.binary(), st.text(max_size=5))
def test_any_key_and_value_is_written_as_json(key: str, value: bytes, session: str) -> None:
    found = json.loads(Operation("lock", key, value, session=session).as_json())["KV"]
    assert (found["Key"], base64.b64decode(found["Value"]), found.get("Session", "")) == (key, value, session)


def test_values_stay_out_of_representations() -> None:
    assert "hunter2" not in repr(Operation("set", "k", b"hunter2")) + repr(kv.Entry("k", b"hunter2", 0, 1))
